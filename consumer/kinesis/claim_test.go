package kinesis

import (
	"context"
	"errors"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/stream"
)

// A prepared checkpoint lies in the row until a checkpoint reaches it; the next owner finds it, and the former one can't write it.
func TestPrepare(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.sink.refusing = true // nothing becomes durable before the test says so
		first := b.start("a")
		b.await("the lease", time.Minute, func() bool { return first.Status().Owned == 1 })
		key := shardID(0)
		if at, pending, state, err := first.Prepared(b.Context(), key); at != "" || pending != "" || state != nil || err != nil {
			t.Fatalf("Prepared of a new lease = %q, %q, %q, %v", at, pending, state, err)
		}
		if err := first.Prepare(b.Context(), key, "", "700", []byte("one")); err != nil {
			t.Fatal(err)
		}
		// It waits for what the sink has reported to be in the checkpoint.
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		if err := first.Prepare(ctx, key, "700", "900", []byte("two")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Prepare before the checkpoint = %v, want %v", err, context.DeadlineExceeded)
		}
		h, err := first.holding(key)
		if err != nil {
			t.Fatal(err)
		}
		h.reached(lease.Checkpoint{Sequence: "700"})
		if err := first.Prepare(b.Context(), key, "700", "900", []byte("two")); err != nil {
			t.Fatal(err)
		}
		row, err := b.store.Get(b.Context(), key)
		if err != nil || row.Checkpoint.Sequence != "700" || row.Pending.Sequence != "900" || string(row.PendingState) != "two" {
			t.Fatalf("row = %+v, %v", row, err)
		}

		first.store.cut.Store(true)
		second := b.start("b")
		b.await("the take-over", 5*time.Minute, func() bool { return second.Status().Owned == 1 })
		at, pending, state, err := second.Prepared(b.Context(), key)
		if at != "700" || pending != "900" || string(state) != "two" || err != nil {
			t.Errorf("Prepared = %q, %q, %q, %v", at, pending, state, err)
		}
		first.store.cut.Store(false)
		if err := first.Prepare(b.Context(), key, "700", "950", []byte("zombie")); !errors.Is(err, stream.ErrFenced) {
			t.Errorf("Prepare of the former owner = %v, want %v", err, stream.ErrFenced)
		}
	})
}
