package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dredge/row"
	"dredge/sink"
	"dredge/sink/internal/ack"
	"dredge/stream"
)

// Stored is one row that Memory keeps, with the origin it had.
type Stored struct {
	Partition string
	Origin    row.Origin
	Row       row.Row
}

// ID names the stored row.
func (s Stored) ID() RowID {
	return RowID{Partition: s.Partition, Position: stream.Position(s.Origin.Position), Index: int(s.Row.Index)}
}

// Memory is a sink in memory. It keeps the contract, and breaks it only where it is told to (Lose, Duplicate).
//
// By default each Write is a commit of its own and is done before Write returns, unless its last did not advance. Set the
// fields before the first Open; the methods may be called at any time, from any goroutine.
type Memory struct {
	// Fencing makes Memory work as an exactly-once sink does: Open returns the committed position and fences the Writer that
	// had the partition before.
	Fencing bool
	// Delay is the time from Write to its commit. Flush does not wait for it.
	Delay time.Duration
	// MaxHeld is the number of uncommitted rows at which Write blocks; 0 is 100,000.
	MaxHeld int

	mu       sync.Mutex
	parts    map[string]*memoryPartition
	refusing chan struct{} // closed by Accept; nil while nothing is refused
	refused  chan struct{} // closed by the first commit that was refused
	room     chan struct{} // closed when held rows went away
	held     int
	lose     int
	double   int
}

type memoryPartition struct {
	rows    []Stored
	commits [][]RowID
	at      stream.Position
	owner   *memoryWriter
}

// Refuse makes every commit wait until Accept, as an unreachable broker does.
func (m *Memory) Refuse() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refusing == nil {
		m.refusing, m.refused = make(chan struct{}), make(chan struct{})
	}
}

// Accept ends Refuse; what waited is committed.
func (m *Memory) Accept() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refusing != nil {
		close(m.refusing)
		m.refusing = nil
	}
	for _, p := range m.parts {
		if p.owner != nil && p.owner.ready == 0 {
			continue
		}
		if p.owner != nil {
			p.owner.commit()
		}
	}
}

// Refused returns when a commit has met Refuse.
func (m *Memory) Refused(ctx context.Context) error {
	m.mu.Lock()
	refused := m.refused
	m.mu.Unlock()
	if refused == nil {
		return errors.New("nothing is refused")
	}
	select {
	case <-refused:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Lose breaks the contract: the next n rows are reported durable and thrown away.
func (m *Memory) Lose(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lose += n
}

// Duplicate breaks exactly-once: the next n rows are kept twice.
func (m *Memory) Duplicate(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.double += n
}

// Fence takes partition away from its Writer, as another worker's Open does.
func (m *Memory) Fence(partition string) { m.Fail(partition, stream.ErrFenced) }

// Rewind discards what partition's Writer has in flight and makes it ask for a rewind to the committed position, which is returned.
func (m *Memory) Rewind(partition string) stream.Position {
	m.mu.Lock()
	p := m.partition(partition)
	to := p.at
	m.mu.Unlock()
	m.Fail(partition, &stream.RewindError{To: to, Err: errors.New("commit without an answer")})
	return to
}

// Fail ends partition's Writer with err: what is not committed is reported with it.
func (m *Memory) Fail(partition string, err error) {
	m.mu.Lock()
	w := m.partition(partition).owner
	if w != nil {
		m.partition(partition).owner = nil
		w.drop()
	}
	m.mu.Unlock()
	if w != nil {
		w.acks.Fail(err)
	}
}

// Rows returns what is committed for partition, in order.
func (m *Memory) Rows(partition string) []Stored {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.partition(partition).rows)
}

// All returns what is committed, in order of partition.
func (m *Memory) All() []Stored {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.parts {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []Stored
	for _, name := range names {
		all = append(all, m.parts[name].rows...)
	}
	return all
}

// Position returns the committed position of partition.
func (m *Memory) Position(partition string) stream.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.partition(partition).at
}

// Commits returns the ids of the rows of each commit of partition.
func (m *Memory) Commits(partition string) [][]RowID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.partition(partition).commits)
}

// partition is called with m.mu held.
func (m *Memory) partition(name string) *memoryPartition {
	if m.parts == nil {
		m.parts = make(map[string]*memoryPartition)
	}
	p := m.parts[name]
	if p == nil {
		p = &memoryPartition{}
		m.parts[name] = p
	}
	return p
}

