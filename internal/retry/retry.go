// Package retry spaces the tries of what failed.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff gives growing pauses between tries. The zero Tries start at Min. It is not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration
	// Tries is how many pauses were given since the last Reset.
	Tries int
}

// Next returns the next pause: doubled each time up to Max, and shortened at random by up to half, so that workers that failed
// together don't come back together.
func (b *Backoff) Next() time.Duration {
	d := b.Max
	if b.Tries < 30 {
		d = min(b.Max, b.Min<<b.Tries)
	}
	b.Tries++
	return d - rand.N(d/2+1)
}

// Reset begins anew after a success.
func (b *Backoff) Reset() { b.Tries = 0 }

// Sleep waits for d and returns nil, or the reason why ctx ended before.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
