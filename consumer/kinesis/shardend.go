package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/window"
)

// errUnreported says that Flush returned although rows were still on their way.
var errUnreported = errors.New("BUG: flush returned before everything was reported")

// end finishes a shard that was read to its end. The order is KCL's and keeps a crash at any point from losing records: all rows durable,
// then the children's leases, then the list of children in the row, then SHARD_END. It returns errShardEnd when all is done.
func (s *shard) end(ctx context.Context, win *window.Window, children []shardInfo) error {
	s.h.setState(StateEnding)
	if err := s.handler.Flush(ctx); err != nil {
		return causeOr(ctx, fmt.Errorf("flush at shard end: %w", err))
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

// insist tries step until it succeeds or ctx ends: a shard's end must not be forgotten because the table hiccuped.
func (s *shard) insist(ctx context.Context, step func(context.Context) error) error {
	again := backoff{min: 250 * time.Millisecond, max: 5 * time.Second}
	for {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()
			return step(ctx)
		}()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.log.Warn().Err(err).Msg("shard end not recorded, trying again")
		if err := sleep(ctx, again.next()); err != nil {
			return err
		}
	}
}

// createChildren makes the children's leases. They start at TRIM_HORIZON whatever the initial position says: their first
// records follow our last.
func (s *shard) createChildren(ctx context.Context, children []shardInfo) error {
	for _, c := range children {
		if err := s.repairParents(ctx, c); err != nil {
			return err
		}
		if err := s.w.createLease(ctx, c.newLease(lease.TrimHorizon)); err != nil {
			return err
		}
	}
	return nil
}

// repairParents looks after the other parent of a merge. With the child's lease made, a parent without one would count as done
// with; so when it has none, and was not cleaned up after the child had been made, and its records are still there, it gets one.
func (s *shard) repairParents(ctx context.Context, child shardInfo) error {
	self := s.h.current().Shard()
	for _, p := range child.parents {
		if p == self {
			continue
		}
		_, err := s.w.store.Get(ctx, s.siblingKey(p))
		if !errors.Is(err, lease.ErrNotFound) {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := s.w.store.Get(ctx, s.siblingKey(child.id)); err == nil {
			continue
		} else if !errors.Is(err, lease.ErrNotFound) {
			return err
		}
		shards, err := s.w.listShards(ctx, nil)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(shards, func(x shardInfo) bool { return x.id == p })
		if i < 0 {
			continue
		}
		s.log.Error().Str("parent", p).Str("child", child.id).Msg("the other parent of a merge has no lease, it is read from its beginning")
		if err := s.w.createLease(ctx, shards[i].newLease(lease.TrimHorizon)); err != nil {
			return err
		}
		s.w.m.filled.Inc()
	}
	return nil
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
