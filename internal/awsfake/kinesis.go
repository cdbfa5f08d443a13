package awsfake

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kinesis is the streams of a Server. Its methods do without the wire what generators and assertions need; they follow the
// same rules as the operations (limits excepted) and are safe for concurrent use.
type Kinesis struct {
	server *Server

	mu      sync.RWMutex
	streams map[string]*dataStream
	limits  Limits
	// generation counts ExpireIterators.
	generation int64
}

func newKinesis(s *Server) *Kinesis {
	return &Kinesis{server: s, streams: map[string]*dataStream{}, limits: s.cfg.Limits}
}

func (k *Kinesis) operations() map[string]operation {
	return map[string]operation{
		"AddTagsToStream":               k.addTagsToStream,
		"CreateStream":                  k.createStream,
		"DecreaseStreamRetentionPeriod": k.decreaseRetention,
		"DeleteStream":                  k.deleteStream,
		"DeregisterStreamConsumer":      k.deregisterStreamConsumer,
		"DescribeLimits":                k.describeLimits,
		"DescribeStream":                k.describeStream,
		"DescribeStreamConsumer":        k.describeStreamConsumer,
		"DescribeStreamSummary":         k.describeStreamSummary,
		"GetRecords":                    k.getRecords,
		"GetShardIterator":              k.getShardIterator,
		"IncreaseStreamRetentionPeriod": k.increaseRetention,
		"ListShards":                    k.listShards,
		"ListStreamConsumers":           k.listStreamConsumers,
		"ListStreams":                   k.listStreams,
		"ListTagsForResource":           k.listTagsForResource,
		"ListTagsForStream":             k.listTagsForStream,
		"MergeShards":                   k.mergeShards,
		"PutRecord":                     k.putRecord,
		"PutRecords":                    k.putRecords,
		"RegisterStreamConsumer":        k.registerStreamConsumer,
		"RemoveTagsFromStream":          k.removeTagsFromStream,
		"SplitShard":                    k.splitShard,
		"SubscribeToShard":              k.subscribeToShard,
		"TagResource":                   k.tagResource,
		"UntagResource":                 k.untagResource,
		"UpdateMaxRecordSize":           k.updateMaxRecordSize,
		"UpdateShardCount":              k.updateShardCount,
	}
}

// streamRef is how a request names a stream.
type streamRef struct {
	StreamName string
	StreamARN  string
}

// streamOfARN is the stream's name in the ARN of a stream or of a consumer; empty for anything else.
func streamOfARN(arn string) string {
	_, rest, ok := strings.Cut(arn, ":stream/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// lock finds a stream, brings it up to now and locks it; the caller unlocks it.
func (k *Kinesis) lock(ref streamRef, now time.Time) (*dataStream, error) {
	name := ref.StreamName
	if ref.StreamARN != "" {
		if name = streamOfARN(ref.StreamARN); name == "" {
			return nil, failure("InvalidArgumentException", "%q is not the ARN of a stream", ref.StreamARN)
		}
	}
	if name == "" {
		return nil, failure("InvalidArgumentException", "Either StreamName or StreamARN must be provided.")
	}
	k.mu.RLock()
	st := k.streams[name]
	k.mu.RUnlock()
	if st == nil || ref.StreamARN != "" && ref.StreamARN != st.arn {
		return nil, k.notFound(name)
	}
	st.mu.Lock()
	st.settle(now)
	if st.status == "" {
		st.mu.Unlock()
		k.forget(st)
		return nil, k.notFound(name)
	}
	return st, nil
}

func (k *Kinesis) notFound(stream string) error {
	return failure("ResourceNotFoundException", "Stream %s under account %s not found.", stream, k.server.cfg.Account)
}

// forget removes a stream whose deletion is over.
func (k *Kinesis) forget(st *dataStream) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.streams[st.name] == st {
		delete(k.streams, st.name)
	}
}

// names are the names of all streams, sorted.
func (k *Kinesis) names() []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Sorted(maps.Keys(k.streams))
}

// CreateStream makes a stream of equal shards, kept for 24 hours.
func (k *Kinesis) CreateStream(name string, shards int) error {
	return k.create(name, shards, "PROVISIONED", defaultMaxRecordSize, nil)
}

