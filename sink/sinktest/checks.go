package sinktest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/go-cmp/cmp"

	"dredge/stream"
)

func (c *check) durable() {
	w := c.open("shard-0")
	defer w.mustClose()
	for _, n := range []int{1, 10, 500} {
		w.mustWrite(n, 300)
	}
	w.mustFlush()
	w.good(3)
	c.holds(w.written, true)
	if !c.o.Unordered {
		if d := cmp.Diff(w.written, c.Durable(c.T)); d != "" {
			c.Errorf("order of rows (-written +read):\n%s", d)
		}
	}
}

// Without Flush the sink commits by itself, in order, and what is reported is there at that moment.
func (c *check) doneInOrder() {
	w := c.open("shard-0")
	defer w.mustClose()
	const writes = 40
	for i := range writes {
		w.mustWrite(1+i*7%23, 200)
	}
	w.await(writes)
	w.good(writes)
	c.holds(w.written, true)
}

// A Write without rows still moves the position, after all before it.
func (c *check) emptyWrite() {
	w := c.open("shard-0")
	defer w.mustClose()
	w.mustWrite(0, 0)
	w.mustWrite(20, 200)
	w.mustWrite(0, 0)
	w.mustFlush()
	w.good(3)
	c.holds(w.written, true)
}

// One batch is used for all Writes, as the pipeline does, and overwritten after each.
func (c *check) nothingIsKept() {
	w := c.open("shard-0")
	defer w.mustClose()
	var ids []RowID
	shared := Batch("shard-0", Position(1), 0, 100, 700)
	const writes = 30
	for n := range writes {
		fresh := Batch("shard-0", Position(n+1), 0, 100, 700)
		shared.Partition = fresh.Partition
		copy(shared.Origins, fresh.Origins)
		copy(shared.Rows, fresh.Rows)
		ids = append(ids, IDs(shared)...)
		if err := w.Write(c.ctx, shared, Position(n+1), w.done(Position(n+1))); err != nil {
			c.Fatalf("Write = %v", err)
		}
		poison(shared)
	}
	w.mustFlush()
	w.good(writes)
	c.holds(ids, true)
}

func (c *check) flushOfNothing() {
	w := c.open("shard-0")
	w.mustFlush()
	w.mustWrite(3, 100)
	w.mustFlush()
	w.mustFlush()
	w.good(1)
	w.mustClose()
}

func (c *check) manyWriters() {
	const writers, writes = 12, 15
	ws := make([]*writer, writers)
	for i := range ws {
		ws[i] = c.open(fmt.Sprintf("shard-%d", i))
	}
	var wg sync.WaitGroup
	for _, w := range ws {
		wg.Go(func() {
			for i := range writes {
				if err := w.write(c.ctx, 1+i, 150); err != nil {
					c.Errorf("Write of %q = %v", w.partition, err)
					return
				}
				if i == writes/2 {
					if err := w.Flush(c.ctx); err != nil {
						c.Errorf("Flush of %q = %v", w.partition, err)
					}
				}
			}
			if err := w.Flush(c.ctx); err != nil {
				c.Errorf("Flush of %q = %v", w.partition, err)
			}
		})
	}
	wg.Wait()
	var all []RowID
	for _, w := range ws {
		w.good(writes)
		w.mustClose()
		all = append(all, w.written...)
	}
	c.holds(all, true)
}

// A Write that returns an error is never reported, and costs neither what went before nor another Writer.
func (c *check) canceledWrite() {
	w, other := c.open("shard-0"), c.open("shard-1")
	defer other.mustClose()
	w.mustWrite(10, 200)
	other.mustWrite(10, 200)
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	if err := w.write(ctx, 10, 200); !errors.Is(err, context.Canceled) {
		c.Errorf("Write with a canceled context = %v, want %v", err, context.Canceled)
	}
	w.await(1)
	w.good(1)
	w.mustClose()
	w.good(1)
	other.mustWrite(10, 200)
	other.mustFlush()
	other.good(2)
	c.holds(w.written, false)
	c.holds(other.written, false)
}