// Open claims partition.
func (m *Memory) Open(ctx context.Context, partition string) (sink.Writer, stream.Position, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if m.Fencing {
		m.Fence(partition)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.partition(partition)
	w := &memoryWriter{m: m, p: p, partition: partition}
	p.owner = w
	if m.Fencing {
		w.last = p.at
	}
	return w, w.last, nil
}

// memoryWriter's fields other than acks are guarded by m.mu. Done functions run under it, so they must not call Memory.
type memoryWriter struct {
	m         *Memory
	p         *memoryPartition
	partition string
	acks      ack.Queue
	pending   []memoryWrite
	// ready is the number of pending Writes that may be committed now: those up to the last one whose position advanced and
	// whose delay is over.
	ready int
	last  stream.Position
	timer *time.Timer
	// gone says that Fail or Close dropped what was pending: nothing may be committed any more.
	gone bool
}

type memoryWrite struct {
	rows []Stored
	last stream.Position
	// advanced says that a commit may fall after this Write.
	advanced bool
	entry    *ack.Entry
}

func (w *memoryWriter) Write(ctx context.Context, b *row.Batch, last stream.Position, done func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, err := w.acks.Add(done)
	if err != nil {
		return err
	}
	if err := w.m.reserve(ctx, len(b.Rows)); err != nil {
		e.Abort()
		return err
	}
	rows := make([]Stored, len(b.Rows))
	for i := range b.Rows {
		r := b.Rows[i]
		r.Src.Candidates, r.Dst.Candidates = slices.Clone(r.Src.Candidates), slices.Clone(r.Dst.Candidates)
		rows[i] = Stored{Partition: b.Partition, Origin: b.Origins[r.Origin], Row: r}
	}
	e.Hold(1)
	if err := e.Handed(); err != nil {
		w.m.free(len(rows))
		return err
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.gone { // since the entry was handed over; whoever dropped the others tells about it, too
		w.m.unhold(len(rows))
		return nil
	}
	w.pending = append(w.pending, memoryWrite{rows: rows, last: last, advanced: last != w.last, entry: e})
	w.last = last
	if w.m.Delay == 0 {
		w.settle()
	} else if w.timer == nil {
		w.timer = time.AfterFunc(w.m.Delay, w.tick)
	}
	return nil
}

func (w *memoryWriter) tick() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.timer = nil
	w.settle()
}

// settle makes everything up to the last Write that advanced ready, and commits it unless commits are refused.
func (w *memoryWriter) settle() {
	for i, write := range slices.Backward(w.pending) {
		if write.advanced {
			w.ready = i + 1
			break
		}
	}
	if w.ready > 0 {
		w.commit()
	}
}

func (w *memoryWriter) commit() {
	m := w.m
	if m.refusing != nil {
		select {
		case <-m.refused:
		default:
			close(m.refused)
		}
		return
	}
	ready := w.pending[:w.ready]
	w.pending, w.ready = w.pending[w.ready:], 0
	var ids []RowID
	for _, write := range ready {
		for _, s := range write.rows {
			ids = append(ids, s.ID())
			if m.lose > 0 {
				m.lose--
				continue
			}
			w.p.rows = append(w.p.rows, s)
			if m.double > 0 {
				m.double--
				w.p.rows = append(w.p.rows, s)
			}
		}
		w.p.at = write.last
		m.unhold(len(write.rows))
	}
	w.p.commits = append(w.p.commits, ids)
	for _, write := range ready {
		write.entry.Release(nil)
	}
}

// drop forgets what is not committed. m.mu is held.
func (w *memoryWriter) drop() {
	for _, write := range w.pending {
		w.m.unhold(len(write.rows))
	}
	w.pending, w.ready, w.gone = nil, 0, true
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

func (w *memoryWriter) Flush(ctx context.Context) error {
	w.m.mu.Lock()
	w.settle()
	w.m.mu.Unlock()
	return w.acks.Flush(ctx)
}

func (w *memoryWriter) Close(context.Context) error {
	w.m.mu.Lock()
	if w.p.owner == w {
		w.p.owner = nil
	}
	w.drop()
	w.m.mu.Unlock()
	w.acks.Close(fmt.Errorf("partition %q: writer closed", w.partition))
	return nil
}

// reserve waits for room for n rows. A Write larger than the limit passes when it is alone.
func (m *Memory) reserve(ctx context.Context, n int) error {
	limit := m.MaxHeld
	if limit == 0 {
		limit = 100_000
	}
	for {
		m.mu.Lock()
		if m.held == 0 || m.held+n <= limit {
			m.held += n
			m.mu.Unlock()
			return nil
		}
		if m.room == nil {
			m.room = make(chan struct{})
		}
		room := m.room
		m.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *Memory) free(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unhold(n)
}

// unhold is free with m.mu held.
func (m *Memory) unhold(n int) {
	m.held -= n
	if m.room != nil {
		close(m.room)
		m.room = nil
	}
}
