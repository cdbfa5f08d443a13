package kinesis

import (
	"context"
	"errors"
	"time"

	"dredge/consumer/kinesis/lease"
)

// parentPoll is how often other workers' progress on a parent is looked for. Ends of this worker's own shards need no poll.
const parentPoll = time.Second

// awaitParents returns when all parents of the shard are read to their end, so that records of one key stay in order over a
// reshard; after a merge these are two. A parent without a lease was finished and cleaned up, or was never wanted.
func (s *shard) awaitParents(ctx context.Context) error {
	l := s.h.current()
	for _, p := range l.Parents {
		key := s.src.key(p)
		for {
			ended := s.endings() // before the look, so that an end right after it is not missed
			done, err := s.finished(ctx, key)
			if err != nil && ctx.Err() == nil {
				s.w.m.leaseErrors.Inc()
				s.log.Warn().Err(err).Str("parent", p).Msg("lease of a parent not read, trying again")
			}
			if done {
				break
			}
			t := time.NewTimer(parentPoll)
			select {
			case <-ended:
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return context.Cause(ctx)
			}
			t.Stop()
		}
	}
	return nil
}

func (s *shard) finished(ctx context.Context, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.w.cfg.callTimeout())
	defer cancel()
	p, err := s.w.store.Get(ctx, key)
	if errors.Is(err, lease.ErrNotFound) {
		return true, nil
	}
	return err == nil && p.Checkpoint.IsShardEnd(), err
}

// endings returns a channel that is closed when next a shard of this worker has ended.
func (s *shard) endings() <-chan struct{} {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.ended
}

// announceEnd wakes the children that wait in this process and has their leases taken.
func (w *Worker) announceEnd() {
	w.mu.Lock()
	close(w.ended)
	w.ended = make(chan struct{})
	w.mu.Unlock()
	kick(w.takeSoon)
}
