package kafka

import (
	"context"
	"fmt"

	"dredge/stream"
)

// Position is what mode exactly-once has committed for the shard that Leases.Name calls name; found is false when it has no record.
func (s *Sink) Position(ctx context.Context, name string) (at stream.Position, found bool, err error) {
	id := producerID{name: name, key: transactionalID(s.application, name)}
	value, found, err := s.record(ctx, id)
	if err != nil || !found {
		return "", false, err
	}
	at, err = s.foundPosition(id, value)
	return at, true, err
}

// SetPosition makes at the committed position of a shard, in a transaction that fences whoever produces for it: a worker that
// does is told to go on from at. It is for an operator who moves a shard, and moves its lease too; "" leaves the lease to say
// where to begin.
func (s *Sink) SetPosition(ctx context.Context, name string, at stream.Position) error {
	id := producerID{name: name, key: transactionalID(s.application, name)}
	p, err := s.fence(ctx, id.key)
	if err != nil {
		return err
	}
	defer p.client.Close()
	if _, err := s.committed(ctx, id); err != nil { // it may be another application's
		return err
	}
	return s.commitPosition(ctx, p, id, at)
}

// commitPosition commits at for id, and nothing else.
func (s *Sink) commitPosition(ctx context.Context, p *producer, id producerID, at stream.Position) error {
	rec, err := s.checkpoint(id, at)
	if err != nil {
		return err
	}
	if err := p.client.BeginTransaction(); err != nil {
		return fmt.Errorf("opening a transaction of %q: %w", id.key, err)
	}
	if err := produce(ctx, p.client, rec); err != nil {
		return s.explain("writing the position of "+id.key, s.cfg.ExactlyOnce.CheckpointsTopic, err)
	}
	if err := p.check(ctx); err != nil {
		return err
	}
	if err := endTransaction(ctx, p.client); err != nil {
		return fmt.Errorf("committing the position of %q: %w", id.key, err)
	}
	return nil
}
