package scenario

import (
	"testing"
	"time"

	"dredge/internal/awsfake"
	"dredge/metadata/event"
)

// TestM2HoldIsObeyedAtOnce: the hold-back is changed while the process runs; what is held now and the next minute's rows obey the new one, without a restart.
func TestM2HoldIsObeyedAtOnce(t *testing.T) {
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		r.pipeline.Formats.Default, r.pipeline.Hold = "default", time.Minute
		r.tell(&event.Event{
			V: event.Version, Src: "inventory", Op: event.Assign, From: time.Now().Add(-time.Hour).UnixMilli(), Scope: "vpc-1", IP: "10.0.1.5",
			Owner: "eni:eni-0aaa", Primary: new(true), WL: &event.Workload{App: "web", VPC: "vpc-1"},
		})
		w := r.start("dredge-a")
		// A source that is always ten minutes behind: every row waits for the whole hold. One that says nothing would be taken for dead.
		behind := func() {
			w.tell(&event.Event{V: event.Version, Src: "inventory", Op: event.Progress, To: time.Now().Add(-10 * time.Minute).UnixMilli()})
		}
		delivered := func() int64 { behind(); return w.pipeline.Books().Snapshot().Delivered }
		wait := func(n int64, low, high time.Duration) {
			t.Helper()
			r.putLines("a", 0, 1)
			took := r.await("the row is delivered", 5*time.Minute, func() bool { return delivered() == n })
			if took < low || took > high {
				t.Errorf("row %d came after %s, want %s to %s", n, took, low, high)
			}
		}
		behind()
		wait(1, 58*time.Second, 63*time.Second)
		w.pipeline.SetHold(10 * time.Second)
		wait(2, 8*time.Second, 13*time.Second)
		w.pipeline.SetHold(40 * time.Second)
		wait(3, 38*time.Second, 43*time.Second)
		// Held rows obey, too.
		r.putLines("a", 0, 1)
		for range 20 {
			r.wait(time.Second)
			behind()
		}
		if delivered() != 3 {
			t.Error("the row was not held")
		}
		w.pipeline.SetHold(0)
		if took := r.await("the held row is delivered", time.Minute, func() bool { return delivered() == 4 }); took > 2*time.Second {
			t.Errorf("the held row came %s after the change", took)
		}
	})
}
