package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dredge/consumer/kinesis/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an application in a bubble: a stream, a lease table, a sink and any number of workers.
type bench struct {
	*testing.T
	kinesis   *fakeKinesis
	api       API // kinesis, unless a test puts a real client here
	store     lease.Store
	fleet     lease.Fleet
	streamAPI func(StreamConfig) (API, error)
	sink      *fakeSink
	cfg       Config
	running   []*runningWorker
	written   []string
}

type runningWorker struct {
	*Worker
	reg    *prometheus.Registry
	budget *fakeBudget
	store  *faultyStore
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error
	b      *bench
}

// faultyStore cuts one worker off the lease table.
type faultyStore struct {
	lease.Store
	cut atomic.Bool
	// hang, when set, delays renewals until it is closed, whatever their context says: a packet in flight.
	hang atomic.Pointer[chan struct{}]
}

var errCut = errors.New("connection refused")

func (f *faultyStore) List(ctx context.Context) (lease.Listing, error) {
	if f.cut.Load() {
		return lease.Listing{}, errCut
	}
	return f.Store.List(ctx)
}

func (f *faultyStore) Renew(ctx context.Context, l lease.Lease, r lease.Renewal) (lease.Lease, error) {
	if f.cut.Load() {
		return lease.Lease{}, errCut
	}
	if hang := f.hang.Load(); hang != nil {
		<-*hang
		return f.Store.Renew(context.WithoutCancel(ctx), l, r)
	}
	return f.Store.Renew(ctx, l, r)
}

func (f *faultyStore) Evict(ctx context.Context, l lease.Lease) error {
	if f.cut.Load() {
		return errCut
	}
	return f.Store.Evict(ctx, l)
}

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Application, cfg.StreamName = "app", "flows"
	return cfg
}

// inBubble runs test with a stream of that many shards, and wants every worker gone when it ends.
func inBubble(t *testing.T, shards int, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, kinesis: newFakeKinesis(shards), store: lease.NewMemory(), sink: newFakeSink(), cfg: testConfig()}
		b.api = b.kinesis
		defer func() {
			for _, r := range b.running {
				r.stop()
				r.budget.mu.Lock()
				if r.budget.out != 0 {
					t.Errorf("%s kept %d bytes of the budget", r.id, r.budget.out)
				}
				r.budget.mu.Unlock()
				if problems, err := testutil.GatherAndLint(r.reg); err != nil || len(problems) > 0 {
					t.Errorf("metrics: %v %v", problems, err)
				}
			}
		}()
		test(b)
	})
}

func shardID(n int) string { return fmt.Sprintf("shardId-%012d", n) }

// start runs a worker.
func (b *bench) start(id string, change ...func(*Config)) *runningWorker {
	b.Helper()
	cfg := b.cfg
	cfg.WorkerID = id
	for _, c := range change {
		c(&cfg)
	}
	r := &runningWorker{
		reg: prometheus.NewRegistry(), budget: &fakeBudget{}, store: &faultyStore{Store: b.store}, done: make(chan struct{}), b: b,
	}
	var err error
	r.Worker, err = New(cfg, Deps{
		Kinesis: b.api, StreamAPI: b.streamAPI, Leases: r.store, Fleet: b.fleet, Processor: b.sink, Budget: r.budget, Metrics: r.reg, Log: zerolog.New(zerolog.NewTestWriter(b.T)).Level(zerolog.ErrorLevel),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(b.Context())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		r.err = r.Run(ctx)
	}()
	b.running = append(b.running, r)
	return r
}

// stop drains r and returns how long that took.
func (r *runningWorker) stop() time.Duration {
	start := time.Now()
	r.cancel(context.Canceled)
	<-r.done
	return time.Since(start)
}

// kill makes r vanish as a crash would.
func (r *runningWorker) kill() {
	r.cancel(ErrAbandon)
	<-r.done
}

// advance lets d pass.
func (b *bench) advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// await waits at most limit for cond and returns how long it took.
func (b *bench) await(what string, limit time.Duration, cond func() bool) time.Duration {
	b.Helper()
	start := time.Now()
	for {
		synctest.Wait()
		if cond() {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			b.Fatalf("%s: not within %s\n%s", what, limit, b.dump())
		}
		<-time.After(max(20*time.Millisecond, limit/500))
	}
}

func (b *bench) dump() string {
	out := ""
	for _, l := range b.leases() {
		out += fmt.Sprintf("%s owner=%q->%q counter=%d at %s parents=%q children=%q\n", l.Key, l.CheckpointOwner, l.Owner, l.Counter, l.Checkpoint, l.Parents, l.Children)
	}
	return out
}

func (b *bench) leases() []lease.Lease {
	b.Helper()
	l, err := b.store.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return l.Leases
}

func (b *bench) lease(key string) lease.Lease {
	b.Helper()
	l, err := b.store.Get(b.Context(), key)
	if err != nil {
		b.Fatalf("lease %s: %v", key, err)
	}
	return l
}

// owned counts the unfinished leases of each worker; during a hand-off they are the old owner's.
func (b *bench) owned() map[string]int {
	n := map[string]int{}
	for _, l := range b.leases() {
		if !l.Checkpoint.IsShardEnd() {
			n[l.ActualOwner()]++
		}
	}
	return n
}

// write puts n records into a shard; their payloads tell where and when they were written.
func (b *bench) write(shard string, n int) {
	data := make([]string, n)
	for i := range data {
		data[i] = fmt.Sprintf("%s/%06d", shard, len(b.written)+i)
	}
	b.written = append(b.written, data...)
	b.kinesis.put(shard, data...)
}

// wantAll waits until everything written is durable.
func (b *bench) wantAll(limit time.Duration) {
	b.Helper()
	b.await("everything written is durable", limit, func() bool {
		got, _ := b.sink.got()
		return slices.Equal(got, slices.Sorted(slices.Values(b.written)))
	})
}

func (r *runningWorker) metric(name string) float64 {
	r.b.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.b.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "dredge_kinesis_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	r.b.Fatalf("no metric %s", name)
	return 0
}
