package awsfake

import (
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	statusCreating = "CREATING"
	statusActive   = "ACTIVE"
	statusUpdating = "UPDATING"
	statusDeleting = "DELETING"
)

const (
	defaultRetention     = 24 * time.Hour
	defaultMaxRecordSize = 1 << 20
)

// dataStream is one data stream. Its mutex guards everything in it, the shards and their records included.
type dataStream struct {
	name      string
	arn       string
	created   time.Time
	opened    time.Time // when the first shards came
	mu        sync.Mutex
	status    string
	mode      string
	retention time.Duration
	maxRecord int
	tags      map[string]string
	shards    []*shard // in order of creation, which is the order of their ids
	nextShard int
	counter   uint64
	consumers []*streamConsumer
	// subscriptions are the latest of each consumer and shard, ended ones included.
	subscriptions map[subscriptionKey]*subscription
	pending       []transition
	changed       chan struct{} // nil, or closed when a subscriber may have something to see
}

// transition is a change that takes effect at its time.
type transition struct {
	due   time.Time
	apply func(at time.Time)
}

// shard is one shard. A shard without a closed time is open.
type shard struct {
	index    uint32
	id       string
	parent   string
	adjacent string
	start    hashKey
	end      hashKey
	first    sequence
	last     sequence // of a closed shard
	created  time.Time
	closed   time.Time
	trimmed  int64 // records that retention has removed: the absolute index of records[0]
	records  []*record

	written  meter
	readAt   []time.Time // the last calls of GetRecords
	readDebt time.Time   // when the bytes read so far are paid for
}

// meter counts what one second took.
type meter struct {
	second  int64
	bytes   int
	records int
}

// record is one stored record. It never changes.
type record struct {
	seq     sequence
	arrived int64 // epoch milliseconds
	size    int   // of the data
	key     string
	// json is the record as GetRecords writes it, made once at put so that reading costs a copy. The data stands in it in
	// base64 from dataOffset on; it is kept nowhere else.
	json []byte
}

const dataOffset = len(`{"Data":"`)

func newRecord(seq sequence, arrived time.Time, partitionKey string, data []byte) *record {
	n := base64.StdEncoding.EncodedLen(len(data))
	b := make([]byte, 0, n+len(partitionKey)+200)
	b = append(b, `{"Data":"`...)
	b = base64.StdEncoding.AppendEncode(b, data)
	b = append(b, `","PartitionKey":`...)
	b = appendString(b, partitionKey)
	b = append(b, `,"SequenceNumber":"`...)
	b = seq.append(b)
	b = append(b, `","ApproximateArrivalTimestamp":`...)
	b = appendSeconds(b, arrived)
	b = append(b, '}')
	return &record{seq: seq, arrived: arrived.UnixMilli(), size: len(data), key: partitionKey, json: b}
}

// appendData appends the record's data.
func (r *record) appendData(b []byte) []byte {
	encoded := r.json[dataOffset : dataOffset+base64.StdEncoding.EncodedLen(r.size)]
	b, err := base64.StdEncoding.AppendDecode(b, encoded)
	if err != nil {
		panic("BUG: a stored record is not base64: " + err.Error())
	}
	return b
}

// recordList is what GetRecords answers with.
type recordList []*record

func (l recordList) appendJSON(b []byte) []byte {
	size := 2
	for _, r := range l {
		size += len(r.json) + 1
	}
	b = append(slices.Grow(b, size), '[')
	for i, r := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r.json...)
	}
	return append(b, ']')
}

func (l recordList) appendCBOR(b []byte, f format) []byte {
	b = appendHead(b, cborArray, uint64(len(l)))
	for _, r := range l {
		b = appendHead(b, cborMap, 4)
		b = appendHead(appendText(b, "Data"), cborBytes, uint64(r.size))
		b = r.appendData(b)
		b = appendText(appendText(b, "PartitionKey"), r.key)
		b = appendText(appendText(b, "SequenceNumber"), r.seq.String())
		b = appendCBOR(appendText(b, "ApproximateArrivalTimestamp"), time.UnixMilli(r.arrived), f)
	}
	return b
}

// settle applies what is due at now: changes of state, then retention. The caller holds the mutex.
func (st *dataStream) settle(now time.Time) {
	for len(st.pending) > 0 && !st.pending[0].due.After(now) {
		t := st.pending[0]
		st.pending = st.pending[1:]
		t.apply(t.due)
	}
	horizon := now.Add(-st.retention)
	for _, sh := range st.shards {
		sh.trim(horizon)
	}
	st.shards = slices.DeleteFunc(st.shards, func(sh *shard) bool {
		return !sh.open() && len(sh.records) == 0 && sh.closed.Before(horizon)
	})
}

// after applies change once delay has passed, at once if there is none.
func (st *dataStream) after(now time.Time, delay time.Duration, change func(at time.Time)) {
	if delay <= 0 && len(st.pending) == 0 {
		change(now)
		return
	}
	st.pending = append(st.pending, transition{now.Add(delay), change})
}

// watch is closed at the next change. The caller holds the mutex.
func (st *dataStream) watch() <-chan struct{} {
	if st.changed == nil {
		st.changed = make(chan struct{})
	}
	return st.changed
}

// wake lets subscribers look again. The caller holds the mutex.
func (st *dataStream) wake() {
	if st.changed != nil {
		close(st.changed)
		st.changed = nil
	}
}

func (sh *shard) open() bool { return sh.closed.IsZero() }

// trim removes the records that came before the horizon.
func (sh *shard) trim(horizon time.Time) {
	ms := horizon.UnixMilli()
	n := 0
	for n < len(sh.records) && sh.records[n].arrived < ms {
		sh.records[n] = nil
		n++
	}
	sh.records = sh.records[n:]
	sh.trimmed += int64(n)
}

