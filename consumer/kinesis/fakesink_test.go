package kinesis

import (
	"context"
	"slices"
	"sync"

	"dredge/stream"
)

// fakeSink is a Processor that keeps the order in which payloads became durable, and misbehaves on request.
type fakeSink struct {
	mu       sync.Mutex
	durable  []string            // payloads, in order, all partitions
	where    map[string][]string // partition to payloads
	open     map[string]int      // handlers open per partition, over all workers
	maxOpen  int
	handled  int // chunks handed over
	refusing bool
	handlers []*fakeHandler

	positions map[string]stream.Position // what Open says the sink holds already
	// openErr and handleErr, when set, may refuse; blockHandle, when set, makes Handle wait for it or its context.
	openErr, handleErr func(partition string) error
	blockHandle        chan struct{}
}

func newFakeSink() *fakeSink {
	return &fakeSink{where: map[string][]string{}, open: map[string]int{}, positions: map[string]stream.Position{}}
}

type fakeHandler struct {
	sink      *fakeSink
	partition string
	closed    bool
	pending   []pendingRow
}

type pendingRow struct {
	data     string
	at       stream.Position
	progress func(stream.Position, error)
}

func (f *fakeSink) Open(_ context.Context, partition string) (stream.Handler, stream.Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.openErr != nil {
		if err := f.openErr(partition); err != nil {
			return nil, "", err
		}
	}
	h := &fakeHandler{sink: f, partition: partition}
	f.handlers = append(f.handlers, h)
	f.open[partition]++
	f.maxOpen = max(f.maxOpen, f.open[partition])
	return h, f.positions[partition], nil
}

func (h *fakeHandler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	f := h.sink
	f.mu.Lock()
	block := f.blockHandle
	f.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	if f.handleErr != nil {
		if err := f.handleErr(h.partition); err != nil {
			f.mu.Unlock()
			return err
		}
	}
	f.handled++
	for _, p := range c.Payloads {
		h.pending = append(h.pending, pendingRow{string(p.Data), p.At, progress})
	}
	refusing := f.refusing
	f.mu.Unlock()
	if !refusing {
		h.settle()
	}
	return nil
}

// settle makes all pending rows durable and reports them.
func (h *fakeHandler) settle() {
	h.sink.mu.Lock()
	rows := h.pending
	h.pending = nil
	for _, r := range rows {
		h.sink.durable = append(h.sink.durable, r.data)
		h.sink.where[h.partition] = append(h.sink.where[h.partition], r.data)
	}
	h.sink.mu.Unlock()
	for _, r := range rows {
		r.progress(r.at, nil)
	}
}

// fail loses all pending rows of all handlers with err.
func (f *fakeSink) fail(err error) {
	f.mu.Lock()
	var rows []pendingRow
	for _, h := range f.handlers {
		rows = append(rows, h.pending...)
		h.pending = nil
	}
	f.mu.Unlock()
	for _, r := range rows {
		r.progress("", err)
	}
}

// refuse keeps rows from becoming durable until it is called with false, when all that wait do.
func (f *fakeSink) refuse(on bool) {
	f.mu.Lock()
	f.refusing = on
	handlers := slices.Clone(f.handlers)
	f.mu.Unlock()
	if !on {
		for _, h := range handlers {
			if !h.closed {
				h.settle()
			}
		}
	}
}

func (h *fakeHandler) Flush(ctx context.Context) error {
	h.sink.mu.Lock()
	refusing, pending := h.sink.refusing, len(h.pending)
	h.sink.mu.Unlock()
	if refusing && pending > 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	h.settle()
	return nil
}

func (h *fakeHandler) Close(context.Context) error {
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	h.closed = true
	h.pending = nil
	h.sink.open[h.partition]--
	return nil
}

// got returns the payloads that became durable, sorted and without repeats, and how many repeats there were.
func (f *fakeSink) got() (unique []string, repeats int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	unique = slices.Compact(slices.Sorted(slices.Values(f.durable)))
	return unique, len(f.durable) - len(unique)
}

func (f *fakeSink) of(partition string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.where[partition])
}

func (f *fakeSink) chunks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handled
}

// fakeBudget counts what is out, and blocks when it has a limit.
type fakeBudget struct {
	mu       sync.Mutex
	out, top int64
	acquired int
	limit    int64 // 0: none
	changed  chan struct{}
}

func (b *fakeBudget) setLimit(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = n
	b.wake()
}

func (b *fakeBudget) wake() {
	if b.changed != nil {
		close(b.changed)
	}
	b.changed = make(chan struct{})
}

func (b *fakeBudget) Acquire(ctx context.Context, n int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.mu.Lock()
		if b.limit == 0 || b.out+n <= b.limit {
			b.out += n
			b.acquired++
			b.top = max(b.top, b.out)
			b.mu.Unlock()
			return nil
		}
		if b.changed == nil {
			b.wake()
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (b *fakeBudget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out -= n
	b.wake()
}
