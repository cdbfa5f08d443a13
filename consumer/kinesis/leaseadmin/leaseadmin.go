// Package leaseadmin is what an operator does to a lease table of Amazon's Kinesis Client Library, whichever workers share it:
// look at it, release leases, move a checkpoint, find what is wrong, and carry the checkpoints of vmware-go-kcl over.
//
// Every write is conditional on the row that was looked at, so nothing here can harm a worker that goes on meanwhile. Nothing
// here owns a lease.
package leaseadmin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
)

// ErrInUse says that a worker renews what was to be changed.
var ErrInUse = errors.New("in use")

// Table is what is needed of a lease table; *lease.DynamoDB and *lease.Memory are ones.
type Table interface {
	Init(ctx context.Context) error
	List(ctx context.Context) (lease.Listing, error)
	Get(ctx context.Context, key string) (lease.Lease, error)
	Create(ctx context.Context, l lease.Lease) (bool, error)
	Evict(ctx context.Context, l lease.Lease) error
	ResetCheckpoint(ctx context.Context, l lease.Lease, c lease.Checkpoint) (lease.Lease, error)
}

// State is what watching says of a lease.
type State string

// The states of a lease.
const (
	// Ended leases belong to shards that were read to their end.
	Ended State = "ended"
	// Free leases have no owner.
	Free State = "free"
	// HandOff leases are on their way from one live worker to another.
	HandOff State = "hand-off"
	// Renewed leases were written by their owner while they were watched.
	Renewed State = "renewed"
	// Silent leases have an owner that did not write during the whole watch.
	Silent State = "silent"
	// Owned leases have an owner; without a watch nobody knows whether it lives.
	Owned State = "owned"
)

// Status is one lease as it was at the end of the watch.
type Status struct {
	lease.Lease
	State State
	// Changed says that the counter changed during the watch. A row that appeared during it counts as changed.
	Changed bool
	// Age is how long ago the counter changed: at most Age when Changed, else at least Age.
	Age time.Duration
}

// Survey is a watch over a table. The table holds no time, so the age of a counter is known only as well as it was watched: it
// is read at the beginning and at the end.
type Survey struct {
	// Watched is the time between the two readings; 0 when there was only one.
	Watched       time.Duration
	Leases        []Status
	Malformed     int
	Foreign       int
	ClientVersion string
	// first is the listing at the beginning.
	first lease.Listing
}

// All returns the leases without what was found out about them.
func (s Survey) All() []lease.Lease {
	out := make([]lease.Lease, len(s.Leases))
	for i, l := range s.Leases {
		out[i] = l.Lease
	}
	return out
}

// Watch reads the table twice, d apart; with d 0, once. Live owners renew every third of the failover time, so a watch of
// the failover time tells live owners from dead ones.
func Watch(ctx context.Context, table Table, d time.Duration) (Survey, error) {
	first, err := table.List(ctx)
	if err != nil {
		return Survey{}, err
	}
	last := first
	if d > 0 {
		if err := retry.Sleep(ctx, d); err != nil {
			return Survey{}, err
		}
		if last, err = table.List(ctx); err != nil {
			return Survey{}, err
		}
	}
	counters := make(map[string]int64, len(first.Leases))
	for _, l := range first.Leases {
		counters[l.Key] = l.Counter
	}
	s := Survey{Watched: d, Malformed: last.Malformed, Foreign: last.Foreign, ClientVersion: last.ClientVersion, first: first}
	for _, l := range last.Leases {
		before, known := counters[l.Key]
		st := Status{Lease: l, Age: d}
		st.Changed = d > 0 && (!known || before != l.Counter)
		st.State = stateOf(l, d > 0, st.Changed)
		s.Leases = append(s.Leases, st)
	}
	return s, nil
}

func stateOf(l lease.Lease, watched, changed bool) State {
	switch {
	case l.Checkpoint.IsShardEnd():
		return Ended
	case l.InHandOff():
		return HandOff
	case l.Owner == "":
		return Free
	case changed:
		return Renewed
	case watched:
		return Silent
	default:
		return Owned
	}
}

// Find returns the lease of a shard: by its key, or by the raw shard id when only one stream of the table has such a shard.
func Find(leases []lease.Lease, shard string) (lease.Lease, error) {
	var found []lease.Lease
	for _, l := range leases {
		if l.Key == shard {
			return l, nil
		}
		if l.Shard() == shard {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return lease.Lease{}, fmt.Errorf("lease %q: there is none in the table; `dredge leases list` shows what there is", shard)
	default:
		keys := make([]string, len(found))
		for i, l := range found {
			keys[i] = l.Key
		}
		return lease.Lease{}, fmt.Errorf("lease %q: several streams have that shard; write one of %s", shard, strings.Join(keys, ", "))
	}
}

// Released is what became of one lease that was to be released.
type Released struct {
	Key string
	// From is who had it.
	From string
	// Now is who has it after the write: "" when it is free, the next owner when a hand-off was under way, or whoever took it meanwhile.
	Now string
}

// Release gives up those of leases that have an owner. A worker that still lives learns of it at its next renewal, stops
// reading the shard and checkpoints nothing more; what it had in flight is read again by the next owner.
func Release(ctx context.Context, table Table, leases []lease.Lease) ([]Released, error) {
	var (
		out  []Released
		errs []error
	)
	for _, l := range leases {
		if l.ActualOwner() == "" {
			continue
		}
		if err := table.Evict(ctx, l); err != nil {
			errs = append(errs, err)
			continue
		}
		// Evict is content with a lease that is another's by now; whoever releases wants to know.
		row, err := table.Get(ctx, l.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("look at lease %q after its release: %w", l.Key, err))
			continue
		}
		out = append(out, Released{Key: l.Key, From: l.ActualOwner(), Now: row.ActualOwner()})
	}
	return out, errors.Join(errs...)
}

// OwnedBy returns the leases that worker reads now.
func OwnedBy(leases []lease.Lease, worker string) []lease.Lease {
	return slices.DeleteFunc(slices.Clone(leases), func(l lease.Lease) bool { return l.ActualOwner() != worker })
}
