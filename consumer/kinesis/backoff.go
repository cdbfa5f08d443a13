package kinesis

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff gives growing pauses between tries of what failed. The zero tries start at min.
type backoff struct {
	min, max time.Duration
	tries    int
}

// next returns the next pause: doubled each time up to max, and shortened at random by up to half, so that workers that failed
// together don't come back together.
func (b *backoff) next() time.Duration {
	d := b.max
	if b.tries < 30 {
		d = min(b.max, b.min<<b.tries)
	}
	b.tries++
	return d - rand.N(d/2+1)
}

func (b *backoff) reset() { b.tries = 0 }

// sleep waits for d and returns nil, or the reason why ctx ended before.
func sleep(ctx context.Context, d time.Duration) error {
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

// stretched returns d lengthened at random by up to a half.
func stretched(d time.Duration) time.Duration { return d + rand.N(d/2+1) }

// jittered returns d shortened at random by up to a tenth.
func jittered(d time.Duration) time.Duration { return d - rand.N(d/10+1) }
