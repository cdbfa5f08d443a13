// Package window tells how far a partition may be checkpointed while many of its chunks are in flight.
//
// A source opens one Ticket for each chunk, in stream order, and hands the ticket's Progress to whoever delivers the chunk.
// Reports may come in any order of tickets; Safe is the highest position under which everything is delivered. So nothing
// undelivered is ever checkpointed, and a crash repeats at most the chunks that were open. The package knows nothing of
// Kinesis, S3 or files: positions are opaque, and their order is the order in which tickets were opened.
package window

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"dredge/stream"
)

// ErrClosed is returned by Open after Close.
var ErrClosed = errors.New("window closed")

// Window is the delivery state of one partition. Its methods may be called concurrently, but tickets must be opened in stream
// order, so by one goroutine.
//
// A failed ticket stops Safe for good: the positions after it will never be covered, even if later tickets are delivered. The
// source then closes the window, reads again from Safe (or from where the sink says it stands) and opens a new one.
type Window struct {
	room   chan struct{} // one element per ticket in open
	failed chan struct{} // closed with the first error
	closed chan struct{}

	mu     sync.Mutex
	open   []*Ticket // oldest first; settled tickets stay until all before them are settled
	safe   stream.Position
	err    error
	isShut bool
}

// Ticket is one chunk in flight.
type Ticket struct {
	w    *Window
	last stream.Position
	// Guarded by w.mu.
	at     stream.Position
	done   bool
	failed bool
}

// New makes a window of at most limit tickets in flight.
func New(limit int) (*Window, error) {
	if limit < 1 {
		return nil, fmt.Errorf("window limit: %d is below 1", limit)
	}
	return &Window{
		room:   make(chan struct{}, limit),
		failed: make(chan struct{}),
		closed: make(chan struct{}),
	}, nil
}

// Open adds a ticket for the chunk that ends at last. It blocks while the limit of tickets is in flight; a delivered ticket
// behind an undelivered one still counts. It returns the window's error once a ticket failed.
func (w *Window) Open(ctx context.Context, last stream.Position) (*Ticket, error) {
	if last == "" {
		return nil, errors.New(`open ticket: position "" lies before everything and cannot end a chunk`)
	}
	// A select picks at random among ready cases; an ended window must win over free room.
	select {
	case <-w.closed:
		return nil, ErrClosed
	case <-w.failed:
		return nil, w.Err()
	default:
	}
	select {
	case w.room <- struct{}{}:
	case <-w.closed:
		return nil, ErrClosed
	case <-w.failed:
		return nil, w.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t := &Ticket{w: w, last: last}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, t)
	return t, nil
}

// Progress takes a report of stream.Handler: everything of this ticket up to p is durable, or, with err, what follows the last
// good position never will be. The report of the ticket's last position settles it. Reports after that, after an error and
// after Close are ignored, as is the empty position, which says nothing.
func (t *Ticket) Progress(p stream.Position, err error) {
	w := t.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.done || t.failed || w.isShut {
		return
	}
	if err != nil {
		t.failed = true
		if w.err == nil {
			w.err = err
			close(w.failed)
		}
		return
	}
	if p == "" {
		return
	}
	t.at = p
	t.done = p == t.last
	w.advance()
}

// advance moves safe over the settled head of the list.
func (w *Window) advance() {
	settled := 0
	for _, t := range w.open {
		if t.at != "" {
			w.safe = t.at
		}
		if !t.done {
			break
		}
		settled++
		<-w.room
	}
	// The tail is moved down so that the backing array never grows beyond the limit.
	n := copy(w.open, w.open[settled:])
	clear(w.open[n:])
	w.open = w.open[:n]
}

// Safe returns the highest position under which everything is delivered; "" while nothing is.
func (w *Window) Safe() stream.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.safe
}

// InFlight returns how many tickets hold room: those not settled, and those settled behind one that is not.
func (w *Window) InFlight() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open)
}

// Err returns the first error that was reported, or nil.
func (w *Window) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Failed is closed when the first error is reported.
func (w *Window) Failed() <-chan struct{} { return w.failed }

// Close freezes the window and returns Safe: what is reported later no longer counts. A source calls it when it discards what
// is in flight. Closing twice is allowed.
func (w *Window) Close() stream.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.isShut {
		w.isShut = true
		close(w.closed)
	}
	return w.safe
}
