package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"dredge/row"
	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// byHand is a sink whose Writes are confirmed by the test.
type byHand struct {
	mu     sync.Mutex
	writes []handWrite
	refuse error
}

type handWrite struct {
	rows int
	last stream.Position
	done func(error)
}

func (s *byHand) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return s, "", nil
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

// When Write itself refuses, what was decoded is abandoned and nothing is told of it.
func TestRefusedWriteIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &byHand{refuse: stream.ErrFenced}
		r := newRig(t, withSink(s))
		h, got := r.open("shard-1"), &progress{t: t}
		dropped := strings.Replace(flowLine(1), " 20641 ", " 9 ", 1)
		err := h.Handle(t.Context(), chunk(1, message("flows", append(flowLines(0, 5000), dropped)...)), got.tell)
		if !errors.Is(err, stream.ErrFenced) {
			t.Errorf("Handle = %v", err)
		}
		if err := h.Handle(t.Context(), chunk(2), got.tell); !errors.Is(err, stream.ErrFenced) {
			t.Errorf("second Handle = %v", err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if s := r.p.Books().Snapshot(); s.Abandoned[AbandonedLeaseLost] != 5001 || len(got.told)+len(got.errs) != 0 {
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
				at = append(at, fmt.Sprint(len(s.writes)))
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

// A payload larger than a slice is handed over in parts, and no commit ever cuts it or any other payload in two.
func TestPayloadsAreNeverSplitOverCommits(t *testing.T) {
	// Small slices cut large payloads; large ones hold them whole, but hand them over in parts.
	for _, slice := range []ByteSize{64 * KiB, 4 * MiB} {
		t.Run(slice.String(), func(t *testing.T) { checkCommits(t, slice) })
	}
}

func checkCommits(t *testing.T, slice ByteSize) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *Deps) { c.Slice = slice })
		r.mem.Fencing = true // and no delay: it commits after every Write that it may commit after
		sizes := []int{10, 3000, 9000, 1, 20, 0, 5000, 2048, 4096, 12}
		var payloads [][]byte
		total := 0
		for _, n := range sizes {
			payloads = append(payloads, message("flows", flowLines(total, n)...))
			total += n
		}
		h, got := r.open("shard-1"), &progress{t: t}
		if err := h.Handle(t.Context(), chunk(1, payloads[:6]...), got.tell); err != nil {
			t.Fatal(err)
		}
		if err := h.Handle(t.Context(), chunk(7, payloads[6:]...), got.tell); err != nil {
			t.Fatal(err)
		}
		if err := h.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		in := map[stream.Position]int{}
		rows := 0
		for i, ids := range r.mem.Commits("shard-1") {
			for _, id := range ids {
				if c, ok := in[id.Position]; ok && c != i {
					t.Fatalf("payload %s is in commits %d and %d", id.Position, c, i)
				}
				in[id.Position] = i
				rows++
			}
		}
		if rows != total || got.last() != pos(10) || r.mem.Position("shard-1") != pos(10) {
			t.Errorf("%d rows of %d, told %q, committed %q", rows, total, got.last(), r.mem.Position("shard-1"))
		}
		if len(r.mem.Commits("shard-1")) < 3 {
			t.Errorf("only %d commits: the test shows nothing", len(r.mem.Commits("shard-1")))
		}
		r.atRest()
	})
}

// transactions is a sink that commits everything of a partition at once, a millisecond after the first Write, and not while a
// payload is unfinished: as a transaction must.
type transactions struct{ rows atomic.Int64 }

type transaction struct {
	s       *transactions
	mu      sync.Mutex
	pending []handWrite
	last    stream.Position
	open    bool // the last Write did not advance
	armed   bool // commit will run
}

func (s *transactions) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return &transaction{s: s}, "", nil
}

func (w *transaction) Write(_ context.Context, b *row.Batch, last stream.Position, done func(error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, handWrite{len(b.Rows), last, done})
	w.open, w.last = last == w.last, last
	if !w.open && !w.armed {
		w.armed = true
		time.AfterFunc(time.Millisecond, w.commit)
	}
	return nil
}

func (w *transaction) commit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	if w.open {
		return // the Write that ends the payload arms it again
	}
	for _, p := range w.pending {
		w.s.rows.Add(int64(p.rows))
		p.done(nil)
	}
	w.pending = nil
}

func (w *transaction) Flush(context.Context) error {
	w.commit()
	return nil
}