func (k *Kinesis) create(name string, shards int, mode string, maxRecord int, tags map[string]string) error {
	if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" {
		return failure("ValidationException", "stream name %q; use 1 to 128 of a-z, A-Z, 0-9, _, . and -", name)
	}
	if shards < 1 || shards > 10_000 {
		return failure("ValidationException", "ShardCount %d; use 1 to 10000", shards)
	}
	now := k.server.now()
	st := &dataStream{
		name: name, arn: fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s", k.server.cfg.Region, k.server.cfg.Account, name),
		created: now, status: statusCreating, mode: mode, retention: defaultRetention, maxRecord: maxRecord,
		tags: map[string]string{}, subscriptions: map[subscriptionKey]*subscription{},
	}
	maps.Copy(st.tags, tags)
	if old, err := k.lock(streamRef{StreamName: name}, now); err == nil {
		old.mu.Unlock()
		return failure("ResourceInUseException", "Stream %s under account %s already exists.", name, k.server.cfg.Account)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.streams[name] != nil {
		return failure("ResourceInUseException", "Stream %s under account %s already exists.", name, k.server.cfg.Account)
	}
	k.streams[name] = st
	st.mu.Lock()
	defer st.mu.Unlock()
	st.after(now, k.server.cfg.StreamDelay, func(at time.Time) {
		st.status, st.opened = statusActive, at
		starts := boundaries(shards)
		for i, start := range starts {
			end := maxHashKey
			if i+1 < shards {
				end = starts[i+1].previous()
			}
			st.addShard(at, start, end, "", "")
		}
	})
	return nil
}

// DeleteStream removes a stream and its consumers.
func (k *Kinesis) DeleteStream(name string) error {
	return k.delete(streamRef{StreamName: name}, true, k.server.now())
}

func (k *Kinesis) delete(ref streamRef, withConsumers bool, now time.Time) error {
	st, err := k.lock(ref, now)
	if err != nil {
		return err
	}
	if len(st.consumers) > 0 && !withConsumers {
		st.mu.Unlock()
		return failure("ResourceInUseException", "Stream %s has consumers; deregister them or set EnforceConsumerDeletion.", st.name)
	}
	st.status = statusDeleting
	st.consumers = nil
	st.pending = nil
	st.after(now, k.server.cfg.StreamDelay, func(time.Time) { st.status = "" })
	gone := st.status == ""
	st.wake()
	st.mu.Unlock()
	if gone {
		k.forget(st)
	}
	return nil
}

// Put writes one record and returns the shard's id and the sequence number.
func (k *Kinesis) Put(stream, partitionKey string, data []byte) (shardID, sequenceNumber string, err error) {
	return k.PutExplicit(stream, partitionKey, "", data)
}

// PutExplicit is Put with an explicit hash key, in decimal; an empty one means the MD5 of the partition key.
func (k *Kinesis) PutExplicit(stream, partitionKey, explicitHashKey string, data []byte) (shardID, sequenceNumber string, err error) {
	now := k.server.now()
	st, err := k.lock(streamRef{StreamName: stream}, now)
	if err != nil {
		return "", "", err
	}
	defer st.mu.Unlock()
	e := putEntry{Data: data, PartitionKey: partitionKey, ExplicitHashKey: explicitHashKey}
	h, err := e.check(st)
	if err != nil {
		return "", "", err
	}
	sh, r, err := st.put(h, &e, now, Limits{})
	if err != nil {
		return "", "", err
	}
	return sh.id, r.seq.String(), nil
}

// Split splits a shard in the middle of its hash range.
func (k *Kinesis) Split(stream, shardID string) error {
	now := k.server.now()
	st, err := k.lock(streamRef{StreamName: stream}, now)
	if err != nil {
		return err
	}
	sh := st.shard(shardID)
	st.mu.Unlock()
	if sh == nil {
		return k.shardNotFound(shardID, stream)
	}
	middle := new(big.Int).Add(sh.start.big(), sh.end.big())
	middle.Add(middle, big.NewInt(1)).Rsh(middle, 1)
	return k.split(streamRef{StreamName: stream}, shardID, middle.String(), now)
}

// Merge merges two neighbouring shards.
func (k *Kinesis) Merge(stream, shardID, adjacentShardID string) error {
	return k.merge(streamRef{StreamName: stream}, shardID, adjacentShardID, k.server.now())
}

