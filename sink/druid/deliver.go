package druid

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dredge/internal/retry"
	"dredge/stream"
)

// deliver makes a batch of parts durable and reports to their Writers. A partition that was lost before the batch was recorded is left
// out, which makes another batch of the rest.
func (s *Sink) deliver(ctx context.Context, parts []*part, born time.Time) {
	for {
		parts = alive(parts)
		if len(parts) == 0 {
			return
		}
		b, err := s.newBatch(parts, born)
		if err == nil {
			err = s.store(ctx, b)
		}
		if err != nil {
			s.failed(ctx, parts, err)
			return
		}
		recorded, err := s.record(ctx, b, b.parts)
		if err != nil {
			s.failed(ctx, parts, err)
			return
		}
		if len(recorded) < len(parts) {
			parts = recorded
			continue
		}
		for _, p := range parts {
			p.bytes, p.rows = p.rows.bytes(), stack{} // the loads have them
		}
		if err := s.publish(ctx, b); err != nil {
			s.failed(ctx, parts, err)
			return
		}
		s.metrics.batch(b, time.Since(born))
		for _, p := range parts {
			for _, e := range p.entries {
				e.Release(nil)
			}
		}
		return
	}
}

// alive leaves those out whose Writer has ended.
func alive(parts []*part) (list []*part) {
	for _, p := range parts {
		if !p.w.ended() {
			list = append(list, p)
		}
	}
	return list
}

// failed ends the Writers of parts.
func (s *Sink) failed(ctx context.Context, parts []*part, err error) {
	if ctx.Err() != nil {
		err = errClosed
	}
	for _, p := range parts {
		if errors.Is(err, errUnpublished) {
			// Nobody can submit these rows any more. They are read again from where the batch began.
			p.w.fail(&stream.RewindError{To: p.after, Err: err})
			continue
		}
		p.w.fail(fmt.Errorf("partition %q: %w", p.w.partition, err))
	}
}

// keepTrying calls f until it succeeds, fails for good, or ctx is over. doing is for the log.
func (s *Sink) keepTrying(ctx context.Context, doing string, f func() error) error {
	again := retry.Backoff{Min: 500 * time.Millisecond, Max: 15 * time.Second}
	for {
		err := f()
		if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return err
		}
		if _, permanent := errors.AsType[*stream.PermanentError](err); permanent || errors.Is(err, stream.ErrFenced) {
			return err
		}
		s.metrics.failed(err)
		pause := again.Next()
		s.log.Warn().Err(err).Str("doing", doing).Dur("retry_in", pause).Msg("druid sink tries again")
		if err := retry.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// store puts the rows of b that do not go into the specs of tasks into objects.
func (s *Sink) store(ctx context.Context, b *batch) error {
	for _, l := range b.loads {
		if l.Object == "" {
			continue
		}
		if err := s.create(ctx, l.Object, l.inline); err != nil {
			return err
		}
		s.metrics.stored.Add(float64(len(l.inline)))
		l.inline = nil // the object has them
	}
	return nil
}

// create makes an object of rows. The key is nobody else's, so an object that is there already is an earlier try of this very write, whose
// answer was lost.
func (s *Sink) create(ctx context.Context, key string, data []byte) error {
	return s.keepTrying(ctx, "storing rows", func() error {
		if err := s.objects.Create(ctx, key, data); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("objects: %w", err)
		}
		return nil
	})
}

// record writes b to the leases of parts, and returns those that still are ours. The Writers of the others have ended.
func (s *Sink) record(ctx context.Context, b *batch, parts []*part) ([]*part, error) {
	if s.leases == nil {
		return parts, nil
	}
	state, err := b.state()
	if err != nil {
		return nil, err
	}
	keep := make([]bool, len(parts))
	var all errgroup.Group
	all.SetLimit(16)
	for i, p := range parts {
		all.Go(func() error {
			err := s.recordPart(ctx, p, state)
			keep[i] = err == nil
			switch {
			case errors.Is(err, stream.ErrFenced):
				p.w.fail(err)
				return nil
			case p.w.ended():
				return nil
			default:
				return err
			}
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	var left []*part
	for i, p := range parts {
		if keep[i] {
			left = append(left, p)
		}
	}
	return left, nil
}

// recordPart writes state to the lease of p, unless its Writer has ended. Close waits for it, so that nothing is recorded for a
// partition that is opened again.
func (s *Sink) recordPart(ctx context.Context, p *part, state []byte) error {
	p.w.recording <- struct{}{}
	defer func() { <-p.w.recording }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.w.life, cancel)()
	return s.keepTrying(ctx, "recording a batch", func() error {
		if err := context.Cause(p.w.life); err != nil {
			return &stream.PermanentError{Err: err}
		}
		return s.leases.Prepare(ctx, p.w.partition, p.after, p.last, state)
	})
}

// publish has the tasks of b publish its rows, at most as many at once as there are slots. Those after the first one wait until that is
// submitted: see wasBegun.
func (s *Sink) publish(ctx context.Context, b *batch) error {
	begun := make(chan struct{})
	b.loads[0].begun = sync.OnceFunc(func() { close(begun) })
	all, ctx := errgroup.WithContext(ctx)
	for i, l := range b.loads {
		all.Go(func() error {
			if i > 0 {
				select {
				case <-begun:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return s.settle(ctx, b.id, l, func(ctx context.Context) error { return s.recordAttempt(ctx, b, l) })
		})
	}
	return all.Wait()
}

// recordAttempt records that l is about to be tried again. Rows in objects can be submitted again by anyone, so there it is only told
// for others to begin where we are. Rows that are only here may be submitted again while all their partitions are ours, because whoever
// has one of them now has seen the attempt before and reads its rows again.
func (s *Sink) recordAttempt(ctx context.Context, b *batch, l *load) error {
	parts := alive(b.parts)
	recorded, err := s.record(ctx, b, parts)
	if l.Object == "" && err == nil && len(recorded) < len(b.parts) {
		return errUnpublished
	}
	if l.Object != "" && ctx.Err() == nil {
		return nil
	}
	return err
}
