package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dredge/row"
	"dredge/sink"
	"dredge/stream"
)

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
