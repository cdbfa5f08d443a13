package pipeline

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/flowlog"
	"dredge/stream"
)

// marks is a watermark that tests move by hand.
type marks struct {
	mu      sync.Mutex
	at      int64
	changed chan struct{}
	asked   []int64
	onAsk   func() // called after each answer
}

func newMarks() *marks { return &marks{changed: make(chan struct{})} }

func (m *marks) Complete(_ *flowlog.Batch, t int64) (bool, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, t)
	ok, changed := m.at >= t, m.changed
	if m.onAsk != nil {
		m.onAsk()
	}
	return ok, changed
}

func (m *marks) move(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = t.UnixMilli()
	close(m.changed)
	m.changed = make(chan struct{})
}

// flows makes a batch of one payload that arrived at arrived, with a flow for each end.
func flows(arrived time.Time, ends ...time.Time) *flowlog.Batch {
	b := &flowlog.Batch{Origins: []flowlog.Origin{{Arrived: arrived}}}
	for _, e := range ends {
		b.Records = append(b.Records, flowlog.Record{End: e.UnixMilli()})
	}
	return b
}

func TestGateWaitsExactlyAsLong(t *testing.T) {
	const ago = -10 * time.Second // when the flows ended, seen from their arrival
	cases := []struct {
		name string
		// arrived and end are relative to the start of the wait.
		arrived, end time.Duration
		// do happens while it waits.
		do   func(g *gate, m *marks, stop *failure, cancel context.CancelCauseFunc)
		want time.Duration
		err  error
	}{
		{name: "silent source", end: ago, want: 60 * time.Second},
		{name: "arrived a while ago", arrived: -25 * time.Second, end: -40 * time.Second, want: 35 * time.Second},
		{name: "backlog", arrived: -time.Hour, end: -time.Hour, want: 0},
		{name: "just over the bound", arrived: -60 * time.Second, end: -70 * time.Second, want: 0},
		{name: "arrival in the future", arrived: time.Hour, end: ago, want: 60 * time.Second},
		{
			name: "identity catches up", end: ago, want: 7 * time.Second,
			do: func(_ *gate, m *marks, _ *failure, _ context.CancelCauseFunc) {
				<-time.After(3 * time.Second)
				m.move(time.Now().Add(-20 * time.Second))
				<-time.After(4 * time.Second)
				m.move(time.Now())
			},
		},
		{
			name: "end in the far future", end: 24 * time.Hour, want: 5 * time.Second,
			do: func(_ *gate, m *marks, _ *failure, _ context.CancelCauseFunc) {
				<-time.After(5 * time.Second)
				m.move(time.Now()) // beyond arrival and guard, far before the end that the record tells
			},
		},
		{
			name: "bound made shorter", end: ago, want: 20 * time.Second,
			do: func(g *gate, _ *marks, _ *failure, _ context.CancelCauseFunc) {
				<-time.After(5 * time.Second)
				g.setHold(20 * time.Second)
			},
		},
		{
			name: "bound made longer", end: ago, want: 90 * time.Second,
			do: func(g *gate, _ *marks, _ *failure, _ context.CancelCauseFunc) {
				<-time.After(59 * time.Second)
				g.setHold(90 * time.Second)
			},
		},
		{
			name: "bound already over when made shorter", end: ago, want: 30 * time.Second,
			do: func(g *gate, _ *marks, _ *failure, _ context.CancelCauseFunc) {
				<-time.After(30 * time.Second)
				g.setHold(10 * time.Second)
			},
		},
		{
			name: "drain", end: ago, want: 12 * time.Second, err: context.Canceled,
			do: func(_ *gate, _ *marks, _ *failure, cancel context.CancelCauseFunc) {
				<-time.After(12 * time.Second)
				cancel(nil)
			},
		},
		{
			name: "lease lost", end: ago, want: 13 * time.Second, err: stream.ErrFenced,
			do: func(_ *gate, _ *marks, stop *failure, _ context.CancelCauseFunc) {
				<-time.After(13 * time.Second)
				stop.set(stream.ErrFenced)
			},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, stop, start := newMarks(), newFailure(), time.Now()
				g := newGate(m, DefaultConfig())
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.do != nil {
					go c.do(g, m, stop, cancel)
				}
				b := flows(start.Add(c.arrived), start.Add(c.end), start.Add(c.end-time.Minute))
				held, err := g.wait(ctx, b, start.Add(c.arrived), stop)
				if took := time.Since(start); took != c.want || held != c.want {
					t.Errorf("waited %s, says %s, want %s", took, held, c.want)
				}
				if !errors.Is(err, c.err) {
					t.Errorf("error = %v, want %v", err, c.err)
				}
				if _, n := g.oldest(); n != 0 {
					t.Errorf("%d slices still counted as held", n)
				}
			})
		})
	}
}

// What the gate asks for is the newest end plus guard, with ends beyond the payload's arrival taken as the arrival.
func TestGateAsksForNewestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		m := newMarks()
		g := newGate(m, DefaultConfig())
		m.at = now.Add(time.Hour).UnixMilli()
		b := flows(now, now.Add(-30*time.Second), now.Add(-5*time.Second), now.Add(-20*time.Second))
		b.Origins = append(b.Origins, flowlog.Origin{Arrived: now.Add(-3 * time.Second)})
		b.Records = append(b.Records, flowlog.Record{Origin: 1, End: now.Add(time.Hour).UnixMilli()})
		if _, err := g.wait(t.Context(), b, now, newFailure()); err != nil {
			t.Fatal(err)
		}
		want := now.Add(-3 * time.Second).Add(2 * time.Second).UnixMilli()
		if len(m.asked) != 1 || m.asked[0] != want {
			t.Errorf("asked for %v, want %d", m.asked, want)
		}
	})
}

func TestGateWithoutWatermarksLetsAllThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(nil, DefaultConfig())
		start := time.Now()
		if held, err := g.wait(t.Context(), flows(start, start), start, newFailure()); held != 0 || err != nil || time.Since(start) != 0 {
			t.Errorf("wait = %s, %v after %s", held, err, time.Since(start))
		}
	})
}
