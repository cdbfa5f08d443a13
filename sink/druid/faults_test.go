package druid

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/druid/druidtest"
	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// source is a stream of partitions with payloads of rows: payload n of a partition is always the same. Workers read it as a Kinesis
// consumer does: from the later of the checkpoint and the sink's position, with a checkpoint that follows delivery.
type source struct {
	*rig
	partitions, payloads, rows int
	// lag is how long a checkpoint takes into the lease.
	lag time.Duration
}

// all are the ids of all rows.
func (s *source) all() (ids []sinktest.RowID) {
	for p := range s.partitions {
		for n := 1; n <= s.payloads; n++ {
			ids = append(ids, sinktest.IDs(sinktest.Batch(partitionName(p), sinktest.Position(n), 0, s.rows, 200))...)
		}
	}
	return ids
}

func partitionName(p int) string { return fmt.Sprintf("shard-%d", p) }

// work reads one partition with k until it is finished, ctx ends, or another worker has it.
func (s *source) work(ctx context.Context, k *Sink, partition string) {
	for ctx.Err() == nil {
		err := s.session(ctx, k, partition)
		if err == nil || errors.Is(err, stream.ErrFenced) {
			return
		}
		if _, permanent := errors.AsType[*stream.PermanentError](err); permanent {
			s.Errorf("%s: %v", partition, err)
			return
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

func (s *source) session(ctx context.Context, k *Sink, partition string) error {
	w, at, err := k.Open(ctx, partition)
	if err != nil {
		return err
	}
	broken, breakOff := context.WithCancelCause(ctx)
	var late sync.WaitGroup
	defer late.Wait()
	defer breakOff(nil)
	defer w.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it always returns nil
	next := 1
	for string(at) >= string(sinktest.Position(next)) {
		next++
	}
	for ; next <= s.payloads; next++ {
		last := sinktest.Position(next)
		err := w.Write(broken, sinktest.Batch(partition, last, 0, s.rows, 200), last, func(err error) {
			if err != nil {
				breakOff(err)
				return
			}
			late.Go(func() {
				select {
				case <-time.After(s.lag):
					s.leases.durable(partition, last)
				case <-ctx.Done(): // dead workers write no checkpoint
				}
			})
		})
		if err != nil {
			return cmpErr(broken, err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-broken.Done():
			return context.Cause(broken)
		}
	}
	if err := w.Flush(broken); err != nil {
		return cmpErr(broken, err)
	}
	return nil
}

func cmpErr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// wantOnce wants every row in Druid once: the raw ones by their ids, and the rolled-up ones by how many raw rows are in them.
func (s *source) wantOnce(minute bool) {
	s.Helper()
	if d := cmp.Diff(sinktest.Sorted(s.all()), sinktest.Sorted(s.ids("flows_raw"))); d != "" {
		s.Errorf("rows in Druid (-written +there):\n%.2000s", d)
	}
	if !minute {
		return
	}
	sum := 0
	for _, r := range s.druid.Rows("flows_1m") {
		_, rest, _ := strings.Cut(r.Line, `"rows_in":`)
		n := 0
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			s.Error(err)
		}
		sum += n
	}
	if want := len(s.all()); sum != want {
		s.Errorf("the rolled-up rows are made of %d rows, want %d", sum, want)
	}
}

// TestO5: Druid answers every request with a 500, a 429, a 503, nothing at all, or does what was asked and drops the connection, for 60 s.
// No row is lost and none is there twice; meanwhile the sink takes what two batches may hold, and then Write waits.
func TestO5(t *testing.T) {
	for name, change := range map[string]func(*Config){"Inline": inline, "Objects": objects} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close()
				s := &source{rig: r, partitions: 4, payloads: 300, rows: 20, lag: 3 * time.Second}
				k := r.sink("a", r.leases.of("a"), func(c *Config) { change(c); c.BatchRows = 1000 })
				var working sync.WaitGroup
				for p := range s.partitions {
					working.Go(func() { s.work(t.Context(), k, partitionName(p)) })
				}
				<-time.After(10 * time.Second)
				before := len(r.druid.Rows("flows_raw"))
				if before == 0 {
					t.Fatal("no row was published before the fault")
				}
				ways := []druidtest.Fault{druidtest.Internal, druidtest.DropAfter, druidtest.Hang, druidtest.Busy, druidtest.Refuse, druidtest.Unavailable}
				n := 0
				r.druid.Change(func(c *druidtest.Cluster) {
					c.Fault = func(string, string) druidtest.Fault { n++; return ways[n%len(ways)] }
				})
				<-time.After(60 * time.Second)
				synctest.Wait()
				r.druid.Change(func(c *druidtest.Cluster) { c.Fault = nil })
				if r.druid.Faults() < len(ways) {
					t.Errorf("%d requests met a fault; the test shows nothing", r.druid.Faults())
				}
				waiting := int64(0)
				for _, g := range k.groups {
					g.mu.Lock()
					waiting += g.n
					g.mu.Unlock()
				}
				// 4 partitions make 400 rows a second: 24,000 would have come in a minute.
				if most := int64(k.cfg.TaskSlots * (k.cfg.BatchRows + s.partitions*s.rows)); waiting < int64(k.cfg.BatchRows) || waiting > most {
					t.Errorf("%d rows wait in memory, want a full batch of each group at least and %d at most", waiting, most)
				}
				working.Wait()
				s.wantOnce(false)
				if most := r.druid.MostRunning(); most > k.cfg.TaskSlots {
					t.Errorf("%d tasks were in flight, want at most %d", most, k.cfg.TaskSlots)
				}
			})
		})
	}
}

