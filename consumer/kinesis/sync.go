package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
)

// holeRounds is how many comparisons in a row must find the same shards uncovered before leases are made for them. While a
// stream is resharded, or another worker fills a new table, the picture differs from one look to the next.
const holeRounds = 3

var (
	errListing = errors.New("the list of shards is inconsistent")
	errTiling  = errors.New("the shards do not cover the hash key space exactly")
)

// syncer compares a stream's shards with the lease table. Every worker does: creation is conditional, so no leader is needed.
type syncer struct {
	*Worker
	src   *source
	audit audit
	gaps  int      // in the hash ranges, at the last audit
	holes []string // uncovered at the last comparison
	seen  int      // comparisons in a row with these holes
}

// syncLoop compares until ctx ends: at start, every sync interval, and sooner while something looks wrong.
func (w *Worker) syncLoop(ctx context.Context) {
	syncers := make([]*syncer, len(w.sources))
	for i, src := range w.sources {
		syncers[i] = &syncer{Worker: w, src: src}
	}
	failing := retry.Backoff{Min: 500 * time.Millisecond, Max: w.cfg.ShardSyncInterval}
	for ctx.Err() == nil {
		wait, failed := jittered(w.cfg.ShardSyncInterval), false
		uncovered, gaps := 0, 0
		for _, s := range syncers {
			// One stream that can't be described keeps no other from being read.
			if err := s.round(ctx); err != nil && ctx.Err() == nil {
				failed = true
				w.m.syncErrors.Inc()
				w.log.Warn().Err(err).Str("stream", s.src.cfg.label()).Msg("shards not compared with leases, trying again")
			}
			uncovered += len(s.holes)
			gaps += s.gaps
		}
		w.m.hashHoles.Set(float64(gaps))
		w.m.uncovered.Set(float64(uncovered))
		switch {
		case failed:
			wait = failing.Next()
		case uncovered > 0:
			wait /= 6
			fallthrough
		default:
			failing.Reset()
		}
		_ = retry.Sleep(ctx, wait) // the loop looks at ctx itself
	}
}

func (s *syncer) round(ctx context.Context) error {
	if !s.src.isKnown() {
		if err := s.src.identify(ctx); err != nil {
			return err
		}
		kick(s.takeSoon) // its leases can be told from others' now
	}
	all, err := s.recentLeases(ctx)
	if err != nil {
		return err
	}
	s.m.syncs.Inc()
	leases := s.src.of(all)
	if len(leases) == 0 {
		return s.fill(ctx)
	}
	holes := s.audit.round(leases)
	if s.gaps = len(holes); s.gaps > 0 {
		s.log.Error().Str("stream", s.src.cfg.label()).Interface("hash_ranges", holes).Msg("hash keys are covered by no lease")
	}
	shards, err := s.src.listShards(ctx, nil)
	if err != nil {
		return err
	}
	missing, err := uncovered(shards, leases)
	if err != nil {
		return err
	}
	if err := s.cover(ctx, missing); err != nil {
		return err
	}
	if err := s.addHashRanges(ctx, shards, leases); err != nil {
		return err
	}
	if s.cfg.CleanupCompleted {
		return s.cleanUp(ctx, shards, leases)
	}
	return nil
}

// recentLeases is the table as the taking goroutine, or another stream's comparison, saw it a moment ago, or as it is now: a scan of
// thousands of leases is not made twice.
func (w *Worker) recentLeases(ctx context.Context) ([]lease.Lease, error) {
	w.mu.Lock()
	at, leases := w.table.at, w.table.leases
	w.mu.Unlock()
	if len(leases) > 0 && time.Since(at) <= w.cfg.takeInterval()+w.cfg.takeInterval()/50 {
		return leases, nil
	}
	listing, err := w.listLeases(ctx)
	if err != nil {
		return nil, err
	}
	w.note(listing)
	return listing.Leases, nil
}

