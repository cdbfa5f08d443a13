package lease

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// reset is l after an operator has moved its checkpoint to c. The lease is free afterwards: whoever still believes in the old row
// fails at its next write, and whoever takes the lease starts at c.
func (l Lease) reset(c Checkpoint, now time.Time) Lease {
	l.Owner, l.CheckpointOwner = "", ""
	l.Counter++
	l.OwnerSwitches = 0
	l.Checkpoint = c
	l.Pending, l.PendingState = Checkpoint{}, nil
	l.StartedAt = time.Time{}
	if c.Sequence == Latest {
		l.StartedAt = now
	}
	return l
}

// ResetCheckpoint moves the checkpoint of l to c, in any direction, and frees the lease, if nobody has written the row since
// l was read; otherwise it returns ErrLost. It is for operators: a worker moves its checkpoint with Renew.
//
// At LATEST the shard is wanted from now on, whenever it is taken.
func (d *DynamoDB) ResetCheckpoint(ctx context.Context, l Lease, c Checkpoint) (Lease, error) {
	want := l.reset(c, time.Now().Truncate(time.Millisecond))
	e := newExpr()
	e.where(attrCounter, "=", number(l.Counter))
	e.where(attrCheckpoint, "=", text(l.Checkpoint.Sequence))
	e.set(attrCounter, number(want.Counter))
	e.set(attrCheckpoint, text(c.Sequence))
	e.set(attrSub, number(c.Sub))
	e.set(attrSwitches, number(0))
	e.remove(attrOwner, attrCheckpointOwner, attrPending, attrPendingSub, attrPendingState)
	if want.StartedAt.IsZero() {
		e.remove(attrStartedAt)
	} else {
		e.set(attrStartedAt, number(want.StartedAt.UnixMilli()))
	}
	row, err := d.update(ctx, l.Key, e)
	switch {
	case err == nil:
		return want, nil
	case !errors.Is(err, errRefused):
		return Lease{}, fmt.Errorf("set checkpoint of lease %q: %w", l.Key, err)
	case row != nil && row.Counter == want.Counter && row.Owner == "" && row.Checkpoint == c:
		return *row, nil // an earlier try landed and its reply was lost
	default:
		return Lease{}, ErrLost
	}
}

// ResetCheckpoint is that of DynamoDB.
func (m *Memory) ResetCheckpoint(ctx context.Context, l Lease, c Checkpoint) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return Lease{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[l.Key]
	if !ok || row.Counter != l.Counter || row.Checkpoint.Sequence != l.Checkpoint.Sequence {
		return Lease{}, ErrLost
	}
	m.rows[l.Key] = row.reset(c, time.Now().Truncate(time.Millisecond))
	return m.rows[l.Key].clone(), nil
}
