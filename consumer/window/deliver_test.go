package window

import (
	"context"
	"errors"
	"testing"

	"dredge/stream"
)

// handler is a stream.Handler made of a function.
type handler func(context.Context, stream.Chunk, func(stream.Position, error)) error

func (h handler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	return h(ctx, c, progress)
}

func (handler) Flush(context.Context) error { return nil }

func (handler) Close(context.Context) error { return nil }

func TestDeliver(t *testing.T) {
	w := mustNew(t, 2)
	var later func(stream.Position, error)
	keep := handler(func(_ context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
		later = progress
		progress("1", nil)
		return nil
	})
	var failures []error
	failed := func(err error) { failures = append(failures, err) }
	if err := w.Deliver(t.Context(), keep, stream.Chunk{Last: "3"}, failed); err != nil {
		t.Fatal(err)
	}
	if got := w.Safe(); got != "1" {
		t.Errorf("Safe = %q while the chunk is half delivered, want 1", got)
	}
	cause := errors.New("broker gone")
	later("", cause) // long after Deliver returned
	if len(failures) != 1 || !errors.Is(failures[0], cause) {
		t.Errorf("failed was called with %v, want once with %v", failures, cause)
	}
	if err := w.Deliver(t.Context(), keep, stream.Chunk{Last: "6"}, failed); !errors.Is(err, cause) {
		t.Errorf("Deliver into a failed window = %v, want %v", err, cause)
	}
}

func TestDeliverTellsWhyItsContextEnded(t *testing.T) {
	why := errors.New("the lease was lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := mustNew(t, 1).Deliver(ctx, handler(func(ctx context.Context, _ stream.Chunk, _ func(stream.Position, error)) error {
		cancel(why)
		return ctx.Err()
	}), stream.Chunk{Last: "1"}, func(error) {})
	if !errors.Is(err, why) {
		t.Errorf("Deliver = %v, want the cause: %v", err, why)
	}
}
