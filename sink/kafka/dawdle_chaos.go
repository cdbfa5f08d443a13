//go:build chaos_outside || chaos_disorder || chaos_unfenced

package kafka

import (
	"context"
	"time"
)

// dawdle waits as long as a transaction takes, so that a kill finds what is half done.
func (w *txWriter) dawdle(ctx context.Context) error {
	pause := time.NewTimer(w.sink.cfg.ExactlyOnce.CommitInterval)
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
