package s3

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dredge/consumer/s3/s3test"
	"dredge/internal/retry"
	"dredge/stream"
)

// coordinator is a broker with transactions, as little of one as fencing needs: an epoch for each name, and what was committed.
type coordinator struct {
	*landed
	epoch map[string]int
	last  map[string]stream.Position
}

func newCoordinator() *coordinator {
	return &coordinator{landed: newLanded(), epoch: map[string]int{}, last: map[string]stream.Position{}}
}

// txSink is one worker's way to it: a stream.Processor and its Slots.
type txSink struct {
	c *coordinator
	// kill is the worker's; a dead one reaches the coordinator no more.
	kill *killer
	// hold, when set, is called in Handle.
	hold func(ctx context.Context) error

	mu     sync.Mutex
	stints map[string]*txStint
}

type txStint struct {
	slot *txSlot
	Stint
}

func newTxSink(c *coordinator, kill *killer) *txSink {
	return &txSink{c: c, kill: kill, stints: map[string]*txStint{}}
}

// step carries out one request to the coordinator, unless the worker is dead or dies before or after it.
func (s *txSink) step(do func() error) error {
	now, err := s.kill.strike()
	if err != nil {
		return err
	}
	if now && !s.kill.after {
		s.kill.die()
		return errKilled
	}
	s.c.mu.Lock()
	err = do()
	s.c.mu.Unlock()
	if now {
		s.kill.die()
		return errKilled
	}
	return err
}

func (s *txSink) Slot(name string) Slot { return &txSlot{sink: s, name: name} }

type txSlot struct {
	sink  *txSink
	name  string
	epoch int // 0 is none
}

func (l *txSlot) fence() { l.sink.c.epoch[l.name]++; l.epoch = l.sink.c.epoch[l.name] }

func (l *txSlot) Succeed(_ context.Context, former []string) (last []stream.Position, err error) {
	if l.epoch == 0 {
		if err := l.sink.step(func() error { l.fence(); return nil }); err != nil {
			return nil, err
		}
	}
	for _, name := range former {
		err := l.sink.step(func() error {
			l.sink.c.epoch[name]++
			last = append(last, l.sink.c.last[name])
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}

func (l *txSlot) Enter(partition string, s Stint) {
	l.sink.mu.Lock()
	defer l.sink.mu.Unlock()
	l.sink.stints[partition] = &txStint{slot: l, Stint: s}
}

func (l *txSlot) Leave(partition string) {
	l.sink.mu.Lock()
	defer l.sink.mu.Unlock()
	delete(l.sink.stints, partition)
}

func (l *txSlot) Forget(context.Context) error {
	return l.sink.step(func() error { delete(l.sink.c.last, l.name); return nil })
}

func (l *txSlot) Close() { l.epoch = -1 }

func (s *txSink) Open(_ context.Context, partition string) (stream.Handler, stream.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stints[partition]
	if st == nil {
		return nil, "", fmt.Errorf("no slot works on %q", partition)
	}
	return &txHandler{sink: s, st: st}, "", nil
}

// txHandler commits with every second chunk and with Flush.
type txHandler struct {
	sink     *txSink
	st       *txStint
	rows     []rowOf
	last     stream.Position
	progress []func()
}

func (h *txHandler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	if h.sink.hold != nil {
		if err := h.sink.hold(ctx); err != nil {
			return err
		}
	}
	h.rows = append(h.rows, rowsOf(c)...)
	h.last = c.Last
	h.progress = append(h.progress, func() { progress(c.Last, nil) })
	if len(h.progress) < 2 {
		return nil
	}
	return h.Flush(ctx)
}

func (h *txHandler) Flush(ctx context.Context) error {
	if len(h.progress) == 0 {
		return nil
	}
	whole, err := h.st.Whole(h.last)
	if err != nil {
		return err
	}
	err = h.sink.step(func() error {
		c := h.sink.c
		if c.epoch[h.st.slot.name] != h.st.slot.epoch {
			return fmt.Errorf("commit as %s: %w", h.st.slot.name, stream.ErrFenced)
		}
		c.last[h.st.slot.name] = whole
		c.add(h.rows)
		return nil
	})
	if err != nil {
		return err
	}
	for _, tell := range h.progress {
		tell()
	}
	h.rows, h.progress = nil, nil
	return nil
}

func (h *txHandler) Close(context.Context) error { return nil }

// exact is a worker that commits exactly once.
func (r *rig) exact(k *killer, s Store, sink *txSink) *Worker {
	w := r.worker(k, s, sink)
	w.d.Slots = sink
	return w
}

// threeFiles puts three Parquet files of three pieces each into one mouthful, and returns their lines.
func threeFiles(t *testing.T, r *rig) (s *store, want []string) {
	t.Helper()
	s = newStore()
	for i := range 3 {
		data := flowParquetFrom(t, 100_000*i, 10_000, 10_000)
		s.files[fmt.Sprintf("f%d.parquet", i)] = data
		lines, err := readAll(t, data)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, lines[1:]...)
	}
	r.form(s, 3)
	slices.Sort(want)
	return s, want
}

// once checks that all lines are committed, and each once.
func (c *coordinator) once(t *testing.T, want []string) {
	t.Helper()
	if got := c.delivered(); !slices.Equal(want, got) {
		t.Errorf("%d lines committed, want %d", len(got), len(want))
	}
	if n := c.twice(); n != 0 {
		t.Errorf("%d rows are committed twice", n)
	}
}

// A worker that is killed at any of its requests, to AWS or to the broker, loses nothing and leaves nothing to be written twice.
func TestWorkerKilledBetweenEveryTwoStepsExactlyOnce(t *testing.T) {
	killEverywhere(t, 12, func(t *testing.T, k *killer) {
		r := newRig(t, func(c *Config) { c.Work.Slots = 1 })
		s, want := threeFiles(t, r)
		c := newCoordinator()
		k.live(t, r.exact(k, s, newTxSink(c, k)).Run)
		var stops []func()
		for range 2 {
			stops = append(stops, start(t, r.exact(nil, s, newTxSink(c, &killer{})).Run))
		}
		r.wait(time.Hour, "all mouthfuls read", r.drained("mouthfuls"))
		for _, stop := range stops {
			stop()
		}
		c.once(t, want)
	})
}

// The first worker stands still in the middle of a file until its claim is over. The second one claims the mouthful and dies before it
// has fenced anybody. The third one must fence both: when the first one wakes up, it still has a broker to talk to.
func TestTakerThatDiesBeforeItFences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Work.Slots = 1 })
		s, want := threeFiles(t, r)
		c := newCoordinator()

		first := newTxSink(c, &killer{})
		wake := make(chan struct{})
		chunks := 0
		first.hold = func(context.Context) error {
			if chunks++; chunks == 3 {
				<-wake // in the second half of the first file: half of it is committed
			}
			return nil
		}
		stopped := &killer{} // cut off from AWS only, so that its claim is not kept
		one := r.exact(stopped, s, first)
		stopOne := start(t, one.Run)
		r.wait(time.Minute, "a commit of the first", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.last) == 1 })
		synctest.Wait()
		stopped.end()

		ctx, die := context.WithCancel(t.Context())
		defer die()
		kill := &killer{die: die}
		second := newTxSink(c, kill)
		two := r.exact(kill, s, &txSink{c: c, kill: kill, stints: second.stints})
		// Its first word to the broker is its last word to anybody.
		kill.onBroker = true
		_ = two.Run(ctx)
		if !kill.struck() {
			t.Fatal("the second worker came not as far as the broker")
		}

		three := r.exact(nil, s, newTxSink(c, &killer{}))
		stopThree := start(t, three.Run)
		r.wait(time.Hour, "the mouthful read", r.drained("mouthfuls"))
		if n := testutil.ToFloat64(three.m.fenced); n != 2 {
			t.Errorf("%v former owners were fenced, want both", n)
		}
		close(wake)
		synctest.Wait()
		stopOne()
		stopThree()
		c.once(t, want)
	})
}

