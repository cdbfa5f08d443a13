package pipeline

import (
	"context"
	"fmt"
	"sync"

	"dredge/stream"
)

// class says what bytes are held for. The order is that of the work: what comes later must be finished before what comes
// earlier can be given back, so a later class reaches further into the budget.
type class uint8

const (
	// classRead is raw answers of a source: reserved before the read, held until Handle returned.
	classRead class = iota
	// classSlice is inflated lines and their Records: held from decode to the hand-over of the last row.
	classSlice
	// classUnacked is encoded bytes that the sink has not confirmed.
	classUnacked
	classes
)

func (c class) String() string {
	switch c {
	case classRead:
		return "read"
	case classSlice:
		return "slice"
	default:
		return "unacknowledged"
	}
}

// budget is the one byte budget of the process.
//
// One total T, three classes, and a ceiling for each: an acquisition waits until everything that is held, of all classes,
// plus its own bytes is no more than its class's ceiling.
//
//	unacknowledged  may fill up to  T
//	slices          may fill up to  T − A      A = reserve for unacknowledged bytes
//	reads           may fill up to  T − A − S  S = reserve for slices
//
// Why nothing can wait forever. No acquisition is larger than what is kept free for its class (A, S, T − A − S; larger ones
// are refused). Unacknowledged bytes are given back by the sink, which needs nothing of the budget for it. Reads and slices
// together never hold more than T − A, because each was let in while everything held stayed below that; so once the sink
// has confirmed what it has, A bytes are free and the next unacknowledged acquisition goes through. So every slice comes to
// its end and is given back, and by the same reasoning, reads alone never holding more than T − A − S, the next slice goes
// through. So every Handle returns and its reads are given back, and the next read goes through.
//
// Within a class it is first come, first served: a large request at the head makes later small ones wait, so it is not
// starved. Between classes the later class goes first. Reads cannot starve by that: work is only made from reads, so it
// ends when no more reads come.
type budget struct {
	total   int64
	ceiling [classes]int64
	// largest is the largest single acquisition of each class that the argument above allows.
	largest [classes]int64

	mu      sync.Mutex
	held    [classes]int64
	waiters [classes][]*waiter
}

type waiter struct {
	n     int64
	ready chan struct{}
}

// newBudget keeps sliceReserve bytes free for slices and ackReserve for unacknowledged bytes; Config.Validate has seen to
// it that something is left for reads.
func newBudget(total, sliceReserve, ackReserve int64) *budget {
	b := &budget{total: total}
	b.ceiling = [classes]int64{total - ackReserve - sliceReserve, total - ackReserve, total}
	b.largest = [classes]int64{b.ceiling[classRead], sliceReserve, ackReserve}
	return b
}

// acquire blocks until n bytes of class c are free and every earlier acquisition of c was served, or ctx is over.
func (b *budget) acquire(ctx context.Context, c class, n int64) error {
	if n > b.largest[c] {
		return fmt.Errorf("acquire %d bytes for %s: the memory budget of %d allows at most %d at once; raise memory_budget",
			n, c, b.total, b.largest[c])
	}
	if n <= 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	b.mu.Lock()
	if len(b.waiters[c]) == 0 && b.fits(c, n) {
		b.held[c] += n
		b.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	b.waiters[c] = append(b.waiters[c], w)
	b.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // served while ctx ended: hand it on
		b.held[c] -= n
	default:
		for i, other := range b.waiters[c] {
			if other == w {
				b.waiters[c] = append(b.waiters[c][:i], b.waiters[c][i+1:]...)
				break
			}
		}
	}
	b.serve() // those behind may be smaller
	return context.Cause(ctx)
}

// adopt counts n more bytes of class c that exist already, without waiting: what turned out larger than was reserved.
func (b *budget) adopt(c class, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[c] += n
}

// release gives n bytes of class c back.
func (b *budget) release(c class, n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[c] -= n
	if b.held[c] < 0 || n < 0 {
		panic(fmt.Sprintf("BUG: released %d bytes of class %s, which leaves %d", n, c, b.held[c]))
	}
	b.serve()
}

func (b *budget) fits(c class, n int64) bool {
	used := n
	for _, h := range b.held {
		used += h
	}
	return used <= b.ceiling[c]
}

// serve lets in whoever fits now, later classes first. b.mu is held.
func (b *budget) serve() {
	for c := classes; c > 0; {
		c--
		for len(b.waiters[c]) > 0 && b.fits(c, b.waiters[c][0].n) {
			w := b.waiters[c][0]
			b.waiters[c][0] = nil
			b.waiters[c] = b.waiters[c][1:]
			b.held[c] += w.n
			close(w.ready)
		}
	}
}

// budgetUse is what a budget holds and who waits for it.
type budgetUse struct {
	held    [classes]int64
	waiting [classes]int
}

func (b *budget) use() budgetUse {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := budgetUse{held: b.held}
	for c := range b.waiters {
		u.waiting[c] = len(b.waiters[c])
	}
	return u
}

// reads is the budget as a source sees it.
type reads struct{ b *budget }

var _ stream.Budget = reads{}

func (r reads) Acquire(ctx context.Context, n int64) error { return r.b.acquire(ctx, classRead, n) }
func (r reads) Release(n int64)                            { r.b.release(classRead, n) }