// Reshard scales a stream to n equal shards, however many it has.
func (k *Kinesis) Reshard(stream string, n int) error {
	if n < 1 {
		return failure("ValidationException", "shard count %d; use at least 1", n)
	}
	return k.reshard(streamRef{StreamName: stream}, k.server.now(), func(st *dataStream) (func(time.Time), error) {
		return func(at time.Time) { st.scale(n, at) }, nil
	})
}

// SetRetention sets how long records are kept; unlike the operation it takes any duration.
func (k *Kinesis) SetRetention(stream string, d time.Duration) error {
	st, err := k.lock(streamRef{StreamName: stream}, k.server.now())
	if err != nil {
		return err
	}
	defer st.mu.Unlock()
	st.retention = d
	return nil
}

// Trim removes the records that arrived before t, as retention would.
func (k *Kinesis) Trim(stream string, t time.Time) error {
	st, err := k.lock(streamRef{StreamName: stream}, k.server.now())
	if err != nil {
		return err
	}
	defer st.mu.Unlock()
	for _, sh := range st.shards {
		sh.trim(t)
	}
	return nil
}

// ExpireIterators makes every iterator issued so far expired.
func (k *Kinesis) ExpireIterators() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.generation++
}

// SetLimits changes the limits that are held from now on.
func (k *Kinesis) SetLimits(l Limits) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.limits = l
}

func (k *Kinesis) heldLimits() Limits {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.limits
}

// Shard is the state of one shard.
type Shard struct {
	ID                     string
	Parents                []string // one after a split, two after a merge; the first is ParentShardId
	StartingHashKey        string
	EndingHashKey          string
	Created                time.Time
	Closed                 time.Time // zero while the shard is open
	StartingSequenceNumber string
	EndingSequenceNumber   string // empty while the shard is open
	Records                int    // in retention
	LastSequenceNumber     string // of the newest record in retention
}

// Shards are the stream's shards in retention, in order of creation; nil for an unknown stream.
func (k *Kinesis) Shards(stream string) []Shard {
	st, err := k.lock(streamRef{StreamName: stream}, k.server.now())
	if err != nil {
		return nil
	}
	defer st.mu.Unlock()
	out := make([]Shard, 0, len(st.shards))
	for _, sh := range st.shards {
		s := Shard{
			ID: sh.id, Parents: sh.parents(), StartingHashKey: sh.start.String(), EndingHashKey: sh.end.String(),
			Created: sh.created, Closed: sh.closed, StartingSequenceNumber: sh.first.String(), Records: len(sh.records),
		}
		if !sh.open() {
			s.EndingSequenceNumber = sh.last.String()
		}
		if n := len(sh.records); n > 0 {
			s.LastSequenceNumber = sh.records[n-1].seq.String()
		}
		out = append(out, s)
	}
	return out
}

// Record is a stored record.
type Record struct {
	SequenceNumber string
	PartitionKey   string
	Data           []byte // a copy
	Arrived        time.Time
}

// Records are the records of a shard in retention; nil for an unknown one.
func (k *Kinesis) Records(stream, shardID string) []Record {
	st, err := k.lock(streamRef{StreamName: stream}, k.server.now())
	if err != nil {
		return nil
	}
	var stored []*record
	if sh := st.shard(shardID); sh != nil {
		stored = slices.Clone(sh.records)
	}
	st.mu.Unlock()
	out := make([]Record, 0, len(stored))
	for _, r := range stored {
		out = append(out, Record{r.seq.String(), r.key, r.appendData(nil), time.UnixMilli(r.arrived)})
	}
	return out
}

// RecordCount is how many records of the stream are in retention.
func (k *Kinesis) RecordCount(stream string) int {
	n := 0
	for _, sh := range k.Shards(stream) {
		n += sh.Records
	}
	return n
}

func (k *Kinesis) shardNotFound(id, stream string) error {
	return failure("ResourceNotFoundException", "Could not find shard %s in stream %s under account %s.", id, stream, k.server.cfg.Account)
}

func parsePage(n *int, byDefault, most int, name string) (int, error) {
	if n == nil {
		return byDefault, nil
	}
	if *n < 1 || *n > most {
		return 0, failure("ValidationException", "1 validation error detected: Value '"+strconv.Itoa(*n)+"' at '"+name+"' failed to satisfy constraint: use 1 to "+strconv.Itoa(most))
	}
	return *n, nil
}
