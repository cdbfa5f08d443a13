package druid

import (
	"context"
	"errors"
	"fmt"

	"dredge/stream"
)

// opening is what Open found.
type opening struct {
	// at is the position up to which Druid holds everything: that of the recorded batch when it is published, else the checkpoint.
	at stream.Position
	// burnt is the attempt of the recorded batch that was given up.
	burnt int
}

// resolve finds out what became of the batch that is recorded for partition.
func (s *Sink) resolve(ctx context.Context, partition string) (o opening, err error) {
	if s.leases == nil {
		return o, nil
	}
	checkpoint, at, state, err := s.leases.Prepared(ctx, partition)
	if err != nil {
		return o, fmt.Errorf("reading the lease of %q: %w", partition, err)
	}
	o.at = checkpoint
	if at == "" {
		return o, nil
	}
	r, ours := parseState(state)
	if !ours {
		s.log.Warn().Str("partition", partition).Str("pending", string(at)).Msg("the lease has a pending checkpoint that is not of this sink; it is left out of account")
		return o, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	s.log.Info().Str("partition", partition).Str("batch", r.Batch).Str("up_to", string(at)).Msg("settling the batch that was recorded last")
	err = s.finish(ctx, r)
	if errors.Is(err, errUnpublished) {
		s.metrics.reread.Inc()
		o.burnt = r.Loads[0].Attempt
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("settling batch %s: %w", r.Batch, err)
	}
	s.metrics.resumed.Inc()
	o.at = at
	return o, nil
}

// finish publishes a batch that was recorded, or says that it never will be published.
func (s *Sink) finish(ctx context.Context, r record) error {
	if r.Loads[0].Object != "" {
		if err := s.wasBegun(ctx, r.Batch, r.Loads); err != nil {
			return err
		}
	}
	// One after the other: each can be published whatever became of the others, because the objects have the rows.
	for _, l := range r.Loads {
		if err := s.settle(ctx, r.Batch, l, func(context.Context) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}
