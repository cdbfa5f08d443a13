package druid

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"dredge/sink/internal/ack"
	"dredge/stream"
)

// group are partitions whose rows share batches. While one batch is with Druid the next one is filled.
type group struct {
	sink *Sink

	mu      sync.Mutex
	writers []*Writer
	// n and bytes are those of the rows that may be cut off, since the first of them came.
	n, bytes int64
	since    time.Time
	hurried  bool
	// freed is closed, and made anew, when room was made.
	freed chan struct{}
	wake  chan struct{} // of size one: due has to be looked at
}

func newGroup(s *Sink) *group {
	return &group{sink: s, freed: make(chan struct{}), wake: make(chan struct{}, 1)}
}

func (g *group) awake() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *group) enter(w *Writer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writers = append(g.writers, w)
}

// leave takes w out, with what it has not cut off yet.
func (g *group) leave(w *Writer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.writers, w); i >= 0 {
		g.writers = slices.Delete(g.writers, i, i+1)
		g.took(&w.ready)
		g.sink.metrics.waiting.Sub(float64(w.tail.rows.n()))
		w.ready, w.tail = piece{}, piece{}
	}
}

// took says that the rows of p are no longer to be cut off. g.mu is held.
func (g *group) took(p *piece) {
	g.n -= p.rows.n()
	g.bytes -= p.rows.bytes()
	g.sink.metrics.waiting.Sub(float64(p.rows.n()))
	close(g.freed)
	g.freed = make(chan struct{})
}

// room waits until the batch that is being filled is not full. The rows of an incomplete payload are not counted: they could never be
// cut off to make room.
func (g *group) room(ctx context.Context, w *Writer) error {
	for {
		g.mu.Lock()
		full, freed := g.full(), g.freed
		g.mu.Unlock()
		if !full || w.ended() { // what ended the Writer is returned where it adds
			return nil
		}
		select {
		case <-freed:
		case <-w.life.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// full says whether the batch has all that it may have. g.mu is held.
func (g *group) full() bool {
	return g.n >= int64(g.sink.cfg.BatchRows) || g.bytes >= g.sink.cfg.batchBytes()
}

// add takes the rows of one Write over, and reports of e when they are published.
func (g *group) add(w *Writer, p *piece, last stream.Position, e *ack.Entry) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := context.Cause(w.life); err != nil {
		return err
	}
	if p.rows.n() > 0 || len(w.tail.entries) > 0 {
		e.Hold(1)
		p.entries = []*ack.Entry{e}
	}
	g.sink.metrics.waiting.Add(float64(p.rows.n()))
	if err := w.tail.add(p); err != nil {
		return err
	}
	if last == w.last {
		return nil
	}
	w.last = last
	if g.n == 0 && w.tail.rows.n() > 0 {
		g.since = time.Now()
	}
	g.n += w.tail.rows.n()
	g.bytes += w.tail.rows.bytes()
	err := w.ready.add(&w.tail)
	w.tail = piece{}
	g.awake()
	return err
}

// hurry cuts the next batch at once.
func (g *group) hurry() {
	g.mu.Lock()
	g.hurried = true
	g.mu.Unlock()
	g.awake()
}

// run makes batches of the group's rows, one at a time, until ctx ends.
func (g *group) run(ctx context.Context) {
	timer := time.NewTimer(g.sink.cfg.BatchInterval)
	defer timer.Stop()
	for {
		parts, born, wait := g.cut()
		if len(parts) > 0 {
			g.sink.deliver(ctx, parts, born)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-g.wake:
		case <-ctx.Done():
			return
		}
	}
}

// cut takes the rows of the next batch off, if that is due, or says when to look again.
func (g *group) cut() (parts []*part, born time.Time, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		g.hurried = false
		return nil, time.Time{}, g.sink.cfg.BatchInterval
	}
	if wait = g.sink.cfg.BatchInterval - time.Since(g.since); wait > 0 && !g.hurried && !g.full() {
		return nil, time.Time{}, wait
	}
	born, g.hurried = g.since, false
	for _, w := range g.writers {
		if len(w.ready.entries) == 0 {
			continue
		}
		p := &part{w: w, after: w.after, last: w.last, rows: w.ready.rows, entries: w.ready.entries}
		g.took(&w.ready)
		w.ready, w.after = piece{}, w.last
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b *part) int { return strings.Compare(a.w.partition, b.w.partition) })
	return parts, born, 0
}

func (g *group) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.writers)
}

func (g *group) members() []*Writer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.writers)
}