func (c *check) nothingAfterClose() {
	w := c.open("shard-0")
	w.mustWrite(5, 100)
	w.mustFlush()
	w.mustClose()
	if err := w.write(c.ctx, 5, 100); err == nil {
		c.Error("Write after Close = nil, want an error")
	}
	w.good(1)
	again := w.reopen()
	again.mustWrite(5, 100)
	again.mustFlush()
	again.good(1)
	again.mustClose()
}

// A transient fault is retried inside the sink: the caller sees nothing of it, and nothing is lost.
func (c *check) transientFault() {
	w, other := c.open("shard-0"), c.open("shard-1")
	w.mustWrite(10, 200)
	w.mustFlush()
	f := c.Break(c.T)
	w.mustWrite(10, 200)
	other.mustWrite(10, 200)
	if err := f.Await(c.ctx); err != nil {
		c.Fatalf("the fault was never met: %v", err)
	}
	w.mustWrite(10, 200)
	f.Mend()
	w.mustFlush()
	other.mustFlush()
	w.good(3)
	other.good(1)
	c.holds(w.written, false)
	c.holds(other.written, false)
	w.mustClose()
	other.mustClose()
}

func (c *check) notDoneBeforeDurable() {
	w := c.open("shard-0")
	f := c.Break(c.T)
	w.mustWrite(10, 200)
	if err := f.Await(c.ctx); err != nil {
		c.Fatalf("the fault was never met: %v", err)
	}
	w.good(0)
	f.Mend()
	w.mustFlush()
	w.good(1)
	c.holds(w.written, false)
	w.mustClose()
}

func (c *check) closeReportsTheRest() {
	w := c.open("shard-0")
	w.mustWrite(10, 200)
	w.mustFlush()
	f := c.Break(c.T)
	w.mustWrite(10, 200)
	w.mustWrite(10, 200)
	if err := f.Await(c.ctx); err != nil {
		c.Fatalf("the fault was never met: %v", err)
	}
	w.mustClose()
	w.mu.Lock()
	if len(w.errs) != 3 || w.errs[0] != nil || w.errs[1] == nil || w.errs[2] == nil {
		c.Errorf("done errors after Close = %v, want nil and two errors", w.errs)
	}
	n := len(w.errs)
	w.mu.Unlock()
	f.Mend()
	// The backend works again, and late answers to the closed Writer's rows must change nothing.
	again := w.reopen()
	again.mustWrite(10, 200)
	again.mustFlush()
	again.good(1)
	again.mustClose()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errs) != n {
		c.Errorf("%d done calls came after Close", len(w.errs)-n)
	}
}

func (c *check) flushGivesUp() {
	w := c.open("shard-0")
	f := c.Break(c.T)
	w.mustWrite(10, 200)
	if err := f.Await(c.ctx); err != nil {
		c.Fatalf("the fault was never met: %v", err)
	}
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	if err := w.Flush(ctx); !errors.Is(err, context.Canceled) {
		c.Errorf("Flush = %v, want %v", err, context.Canceled)
	}
	w.good(0)
	f.Mend()
	w.mustFlush()
	w.good(1)
	c.holds(w.written, false)
	w.mustClose()
}

// While the backend stands still, Write must block at some point, and end with its context; afterwards nothing was lost.
func (c *check) backPressure() {
	w := c.open("shard-0")
	f := c.Break(c.T)
	const (
		rows, size = 500, 1000
		limit      = 1 << 30
	)
	// The bubble's clock, or a real one, ends the Write that blocks.
	ctx, cancel := context.WithTimeout(c.ctx, c.o.Patience/10)
	defer cancel()
	accepted, n := 0, 0
	for accepted < limit {
		if err := w.write(ctx, rows, size); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				c.Fatalf("Write = %v, want %v", err, context.DeadlineExceeded)
			}
			break
		}
		n++
		accepted += rows * size
	}
	if accepted >= limit {
		c.Errorf("the sink took %d bytes without a word from its backend", accepted)
	}
	w.good(0)
	f.Mend()
	w.mustFlush()
	w.good(n)
	c.holds(w.written, false)
	w.mustClose()
}

