package kinesis

import (
	"context"
	"errors"

	"dredge/consumer/kinesis/lease"
)

// cleanUp deletes the leases of shards that were read to their end and are needed no more. A completed lease is what tells
// that its shard is done, so it goes only when its children's leases tell the same: they exist and have moved on from where
// they were created.
func (s *syncer) cleanUp(ctx context.Context, shards []shardInfo, leases []lease.Lease) error {
	rows := byShard(leases)
	for _, l := range leases {
		if !l.Checkpoint.IsShardEnd() || anyRow(rows, l.Parents) {
			continue // the oldest generation first
		}
		children := l.Children
		if len(children) == 0 {
			for _, c := range childrenOf(shards, l.Shard()) {
				children = append(children, c.id)
			}
		}
		if !s.settled(rows, children, listed(shards, l.Shard())) {
			continue
		}
		err := s.store.Delete(ctx, l)
		switch {
		case errors.Is(err, lease.ErrLost):
		case err != nil:
			return err
		default:
			s.m.deleted.Inc()
			s.log.Info().Str("shard", l.Key).Strs("children", children).Msg("lease of a finished shard deleted")
			delete(rows, l.Shard())
		}
	}
	return nil
}

func anyRow(rows map[string]lease.Lease, shards []string) bool {
	for _, id := range shards {
		if _, ok := rows[id]; ok {
			return true
		}
	}
	return false
}

// settled says whether the children of a finished shard make its lease superfluous. Children that never had a record are not
// checkpointed; their parent's lease goes when the stream has forgotten the parent. The same holds for a shard without
// children: while it is listed, its children may not be yet.
func (s *syncer) settled(rows map[string]lease.Lease, children []string, isListed bool) bool {
	for _, id := range children {
		c, ok := rows[id]
		if !ok {
			return false
		}
		if isListed && !c.Checkpoint.IsSequence() && !c.Checkpoint.IsShardEnd() {
			return false
		}
	}
	return len(children) > 0 || !isListed
}
