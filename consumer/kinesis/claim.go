package kinesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"dredge/consumer/kinesis/lease"
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
		if cause := context.Cause(h.life); errors.Is(cause, errExpired) || errors.Is(err, errLeaseLost) || errors.Is(cause, errLeaseLost) {
			return "", fmt.Errorf("%w: %w", stream.ErrFenced, cmp.Or(cause, err))
		}
		return "", fmt.Errorf("renew lease %q: %w", partition, err)
	}
	if c := h.current().Checkpoint; c.IsSequence() {
		return c.Position(), nil
	}
	return "", nil
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
