package awsfake

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

const (
	iteratorLife  = 5 * time.Minute
	maxGetBytes   = 10 << 20
	maxGetRecords = 10_000
	readBytes     = 2 << 20 // a second, per shard
	readCalls     = 5       // a second, per shard
)

// iterator is what a shard iterator stands for: an absolute index into a shard, and when it was issued.
type iterator struct {
	stream  string
	created int64 // of the stream, epoch milliseconds: a new stream of the same name does not know the iterator
	shard   string
	index   int64
	issued  int64 // epoch milliseconds
	// generation counts ExpireIterators; an iterator of an earlier one is expired.
	generation int64
}

func (it iterator) String() string {
	s := fmt.Sprintf("%s|%d|%s|%d|%d|%d", it.stream, it.created, it.shard, it.index, it.issued, it.generation)
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08x|%s", crc32.ChecksumIEEE([]byte(s)), s))
}

func parseIterator(s string) (it iterator, err error) {
	invalid := failure("InvalidArgumentException", "Invalid ShardIterator.")
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return it, invalid
	}
	sum, rest, _ := strings.Cut(string(b), "|")
	parts := strings.Split(rest, "|")
	if len(parts) != 6 || fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(rest))) != sum {
		return it, invalid
	}
	it.stream, it.shard = parts[0], parts[2]
	for part, to := range map[int]*int64{1: &it.created, 3: &it.index, 4: &it.issued, 5: &it.generation} {
		if *to, err = strconv.ParseInt(parts[part], 10, 64); err != nil {
			return it, invalid
		}
	}
	return it, nil
}

// startingPosition is where a reader wants to begin; GetShardIterator and SubscribeToShard share it.
type startingPosition struct {
	kind      string
	sequence  string
	timestamp time.Time
}

// resolve is the absolute index of a starting position. The caller holds the stream's mutex.
func (k *Kinesis) resolve(st *dataStream, sh *shard, p startingPosition, now time.Time) (int64, error) {
	switch p.kind {
	case "TRIM_HORIZON":
		return sh.trimmed, nil
	case "LATEST":
		return sh.position(), nil
	case "AT_TIMESTAMP":
		if p.timestamp.IsZero() {
			return 0, failure("InvalidArgumentException", "Must specify timestamp parameter for iterator of type AT_TIMESTAMP.")
		}
		if p.timestamp.After(now) {
			return 0, failure("InvalidArgumentException", "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis.")
		}
		ms := p.timestamp.UnixMilli()
		return sh.seek(func(r *record) bool { return r.arrived >= ms }), nil
	case "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER":
		if p.sequence == "" {
			return 0, failure("InvalidArgumentException", "Must specify startingSequenceNumber parameter for iterator of type %s.", p.kind)
		}
		q, ok := parseSequence(p.sequence)
		if !ok || q.shard() != sh.index || q.shardCreated() != sh.first.shardCreated() {
			return 0, failure("InvalidArgumentException", "StartingSequenceNumber %s used in GetShardIterator on shard %s in stream %s under account %s is invalid because it did not come from this stream.",
				p.sequence, sh.id, st.name, k.server.cfg.Account)
		}
		least := 0
		if p.kind == "AFTER_SEQUENCE_NUMBER" {
			least = 1
		}
		return sh.seek(func(r *record) bool { return r.seq.compare(q) >= least }), nil
	default:
		return 0, failure("ValidationException", "iterator type %q is none of TRIM_HORIZON, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, AFTER_SEQUENCE_NUMBER", p.kind)
	}
}

func (k *Kinesis) getShardIterator(c *call) (any, error) {
	var in struct {
		streamRef
		ShardId                string //nolint:revive // AWS's name
		ShardIteratorType      string
		StartingSequenceNumber string
		Timestamp              timestamp
	}
	k.mu.RLock()
	generation := k.generation
	k.mu.RUnlock()
	return k.edit(c, &in, &in.streamRef, func(st *dataStream) (any, error) {
		sh := st.shard(in.ShardId)
		if sh == nil {
			return nil, k.shardNotFound(in.ShardId, st.name)
		}
		index, err := k.resolve(st, sh, startingPosition{in.ShardIteratorType, in.StartingSequenceNumber, in.Timestamp.Time}, c.now)
		if err != nil {
			return nil, err
		}
		it := iterator{st.name, st.created.UnixMilli(), sh.id, index, c.now.UnixMilli(), generation}
		return object{{"ShardIterator", it.String()}}, nil
	})
}