// A drain in the middle of a file leaves the claim for the next worker to fence, which goes on where the last commit was.
func TestDrainExactlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Work.Slots = 1 })
		s, want := threeFiles(t, r)
		c := newCoordinator()
		sink := newTxSink(c, &killer{})
		sink.hold = func(ctx context.Context) error { return retry.Sleep(ctx, 20*time.Second) }
		stop := start(t, r.exact(nil, s, sink).Run)
		<-time.After(70 * time.Second)
		stop()
		if n := len(c.delivered()); n == 0 || n >= len(want) {
			t.Fatalf("%d of %d lines are committed at the drain", n, len(want))
		}
		began := time.Now()
		next := r.exact(nil, s, newTxSink(c, &killer{}))
		stop = start(t, next.Run)
		r.wait(time.Minute, "the mouthful read", r.drained("mouthfuls"))
		stop()
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("the next worker began after %s", d)
		}
		c.once(t, want)
		// The slots of both ended with nothing that anybody would ask for, but for the one that was fenced.
		if len(c.last) != 1 {
			t.Errorf("%d records are left: %v", len(c.last), c.last)
		}
	})
}

// A file that can't be read further is quarantined with what came before it committed once; its neighbours land.
func TestPoisonFileExactlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Work.Slots, c.Work.MaxTries = 1, 3 })
		s, k := newStore(), newCoordinator()
		var want []string
		for i := range 5 {
			name := fmt.Sprintf("f%d.log.gz", i)
			text, lines := logFile(name, 20_000)
			s.files[name] = s3test.Gzip(text)
			if i == 2 {
				s.files[name] = s.files[name][:len(s.files[name])*3/4]
				continue
			}
			want = append(want, lines...)
		}
		r.form(s, 5)
		stop := start(t, r.exact(nil, s, newTxSink(k, &killer{})).Run)
		r.wait(time.Hour, "the mouthful read", r.drained("mouthfuls"))
		stop()
		slices.Sort(want)
		good := slices.DeleteFunc(k.delivered(), func(line string) bool { return strings.Contains(line, "f2.log.gz") })
		if !slices.Equal(want, good) || k.twice() != 0 {
			t.Errorf("%d lines of the neighbours, want %d; %d rows twice", len(good), len(want), k.twice())
		}
		if got := r.reasons(); !cmp.Equal(got, map[string]string{"s3://flows/f2.log.gz#e": fileCorrupt}) {
			t.Errorf("reasons in the ledger: %v", got)
		}
	})
}
