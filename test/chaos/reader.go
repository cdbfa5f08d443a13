package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// reader counts what a reader of committed records finds in a topic, as it comes.
type reader struct {
	client *kgo.Client
	ledger *ledger
	topic  string

	mu sync.Mutex
	// ended are the transactions whose end was read, by what it was.
	ended map[producerEpoch]bool
}

type producerEpoch struct {
	id    int64
	epoch int16
}

func newReader(seeds []string, topic string, l *ledger) (*reader, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	return &reader{client: client, ledger: l, topic: topic, ended: map[producerEpoch]bool{}}, nil
}

// run counts until ctx ends.
func (r *reader) run(ctx context.Context) error {
	for ctx.Err() == nil {
		fetches := r.client.PollFetches(ctx)
		// Errors of partitions are those of brokers that are down; the client goes on with the next leader.
		for rec := range fetches.RecordsAll() {
			if rec.Attrs.IsControl() {
				if len(rec.Key) >= 4 {
					r.end(producerEpoch{rec.ProducerID, rec.ProducerEpoch}, binary.BigEndian.Uint16(rec.Key[2:]) == 1)
				}
				continue
			}
			r.ledger.row(rec.Value)
		}
	}
	return nil
}

func (r *reader) end(t producerEpoch, committed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[t] = committed
}

// transactions counts those that wrote to the topic, by their end.
func (r *reader) transactions() (committed, aborted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.ended {
		if c {
			committed++
		} else {
			aborted++
		}
	}
	return committed, aborted
}

// hanging is how many records of the topic lie behind a transaction that nobody ends.
func hanging(ctx context.Context, client *kgo.Client, topic string) (n int64, err error) {
	admin := kadm.NewClient(client)
	stable, err := admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	high, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	high.Each(func(o kadm.ListedOffset) {
		if s, ok := stable.Lookup(topic, o.Partition); ok {
			n += o.Offset - s.Offset
		}
	})
	return n, nil
}

// foreign is somebody else's transaction in every partition of the checkpoints topic: what a reader of committed records must
// not take for the end.
type foreign struct {
	client *kgo.Client
	topic  string
}

func newForeign(seeds []string, topic string) (*foreign, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.TransactionalID("chaos-foreigner"), kgo.TransactionTimeout(10*time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	return &foreign{client, topic}, nil
}

// begin opens the transaction.
func (f *foreign) begin(ctx context.Context) error {
	if err := f.client.BeginTransaction(); err != nil {
		return err
	}
	var each errgroup.Group
	for i := range int32(checkpointPartitions) {
		each.Go(func() error {
			rec := &kgo.Record{Topic: f.topic, Partition: i, Key: []byte("foreigner"), Value: []byte("never committed")}
			return f.client.ProduceSync(ctx, rec).FirstErr()
		})
	}
	if err := each.Wait(); err != nil {
		return fmt.Errorf("open a foreign transaction: %w", err)
	}
	return nil
}

// end aborts it.
func (f *foreign) end(ctx context.Context) error { return f.client.EndTransaction(ctx, kgo.TryAbort) }

// checkpointPartitions is what dredge makes the checkpoints topic with.
const checkpointPartitions = 32
