// Package lease is the lease table of Amazon's Kinesis Client Library (KCL): one row per shard, saying which worker reads it
// and how far it is done. Rows, attribute names, types and write conditions are KCL's own, so that Java workers, their tools
// and dredge share one application.
//
// There is no clock in the table. A worker owns a lease because its last conditional write on leaseCounter succeeded, and
// a lease has expired, for one observer, when that observer has not seen its counter change for the failover time. Every
// write here is conditional; a failed condition is ErrLost, unless reading the row back proves that an earlier try of the
// same writer had landed and only its reply was lost.
//
// The package owns rows and writes. Who takes which lease, and when, is decided in package kinesis.
package lease

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"
)

// EntityType is what KCL 3.5 and later store in entityType for lease rows. Rows without it are leases too.
const EntityType = "LEASE"

var (
	// ErrLost says that a conditional write failed because the row is no longer as the caller last knew it.
	ErrLost = errors.New("lease lost: the row was changed by another worker")
	// ErrDuplicateOwner says that a renewal was refused because someone else renews under the same worker id. The lease is lost.
	ErrDuplicateOwner = errors.New("lease is renewed by another process with the same worker id")
	// ErrNotFound says that the table has no such lease.
	ErrNotFound = errors.New("lease not found")
	// ErrShardEnded says that a checkpoint was refused because the row already stands at SHARD_END.
	ErrShardEnded = errors.New("lease stands at SHARD_END: no other checkpoint may replace it")
	// ErrForeignTable says that the table exists but is not a KCL lease table. No retry mends it.
	ErrForeignTable = errors.New("not a KCL lease table")
	// ErrNoTable says that the table was there and is no more. A worker must not make it anew: an empty table has no checkpoints.
	ErrNoTable = errors.New("the lease table does not exist any more")
)

// HashRange is the inclusive range of 128-bit hash keys of a shard, in decimal.
type HashRange struct{ Start, End string }

// Lease is one row, as last read or written. A Lease is a value: stores never keep or change the slices in it, and nor must
// callers.
type Lease struct {
	// Key is the shard id, in single-stream mode.
	Key string
	// Owner is the worker id; "" when nobody owns the lease. During a hand-off it is the next owner.
	Owner string
	// CheckpointOwner is set only during a hand-off: the old owner, who still reads and checkpoints.
	CheckpointOwner string
	// Counter grows with every renewal, take, eviction and checkpoint. It is the optimistic lock of the row.
	Counter int64
	// OwnerSwitches counts changes of owner since the last checkpoint.
	OwnerSwitches int64
	// Checkpoint is the place up to which the shard is done with.
	Checkpoint Checkpoint
	// Pending is the prepared checkpoint of KCL's two-phase form; zero when there is none. A sink prepares one before it hands over
	// rows that it can't hand over twice.
	Pending Checkpoint
	// PendingState is what the application stored with Pending.
	PendingState []byte
	// Parents are the one or two shards that this one came from, as raw shard ids, sorted; nil when there are none.
	Parents []string
	// Children are the shards that follow this one, sorted; known from the shard's end on.
	Children []string
	// HashRange is nil in rows of KCL 1.x.
	HashRange *HashRange
	// ThroughputKBps is the reader's smoothed throughput; 0 when not known.
	ThroughputKBps float64
	// EntityType is "LEASE" or "" in rows made before KCL 3.5.
	EntityType string
	// StreamName and ShardID are set in rows of KCL's multi-stream mode only.
	StreamName, ShardID string
	// StartedAt is dredge's own: when the application started at LATEST, the time from which the shard is wanted. The zero time when absent.
	StartedAt time.Time
}

// ActualOwner is who reads the shard now: during a hand-off that is still the old owner.
func (l Lease) ActualOwner() string {
	if l.CheckpointOwner != "" {
		return l.CheckpointOwner
	}
	return l.Owner
}

// InHandOff says whether the lease is on its way from one live worker to another.
func (l Lease) InHandOff() bool { return l.CheckpointOwner != "" }

// Shard returns the raw shard id.
func (l Lease) Shard() string {
	if l.ShardID != "" {
		return l.ShardID
	}
	return l.Key
}

func (l Lease) clone() Lease {
	l.PendingState = slices.Clone(l.PendingState)
	l.Parents = slices.Clone(l.Parents)
	l.Children = slices.Clone(l.Children)
	if l.HashRange != nil {
		r := *l.HashRange
		l.HashRange = &r
	}
	return l
}

// Listing is one scan of the table.
type Listing struct {
	// Leases are the rows that are leases, in order of their keys.
	Leases []Lease
	// Malformed counts rows that should be leases and cannot be read. They are left alone.
	Malformed int
	// Foreign counts rows of another entity type, which KCL 3.5 keeps in the same table.
	Foreign int
	// ClientVersion is the state of KCL's 2.x to 3.x migration when its row lies in this table; "" when there is none.
	ClientVersion string
}

// Renewal is what one renewing write changes beside the counter.
type Renewal struct {
	// Checkpoint is written when it is not zero; it resets OwnerSwitches and clears what was pending, unless that lies behind it.
	Checkpoint Checkpoint
	// Pending and PendingState are written when Pending is not zero, in place of what was pending.
	Pending      Checkpoint
	PendingState []byte
	// ThroughputKBps is written when it is above 0.
	ThroughputKBps float64
}