func (w *transaction) Close(context.Context) error { return nil }

// Many partitions with payloads larger than a slice, and room for hardly more than one: all of them finish. A deadlock fails
// the bubble.
func TestLargePayloadsNeverDeadlock(t *testing.T) {
	for _, c := range []struct {
		name    string
		reserve ByteSize // for rows on their way
		shards  int
		sizes   []int // of payloads, two to a chunk
	}{
		{"reserve below a slice", 128 * KiB, 6, []int{2000, 1, 7000, 1, 100, 1, 4000, 1}},
		{"reserve above a slice", 2 * MiB, 6, []int{2000, 1, 7000, 1, 100, 1, 4000, 1}},
		// The first payload's rows take nearly all of the reserve, and are not committed yet when parts of the second one come
		// in the same slice.
		{"caught behind parts", 512 * KiB, 1, []int{500, 5000}},
	} {
		t.Run(c.name, func(t *testing.T) { checkLargePayloads(t, int64(c.reserve), c.shards, c.sizes) })
	}
}

func checkLargePayloads(t *testing.T, reserve int64, shards int, sizes []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		kept := &transactions{}
		r := newRig(t, func(c *Config, d *Deps) { c.Slice, d.Sink = 64*KiB, kept })
		cost := r.p.cfg.sliceCost()
		r.p.budget = newBudget(cost+reserve+1, cost, reserve)
		r.p.laneShare = reserve / int64(cap(r.p.lanes))
		var chunks []stream.Chunk
		total := 0
		for i := 0; i < len(sizes); i += 2 {
			chunks = append(chunks, chunk(1+i, message("flows", flowLines(0, sizes[i])...), message("flows", flowLines(0, sizes[i+1])...)))
			total += sizes[i] + sizes[i+1]
		}
		var wg sync.WaitGroup
		for k := range shards {
			wg.Go(func() {
				name := fmt.Sprintf("shard-%d", k)
				h, _, err := r.p.Open(t.Context(), name)
				if err != nil {
					t.Error(err)
					return
				}
				got := &progress{t: t}
				for _, c := range chunks {
					c.Partition = name
					if err := h.Handle(t.Context(), c, got.tell); err != nil {
						t.Error(err)
					}
				}
				if err := h.Flush(t.Context()); err != nil {
					t.Error(err)
				}
				if err := h.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if got.last() != pos(len(sizes)) {
					t.Errorf("%s: told %q", name, got.last())
				}
			})
		}
		wg.Wait()
		if n := kept.rows.Load(); n != int64(shards*total) {
			t.Errorf("%d rows", n)
		}
		r.atRest()
	})
}

// Stopped in the middle of a large payload, Flush returns without waiting for what can never be committed.
func TestFlushInTheMiddleOfAPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		r := newRig(t, func(c *Config, d *Deps) { c.Slice, d.Watermarks = 64*KiB, m })
		r.mem.Fencing = true
		h, got := r.open("shard-1"), &progress{t: t}
		ctx, cancel := context.WithCancel(t.Context())
		m.move(time.Now().Add(time.Hour))
		lines := flowLines(0, 3000)
		go func() {
			// The second slice of the payload is held once the first was handed over.
			synctest.Wait()
			cancel()
		}()
		m.onAsk = func() { m.at = 0 }
		if err := h.Handle(ctx, chunk(1, message("flows", flowLine(0)), message("flows", lines...)), got.tell); !errors.Is(err, context.Canceled) {
			t.Fatalf("Handle = %v", err)
		}
		start := time.Now()
		flushing, stop := context.WithTimeout(t.Context(), 25*time.Second)
		defer stop()
		if err := h.Flush(flushing); err != nil || time.Since(start) != 0 {
			t.Errorf("Flush = %v after %s", err, time.Since(start))
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got.last() != pos(1) || len(r.mem.All()) != 1 {
			t.Errorf("told %q, %d rows", got.last(), len(r.mem.All()))
		}
		r.atRest()
	})
}

