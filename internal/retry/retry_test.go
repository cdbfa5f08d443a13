package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoff(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for i, ms := range []int{100, 200, 400, 800, 1000, 1000} {
		full := time.Duration(ms) * time.Millisecond
		if d := b.Next(); d > full || d < full/2 {
			t.Errorf("pause %d = %s, want from %s to %s", i, d, full/2, full)
		}
	}
	b.Reset()
	if d := b.Next(); d > 100*time.Millisecond {
		t.Errorf("after reset %s", d)
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := Sleep(t.Context(), time.Minute); err != nil || time.Since(start) != time.Minute {
			t.Errorf("slept %s and returned %v", time.Since(start), err)
		}
		why := errors.New("lease lost")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		for _, d := range []time.Duration{0, time.Hour} {
			if err := Sleep(ctx, d); !errors.Is(err, why) {
				t.Errorf("Sleep(%s) after the end returned %v", d, err)
			}
		}
	})
}