func (c *check) permanent() {
	w := c.open("shard-0")
	w.mustWrite(10, 200)
	w.mustFlush()
	c.Forbid(c.T)
	first := w.write(c.ctx, 10, 200)
	err := w.Flush(c.ctx)
	if first != nil {
		err = first
	} else {
		w.await(2)
		w.mu.Lock()
		if w.errs[0] != nil || !isPermanent(w.errs[1]) {
			c.Errorf("done errors = %v, want nil and a stream.PermanentError", w.errs)
		}
		w.mu.Unlock()
	}
	if !isPermanent(err) {
		c.Errorf("Write and Flush = %v, want a stream.PermanentError", err)
	}
	if err := w.write(c.ctx, 10, 200); !isPermanent(err) {
		c.Errorf("the next Write = %v, want a stream.PermanentError", err)
	}
	w.mustClose()
}

func isPermanent(err error) bool {
	_, ok := errors.AsType[*stream.PermanentError](err)
	return ok
}

// payloadsAreNotSplit hands payloads over in parts; all but the last part carry the previous payload's position.
func (c *check) payloadsAreNotSplit() {
	w := c.open("shard-0")
	const payloads, parts, rows = 8, 4, 50
	last := stream.Position("") // where Open said the sink stands
	for p := 1; p <= payloads; p++ {
		for part := range parts {
			if part == parts-1 {
				last = Position(p)
			}
			if err := w.writePart(c.ctx, Position(p), last, part*rows, rows, 400); err != nil {
				c.Fatalf("Write = %v", err)
			}
		}
	}
	w.mustFlush()
	w.mustClose()
	c.holds(w.written, true)
	for i, commit := range c.Commits(c.T, "shard-0") {
		seen := map[stream.Position]int{}
		for _, id := range commit {
			seen[id.Position]++
		}
		for pos, n := range seen {
			if n != parts*rows {
				c.Errorf("commit %d holds %d of the %d rows of payload %q", i, n, parts*rows, pos)
			}
		}
	}
}

func (c *check) fenced() {
	w := c.open("shard-0")
	w.mustWrite(10, 200)
	w.mustFlush()
	c.Fence(c.T, "shard-0")
	err := w.write(c.ctx, 10, 200)
	if err == nil {
		err = w.Flush(c.ctx)
	}
	if !errors.Is(err, stream.ErrFenced) {
		c.Errorf("Write and Flush after the take-over = %v, want %v", err, stream.ErrFenced)
	}
	w.mustClose()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, err := range w.errs[1:] {
		if !errors.Is(err, stream.ErrFenced) {
			c.Errorf("done of the fenced write %d = %v, want %v", i+2, err, stream.ErrFenced)
		}
	}
	if w.errs[0] != nil {
		c.Errorf("done of the committed write = %v", w.errs[0])
	}
}

func (c *check) rewind() {
	w := c.open("shard-0")
	w.mustWrite(10, 200)
	w.mustFlush()
	to := c.Undo(c.T, "shard-0")
	err := w.write(c.ctx, 10, 200)
	if err == nil {
		err = w.Flush(c.ctx)
	}
	rewind, ok := errors.AsType[*stream.RewindError](err)
	if !ok || rewind.To != to {
		c.Errorf("Write and Flush = %v, want a rewind to %q", err, to)
	}
	w.mustClose()

	again, pos, err := c.Sink.Open(c.ctx, "shard-0")
	if err != nil || pos != to {
		c.Fatalf("Open after the rewind = _, %q, %v, want %q", pos, err, to)
	}
	if err := again.Close(c.ctx); err != nil {
		c.Errorf("Close = %v", err)
	}
}
