// Package ack keeps the promise that every sink makes: done is called once for each Write, in the order of the Writes,
// although their rows become durable in any order.
//
// A Writer adds an Entry before it hands anything to its backend and holds it once for every piece it hands over. When the
// last hold is released the entry is settled, and it is reported as soon as all entries before it are. Once an entry was
// reported with an error, every later one gets that error too, even if its own rows are durable: a position beyond rows that
// will never be must not be checkpointed.
package ack

import (
	"context"
	"sync"
)

// Queue is the list of one Writer's Writes that are not yet reported. The zero Queue is ready to use; it may not be copied.
//
// Add, Handed, Abort, Flush and Close are called by the Writer's goroutine; Release and Fail from any. No lock is held while
// done runs, but done must not call back into the Queue.
type Queue struct {
	mu      sync.Mutex
	entries []*Entry
	// reporting is true while one goroutine calls done functions. Others leave their settled entries to it, so calls never overlap.
	reporting bool
	err       error
	idle      chan struct{} // closed when nothing is left to report; nil when nobody waits
}

// Entry is one Write.
type Entry struct {
	q    *Queue
	done func(error)
	// open is true until Write hands over its last piece. Nothing is reported about an open entry, because its Write may still
	// return an error, and then done must never have run.
	open  bool
	holds int
	err   error
}

// Add appends a Write, open until Handed or Abort. When an earlier Write failed, or the queue is closed, it returns that error
// instead and done will not be called.
func (q *Queue) Add(done func(error)) (*Entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return nil, q.err
	}
	e := &Entry{q: q, done: done, open: true}
	q.entries = append(q.entries, e)
	return e, nil
}

// Hold adds n holds; only while e is open.
func (e *Entry) Hold(n int) {
	e.q.mu.Lock()
	e.holds += n
	e.q.mu.Unlock()
}

// Release gives one hold back: that piece is durable, or with err will never be. The first error is the entry's. The
// goroutine that settles the oldest entry runs its done, and those of settled entries behind it.
func (e *Entry) Release(err error) {
	q := e.q
	q.mu.Lock()
	defer q.mu.Unlock()
	e.holds--
	if e.err == nil {
		e.err = err
	}
	q.report()
}

// Handed says that Write has handed everything over. When the queue failed in the meantime it aborts e and returns the error,
// which Write returns in turn.
func (e *Entry) Handed() error {
	q := e.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		q.abort(e)
		return q.err
	}
	e.open = false
	q.report()
	return nil
}

// Dead says that e was reported or aborted already: work on it is in vain.
func (e *Entry) Dead() bool {
	e.q.mu.Lock()
	defer e.q.mu.Unlock()
	return e.done == nil
}

// Abort takes an open entry out again, because its Write returns an error: done will not be called. Pieces that were handed
// over may still be released.
func (e *Entry) Abort() {
	e.q.mu.Lock()
	defer e.q.mu.Unlock()
	e.q.abort(e)
}

// abort is Abort with q.mu held. An open entry is always the last one.
func (q *Queue) abort(e *Entry) {
	e.done = nil
	if n := len(q.entries); n > 0 && q.entries[n-1] == e {
		q.entries[n-1] = nil
		q.entries = q.entries[:n-1]
	}
	q.report()
}

// Len is the number of Writes not yet reported.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}

// Err is the error that ended the queue, nil while it is good.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// report runs done for every settled entry at the head. q.mu is held on entry and exit, not while done runs.
func (q *Queue) report() {
	if q.reporting {
		return
	}
	q.reporting = true
	for len(q.entries) > 0 {
		e := q.entries[0]
		if e.open || e.holds > 0 && q.err == nil {
			break
		}
		q.entries[0] = nil
		q.entries = q.entries[1:]
		if q.err == nil {
			q.err = e.err
		}
		done, err := e.done, q.err
		e.done = nil
		q.mu.Unlock()
		done(err)
		q.mu.Lock()
	}
	q.reporting = false
	if len(q.entries) == 0 {
		q.entries = nil // the sliced-away front would otherwise grow with every Write
		if q.idle != nil {
			close(q.idle)
			q.idle = nil
		}
	}
}

// wait returns a channel that is closed when nothing is left to report, nil when that is so already. q.mu is held.
func (q *Queue) wait() chan struct{} {
	if len(q.entries) == 0 && !q.reporting {
		return nil
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	return q.idle
}

// Flush returns when every entry was reported: nil, or the error that ended the queue. When ctx is over first, its error.
func (q *Queue) Flush(ctx context.Context) error {
	q.mu.Lock()
	idle := q.wait()
	q.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return q.Err()
}

// Fail reports err to everything not yet reported and to all later Adds, unless the queue had failed before.
func (q *Queue) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.report()
}

// Close is Fail that returns only when no done is running any more.
func (q *Queue) Close(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.report()
	idle := q.wait()
	q.mu.Unlock()
	if idle != nil {
		<-idle
	}
}
