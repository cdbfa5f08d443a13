package kinesis

import (
	"fmt"
	"slices"

	"dredge/consumer/kinesis/lease"
)

// coverage knows which shards are read, were read, or will be, from the list of shards and the leases.
//
// A shard without a lease is covered when an ancestor is still being read, since its lease is made at that one's end. Otherwise the oldest
// unread ancestors are wanted. A shard is known to have been read to its end when its lease says so or when a child of it has a lease
// while it has none, for leases of children are made only at the end. So of a family whose leases were lost, only what can still be
// unread is read.
type coverage struct {
	shards map[string]shardInfo
	rows   map[string]lease.Lease
	read   map[string]bool
	wanted map[string]bool
	seen   map[string]bool
}

func newCoverage(shards []shardInfo, leases []lease.Lease) *coverage {
	c := &coverage{
		shards: make(map[string]shardInfo, len(shards)), rows: byShard(leases),
		read: map[string]bool{}, wanted: map[string]bool{}, seen: map[string]bool{},
	}
	for _, s := range shards {
		c.shards[s.id] = s
	}
	for _, l := range leases {
		if l.Checkpoint.IsShardEnd() {
			c.read[l.Shard()] = true
		}
		for _, p := range l.Parents {
			if row, ok := c.rows[p]; !ok || row.Checkpoint.IsShardEnd() {
				c.read[p] = true
			}
		}
	}
	return c
}

// want marks what needs a lease so that the shard is read, now or after its ancestors.
func (c *coverage) want(id string) {
	if c.seen[id] {
		return
	}
	c.seen[id] = true
	if _, ok := c.rows[id]; ok {
		return
	}
	ready := true
	for _, p := range c.shards[id].parents {
		if _, ok := c.shards[p]; ok && !c.read[p] {
			ready = false
			c.want(p)
		}
	}
	if ready {
		c.wanted[id] = true
	}
}

// uncovered returns the listed shards that need a lease so that every open shard is read.
func uncovered(shards []shardInfo, leases []lease.Lease) ([]shardInfo, error) {
	c := newCoverage(shards, leases)
	for _, s := range shards {
		if !s.open {
			continue
		}
		for _, p := range s.parents {
			if c.shards[p].open {
				return nil, fmt.Errorf("%s and its parent %s are both open: %w", s.id, p, errListing)
			}
		}
		c.want(s.id)
	}
	return c.of(shards), nil
}

// of returns those of shards that are wanted, in their order.
func (c *coverage) of(shards []shardInfo) []shardInfo {
	return slices.DeleteFunc(slices.Clone(shards), func(s shardInfo) bool { return !c.wanted[s.id] })
}
