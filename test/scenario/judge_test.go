package scenario

import (
	"testing"
	"time"

	"dredge/internal/awsfake"
)

// A sink that throws three rows away and keeps two twice is caught: what the other tests rely on can fail.
func TestLossAndDoublesAreCaught(t *testing.T) {
	inBubble(t, 2, awsfake.Config{}, func(r *rig) {
		l := r.newLoad(4)
		w := r.start("dredge-a")
		l.play(40 * time.Second)
		r.mem.Lose(3)
		r.mem.Duplicate(2)
		l.play(40 * time.Second)
		r.await("all is reported delivered", 10*time.Second, func() bool { return w.pipeline.Books().Snapshot().Delivered == int64(len(l.flows)) })
		if v := l.judge(); len(v.lost) != 3 || len(v.double) != 2 {
			t.Errorf("%d lines are lost and %d double, want 3 and 2", len(v.lost), len(v.double))
		}
	})
}
