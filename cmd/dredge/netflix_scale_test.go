package main

import (
	"context"
	"fmt"
	"runtime"
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
	n, why = w.need.answer(time.Now(), newLoad(st, 0, w.usage.measure(time.Now(), worked, st.HandledBytes)))
	return n, why, true
}

// TestA2DesiredWorkersFollowShardsAndLoad: a stream goes from 4 shards to 16 with thirteen times the traffic, and back; the number of workers is what
// /scale says, asked every 15 seconds. It rises within 2 minutes, comes to rest at what the traffic needs, falls at once where there are fewer shards
// and otherwise only after the cool-down, and is never above the shards.
func TestA2DesiredWorkersFollowShardsAndLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			capacity  = 50_000.0 // bytes a second of one worker
			low, high = 15_000, 200_000
			every     = 15 * time.Second
			name      = "flows"
		)
		server := awsfaketest.NewServer(t, awsfake.Config{})
		if err := server.Kinesis().CreateStream(name, 4); err != nil {
			t.Fatal(err)
		}
		table := lease.NewMemory()
		var workers []*slowWorker
		started := 0
		start := func() {
			t.Helper()
			started++
			w := &slowWorker{capacity: capacity, done: make(chan error, 1), usage: usageMeter{at: time.Now()}}
			cfg := kinesis.DefaultConfig()
			cfg.Application, cfg.StreamName, cfg.WorkerID = "app", name, fmt.Sprintf("dredge-%d", started)
			cfg.ReadsPerSecond, cfg.IdleWait = 0.5, 2*time.Second // to be done sooner
			var err error
			w.Worker, err = kinesis.New(cfg, kinesis.Deps{
				Kinesis: awsfaketest.Kinesis(server, kinesis.FastAnswers), Leases: table, Processor: w, Budget: w, Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			w.cancel = cancel
			go func() { w.done <- w.Run(ctx) }()
			workers = append(workers, w)
		}
		stop := func() {
			t.Helper()
			last := workers[len(workers)-1]
			workers = workers[:len(workers)-1]
			last.cancel()
			if err := <-last.done; err != nil {
				t.Error(err)
			}
		}
		defer func() {
			for len(workers) > 0 {
				stop()
			}
		}()
		start()

		record := []byte(strings.Repeat("x", 1000))
		put := 0
		desired := 1
		// step lets d pass with that much traffic, as an autoscaler sees it; until, when it is given, ends it.
		step := func(d time.Duration, rate int, until func() bool) time.Duration {
			t.Helper()
			began := time.Now()
			for time.Since(began) < d {
				for range int(every / time.Second) {
					for range rate / len(record) {
						put++
						if _, _, err := server.Kinesis().Put(name, fmt.Sprint(put), record); err != nil {
							t.Fatal(err)
						}
					}
					<-time.After(time.Second)
				}
				synctest.Wait()
				open := 0
				for _, sh := range server.Kinesis().Shards(name) {
					if sh.Closed.IsZero() {
						open++
					}
				}
				for i, w := range workers {
					n, why, ok := w.desired()
					if !ok {
						continue
					}
					if n > 16 || n < 1 {
						t.Fatalf("%d workers desired for %d open shards: %s", n, open, why)
					}
					if i == 0 { // they answer in turn behind a service; one is enough here
						if n != desired {
							t.Logf("%4.0f s: %d -> %d workers of %d open shards: %s", time.Since(began).Seconds(), desired, n, open, why)
						}
						desired = n
					}
				}
				for len(workers) < desired {
					start()
				}
				for len(workers) > desired {
					stop()
				}
				if until != nil && until() {
					break
				}
			}
			return time.Since(began)
		}

		step(4*time.Minute, low, nil)
		if desired != 1 {
			t.Errorf("%d workers desired for %d bytes a second, want 1", desired, low)
		}
		if err := server.Kinesis().Reshard(name, 16); err != nil {
			t.Fatal(err)
		}
		up := step(10*time.Minute, high, func() bool { return desired > 1 })
		if up > 2*time.Minute {
			t.Errorf("more workers were desired after %s, want within 2m", up)
		}
		step(9*time.Minute, high, nil)
		// 200 kB/s need 4 workers at 100 % and 5.7 at 70 %.
		if desired < 5 || desired > 10 {
			t.Errorf("%d workers desired for %d bytes a second and %.0f of one worker, want about 6", desired, high, capacity)
		}
		for _, w := range workers {
			if behind := w.Status().Behind; behind > 10*time.Second {
				t.Errorf("%s is %s behind with as many workers as it asked for", w.ID(), behind)
			}
		}

		if err := server.Kinesis().Reshard(name, 4); err != nil {
			t.Fatal(err)
		}
		fewer := step(5*time.Minute, low, func() bool { return desired <= 4 })
		if fewer > time.Minute {
			t.Errorf("more workers than shards were desired for %s after the merge", fewer)
		}
		if desired < 2 {
			t.Errorf("%d workers desired %s after the traffic fell, before the cool-down of %s", desired, fewer, coolDown)
		}
		down := step(20*time.Minute, low, func() bool { return desired == 1 })
		if desired != 1 || fewer+down < coolDown {
			t.Errorf("%d workers desired %s after the traffic fell, want 1, and not before %s", desired, fewer+down, coolDown)
		}
		step(3*time.Minute, low, func() bool {
			if desired != 1 {
				t.Errorf("%d workers desired at rest, want 1", desired)
			}
			return false
		})
	})
}
