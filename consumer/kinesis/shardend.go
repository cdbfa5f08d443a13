package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/window"
	"dredge/internal/retry"
)

// errUnreported says that Flush returned although rows were still on their way.
var errUnreported = errors.New("BUG: flush returned before everything was reported")

// end finishes a shard that was read to its end. The order is KCL's and keeps a crash at any point from losing records: all rows durable,
// then the children's leases, then the list of children in the row, then SHARD_END. It returns errShardEnd when all is done.
func (s *shard) end(ctx context.Context, win *window.Window, children []shardInfo) error {
	s.h.setState(StateEnding)
	if err := s.handler.Flush(ctx); err != nil {
		return window.CauseOr(ctx, fmt.Errorf("flush at shard end: %w", err))
	}
	if err := win.Err(); err != nil {
		return err
	}
	if win.InFlight() > 0 {
		return errUnreported
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return s.createChildren(ctx, children) },
		func(ctx context.Context) error { return s.nameChildren(ctx, children) },
	} {
		if err := s.insist(ctx, step); err != nil {
			return err
		}
	}
	s.h.reached(lease.Checkpoint{Sequence: lease.ShardEnd})
	if err := s.insist(ctx, func(context.Context) error { return s.w.renew(s.h) }); err != nil {
		return err
	}
	s.w.m.shardEnds.Inc()
	ids := make([]string, len(children))
	for i, c := range children {
		ids[i] = c.id
	}
	s.log.Info().Strs("children", ids).Msg("shard read to its end")
	s.w.announceEnd()
	return errShardEnd
}

// parentPatience is how long a shard at its end is held while the other parent of its child is behind, if this worker may
// hold no more shards: that parent's ancestors may be waiting for its room.
const parentPatience = 15 * time.Second

// insist tries step until it succeeds or ctx ends: a shard's end must not be forgotten because the table hiccuped.
func (s *shard) insist(ctx context.Context, step func(context.Context) error) error {
	again := retry.Backoff{Min: 250 * time.Millisecond, Max: 5 * time.Second}
	began := time.Now()
	for {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()
			return step(ctx)
		}()
		pause := again.Next()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, errOtherParent):
			s.log.Warn().Err(err).Msg("shard end not recorded, trying again")
		case s.w.isFull() && time.Since(began) > parentPatience:
			return err
		default:
			pause = parentPoll
		}
		if err := retry.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// createChildren makes the children's leases. They start at TRIM_HORIZON whatever the initial position says: their first
// records follow our last.
func (s *shard) createChildren(ctx context.Context, children []shardInfo) error {
	for _, c := range children {
		if err := s.awaitOtherParent(ctx, c); err != nil {
			return err
		}
		l := s.src.newLease(c, lease.TrimHorizon)
		if err := s.w.createLease(ctx, l); err != nil {
			return err
		}
		s.w.mu.Lock()
		s.w.children[l.Key] = struct{}{}
		s.w.mu.Unlock()
	}
	return nil
}

// errOtherParent says that a child's lease cannot be made yet.
var errOtherParent = errors.New("the other parent of a merge has no lease yet")

// awaitOtherParent looks after the other parent of a merge. Once the child has a lease, a parent without one counts as done with. So the
// child's lease must wait until the other parent has its own: that comes when the ancestors of it are finished, which may be read later than
// ours. When nothing will bring it, because leases were lost, what is missing is made here.
func (s *shard) awaitOtherParent(ctx context.Context, child shardInfo) error {
	self := s.h.current().Shard()
	for _, p := range child.parents {
		if p == self {
			continue
		}
		there, err := s.hasLease(ctx, p)
		if err != nil || there {
			return err
		}
		// With the child's lease made, the other parent may have been finished and cleaned up.
		if there, err = s.hasLease(ctx, child.id); err != nil || there {
			return err
		}
		shards, err := s.src.listShards(ctx, nil)
		if err != nil {
			return err
		}
		if !listed(shards, p) {
			continue // older than the stream's retention
		}
		listing, err := s.w.listLeases(ctx)
		if err != nil {
			return err
		}
		c := newCoverage(shards, s.src.of(listing.Leases))
		c.want(p)
		for _, m := range c.of(shards) {
			s.log.Error().Str("parent", p).Str("child", child.id).Str("missing", m.id).Msg("a parent of a merge was covered by no lease, it is read from the beginning")
			if err := s.w.createLease(ctx, s.src.newLease(m, lease.TrimHorizon)); err != nil {
				return err
			}
			s.w.m.filled.Inc()
			kick(s.w.takeSoon)
		}
		return errOtherParent
	}
	return nil
}

func (s *shard) hasLease(ctx context.Context, shardID string) (bool, error) {
	_, err := s.w.store.Get(ctx, s.src.key(shardID))
	if errors.Is(err, lease.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// nameChildren writes the children into our row.
func (s *shard) nameChildren(ctx context.Context, children []shardInfo) error {
	ids := make([]string, len(children))
	for i, c := range children {
		ids[i] = c.id
	}
	err := s.w.store.UpdateMeta(ctx, s.h.key, lease.Meta{Children: ids})
	if errors.Is(err, lease.ErrNotFound) {
		return nil // the row is gone, and with it the lease: the next write says so
	}
	return err
}
