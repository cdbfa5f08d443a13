//go:build interop

package interop

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/stream"
)

// goWorker is a worker of ours in the application "interop". What it was given is kept in memory.
type goWorker struct {
	*kinesis.Worker
	sink   *memorySink
	cancel context.CancelCauseFunc
	done   chan error
}

func startGo(t *testing.T, name string, srv *awsfake.Server, change func(*kinesis.Config)) *goWorker {
	t.Helper()
	cfg := kinesis.DefaultConfig()
	cfg.Application, cfg.StreamName, cfg.WorkerID = "interop", streamName, name
	if change != nil {
		change(&cfg)
	}
	store, err := lease.NewDynamoDB(cfg.Table(), awsfaketest.DynamoDB(srv))
	if err != nil {
		t.Fatal(err)
	}
	g := &goWorker{sink: &memorySink{}, done: make(chan error, 1)}
	g.Worker, err = kinesis.New(cfg, kinesis.Deps{
		Kinesis: awsfaketest.Kinesis(srv), Leases: store, Fleet: store, Processor: g.sink, Budget: noBudget{},
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	g.cancel = cancel
	go func() { g.done <- g.Run(ctx) }()
	t.Cleanup(func() { g.end(t, context.Canceled) })
	return g
}

// end stops the worker by a drain, or, with kinesis.ErrAbandon, as a crash would.
func (g *goWorker) end(t *testing.T, cause error) {
	t.Helper()
	g.cancel(cause)
	err := <-g.done
	g.done <- err
	if err != nil {
		t.Errorf("%s: %v", g.ID(), err)
	}
}

func (g *goWorker) deliveries(*testing.T) []delivery {
	g.sink.mu.Lock()
	defer g.sink.mu.Unlock()
	return slices.Clone(g.sink.got)
}

// lag is how many payloads of a shard the sink keeps unreported, so that checkpoints fall into the middle of aggregates and a crash
// loses what was in flight.
const lag = 3

// memorySink takes everything.
type memorySink struct {
	mu  sync.Mutex
	got []delivery
}

// Open implements stream.Processor.
func (s *memorySink) Open(_ context.Context, partition string) (stream.Handler, stream.Position, error) {
	return &memoryHandler{sink: s, partition: partition}, "", nil
}

type memoryHandler struct {
	sink      *memorySink
	partition string
	pending   []report
}

type report struct {
	at       stream.Position
	progress func(stream.Position, error)
}

// Handle implements stream.Handler.
func (h *memoryHandler) Handle(_ context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	h.sink.mu.Lock()
	for i, p := range c.Payloads {
		seq, sub, _ := strings.Cut(string(p.At), ":")
		if sub == "" {
			sub = "0"
		}
		h.sink.got = append(h.sink.got, delivery{shard: h.partition, sequence: seq, sub: sub, data: string(p.Data)})
		at := p.At
		if i == len(c.Payloads)-1 {
			at = c.Last
		}
		h.pending = append(h.pending, report{at, progress})
	}
	h.sink.mu.Unlock()
	h.settle(lag)
	return nil
}

func (h *memoryHandler) settle(keep int) {
	for len(h.pending) > keep {
		h.pending[0].progress(h.pending[0].at, nil)
		h.pending = h.pending[1:]
	}
}

// Flush implements stream.Handler.
func (h *memoryHandler) Flush(context.Context) error {
	h.settle(0)
	return nil
}

// Close implements stream.Handler.
func (h *memoryHandler) Close(context.Context) error { return nil }

type noBudget struct{}

// Acquire implements stream.Budget.
func (noBudget) Acquire(ctx context.Context, _ int64) error { return ctx.Err() }

// Release implements stream.Budget.
func (noBudget) Release(int64) {}
