package window

import (
	"context"

	"dredge/stream"
)

// Deliver opens a ticket for chunk and hands it to h. failed is called with the error of a delivery that failed, maybe long after Deliver
// returned: a source ends its reading there. The error is the reason why ctx ended, when that is what ended the call.
func (w *Window) Deliver(ctx context.Context, h stream.Handler, chunk stream.Chunk, failed func(error)) error {
	ticket, err := w.Open(ctx, chunk.Last)
	if err != nil {
		return CauseOr(ctx, err)
	}
	err = h.Handle(ctx, chunk, func(p stream.Position, err error) {
		ticket.Progress(p, err)
		if err != nil {
			failed(err)
		}
	})
	return CauseOr(ctx, err)
}

// CauseOr prefers the reason why ctx ended to what that made of a call. It is nil for a call that went well.
func CauseOr(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
