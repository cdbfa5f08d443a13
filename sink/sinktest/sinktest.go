// Package sinktest is the contract of package sink as a test suite, and Memory, a sink in memory that keeps it and can be told
// to break it. Every sink runs the suite, and so does Memory: what the pipeline is tested against behaves as the real ones do.
package sinktest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/sink"
	"dredge/stream"
)

// Harness is one sink with an empty backend, and hands on the backend. Options say which fields may be nil.
type Harness struct {
	Sink sink.Sink
	// Durable reads back what a reader of the backend finds now, in the backend's order.
	Durable func(t *testing.T) []RowID
	// Break makes the backend refuse or swallow everything, as a lost broker or a full disk does.
	Break func(t *testing.T) Fault
	// Forbid makes the backend refuse with a fault that no retry mends: an ACL, a deleted topic.
	Forbid func(t *testing.T)
	// Commits lists the rows of each commit of partition, in order.
	Commits func(t *testing.T, partition string) [][]RowID
	// Fence lets another worker claim partition.
	Fence func(t *testing.T, partition string)
	// Undo makes the sink lose what it has in flight for partition, so that it must ask for a rewind. It returns where it stands.
	Undo func(t *testing.T, partition string) stream.Position
	// Close ends the sink and its backend. It is called once, after all Writers were closed.
	Close func(t *testing.T)
}

// Fault is a fault that lasts until it is mended.
type Fault interface {
	// Await returns when the fault has been met at least once.
	Await(ctx context.Context) error
	Mend()
}

// Options says what the sink under test is.
type Options struct {
	// New makes a fresh sink with an empty backend.
	New func(t *testing.T) Harness
	// Virtual runs each check in a synctest bubble; the backend must then live in this process and use no real network.
	Virtual bool
	// Patience bounds every wait. It is virtual time when Virtual is set.
	Patience time.Duration
	// NoFaults says that the backend cannot be broken on request; Break and Forbid are nil. Half of the contract is then not
	// checked.
	NoFaults bool
	// ExactlyOnce says that the sink keeps positions: Commits, Fence and Undo are set.
	ExactlyOnce bool
	// Unordered is set by a sink whose readers do not find the rows of one partition in the order in which they were written.
	Unordered bool
}

// Run runs the whole contract against the sink.
func Run(t *testing.T, o Options) {
	t.Helper()
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	type named struct {
		name string
		f    func(*check)
	}
	checks := []named{
		{"Durable", (*check).durable},
		{"DoneInOrder", (*check).doneInOrder},
		{"EmptyWrite", (*check).emptyWrite},
		{"NothingIsKept", (*check).nothingIsKept},
		{"FlushOfNothing", (*check).flushOfNothing},
		{"ManyWriters", (*check).manyWriters},
		{"CanceledWrite", (*check).canceledWrite},
		{"NothingAfterClose", (*check).nothingAfterClose},
	}
	if !o.NoFaults {
		checks = append(checks,
			named{"TransientFault", (*check).transientFault},
			named{"NotDoneBeforeDurable", (*check).notDoneBeforeDurable},
			named{"CloseReportsTheRest", (*check).closeReportsTheRest},
			named{"FlushGivesUp", (*check).flushGivesUp},
			named{"BackPressure", (*check).backPressure},
			named{"Permanent", (*check).permanent},
		)
	}
	if o.ExactlyOnce {
		checks = append(checks,
			named{"PayloadsAreNotSplit", (*check).payloadsAreNotSplit},
			named{"Fenced", (*check).fenced},
			named{"Rewind", (*check).rewind},
		)
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			body := func(t *testing.T) {
				t.Helper()
				h := o.New(t)
				defer h.Close(t)
				ctx, cancel := context.WithTimeout(t.Context(), o.Patience)
				defer cancel()
				c.f(&check{T: t, Harness: h, o: o, ctx: ctx})
			}
			if o.Virtual {
				synctest.Test(t, body)
			} else {
				body(t)
			}
		})
	}
}