// Meta is what can be changed in a row without being its owner. Nil fields are left as they are.
type Meta struct {
	Children  []string
	HashRange *HashRange
}

// Store is a lease table. All methods may be called concurrently; writes of one lease must be serialized by their caller, who
// passes the Lease as last known and goes on with the one that is returned. On an error other than those declared here the write
// may or may not have landed, and the next write of the same kind finds out; the caller keeps what it had.
type Store interface {
	// Init creates the table when it does not exist and waits until it is usable. ErrForeignTable is final.
	Init(ctx context.Context) error
	// List reads the whole table, eventually consistent.
	List(ctx context.Context) (Listing, error)
	// Get reads one lease, consistently, or returns ErrNotFound.
	Get(ctx context.Context, key string) (Lease, error)
	// Create adds l with a counter of 0 and no owner, and says whether it did: false means that the row was there already.
	Create(ctx context.Context, l Lease) (bool, error)
	// Renew proves ownership and raises the counter by one. When a hand-off was begun meanwhile, the returned lease says so.
	// A checkpoint never replaces SHARD_END. With an undeclared error the lease, unless it is zero, is what to try again with.
	Renew(ctx context.Context, l Lease, r Renewal) (Lease, error)
	// Take makes owner the owner of l if its counter still is what it was, ending any hand-off.
	Take(ctx context.Context, l Lease, owner string) (Lease, error)
	// Evict gives l up: the owner is removed and the counter raised. A lease that is another's already is no error.
	Evict(ctx context.Context, l Lease) error
	// BeginHandOff names owner as the next owner of l and asks the present one, by this, to finish. The counter stays.
	BeginHandOff(ctx context.Context, l Lease, owner string) (Lease, error)
	// EndHandOff is called by the old owner when it is finished: the next owner becomes the actual one.
	EndHandOff(ctx context.Context, l Lease) error
	// UpdateMeta changes what is known of a shard. The counter stays. A missing row is ErrNotFound.
	UpdateMeta(ctx context.Context, key string, m Meta) error
	// Delete removes l if its checkpoint is still what it was and, unless that is SHARD_END, its counter too.
	Delete(ctx context.Context, l Lease) error
}

// renewed is l after a renewing write.
func (l Lease) renewed(r Renewal) Lease {
	l.Counter++
	if !r.Checkpoint.IsZero() {
		l.Checkpoint = r.Checkpoint
		l.OwnerSwitches = 0
		if r.settles(l) {
			l.Pending, l.PendingState = Checkpoint{}, nil
		}
	}
	if !r.Pending.IsZero() {
		l.Pending, l.PendingState = r.Pending, slices.Clone(r.PendingState)
	}
	if r.ThroughputKBps > 0 {
		l.ThroughputKBps = r.ThroughputKBps
	}
	return l
}

// settles says whether the checkpoint of r ends what is pending in l. One before it does not: KCL's own workers never write such a one,
// but rows that lead to no output move our checkpoint while others are with the sink.
func (r Renewal) settles(l Lease) bool {
	return !r.Checkpoint.IsZero() && r.Pending.IsZero() && (l.Pending.IsZero() || r.Checkpoint.Compare(l.Pending) >= 0)
}

// taken is l after a take by owner. A take from another worker, finished or not, is a switch.
func (l Lease) taken(owner string) Lease {
	if l.switchesTo(owner) {
		l.OwnerSwitches++
	}
	l.Owner, l.CheckpointOwner = owner, ""
	l.Counter++
	return l
}

func (l Lease) switchesTo(owner string) bool {
	return l.ActualOwner() != "" && l.ActualOwner() != owner || l.CheckpointOwner == owner
}

// mayRenew is the condition of a renewing write of l with r, given the row as it is.
func mayRenew(l, row Lease, r Renewal) bool {
	return row.Counter == l.Counter &&
		(row.CheckpointOwner == "" || l.CheckpointOwner != "") &&
		(r.Checkpoint.IsZero() || r.Checkpoint.IsShardEnd() || !row.Checkpoint.IsShardEnd())
}

// afterRefusal says what a refused renewal of l means, given the row as it is: an error, or the lease to go on with. With done
// the renewal needs nothing more; without it must be sent again for the lease returned.
func afterRefusal(l, row Lease, r Renewal) (next Lease, done bool, err error) {
	want := l.renewed(r)
	switch {
	case row.ActualOwner() == "" || row.ActualOwner() != l.ActualOwner(), row.CheckpointOwner != "" && row.CheckpointOwner == row.Owner:
		return Lease{}, false, ErrLost
	case row.Counter == want.Counter && row.Checkpoint == want.Checkpoint && row.Pending == want.Pending && bytes.Equal(row.PendingState, want.PendingState):
		// An earlier try landed and its reply was lost. A hand-off may have been begun since; the row knows.
		return row, true, nil
	case row.Counter == want.Counter:
		// The same, but that try carried another checkpoint: ours still has to be written.
		return row, false, nil
	case row.Counter > want.Counter:
		return Lease{}, false, ErrDuplicateOwner
	case row.Counter != l.Counter:
		return Lease{}, false, ErrLost
	case row.InHandOff() && !l.InHandOff():
		return row, false, nil
	case row.Checkpoint.IsShardEnd():
		return Lease{}, false, ErrShardEnded
	default:
		return Lease{}, false, ErrLost
	}
}

// maxRenewTries bounds the writes of one renewal: the first, one after an earlier try was found, one after a hand-off was found.
const maxRenewTries = 3
