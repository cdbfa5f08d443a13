package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/stream"
)

// slowWorker is a worker that handles at most capacity bytes a second, whatever it is given.
type slowWorker struct {
	*kinesis.Worker
	cancel context.CancelFunc
	done   chan error

	capacity float64 // bytes a second
	mu       sync.Mutex
	handled  float64   // bytes
	free     time.Time // when what it was given is handled
	need     scaleMemory
	usage    usageMeter
	pace     paceMeter
}

// Open implements stream.Processor.
func (w *slowWorker) Open(context.Context, string) (stream.Handler, stream.Position, error) {
	return w, "", nil
}

// Handle implements stream.Handler. All shards of the worker share its capacity.
func (w *slowWorker) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	size := 0
	for _, p := range c.Payloads {
		size += len(p.Data)
	}
	w.mu.Lock()
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(time.Duration(float64(size) / w.capacity * float64(time.Second)))
	done := time.NewTimer(time.Until(w.free))
	w.mu.Unlock()
	defer done.Stop()
	select {
	case <-done.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	w.handled += float64(size)
	w.mu.Unlock()
	progress(c.Last, nil)
	return nil
}

// Flush implements stream.Handler.
func (w *slowWorker) Flush(context.Context) error { return nil }

// Close implements stream.Handler.
func (w *slowWorker) Close(context.Context) error { return nil }

// Acquire implements stream.Budget.
func (w *slowWorker) Acquire(ctx context.Context, _ int64) error { return ctx.Err() }

// Release implements stream.Budget.
func (w *slowWorker) Release(int64) {}

// desired is what the worker's /scale answers, with the time that it was at work in place of processor time.
func (w *slowWorker) desired() (n int, why string, ok bool) {
	st := w.Status()
	if st.TableReadAt.IsZero() {
		return 0, "", false
	}
	w.mu.Lock()
	worked := time.Duration(w.handled / w.capacity * float64(time.Second) * float64(runtime.GOMAXPROCS(0)))
	w.mu.Unlock()
	n, why = w.need.answer(time.Now(), newLoad(st, 0, w.usage.measure(time.Now(), worked, st.HandledBytes), w.pace.measure(time.Now(), st)))
	return n, why, true
}

// scaledFleet is a stream with as many workers as the first of them says that there should be, asked every scaleEvery.
type scaledFleet struct {
	t         *testing.T
	server    *awsfake.Server
	table     lease.Store
	capacity  float64 // bytes a second of one worker
	configure func(c *kinesis.Config)
	workers   []*slowWorker
	started   int
	put       int
	desired   int
	record    int     // bytes of one record
	gone      float64 // bytes that stopped workers handled
	open      []int   // open shards at each of the last looks of a minute
}

const (
	scaleEvery  = 15 * time.Second
	scaleStream = "flows"
)