// check is one check's state.
type check struct {
	*testing.T
	Harness
	o   Options
	ctx context.Context //nolint:containedctx // one check is one call
}

// writer is a Writer under test, and all that it reported.
type writer struct {
	c *check
	sink.Writer
	partition string
	first     int // positions up to here were written before this Writer was opened
	next      int
	written   []RowID

	mu       sync.Mutex
	reported []stream.Position
	errs     []error
	running  bool
	changed  chan struct{}
}

func (c *check) open(partition string) *writer {
	c.Helper()
	w, _, err := c.Sink.Open(c.ctx, partition)
	if err != nil {
		c.Fatalf("Open(%q) = %v", partition, err)
	}
	return &writer{c: c, Writer: w, partition: partition, changed: make(chan struct{})}
}

// reopen opens w's partition again. Its positions go on where w's ended.
func (w *writer) reopen() *writer {
	w.c.Helper()
	again := w.c.open(w.partition)
	again.first, again.next = w.next, w.next
	return again
}

// write writes n rows of one new payload and overwrites the batch afterwards.
func (w *writer) write(ctx context.Context, n, size int) error {
	w.next++
	return w.writePart(ctx, Position(w.next), Position(w.next), 0, n, size)
}

func (w *writer) writePart(ctx context.Context, at, last stream.Position, first, n, size int) error {
	b := Batch(w.partition, at, first, n, size)
	ids := IDs(b)
	err := w.Write(ctx, b, last, w.done(last))
	poison(b)
	if err == nil {
		w.written = append(w.written, ids...)
	}
	return err
}

func (w *writer) mustWrite(n, size int) {
	w.c.Helper()
	if err := w.write(w.c.ctx, n, size); err != nil {
		w.c.Fatalf("Write %d = %v", w.next, err)
	}
}

func (w *writer) done(last stream.Position) func(error) {
	called := false
	return func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if called {
			w.c.Errorf("done of %q ran twice", last)
		}
		if w.running {
			w.c.Errorf("two done functions of one Writer ran at the same time")
		}
		called, w.running = true, true
		w.reported = append(w.reported, last)
		w.errs = append(w.errs, err)
		close(w.changed)
		w.changed = make(chan struct{})
		w.running = false
	}
}

// await waits until n Writes were reported.
func (w *writer) await(n int) {
	w.c.Helper()
	for {
		w.mu.Lock()
		got, changed := len(w.reported), w.changed
		w.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-w.c.ctx.Done():
			w.c.Fatalf("%d of %d writes of %q were reported within %s", got, n, w.partition, w.c.o.Patience)
		}
	}
}

// good checks that exactly the first n Writes were reported, in order and without an error.
func (w *writer) good(n int) {
	w.c.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var want []stream.Position
	for i := range n {
		want = append(want, Position(w.first+i+1))
	}
	if d := cmp.Diff(want, w.reported); d != "" {
		w.c.Errorf("reported positions of %q (-want +got):\n%s", w.partition, d)
	}
	for i, err := range w.errs {
		if err != nil {
			w.c.Errorf("done of %q = %v", w.reported[i], err)
		}
	}
}

func (w *writer) mustFlush() {
	w.c.Helper()
	if err := w.Flush(w.c.ctx); err != nil {
		w.c.Fatalf("Flush of %q = %v", w.partition, err)
	}
}

func (w *writer) mustClose() {
	w.c.Helper()
	if err := w.Close(w.c.ctx); err != nil {
		w.c.Errorf("Close of %q = %v", w.partition, err)
	}
}

// holds checks that every row of ids is durable. With exact there may be no other one and none twice.
func (c *check) holds(ids []RowID, exact bool) {
	c.Helper()
	got := Sorted(c.Durable(c.T))
	if exact {
		if d := cmp.Diff(Sorted(ids), got); d != "" {
			c.Errorf("durable rows (-want +got):\n%s", d)
		}
		return
	}
	for _, id := range ids {
		if _, ok := slices.BinarySearchFunc(got, id, RowID.Compare); !ok {
			c.Errorf("row %s was reported durable and is not there", id)
		}
	}
}
