package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"dredge/stream"
)

// checkpointFormat is the version of checkpoint's form.
const checkpointFormat = 1

// maxCheckpoint bounds a record of the checkpoints topic.
const maxCheckpoint = 64 << 10

// checkpoint is the value of a record in the checkpoints topic. Its key is the transactional id.
type checkpoint struct {
	Format int `json:"v"`
	// Application and Name are what the key is made of, before anything was shortened: they tell a foreign holder.
	Application string `json:"application"`
	Name        string `json:"name"`
	// Position is "" when the shard was opened and nothing was committed yet.
	Position stream.Position `json:"position"`
	// Time is when it was written, for people.
	Time time.Time `json:"time"`
}

func parseCheckpoint(value []byte) (checkpoint, error) {
	var c checkpoint
	if len(value) > maxCheckpoint {
		return c, fmt.Errorf("value of %d bytes is larger than %d", len(value), maxCheckpoint)
	}
	if err := json.Unmarshal(value, &c); err != nil {
		return c, err
	}
	if c.Format != checkpointFormat {
		return c, fmt.Errorf("format %d is unknown; this release reads %d", c.Format, checkpointFormat)
	}
	return c, nil
}

// positions reads the checkpoints topic. What was read is kept, so that many shards which are opened at once cost one read of
// each partition. It is safe for concurrent use.
type positions struct {
	topic  string
	client *kgo.Client
	parts  [checkpointPartitions]positionsPart
}

// positionsPart is one partition as far as it was read.
type positionsPart struct {
	mu      sync.Mutex
	topicID kadm.TopicID
	next    int64
	values  map[string][]byte
}

func newPositions(topic string, client *kgo.Client) *positions {
	return &positions{topic: topic, client: client}
}

// errNoCheckpoints says that the checkpoints topic does not exist.
var errNoCheckpoints = errors.New("the checkpoints topic does not exist")

// fetchWait is how long a broker waits for more to tell before it answers.
const fetchWait = 100 * time.Millisecond

// read returns the committed value of key; found is false when there is none. Everything that was committed before the call is
// seen: the partition is read to its high watermark, taken now. The last stable offset would not do: it stands before the
// oldest open transaction of anybody on this partition, and behind that the predecessor's last commit may lie. So read waits
// until those transactions end.
func (p *positions) read(ctx context.Context, key string) (value []byte, found bool, err error) {
	number := checkpointPartition(key)
	part := &p.parts[number]
	part.mu.Lock()
	defer part.mu.Unlock()

	admin := kadm.NewClient(p.client)
	leader, err := p.locate(ctx, admin, number, part)
	if err != nil {
		return nil, false, err
	}
	ends, err := newest(ctx, admin, p.topic)
	if is(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID) {
		part.values = nil
		return nil, false, errNoCheckpoints // the client had not noticed yet
	}
	if err != nil {
		return nil, false, fmt.Errorf("asking for the end of topic %q: %w", p.topic, err)
	}
	end, ok := ends.Lookup(p.topic, number)
	if errors.Is(end.Err, kerr.UnknownTopicOrPartition) || errors.Is(end.Err, kerr.UnknownTopicID) {
		part.values = nil
		return nil, false, errNoCheckpoints // the client had not noticed yet
	}
	if !ok || end.Err != nil {
		return nil, false, fmt.Errorf("asking for the end of topic %q, partition %d: %w", p.topic, number, errors.Join(end.Err, ctx.Err()))
	}
	for part.next < end.Offset {
		if err := p.fetch(ctx, leader, number, part); err != nil {
			part.values = nil // read from the beginning next time
			return nil, false, fmt.Errorf("reading topic %q, partition %d: %w", p.topic, number, err)
		}
	}
	value, found = part.values[key]
	return value, found, nil
}

// locate finds the leader of a partition, and forgets what was read of a topic that was deleted and made again.
func (p *positions) locate(ctx context.Context, admin *kadm.Client, number int32, part *positionsPart) (leader int32, err error) {
	topics, err := admin.ListTopics(ctx, p.topic)
	if err != nil {
		return 0, fmt.Errorf("asking for topic %q: %w", p.topic, err)
	}
	t := topics[p.topic]
	switch {
	case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
		return 0, errNoCheckpoints
	case t.Err != nil:
		return 0, fmt.Errorf("asking for topic %q: %w", p.topic, t.Err)
	case len(t.Partitions) != checkpointPartitions:
		return 0, &stream.PermanentError{Err: fmt.Errorf("topic %q has %d partitions and must have %d; name another exactly_once.checkpoints_topic",
			p.topic, len(t.Partitions), checkpointPartitions)}
	}
	d := t.Partitions[number]
	if d.Err != nil {
		return 0, fmt.Errorf("asking for topic %q, partition %d: %w", p.topic, number, d.Err)
	}
	if part.values == nil || part.topicID != t.ID {
		part.topicID, part.next, part.values = t.ID, 0, map[string][]byte{}
	}
	return d.Leader, nil
}

// fetch reads on once. The request is made by hand because a consumer does not tell how far it came: the end of a partition may
// be a transaction's marker, or what compaction left of one.
func (p *positions) fetch(ctx context.Context, leader, number int32, part *positionsPart) error {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MaxWaitMillis = int32(fetchWait.Milliseconds())
	req.MinBytes, req.MaxBytes = 1, 8<<20
	req.IsolationLevel = 1
	req.SessionEpoch = -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = p.topic, part.topicID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = number, part.next, 8<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)

	answer, err := p.client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return err
	}
	resp, ok := answer.(*kmsg.FetchResponse)
	if !ok {
		return fmt.Errorf("a fetch was answered with %T", answer)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		return nil
	}
	got := &resp.Topics[0].Partitions[0]
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: part.next, IsolationLevel: kgo.ReadCommitted(), Topic: p.topic, Partition: number,
	}, got, kgo.DefaultDecompressor(), nil)
	if errors.Is(fp.Err, kerr.OffsetOutOfRange) && got.LogStartOffset > part.next {
		part.next = got.LogStartOffset
		return nil
	}
	if fp.Err != nil {
		return fp.Err
	}
	for _, r := range fp.Records {
		if len(r.Value) == 0 {
			delete(part.values, string(r.Key))
			continue
		}
		part.values[string(r.Key)] = r.Value
	}
	part.next = max(part.next, next)
	return nil
}