// position is the absolute index after the newest record.
func (sh *shard) position() int64 { return sh.trimmed + int64(len(sh.records)) }

// from is the records at and after an absolute index, and the index where they really start.
func (sh *shard) from(index int64) ([]*record, int64) {
	index = max(index, sh.trimmed)
	if index >= sh.position() {
		return nil, index
	}
	return sh.records[index-sh.trimmed:], index
}

// seek is the absolute index of the first record for which at says true; at is monotonic.
func (sh *shard) seek(at func(*record) bool) int64 {
	lo, hi := 0, len(sh.records)
	for lo < hi {
		if mid := (lo + hi) / 2; at(sh.records[mid]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return sh.trimmed + int64(lo)
}

// contains says whether the shard's range has the key.
func (sh *shard) contains(h hashKey) bool { return sh.start.compare(h) <= 0 && h.compare(sh.end) <= 0 }

// addShard opens a shard. The caller holds the mutex.
func (st *dataStream) addShard(now time.Time, start, end hashKey, parent, adjacent string) *shard {
	sh := &shard{
		index: uint32(st.nextShard), id: fmt.Sprintf("shardId-%012d", st.nextShard),
		parent: parent, adjacent: adjacent, start: start, end: end, created: now,
	}
	st.nextShard++
	sh.first = st.nextSequence(sh, now)
	st.shards = append(st.shards, sh)
	return sh
}

func (st *dataStream) nextSequence(sh *shard, now time.Time) sequence {
	st.counter++
	return newSequence(uint64(sh.created.Unix()), st.counter, uint64(now.Unix()), sh.index)
}

// close ends a shard. The caller holds the mutex.
func (st *dataStream) close(sh *shard, now time.Time) {
	sh.closed = now
	sh.last = st.nextSequence(sh, now)
}

// split closes sh and opens two children, the second starting at key.
func (st *dataStream) split(sh *shard, key hashKey, now time.Time) {
	st.close(sh, now)
	st.addShard(now, sh.start, key.previous(), sh.id, "")
	st.addShard(now, key, sh.end, sh.id, "")
	st.wake()
}

// merge closes two neighbours and opens one child.
func (st *dataStream) merge(a, b *shard, now time.Time) *shard {
	st.close(a, now)
	st.close(b, now)
	start, end := a.start, b.end
	if b.start.compare(a.start) < 0 {
		start, end = b.start, a.end
	}
	child := st.addShard(now, start, end, a.id, b.id)
	st.wake()
	return child
}

// openShards are the open shards by hash range.
func (st *dataStream) openShards() []*shard {
	var out []*shard
	for _, sh := range st.shards {
		if sh.open() {
			out = append(out, sh)
		}
	}
	slices.SortFunc(out, func(a, b *shard) int { return a.start.compare(b.start) })
	return out
}

// scale splits and merges until n equal shards are open, as UNIFORM_SCALING does; shards in between stay closed and empty.
func (st *dataStream) scale(n int, now time.Time) {
	starts := boundaries(n)
	for _, key := range starts {
		for _, sh := range st.openShards() {
			if sh.contains(key) && sh.start != key {
				st.split(sh, key, now)
			}
		}
	}
	for i, key := range starts {
		end := maxHashKey
		if i+1 < n {
			end = starts[i+1].previous()
		}
		var whole *shard
		for _, sh := range st.openShards() {
			switch {
			case sh.start.compare(key) < 0 || sh.end.compare(end) > 0:
			case whole == nil:
				whole = sh
			default:
				whole = st.merge(whole, sh, now)
			}
		}
	}
}

// shard finds a shard that is still listed.
func (st *dataStream) shard(id string) *shard {
	i, ok := slices.BinarySearchFunc(st.shards, id, func(sh *shard, id string) int {
		if sh.id < id {
			return -1
		}
		if sh.id > id {
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return st.shards[i]
}

// route is the open shard of a hash key.
func (st *dataStream) route(h hashKey) *shard {
	for _, sh := range st.shards {
		if sh.open() && sh.contains(h) {
			return sh
		}
	}
	panic("BUG: open shards do not cover the key space")
}

// children are the shards that continue sh.
func (st *dataStream) children(id string) []*shard {
	var out []*shard
	for _, sh := range st.shards {
		if sh.parent == id || sh.adjacent == id {
			out = append(out, sh)
		}
	}
	return out
}

func (sh *shard) parents() []string {
	var out []string
	for _, id := range []string{sh.parent, sh.adjacent} {
		if id != "" {
			out = append(out, id)
		}
	}
	return out
}

func (sh *shard) hashRange() object {
	return object{{"StartingHashKey", sh.start.String()}, {"EndingHashKey", sh.end.String()}}
}

// describe is the shard as listings show it.
func (sh *shard) describe() object {
	numbers := object{{"StartingSequenceNumber", sh.first.String()}}
	if !sh.open() {
		numbers = append(numbers, member{"EndingSequenceNumber", sh.last.String()})
	}
	return object{
		{"ShardId", sh.id},
		{"ParentShardId", optional(sh.parent)},
		{"AdjacentParentShardId", optional(sh.adjacent)},
		{"HashKeyRange", sh.hashRange()},
		{"SequenceNumberRange", numbers},
	}
}

// childShards is the list that ends a closed shard; nil while there are none.
func (st *dataStream) childShards(id string) any {
	var out list
	for _, sh := range st.children(id) {
		out = append(out, object{{"ShardId", sh.id}, {"ParentShards", sh.parents()}, {"HashKeyRange", sh.hashRange()}})
	}
	if out == nil {
		return nil
	}
	return out
}
