package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/stream"
)

// claim is how a txWriter holds its partition: by the lease of a shard, or through the slot that works on it. One goroutine at a
// time calls it.
type claim interface {
	// open returns a producer that nobody else has, and where the partition stands; "" when the source knows best.
	open(ctx context.Context) (*producer, stream.Position, error)
	// recover is open after a producer was lost. It fences nobody when the claim is another's by now.
	recover(ctx context.Context) (*producer, stream.Position, error)
	// records are what makes at the committed position, beside the rows.
	records(at stream.Position) ([]*kgo.Record, error)
	// committed says that what records returned last is committed.
	committed()
	// compare orders two positions of the partition.
	compare(a, b stream.Position) int
	// giveBack ends the use of p; clean says that it has no transaction open, for certain.
	giveBack(p *producer, clean bool)
}

// claimOf finds out who speaks for partition.
func (s *Sink) claimOf(ctx context.Context, partition string) (claim, error) {
	s.mu.Lock()
	st := s.stints[partition]
	s.mu.Unlock()
	if st != nil {
		return st, nil
	}
	name, err := s.leases.Name(ctx, partition)
	if err != nil {
		return nil, fmt.Errorf("naming partition %q: %w", partition, err)
	}
	return &leased{sink: s, partition: partition, id: producerID{name: name, key: transactionalID(s.application, name)}}, nil
}

// producerID is who produces: a shard or a slot, under the names that mode exactly-once knows it by.
type producerID struct {
	name string // for ever and everywhere
	key  string // the transactional id, and the key in the checkpoints topic
}

// leased is the claim on a shard. Its producer ends with it.
type leased struct {
	sink      *Sink
	partition string
	id        producerID
}

func (l *leased) open(ctx context.Context) (*producer, stream.Position, error) {
	return l.sink.takeOver(ctx, l.partition, l.id, false)
}

func (l *leased) recover(ctx context.Context) (*producer, stream.Position, error) {
	return l.sink.takeOver(ctx, l.partition, l.id, true)
}

func (l *leased) records(at stream.Position) ([]*kgo.Record, error) {
	rec, err := l.sink.checkpoint(l.id, at)
	return []*kgo.Record{rec}, err
}

func (l *leased) compare(a, b stream.Position) int { return l.sink.leases.Compare(a, b) }

func (*leased) committed() {}

func (*leased) giveBack(p *producer, _ bool) { p.client.Close() }
