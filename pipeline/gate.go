package pipeline

import (
	"context"
	"sync"
	"time"

	"dredge/flowlog"
)

// gate holds a slice back until identity has caught up with its flows, but never longer than hold after arrival.
type gate struct {
	watermarks Watermarks
	guard      time.Duration

	mu sync.Mutex
	// hold is the longest wait after a payload's arrival; changed is closed when it is set anew.
	hold    time.Duration
	changed chan struct{}
	// since holds when each slice that waits now began to.
	since map[*flowlog.Batch]time.Time
}

func newGate(w Watermarks, c Config) *gate {
	return &gate{
		watermarks: w, guard: c.Guard, hold: c.Hold, changed: make(chan struct{}),
		since: make(map[*flowlog.Batch]time.Time),
	}
}

// setHold changes the bound for slices that wait already, too.
func (g *gate) setHold(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = d
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) bound() (hold time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hold, g.changed
}

// spread is how far the arrivals of one slice may lie apart: a slice waits by its oldest payload's arrival, so that no row
// is ever late, and what the newest loses of its own waiting time by that is no more than this.
func (g *gate) spread() time.Duration {
	if g.watermarks == nil {
		return 0
	}
	hold, _ := g.bound()
	return hold / 12
}

// waits says whether rows that arrived at t may have to wait.
func (g *gate) waits(t time.Time) bool {
	if g.watermarks == nil {
		return false
	}
	hold, _ := g.bound()
	return time.Until(t.Add(hold)) > 0
}

// oldest returns since when the longest waiting slice waits, and how many wait.
func (g *gate) oldest() (since time.Time, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.since {
		if since.IsZero() || t.Before(since) {
			since = t
		}
	}
	return since, len(g.since)
}

// wait returns when in may go on, and how long it was held. The error is ctx's cause, or that of stop being closed: then in
// is to be given up. oldest is the earliest arrival in the batch.
func (g *gate) wait(ctx context.Context, in *flowlog.Batch, oldest time.Time, stop *failure) (held time.Duration, err error) {
	if g.watermarks == nil || len(in.Records) == 0 || !g.waits(oldest) {
		return 0, nil
	}
	need := NewestEnd(in) + g.guard.Milliseconds()
	start := time.Now()
	if oldest.After(start) { // a wrong clock; it must not lengthen the wait
		oldest = start
	}
	entered := false
	defer func() {
		if entered {
			held = time.Since(start)
			g.mu.Lock()
			delete(g.since, in)
			g.mu.Unlock()
		}
	}()
	for {
		hold, holdChanged := g.bound()
		left := time.Until(oldest.Add(hold))
		if left <= 0 {
			return 0, nil
		}
		ok, told := g.watermarks.Complete(in, need)
		if ok {
			return 0, nil
		}
		if !entered {
			entered = true
			g.mu.Lock()
			g.since[in] = start
			g.mu.Unlock()
		}
		timer := time.NewTimer(left)
		select {
		case <-told:
		case <-holdChanged:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, context.Cause(ctx)
		case <-stop.happened:
			timer.Stop()
			return 0, stop.err()
		}
		timer.Stop()
	}
}

// NewestEnd is the latest flow end in the batch in Unix milliseconds: with the guard, how far identity must be complete. An end
// beyond the payload's arrival is a wrong clock or a wrong number: nobody can know the future, so it counts as the arrival.
func NewestEnd(in *flowlog.Batch) int64 {
	var newest int64
	origin, arrived := ^uint32(0), int64(0)
	for i := range in.Records {
		r := &in.Records[i]
		if r.Origin != origin {
			origin, arrived = r.Origin, in.Origins[r.Origin].Arrived.UnixMilli()
		}
		newest = max(newest, min(r.End, arrived))
	}
	return newest
}