func newScaledFleet(t *testing.T, shards int, capacity float64, configure func(c *kinesis.Config)) *scaledFleet {
	t.Helper()
	f := &scaledFleet{t: t, server: awsfaketest.NewServer(t, awsfake.Config{}), table: lease.NewMemory(), capacity: capacity, configure: configure, desired: 1, record: 1000}
	if err := f.server.Kinesis().CreateStream(scaleStream, shards); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *scaledFleet) start() {
	f.t.Helper()
	f.started++
	w := &slowWorker{capacity: f.capacity, done: make(chan error, 1), usage: usageMeter{at: time.Now()}}
	cfg := kinesis.DefaultConfig()
	cfg.Application, cfg.StreamName, cfg.WorkerID = "app", scaleStream, fmt.Sprintf("dredge-%d", f.started)
	f.configure(&cfg)
	var err error
	w.Worker, err = kinesis.New(cfg, kinesis.Deps{
		Kinesis: awsfaketest.Kinesis(f.server, kinesis.FastAnswers), Leases: f.table, Processor: w, Budget: w, Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	w.cancel = cancel
	go func() { w.done <- w.Run(ctx) }()
	f.workers = append(f.workers, w)
}

func (f *scaledFleet) stop() {
	f.t.Helper()
	last := f.workers[len(f.workers)-1]
	f.workers = f.workers[:len(f.workers)-1]
	last.cancel()
	if err := <-last.done; err != nil {
		f.t.Error(err)
	}
	f.gone += last.handled
}

// handled is what all workers have handled, those that were stopped too.
func (f *scaledFleet) handled() float64 {
	sum := f.gone
	for _, w := range f.workers {
		w.mu.Lock()
		sum += w.handled
		w.mu.Unlock()
	}
	return sum
}

func (f *scaledFleet) end() {
	for len(f.workers) > 0 {
		f.stop()
	}
}

// write puts records of that many bytes together into the stream.
func (f *scaledFleet) write(bytes int) {
	f.t.Helper()
	record := []byte(strings.Repeat("x", f.record))
	for range bytes / f.record {
		f.put++
		if _, _, err := f.server.Kinesis().Put(scaleStream, fmt.Sprint(f.put), record); err != nil {
			f.t.Fatal(err)
		}
	}
}

// step lets d pass with rate bytes a second, as an autoscaler sees it; until, when it is given, ends it. It returns how long it took.
func (f *scaledFleet) step(d time.Duration, rate int, until func() bool) time.Duration {
	f.t.Helper()
	began := time.Now()
	for time.Since(began) < d {
		for range int(scaleEvery / time.Second) {
			f.write(rate)
			<-time.After(time.Second)
		}
		synctest.Wait()
		f.follow(time.Since(began))
		if until != nil && until() {
			break
		}
	}
	return time.Since(began)
}

// follow asks the workers how many there should be, and makes it so.
func (f *scaledFleet) follow(at time.Duration) {
	f.t.Helper()
	open := 0
	for _, sh := range f.server.Kinesis().Shards(scaleStream) {
		if sh.Closed.IsZero() {
			open++
		}
	}
	// After a merge the parents are still to be read to their end: for a minute they count.
	if f.open = append(f.open, open); len(f.open) > int(time.Minute/scaleEvery) {
		f.open = f.open[1:]
	}
	for i, w := range f.workers {
		n, why, ok := w.desired()
		if !ok {
			continue
		}
		if n > slices.Max(f.open) || n < 1 {
			f.t.Fatalf("%d workers desired for %v open shards: %s", n, f.open, why)
		}
		if i == 0 { // they answer in turn behind a service; one is enough here
			if n != f.desired {
				f.t.Logf("%4.0f s: %d -> %d workers of %d open shards: %s", at.Seconds(), f.desired, n, open, why)
			}
			f.desired = n
		}
	}
	for len(f.workers) < f.desired {
		f.start()
	}
	for len(f.workers) > f.desired {
		f.stop()
	}
}

// TestA2DesiredWorkersFollowShardsAndLoad: a stream goes from 4 shards to 16 with thirteen times the traffic, and back; the number of workers is what
// /scale says, asked every 15 seconds. It rises within 2 minutes, comes to rest at what the traffic needs, falls at once where there are fewer shards
// and otherwise only after the cool-down, and is never above the shards.
func TestA2DesiredWorkersFollowShardsAndLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			capacity  = 50_000.0 // bytes a second of one worker
			low, high = 15_000, 200_000
		)
		f := newScaledFleet(t, 4, capacity, func(c *kinesis.Config) { c.ReadsPerSecond, c.IdleWait = 0.5, 2*time.Second }) // to be done sooner
		defer f.end()
		f.start()

		f.step(4*time.Minute, low, nil)
		if f.desired != 1 {
			t.Errorf("%d workers desired for %d bytes a second, want 1", f.desired, low)
		}
		if err := f.server.Kinesis().Reshard(scaleStream, 16); err != nil {
			t.Fatal(err)
		}
		up := f.step(10*time.Minute, high, func() bool { return f.desired > 1 })
		if up > 2*time.Minute {
			t.Errorf("more workers were desired after %s, want within 2m", up)
		}
		f.step(9*time.Minute, high, nil)
		// 200 kB/s need 4 workers at 100 % and 5.7 at 70 %.
		if f.desired < 5 || f.desired > 10 {
			t.Errorf("%d workers desired for %d bytes a second and %.0f of one worker, want about 6", f.desired, high, capacity)
		}
		for _, w := range f.workers {
			if behind := w.Status().Behind; behind > 10*time.Second {
				t.Errorf("%s is %s behind with as many workers as it asked for", w.ID(), behind)
			}
		}

		if err := f.server.Kinesis().Reshard(scaleStream, 4); err != nil {
			t.Fatal(err)
		}
		fewer := f.step(5*time.Minute, low, func() bool { return f.desired <= 4 })
		if fewer > time.Minute {
			t.Errorf("more workers than shards were desired for %s after the merge", fewer)
		}
		if f.desired < 2 {
			t.Errorf("%d workers desired %s after the traffic fell, before the cool-down of %s", f.desired, fewer, coolDown)
		}
		down := f.step(20*time.Minute, low, func() bool { return f.desired == 1 })
		if f.desired != 1 || fewer+down < coolDown {
			t.Errorf("%d workers desired %s after the traffic fell, want 1, and not before %s", f.desired, fewer+down, coolDown)
		}
		f.step(3*time.Minute, low, func() bool {
			if f.desired != 1 {
				t.Errorf("%d workers desired at rest, want 1", f.desired)
			}
			return false
		})
	})
}