// The books balance and nothing is passed over, whatever the sink does and whenever the work is stopped. The test does what
// sources do: after an error it reads on from what was told or where the sink stands, with the same handler or a new one.
func TestBooksBalanceUnderFaults(t *testing.T) {
	made := map[string][]byte{} // payloads, because making them takes longer than the check
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(0, 2600), 1, 12).Draw(rt, "sizes")
		bad := rapid.SliceOfN(rapid.IntRange(0, 7), len(sizes), len(sizes)).Draw(rt, "bad")
		fencing := rapid.Bool().Draw(rt, "exactly once")
		faults := rapid.SliceOfN(rapid.IntRange(0, 6), 0, 6).Draw(rt, "faults")
		perChunk := rapid.IntRange(1, 4).Draw(rt, "payloads per chunk")
		keep := rapid.Bool().Draw(rt, "keep the handler")
		synctest.Test(t, func(t *testing.T) {
			checkUnderFaults(t, made, sizes, bad, faults, perChunk, fencing, keep)
		})
	})
}

func checkUnderFaults(t *testing.T, made map[string][]byte, sizes, bad, faults []int, perChunk int, fencing, keep bool) {
	t.Helper()
	r := newRig(t, func(c *Config, _ *Deps) { c.Slice = 64 * KiB })
	r.mem.Fencing, r.mem.Delay = fencing, 20*time.Millisecond
	var all []stream.Payload
	want := map[sinktest.RowID]bool{}
	for i, n := range sizes {
		for j := range n {
			want[sinktest.RowID{Partition: "shard-1", Position: pos(i + 1), Index: j}] = true
		}
		key := fmt.Sprint(n, bad[i] == 0)
		if made[key] == nil {
			lines := flowLines(0, n)
			if bad[i] == 0 {
				lines = append(lines, "rubbish")
			}
			made[key] = message("flows", lines...)
		}
		all = append(all, stream.Payload{Data: made[key], At: pos(i + 1), Arrived: time.Now()})
	}
	var h stream.Handler
	var told, from stream.Position
	for round := 0; told != all[len(all)-1].At; round++ {
		if round > 100 {
			t.Fatalf("told %q after %d rounds", told, round)
		}
		fault := -1
		if round < len(faults) {
			fault = faults[round]
		}
		if h == nil {
			var at stream.Position
			var err error
			if h, at, err = r.p.Open(t.Context(), "shard-1"); err != nil {
				t.Fatal(err)
			}
			from = max(told, at)
		}
		got := &progress{t: t}
		ctx, cancel := context.WithCancel(t.Context())
		var breaking sync.WaitGroup
		breaking.Go(func() {
			select {
			case <-time.After(time.Duration(fault*7) * time.Millisecond):
			case <-ctx.Done():
				return
			}
			switch fault {
			case 0, 1:
				r.mem.Rewind("shard-1")
			case 2:
				r.mem.Fence("shard-1")
			case 3:
				r.mem.Fail("shard-1", &stream.PermanentError{Err: errors.New("refused")})
			case 4:
				r.mem.Fail("shard-1", errors.New("broker away"))
			case 5:
				cancel()
			}
		})
		var broke error
		for broke == nil {
			i := slices.IndexFunc(all, func(p stream.Payload) bool { return p.At > from })
			if i < 0 {
				flushing, stop := context.WithTimeout(t.Context(), time.Second)
				broke = h.Flush(flushing)
				stop()
				break
			}
			c := stream.Chunk{Partition: "shard-1", Payloads: all[i:min(i+perChunk, len(all))]}
			c.Last = c.Payloads[len(c.Payloads)-1].At
			broke = h.Handle(ctx, c, got.tell)
			from = c.Last
			if fault >= 0 {
				<-time.After(3 * time.Millisecond) // as a reader takes its time
			}
			if err := r.p.Books().Snapshot().Check(); err != nil {
				t.Error(err)
			}
		}
		cancel()
		breaking.Wait()
		if _, permanent := errors.AsType[*stream.PermanentError](broke); !keep || permanent || errors.Is(broke, stream.ErrFenced) {
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
			h = nil
			r.atRest()
		}
		told = max(told, got.last())
		from = told
		if rewind, ok := errors.AsType[*stream.RewindError](broke); ok {
			from = max(told, rewind.To)
		}
	}
	if h != nil {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r.atRest()
	times := map[sinktest.RowID]int{}
	for _, s := range r.mem.All() {
		times[s.ID()]++
	}
	for id := range want {
		if times[id] == 0 {
			t.Errorf("row %s is lost", id)
		}
		if fencing && times[id] > 1 {
			t.Errorf("row %s is there %d times", id, times[id])
		}
	}
	if len(times) > len(want) {
		t.Errorf("%d rows of %d", len(times), len(want))
	}
}
