package kinesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
	"dredge/stream"
)

// These methods are for a sink that commits positions itself: it has to know a shard by a name that never changes its meaning,
// and that the shard's lease is this worker's while it claims the shard.

// Name returns the lasting name of the shard behind partition: account/region/stream:creationEpoch/shard. It needs the
// permission kinesis:DescribeStreamSummary, and asks once per stream.
func (w *Worker) Name(ctx context.Context, partition string) (string, error) {
	h, err := w.holding(partition)
	if err != nil {
		return "", err
	}
	name, err := h.src.lastingName(ctx)
	if err != nil {
		return "", err
	}
	return name + "/" + h.current().Shard(), nil
}

// Prove writes to the lease of partition on condition that it still is this worker's, and returns its checkpoint; "" when that
// names no record yet. A lease that is not ours any more is stream.ErrFenced.
func (w *Worker) Prove(ctx context.Context, partition string) (stream.Position, error) {
	h, err := w.holding(partition)
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := w.renew(h); err != nil {
		return "", notProven(h, err)
	}
	return place(h.current().Checkpoint), nil
}

// notProven says of a renewal that failed with err whether that was because the lease is another's.
func notProven(h *held, err error) error {
	if cause := context.Cause(h.life); errors.Is(cause, errExpired) || errors.Is(err, errLeaseLost) || errors.Is(cause, errLeaseLost) {
		return fmt.Errorf("%w: %w", stream.ErrFenced, cmp.Or(cause, err))
	}
	return fmt.Errorf("renew lease %q: %w", h.key, err)
}

// place is c as a position, "" when it names no record.
func place(c lease.Checkpoint) stream.Position {
	if c.IsSequence() {
		return c.Position()
	}
	return ""
}

// preparePoll is how often Prepare looks whether the checkpoint has come as far as it must.
const preparePoll = 20 * time.Millisecond

// Prepare writes to the lease of partition, on condition that it still is this worker's, that the rows after the position after and up to at
// are about to be handed over under state: KCL's pendingCheckpoint. Whoever has the lease next finds it and can ask what became of them.
// The sink has reported everything up to after as durable; Prepare waits until that is in the lease's checkpoint, or the next owner
// would read it again. A lease that is not ours any more is stream.ErrFenced.
func (w *Worker) Prepare(ctx context.Context, partition string, after, at stream.Position, state []byte) error {
	h, err := w.holding(partition)
	if err != nil {
		return err
	}
	to, err := lease.ParsePosition(at)
	if err != nil {
		return fmt.Errorf("BUG: prepare the checkpoint of %q: %w", partition, err)
	}
	for after != "" && w.Compare(h.safe().Position(), after) < 0 && w.Compare(h.current().Checkpoint.Position(), after) < 0 {
		if err := context.Cause(h.life); err != nil {
			return notProven(h, err)
		}
		if err := retry.Sleep(ctx, preparePoll); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.renewWith(h, to, state); err != nil {
		return notProven(h, err)
	}
	return nil
}

// Prepared proves the lease of partition as Prove does, and returns its checkpoint and what Prepare recorded after that; "" and nil when
// there is nothing.
func (w *Worker) Prepared(ctx context.Context, partition string) (checkpoint, at stream.Position, state []byte, err error) {
	if checkpoint, err = w.Prove(ctx, partition); err != nil {
		return "", "", nil, err
	}
	h, err := w.holding(partition)
	if err != nil {
		return "", "", nil, err
	}
	l := h.current()
	return checkpoint, place(l.Pending), l.PendingState, nil
}

// Compare orders two positions of one shard; one that is no position is before all others.
func (*Worker) Compare(a, b stream.Position) int {
	// What is no position of a shard parses to the zero Checkpoint, which is before everything.
	x, _ := lease.ParsePosition(a)
	y, _ := lease.ParsePosition(b)
	return x.Compare(y)
}

func (w *Worker) holding(partition string) (*held, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.held[partition]
	if h == nil {
		return nil, fmt.Errorf("no lease of %q is held: %w", partition, stream.ErrFenced)
	}
	return h, nil
}