// fill makes the first leases of a stream, at its initial position.
func (s *syncer) fill(ctx context.Context) error {
	position := s.src.cfg.InitialPosition
	filter := &types.ShardFilter{}
	switch position {
	case lease.Latest:
		filter.Type = types.ShardFilterTypeAtLatest
	case lease.AtTimestamp:
		filter.Type, filter.Timestamp = types.ShardFilterTypeAtTimestamp, s.src.initialTimestamp()
	default:
		filter.Type = types.ShardFilterTypeAtTrimHorizon
	}
	// Taken before the list, so that with LATEST nothing falls between the two.
	now := s.wall()
	shards, err := s.src.listShards(ctx, filter)
	if err != nil {
		return err
	}
	shards = initial(shards, position)
	if !tiles(shards) {
		return fmt.Errorf("first fill of the lease table: %d shards at %s: %w", len(shards), position, errTiling)
	}
	for _, sh := range shards {
		l := s.src.newLease(sh, position)
		if position == lease.Latest {
			l.StartedAt = now
		}
		if err := s.createLease(ctx, l); err != nil {
			return err
		}
	}
	s.log.Info().Str("stream", s.src.cfg.label()).Int("shards", len(shards)).Str("at", position).Msg("lease table filled")
	kick(s.takeSoon)
	return nil
}

// initial keeps the shards to begin with, also when the server ignored the filter: at LATEST those that are open, else those
// whose parents are not there to be read before them.
func initial(shards []shardInfo, position string) []shardInfo {
	return slices.DeleteFunc(slices.Clone(shards), func(s shardInfo) bool {
		if position == lease.Latest {
			return !s.open
		}
		return slices.ContainsFunc(s.parents, func(p string) bool { return listed(shards, p) })
	})
}

// createLease adds a row if there is none yet.
func (w *Worker) createLease(ctx context.Context, l lease.Lease) error {
	created, err := w.store.Create(ctx, l)
	if err != nil {
		return err
	}
	if created {
		w.m.created.Inc()
		w.log.Info().Str("shard", l.Key).Str("checkpoint", l.Checkpoint.String()).Strs("parents", l.Parents).Msg("lease created")
	}
	return nil
}

// cover makes leases for shards that were found uncovered several times in a row. They start at TRIM_HORIZON whatever the
// initial position says: the application has been running, so what is in them was wanted.
func (s *syncer) cover(ctx context.Context, missing []shardInfo) error {
	ids := make([]string, len(missing))
	for i, m := range missing {
		ids[i] = m.id
	}
	if !slices.Equal(ids, s.holes) {
		s.holes, s.seen = ids, 0
	}
	s.seen++
	if len(missing) == 0 || s.seen < holeRounds {
		return nil
	}
	for _, m := range missing { // in order of age, so that what a crash leaves undone is found again
		s.log.Error().Str("shard", m.id).Msg("shard was covered by no lease, it is read from its beginning")
		if err := s.createLease(ctx, s.src.newLease(m, lease.TrimHorizon)); err != nil {
			return err
		}
		s.m.filled.Inc()
	}
	kick(s.takeSoon)
	return nil
}

func byShard(leases []lease.Lease) map[string]lease.Lease {
	rows := make(map[string]lease.Lease, len(leases))
	for _, l := range leases {
		rows[l.Shard()] = l
	}
	return rows
}

// addHashRanges completes rows that were made by KCL 1.x.
func (s *syncer) addHashRanges(ctx context.Context, shards []shardInfo, leases []lease.Lease) error {
	rows := byShard(leases)
	for _, sh := range shards {
		if l, ok := rows[sh.id]; ok && l.HashRange == nil && sh.hash.Start != "" && sh.hash.End != "" {
			if err := s.store.UpdateMeta(ctx, l.Key, lease.Meta{HashRange: &sh.hash}); err != nil && !errors.Is(err, lease.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}
