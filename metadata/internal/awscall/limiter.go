package awscall

import (
	"context"
	"sync"
	"time"
)

// Limiter is a token bucket that slows down when AWS refuses, and recovers when it does not.
type Limiter struct {
	mu     sync.Mutex
	now    func() time.Time
	most   float64 // calls per second as configured
	rate   float64
	tokens float64
	last   time.Time
}

// NewLimiter returns a full bucket that gives rate tokens a second.
func NewLimiter(rate float64, now func() time.Time) *Limiter {
	return &Limiter{now: now, most: rate, rate: rate, tokens: burst(rate), last: now()}
}

// burst is how much may be saved up.
func burst(rate float64) float64 { return max(1, 2*rate) }

// wait takes one token, and waits for it until ctx ends.
func (l *Limiter) wait(ctx context.Context) error {
	for {
		d := l.take()
		if d == 0 {
			return ctx.Err()
		}
		if err := Pause(ctx, d); err != nil {
			return err
		}
	}
}

// take returns 0 when a token was to be had, else how long until there may be one.
func (l *Limiter) take() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.tokens = min(burst(l.rate), l.tokens+l.rate*now.Sub(l.last).Seconds())
	l.last = now
	if l.tokens >= 1 {
		l.tokens--
		return 0
	}
	return max(time.Millisecond, time.Duration((1-l.tokens)/l.rate*float64(time.Second)))
}

// throttled halves the rate and takes what was saved up: the bucket at the other side is empty.
func (l *Limiter) throttled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = max(l.most/32, l.rate/2)
	l.tokens = 0
}

// succeeded raises the rate a little.
func (l *Limiter) succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = min(l.most, l.rate+l.most/64)
}

// Rate is the bound that holds now.
func (l *Limiter) Rate() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rate
}

// Pause waits for d or until ctx ends.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
