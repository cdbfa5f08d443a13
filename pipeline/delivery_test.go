package pipeline

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/row"
	"dredge/sink"
	"dredge/stream"
)

// byHand is a sink whose Writes are confirmed by the test.
type byHand struct {
	mu     sync.Mutex
	writes []handWrite
	refuse error
	opened int
	at     stream.Position // what Open returns
}

type handWrite struct {
	rows int
	last stream.Position
	done func(error)
}

func (s *byHand) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return s, s.at, nil
}

func (s *byHand) Write(_ context.Context, b *row.Batch, last stream.Position, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.writes = append(s.writes, handWrite{len(b.Rows), last, done})
	return nil
}

func (s *byHand) Flush(context.Context) error { return nil }

func (s *byHand) Close(context.Context) error {
	s.settle(-1, errors.New("closed"))
	return nil
}

// settle reports the first n writes, all for -1.
func (s *byHand) settle(n int, err error) {
	s.mu.Lock()
	if n < 0 {
		n = len(s.writes)
	}
	ready := s.writes[:n]
	s.writes = s.writes[n:]
	s.mu.Unlock()
	for _, w := range ready {
		w.done(err)
	}
}

func (s *byHand) TakeDeadLettered() map[string]int64 { return nil }

func withSink(s sink.Sink) func(*Config, *Deps) { return func(_ *Config, d *Deps) { d.Sink = s } }

// L6: what the sink has not acknowledged is not told, however long it takes; once it has, everything is.
func TestL6ProgressFollowsTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.mem.Refuse()
		h, got := r.open("shard-1"), &progress{t: t}
		for i := range 5 {
			if err := h.Handle(t.Context(), chunk(1+i, message("flows", flowLines(i*10, 10)...)), got.tell); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if got.last() != "" || r.p.Books().Snapshot().InFlight != 50 {
			t.Fatalf("told %q while nothing was acknowledged; books %+v", got.last(), r.p.Books().Snapshot())
		}
		r.mem.Accept()
		synctest.Wait()
		if got.last() != pos(5) || len(r.mem.All()) != 50 {
			t.Errorf("told %q, %d rows", got.last(), len(r.mem.All()))
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.atRest()
	})
}

// A position without rows waits for the rows before it.
func TestProgressKeepsOrderAcrossEmptyChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &byHand{}
		r := newRig(t, withSink(s))
		h, got := r.open("shard-1"), &progress{t: t}
		empty := chunk(2)
		for _, c := range []stream.Chunk{chunk(1, message("flows", flowLine(0))), empty, chunk(3, controlPayload())} {
			if err := h.Handle(t.Context(), c, got.tell); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(got.told) != 0 {
			t.Fatalf("told %v before the first write was done", got.told)
		}
		s.settle(-1, nil)
		synctest.Wait()
		if !slices.Equal(got.told, []stream.Position{pos(1), pos(2), pos(3)}) {
			t.Errorf("told %v", got.told)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestProgressWaitsForTheDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.letters.gate = make(chan struct{})
		h, got := r.open("shard-1"), &progress{t: t}
		for _, c := range []stream.Chunk{
			chunk(1, message("flows", flowLine(0))),
			chunk(2, message("flows", flowLine(1), "rubbish")),
			chunk(3, message("flows", flowLine(2))),
		} {
			if err := h.Handle(t.Context(), c, got.tell); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got.last() != pos(1) {
			t.Fatalf("told %q while the letter of 2 was not durable", got.last())
		}
		close(r.letters.gate)
		synctest.Wait()
		if got.last() != pos(3) || r.letters.flushes != 1 {
			t.Errorf("told %q after %d flushes", got.last(), r.letters.flushes)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.atRest()
	})
}

func TestFailedDeadLetterStopsThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.letters.fail = errors.New("no topic")
		h, got := r.open("shard-1"), &progress{t: t}
		if err := h.Handle(t.Context(), chunk(1, message("flows", "rubbish", flowLine(0))), got.tell); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if f := got.failures(); len(f) != 1 || !strings.Contains(f[0].Error(), "flush dead letter: no topic") || got.last() != "" {
			t.Errorf("failures %v, told %q", f, got.last())
		}
		if err := h.Handle(t.Context(), chunk(2, message("flows", flowLine(0))), got.tell); err == nil {
			t.Error("the next chunk was taken")
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.atRest()
	})
}

// A letter that the dead letter will not take is counted, and stops nothing.
func TestRefusedLetterIsCounted(t *testing.T) {
	r := newRig(t)
	r.letters.refuse = errors.New("too large")
	got := r.run("shard-1", chunk(1, message("flows", "rubbish", flowLine(0))))
	if got.last() != pos(1) || metricValue(t, r, "dredge_pipeline_dead_letter_failures_total") != 1 {
		t.Errorf("told %q, failures %v", got.last(), metricValue(t, r, "dredge_pipeline_dead_letter_failures_total"))
	}
}