func (k *Kinesis) getRecords(c *call) (any, error) {
	var in struct {
		streamRef
		ShardIterator string
		Limit         *int
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	limit, err := parsePage(in.Limit, maxGetRecords, maxGetRecords, "limit")
	if err != nil {
		return nil, err
	}
	it, err := parseIterator(in.ShardIterator)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	generation, held := k.generation, k.limits
	k.mu.RUnlock()
	if c.now.UnixMilli()-it.issued > iteratorLife.Milliseconds() || it.generation != generation {
		return nil, failure("ExpiredIteratorException", "Iterator expired. The iterator was created at time %s while right now it is %s which is further in the future than the tolerated delay of %d milliseconds.",
			time.UnixMilli(it.issued).UTC().Format(time.UnixDate), c.now.UTC().Format(time.UnixDate), iteratorLife.Milliseconds())
	}
	st, err := k.lock(streamRef{StreamName: it.stream}, c.now)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	sh := st.shard(it.shard)
	if sh == nil || st.created.UnixMilli() != it.created {
		return nil, k.shardNotFound(it.shard, it.stream)
	}
	if err := sh.mayRead(st, c.now, held); err != nil {
		return nil, err
	}
	b := sh.read(it.index, limit, maxGetBytes)
	sh.noteRead(c.now, b.bytes)
	out := object{{"Records", recordList(b.records)}, {"MillisBehindLatest", b.behind(sh, c.now)}}
	if b.next == sh.position() && !sh.open() {
		return append(out, member{"ChildShards", st.childShards(sh.id)}), nil
	}
	it.index, it.issued = b.next, c.now.UnixMilli()
	return append(out, member{"NextShardIterator", it.String()}), nil
}

// mayRead holds the limits on reading.
func (sh *shard) mayRead(st *dataStream, now time.Time, held Limits) error {
	if held.ReadCalls && len(sh.readAt) == readCalls && now.Sub(sh.readAt[0]) < time.Second ||
		held.ReadBytes && now.Before(sh.readDebt) {
		return failure("ProvisionedThroughputExceededException", "Rate exceeded for shard %s in stream %s.", sh.id, st.name)
	}
	return nil
}

// noteRead remembers a call for the limits. An answer of 10 MiB is paid for in 5 seconds.
func (sh *shard) noteRead(now time.Time, n int) {
	if len(sh.readAt) == readCalls {
		sh.readAt = append(sh.readAt[:0], sh.readAt[1:]...)
	}
	sh.readAt = append(sh.readAt, now)
	// A second's worth is free of debt: small reads never block the next call.
	if from := now.Add(-time.Second); sh.readDebt.Before(from) {
		sh.readDebt = from
	}
	sh.readDebt = sh.readDebt.Add(time.Duration(n) * time.Second / readBytes)
}

// batch is what one read yields.
type batch struct {
	records []*record
	bytes   int
	next    int64 // absolute index after the records
}

// read takes at most limit records and maxBytes of data from index on, but at least one record.
func (sh *shard) read(index int64, limit, maxBytes int) batch {
	all, index := sh.from(index)
	b := batch{next: index}
	for _, r := range all {
		if len(b.records) == limit || len(b.records) > 0 && b.bytes+r.size > maxBytes {
			break
		}
		b.records = append(b.records, r)
		b.bytes += r.size
		b.next++
	}
	return b
}

// behind is MillisBehindLatest after the batch: 0 at the tip, else the age of what was read last.
func (b batch) behind(sh *shard, now time.Time) int64 {
	rest, _ := sh.from(b.next)
	if len(rest) == 0 {
		return 0
	}
	at := rest[0].arrived
	if n := len(b.records); n > 0 {
		at = b.records[n-1].arrived
	}
	return max(1, now.UnixMilli()-at)
}