// Workers die and are cut off at any moment, live on as zombies, requests fail in every way, tasks fail before and after they have
// published: every row is there once. DREDGE_DRUID_SEEDS=1000 runs that many.
func TestNothingLostNothingTwice(t *testing.T) {
	seeds := uint64(10)
	if text := os.Getenv("DREDGE_DRUID_SEEDS"); text != "" {
		var err error
		if seeds, err = strconv.ParseUint(text, 10, 32); err != nil {
			t.Fatal(err)
		}
	}
	for mode, change := range map[string]func(*Config){
		"Inline":  inline,
		"Objects": func(c *Config) { objects(c); c.Minute = true },
	} {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", mode, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { chaos(t, seed, change) })
			})
		}
	}
}

func chaos(t *testing.T, seed uint64, change func(*Config)) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a seed makes the run repeatable
	var mu sync.Mutex
	dice := func(n int) int { mu.Lock(); defer mu.Unlock(); return random.IntN(n) }
	r := newRig(t)
	defer r.close()
	r.druid.TaskTime = 4 * time.Second
	ways := []druidtest.Fault{druidtest.Internal, druidtest.DropAfter, druidtest.DropAfter, druidtest.Hang, druidtest.Busy, druidtest.Refuse}
	r.druid.Fault = func(string, string) druidtest.Fault {
		if dice(100) < 15 {
			return ways[dice(len(ways))]
		}
		return druidtest.None
	}
	r.druid.Outcome = func(string) druidtest.Outcome {
		switch n := dice(100); {
		case n < 15:
			return druidtest.Fails
		case n < 30:
			return druidtest.FailsPublished
		case n < 40:
			return druidtest.LosesReport
		default:
			return druidtest.Succeeds
		}
	}
	r.store.fault = func(string) (before, after error) {
		switch dice(20) {
		case 0:
			return errors.New("slow down"), nil
		case 1:
			return nil, errors.New("connection reset") // although the object is there now
		default:
			return nil, nil
		}
	}
	r.leases.slow = func() { <-time.After(time.Duration(dice(3000)) * time.Millisecond) }
	s := &source{rig: r, partitions: 4, payloads: 60, rows: 5, lag: time.Duration(dice(6000)) * time.Millisecond}
	many := func(c *Config) { change(c); c.MaxAttempts = 100 }

	alive, killAll := context.WithCancel(t.Context())
	defer killAll()
	var working sync.WaitGroup
	stops := make([]context.CancelFunc, s.partitions)
	for generation := range 6 {
		// Each partition stays or goes to a new worker; the one before dies, or goes on without knowing.
		worker := fmt.Sprintf("w%d", generation)
		k := r.sink(worker, r.leases.of(worker), many)
		for p := range s.partitions {
			if generation > 0 && dice(3) == 0 {
				continue
			}
			r.leases.give(partitionName(p), worker)
			if stops[p] != nil && dice(2) == 0 {
				stops[p]()
			}
			ctx, cancel := context.WithCancel(alive)
			stops[p] = cancel
			working.Go(func() { s.work(ctx, k, partitionName(p)) })
		}
		if generation > 0 && dice(3) == 0 {
			if err := r.sinks[generation-1].Close(); err != nil { // a whole process is gone, with what it had in memory
				t.Error(err)
			}
		}
		<-time.After(time.Duration(dice(15_000)) * time.Millisecond)
	}
	// The last worker takes everything and finishes, with Druid well again.
	r.druid.Change(func(c *druidtest.Cluster) { c.Fault, c.Outcome = nil, nil })
	k := r.sink("last", r.leases.of("last"), many)
	var last sync.WaitGroup
	for p := range s.partitions {
		r.leases.give(partitionName(p), "last")
		last.Go(func() { s.work(t.Context(), k, partitionName(p)) })
	}
	last.Wait()
	killAll()
	working.Wait()
	<-time.After(time.Minute) // whatever is under way in Druid ends
	s.wantOnce(k.cfg.Minute)
}

// Without leases nothing is recorded, and a range that is read again on purpose is published again.
func TestWithoutLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		for range 2 {
			k := r.sink("a", nil, inline)
			w, at, err := k.Open(t.Context(), "file")
			if err != nil || at != "" {
				t.Fatalf("Open = _, %q, %v", at, err)
			}
			write(t, w, 1, 10)
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(r.druid.Rows("flows_raw")); n != 20 {
			t.Errorf("%d rows, want those of both runs", n)
		}
	})
}

// write writes payload n of rows.
func write(t *testing.T, w sink.Writer, n, rows int) {
	t.Helper()
	partition := w.(*Writer).partition
	b := sinktest.Batch(partition, sinktest.Position(n), 0, rows, 200)
	if err := w.Write(t.Context(), b, sinktest.Position(n), func(error) {}); err != nil {
		t.Fatal(err)
	}
}