func metricValue(t *testing.T, r *rig, name string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// What is lost is told once with its error, nothing after it is told as durable, and the lines are in the books by reason.
func TestSinkErrorsEndThePartition(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
	}{
		{&stream.RewindError{To: pos(1), Err: errors.New("commit unknown")}, AbandonedRewind},
		{stream.ErrFenced, AbandonedLeaseLost},
		{&stream.PermanentError{Err: errors.New("no such topic")}, AbandonedRefused},
		{errors.New("disk on fire"), AbandonedFailed},
	} {
		t.Run(c.reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &byHand{}
				r := newRig(t, withSink(s))
				h, got := r.open("shard-1"), &progress{t: t}
				for i := range 3 {
					if err := h.Handle(t.Context(), chunk(1+i, message("flows", flowLines(0, 10)...)), got.tell); err != nil {
						t.Fatal(err)
					}
				}
				s.settle(1, nil)
				s.settle(2, c.err)
				synctest.Wait()
				if got.last() != pos(1) || len(got.failures()) != 2 || !errors.Is(got.failures()[0], c.err) {
					t.Errorf("told %q, failures %v", got.last(), got.failures())
				}
				if err := h.Handle(t.Context(), chunk(4, message("flows", flowLine(0))), got.tell); !errors.Is(err, c.err) {
					t.Errorf("next Handle = %v", err)
				}
				if err := h.Flush(t.Context()); !errors.Is(err, c.err) {
					t.Errorf("Flush = %v", err)
				}
				if err := h.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if s := r.p.Books().Snapshot(); s.Delivered != 10 || s.Abandoned[c.reason] != 20 {
					t.Errorf("books: %+v", s)
				}
				r.atRest()
			})
		})
	}
}

// A source may go on with the same handler. The sink is opened anew, and when it stands elsewhere than the source was told,
// the source is told so before anything is taken.
func TestHandlerGoesOnAfterARewind(t *testing.T) {
	for _, c := range []struct {
		name   string
		cause  error
		at     stream.Position // where the sink stands when it is opened anew
		rewind bool
	}{
		{"as told", &stream.RewindError{To: pos(1), Err: errors.New("aborted")}, pos(1), false},
		{"further on", &stream.RewindError{To: pos(1), Err: errors.New("aborted")}, pos(2), true},
		{"keeps no position", errors.New("broker away"), "", false},
		{"keeps a position", errors.New("broker away"), pos(1), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &byHand{}
				r := newRig(t, withSink(s))
				h, got := r.open("shard-1"), &progress{t: t}
				if err := h.Handle(t.Context(), chunk(1, message("flows", flowLine(0)), message("flows", flowLine(1))), got.tell); err != nil {
					t.Fatal(err)
				}
				s.settle(-1, c.cause)
				synctest.Wait()
				again, ok := chunk(2, message("flows", flowLine(1))), &progress{t: t}
				if err := h.Handle(t.Context(), again, ok.tell); !errors.Is(err, c.cause) || s.opened != 1 {
					t.Fatalf("Handle before the source can know = %v, opened %d times", err, s.opened)
				}
				s.at = c.at
				err := h.Handle(t.Context(), again, ok.tell)
				if to, is := errors.AsType[*stream.RewindError](err); is != c.rewind || is && to.To != c.at {
					t.Fatalf("Handle = %v", err)
				}
				if c.rewind {
					if err := h.Handle(t.Context(), again, ok.tell); err != nil {
						t.Fatalf("Handle after the rewind = %v", err)
					}
				}
				s.settle(-1, nil)
				synctest.Wait()
				if ok.last() != pos(2) || s.opened != 2 || len(s.writes) != 0 {
					t.Errorf("told %q, opened %d times", ok.last(), s.opened)
				}
				if err := h.Close(t.Context()); err != nil {
					t.Error(err)
				}
				r.atRest()
			})
		})
	}
}

