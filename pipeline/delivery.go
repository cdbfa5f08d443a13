package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"dredge/sink"
	"dredge/stream"
)

// errGivenUp is what is told of rows that were on their way when the partition was closed.
var errGivenUp = errors.New("partition closed before its rows were durable")

// errClosed is what a Handler says after Close; like a lost lease, nothing opens it again.
var errClosed = fmt.Errorf("handler closed: %w", stream.ErrFenced)

// failure is an error that ends the work on a partition, and a way to wait for it.
type failure struct {
	mu       sync.Mutex
	cause    error
	happened chan struct{}
}

func newFailure() *failure { return &failure{happened: make(chan struct{})} }

// set keeps the first error.
func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cause == nil {
		f.cause = err
		close(f.happened)
	}
}

func (f *failure) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

// entry is one Write, or one position that needed none, until its progress was told.
type entry struct {
	at       stream.Position
	progress func(stream.Position, error)
	// report is false for a part of a payload whose position has not advanced: there is nothing to tell when it went well.
	report bool
	// letters says that lines up to at were put into the dead letter, which must be durable before at is told.
	letters bool
	rows    int64
	bytes   int64 // of the budget

	settled bool
	err     error
}

// delivery keeps what one partition handed to the sink in order, and tells progress in that order.
//
// The sink calls done from its own goroutine, where nothing may block; flushing the dead letter and telling the source may.
// So done only notes the outcome, and run, one goroutine for each open partition, does the rest.
type delivery struct {
	books      *Books
	budget     *budget
	deadLetter sink.DeadLetter
	metrics    *metrics
	// stop is set by the first thing that goes wrong; nothing is handed over after it.
	stop *failure
	// deadLettered asks the writer which rows went to the dead letter; nil when it cannot say.
	deadLettered func() map[string]int64

	wake  chan struct{} // of size one: something was settled
	ended chan struct{} // run has returned

	mu    sync.Mutex
	queue []*entry
	// idle is closed while queue is empty.
	idle chan struct{}
	// moved is closed, and made anew, when something was told.
	moved  chan struct{}
	lost   error // the first failed entry's: nothing after it can be told as durable
	closed bool
}

func newDelivery(p *Pipeline, deadLettered func() map[string]int64) *delivery {
	d := &delivery{
		books: p.books, budget: p.budget, deadLetter: p.deps.DeadLetter, metrics: p.metrics,
		stop: newFailure(), deadLettered: deadLettered,
		wake: make(chan struct{}, 1), ended: make(chan struct{}), idle: make(chan struct{}), moved: make(chan struct{}),
	}
	close(d.idle)
	return d
}

// add appends e. Entries without rows need no sink and are settled from the start.
func (d *delivery) add(e *entry) {
	d.mu.Lock()
	if len(d.queue) == 0 {
		d.idle = make(chan struct{})
	}
	d.queue = append(d.queue, e)
	settled := e.settled
	d.mu.Unlock()
	if settled {
		d.wakeUp()
	}
}

// take removes e again, which must be the last: the sink refused it, so done will not be called.
func (d *delivery) take(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last := len(d.queue) - 1; last >= 0 && d.queue[last] == e {
		d.queue = d.queue[:last]
		if last == 0 {
			close(d.idle)
		}
		return
	}
	panic("BUG: the entry taken back is not the last one")
}

// done notes the outcome of e. A second call for the same entry changes nothing.
func (d *delivery) done(e *entry, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(e, err)
	d.wakeUp()
}

// settle is done with d.mu held. The books and the budget move before anybody can see that e is settled.
func (d *delivery) settle(e *entry, err error) {
	if e.settled {
		return
	}
	d.budget.release(classUnacked, e.bytes)
	if err != nil {
		d.books.abandoned(abandonReason(err), e.rows)
		d.stop.set(err)
	} else {
		var letters map[string]int64
		if d.deadLettered != nil {
			letters = d.deadLettered()
		}
		d.books.delivered(e.rows, letters)
	}
	e.settled, e.err = true, err
}

func (d *delivery) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// head returns the entries at the head of the queue that are settled, and whether more may come.
func (d *delivery) head() (ready []*entry, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for n < len(d.queue) && d.queue[n].settled {
		n++
	}
	return d.queue[:n:n], !d.closed || n < len(d.queue)
}

// run tells progress until finish was called and everything is told. ctx bounds only the waiting for the dead letter.
func (d *delivery) run(ctx context.Context) {
	defer close(d.ended)
	for {
		ready, more := d.head()
		if len(ready) > 0 {
			d.tell(ctx, ready)
			d.remove(len(ready))
			continue
		}
		if !more {
			return
		}
		<-d.wake
	}
}

// tell reports ready, in order. Only run calls it.
func (d *delivery) tell(ctx context.Context, ready []*entry) {
	flushed := false
	for _, e := range ready {
		first := false
		if d.lost == nil && e.err != nil {
			first = true
			d.setLost(e.err)
		}
		if d.lost == nil && e.letters && !flushed {
			// One flush serves all entries that were settled when it began.
			flushed = true
			if err := d.deadLetter.Flush(ctx); err != nil {
				d.metrics.letterFailures.flush.Inc()
				first = true
				d.setLost(&letterError{err})
			}
		}
		if e.report || first {
			e.progress(e.at, d.lost)
		}
	}
}

func (d *delivery) setLost(err error) {
	d.stop.set(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost = err
}

func (d *delivery) remove(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.queue[:n])
	d.queue = d.queue[n:]
	close(d.moved)
	d.moved = make(chan struct{})
	if len(d.queue) == 0 {
		d.queue = nil
		close(d.idle)
	}
}

// wait returns when everything added so far was told, with the error of what was lost.
func (d *delivery) wait(ctx context.Context) error {
	d.mu.Lock()
	idle := d.idle
	d.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}

// waitComplete is wait that does not care for parts of an unfinished payload at the end of the queue.
func (d *delivery) waitComplete(ctx context.Context) error {
	for {
		d.mu.Lock()
		moved, lost := d.moved, d.lost
		waiting := slices.ContainsFunc(d.queue, func(e *entry) bool { return e.report })
		d.mu.Unlock()
		if !waiting {
			return lost
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// finish settles what the sink left open, and lets run end once everything is told.
func (d *delivery) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.queue {
		d.settle(e, errGivenUp)
	}
	d.closed = true
	d.wakeUp()
}

// letterError says that the dead letter could not be made durable, so the positions behind its letters cannot be passed.
type letterError struct{ err error }

func (e *letterError) Error() string { return "flush dead letter: " + e.err.Error() }
func (e *letterError) Unwrap() error { return e.err }

// abandonReason is the reason under which lines that were lost to err are counted.
func abandonReason(err error) string {
	if _, ok := errors.AsType[*stream.RewindError](err); ok {
		return AbandonedRewind
	}
	if _, ok := errors.AsType[*stream.PermanentError](err); ok {
		return AbandonedRefused
	}
	switch {
	case errors.Is(err, stream.ErrFenced):
		return AbandonedLeaseLost
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errGivenUp):
		return AbandonedShutdown
	default:
		return AbandonedFailed
	}
}