// A partition of another owner, or one that the sink will never take, is not opened anew: that would fence its owner.
func TestHandlerStaysDownWhenFenced(t *testing.T) {
	s := &byHand{refuse: stream.ErrFenced}
	r := newRig(t, withSink(s))
	h, got := r.open("shard-1"), &progress{t: t}
	for range 3 {
		if err := h.Handle(t.Context(), chunk(1, message("flows", flowLine(0))), got.tell); !errors.Is(err, stream.ErrFenced) {
			t.Fatalf("Handle = %v", err)
		}
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := h.Handle(t.Context(), chunk(1), got.tell); !errors.Is(err, stream.ErrFenced) || s.opened != 1 {
		t.Errorf("Handle after Close = %v, opened %d times", err, s.opened)
	}
	r.atRest()
}

// When Write itself refuses, what was decoded is abandoned and nothing is told of it.
func TestRefusedWriteIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &byHand{refuse: stream.ErrFenced}
		r := newRig(t, withSink(s))
		h, got := r.open("shard-1"), &progress{t: t}
		dropped := strings.Replace(flowLine(1), " 20641 ", " 9 ", 1)
		err := h.Handle(t.Context(), chunk(1, message("flows", append([]string{dropped}, flowLines(0, 5000)...)...)), got.tell)
		if !errors.Is(err, stream.ErrFenced) {
			t.Errorf("Handle = %v", err)
		}
		if err := h.Handle(t.Context(), chunk(2), got.tell); !errors.Is(err, stream.ErrFenced) {
			t.Errorf("second Handle = %v", err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if s := r.p.Books().Snapshot(); s.Abandoned[AbandonedLeaseLost] != 5000 || s.Dropped[DroppedByEnricher] != 1 || len(got.told)+len(got.errs) != 0 {
			t.Errorf("books %+v, told %v, %v", s, got.told, got.errs)
		}
		r.atRest()
	})
}

// A drain gives a held slice up at once; what was handed over before is still flushed and told.
func TestDrainAbandonsWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		r := newRig(t, func(_ *Config, d *Deps) { d.Watermarks = m })
		h, got := r.open("shard-1"), &progress{t: t}
		m.move(time.Now().Add(time.Hour))
		if err := h.Handle(t.Context(), chunk(1, message("flows", flowLines(0, 10)...)), got.tell); err != nil {
			t.Fatal(err)
		}
		m.move(time.Time{})
		ctx, cancel := context.WithCancelCause(t.Context())
		start := time.Now()
		go func() {
			<-time.After(17 * time.Second)
			cancel(errors.New("draining"))
		}()
		err := h.Handle(ctx, chunk(2, message("flows", flowLines(0, 10)...)), got.tell)
		if err == nil || time.Since(start) != 17*time.Second {
			t.Errorf("Handle = %v after %s", err, time.Since(start))
		}
		if err := h.Flush(t.Context()); err != nil {
			t.Errorf("Flush = %v", err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if s := r.p.Books().Snapshot(); s.Delivered != 10 || s.Abandoned[AbandonedShutdown] != 10 || got.last() != pos(1) {
			t.Errorf("books %+v, told %q", s, got.last())
		}
		r.atRest()
	})
}

// A slice held for identity takes part in nothing else: its rows come exactly when the bound is over, and SetHold reaches it.
func TestHoldIsExact(t *testing.T) {
	for _, c := range []struct {
		set  time.Duration
		want time.Duration
	}{{0, time.Minute}, {25 * time.Second, 25 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(_ *Config, d *Deps) { d.Watermarks = newMarks() })
			h, got := r.open("shard-1"), &progress{t: t}
			start := time.Now()
			if c.set > 0 {
				go func() {
					<-time.After(time.Second)
					r.p.SetHold(c.set)
				}()
			}
			if err := h.Handle(t.Context(), chunk(1, message("flows", flowLines(0, 10)...)), got.tell); err != nil {
				t.Fatal(err)
			}
			if held := time.Since(start); held != c.want {
				t.Errorf("held for %s, want %s", held, c.want)
			}
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Payloads that arrived far apart do not wait for each other: each is held by its own arrival.
func TestHoldCutsSlicesByArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &byHand{}
		r := newRig(t, withSink(s), func(_ *Config, d *Deps) { d.Watermarks = newMarks() })
		h, got := r.open("shard-1"), &progress{t: t}
		start := time.Now()
		c := chunk(1, message("flows", flowLine(0)), message("flows", flowLine(1)), message("flows", flowLine(2)))
		for i, ago := range []time.Duration{50 * time.Second, 48 * time.Second, 10 * time.Second} {
			c.Payloads[i].Arrived = start.Add(-ago)
		}
		var at []string
		go func() {
			for range 2 {
				<-time.After(10 * time.Second)
				synctest.Wait()
				s.mu.Lock()
				at = append(at, strconv.Itoa(len(s.writes)))
				s.mu.Unlock()
			}
		}()
		if err := h.Handle(t.Context(), c, got.tell); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 50*time.Second || !slices.Equal(at, []string{"1", "1"}) {
			t.Errorf("took %s; writes after 10 s and 20 s: %v", took, at)
		}
		s.settle(-1, nil)
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Close ends everything that the sink left open, and tells nothing afterwards.
func TestCloseEndsWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.mem.Refuse()
		h, got := r.open("shard-1"), &progress{t: t}
		if err := h.Handle(t.Context(), chunk(1, message("flows", flowLine(0))), got.tell); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(got.failures()) != 1 || got.last() != "" {
			t.Errorf("told %q, failures %v", got.last(), got.failures())
		}
		r.mem.Accept()
		synctest.Wait()
		if len(got.failures()) != 1 || got.last() != "" {
			t.Error("told something after Close")
		}
		r.atRest()
	})
}
