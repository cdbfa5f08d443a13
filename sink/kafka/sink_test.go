package kafka

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/row"
	"dredge/sink/internal/ack"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// A row that no record batch can hold goes to the dead letter; its neighbours land, and the position passes it.
func TestRowTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) { c.BatchMaxBytes, c.DeadLetter.MaxDataBytes = 16<<10, 1<<10 })
		defer s.close()
		b := sinktest.Batch("shard-0", "1", 0, 9, 300)
		b.Rows[4].Packets = 20_000 // the length of the padding
		w, _, err := s.sink.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		done := errors.New("not called")
		if err := w.Write(t.Context(), b, "1", func(err error) { done = err }); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(t.Context()); err != nil || done != nil {
			t.Fatalf("Flush = %v, done = %v", err, done)
		}
		var want []sinktest.RowID
		for i, id := range sinktest.IDs(b) {
			if i != 4 {
				want = append(want, id)
			}
		}
		if d := cmp.Diff(want, sinktest.Sorted(s.durable(t))); d != "" {
			t.Errorf("durable rows (-want +got):\n%s", d)
		}
		if len(s.letters.all) != 1 {
			t.Fatalf("%d letters, want 1", len(s.letters.all))
		}
		l := s.letters.all[0]
		if l.Partition != "shard-0" || l.At != "1" || l.Index != 4 || l.Reason != ReasonRowTooLarge || l.Size < 20_000 ||
			!strings.Contains(l.Detail, "above the limit of 15872 set by batch_max_bytes") {
			t.Errorf("letter = %+v", l)
		}
		if n := testutil.ToFloat64(s.sink.metrics.tooLarge); n != 1 {
			t.Errorf("too_large_rows_total = %v, want 1", n)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The largest row that passes the check is one that the client and the broker take.
func TestLargestRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) { c.Compression, c.RecordKey = "none", true })
		defer s.close()
		b := sinktest.Batch("shard-0", "1", 0, 1, 300)
		frame := len(sinktest.Encoder{}.Append(nil, b, 0)) - int(b.Rows[0].Packets)
		b.Rows[0].Packets = int64(s.cfg.maxRow() - frame)
		w, _, err := s.sink.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), b, "1", func(error) {}); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(s.durable(t)); got != 1 || len(s.letters.all) != 0 {
			t.Errorf("%d rows and %d letters, want the row", got, len(s.letters.all))
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Rows of one pair of apps land in one partition, in the order in which they were written.
func TestOrderWithinAPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		defer s.close()
		w, _, err := s.sink.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		const writes, rows = 20, 400
		for n := range writes {
			pos := sinktest.Position(n + 1)
			if err := w.Write(t.Context(), sinktest.Batch("shard-0", pos, 0, rows, 500), pos, func(error) {}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		partitionOf := map[string]int32{}
		last := map[int32]sinktest.RowID{}
		for _, r := range s.read(topic) {
			id, err := sinktest.ParseRow(string(r.Value))
			if err != nil {
				t.Fatal(err)
			}
			if before, ok := last[r.Partition]; ok && before.Compare(id) >= 0 {
				t.Fatalf("partition %d holds %s after %s", r.Partition, id, before)
			}
			last[r.Partition] = id
			_, app, _ := strings.Cut(string(r.Value), `"src_app":"`)
			app, _, _ = strings.Cut(app, `"`)
			if p, ok := partitionOf[app]; ok && p != r.Partition {
				t.Fatalf("pair of %q is in partitions %d and %d", app, p, r.Partition)
			}
			partitionOf[app] = r.Partition
			if r.Key != nil {
				t.Fatalf("record has key %x although record_key is off", r.Key)
			}
		}
		if len(last) < 2 {
			t.Errorf("all pairs landed in %d partition", len(last))
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The hash is part of the output: workers of different releases must agree on it.
func TestHashIsStable(t *testing.T) {
	cfg := DefaultConfig()
	st := newStamper(&cfg)
	f := func(src, dst string, named bool, want uint64) {
		t.Helper()
		r := &row.Row{
			Src: row.Side{App: src, Named: named, Addr: netip.MustParseAddr("10.0.0.1")},
			Dst: row.Side{App: dst, Named: named, Addr: netip.MustParseAddr("2001:db8::1")},
		}
		if got := st.hash(r); got != want {
			t.Errorf("hash(%q, %q) = %#x, want %#x", src, dst, got, want)
		}
	}
	f("web", "api", true, 0xc6f8a0aeea92e920)
	f("unknown", "unknown", false, 0x508ee13cd04e395b)
	if st.hash(pairRow("ab", "c")) == st.hash(pairRow("a", "bc")) {
		t.Error("the pairs ab, c and a, bc are not told apart")
	}
}

func pairRow(src, dst string) *row.Row {
	return &row.Row{Src: row.Side{App: src, Named: true}, Dst: row.Side{App: dst, Named: true}}
}

// Pairs spread evenly: with 12 partitions none gets more than half again its share.
func TestHashSpreads(t *testing.T) {
	cfg := DefaultConfig()
	st := newStamper(&cfg)
	const apps, parts = 100, 12
	var count [parts]int
	for a := range apps {
		for b := range apps {
			count[st.hash(pairRow(fmt.Sprintf("service-%d", a), fmt.Sprintf("service-%d", b)))%parts]++
		}
	}
	for p, n := range count {
		if share := apps * apps / parts; n > share*3/2 || n < share/2 {
			t.Errorf("partition %d gets %d of %d pairs", p, n, apps*apps)
		}
	}
	// With pair_spread one pair takes that many partitions.
	cfg.PairSpread = 3
	st = newStamper(&cfg)
	seen := map[uint64]bool{}
	for st.chunk = range uint64(10) {
		seen[st.hash(pairRow("web", "api"))%parts] = true
	}
	if len(seen) != 3 {
		t.Errorf("one pair takes %d partitions, want 3", len(seen))
	}
}

func TestRecordTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		f := func(mode RecordTime, start, end, want time.Time) {
			t.Helper()
			cfg := DefaultConfig()
			cfg.RecordTime = mode
			st := newStamper(&cfg)
			got := st.time(&row.Row{Start: start.UnixMilli(), End: end.UnixMilli()})
			if !got.Equal(want.Truncate(time.Millisecond)) {
				t.Errorf("%s of [%s, %s] = %s, want %s", mode, start, end, got, want)
			}
		}
		minute := time.Minute
		f(RecordTimeStart, now.Add(-9*minute), now.Add(-8*minute), now.Add(-9*minute))
		f(RecordTimeEnd, now.Add(-9*minute), now.Add(-8*minute), now.Add(-8*minute))
		f(RecordTimeProduce, now.Add(-9*minute), now.Add(-8*minute), now)
		// Brokers refuse the future, and retention deletes the past.
		f(RecordTimeStart, now.Add(minute), now.Add(2*minute), now)
		f(RecordTimeStart, now.Add(-24*time.Hour), now, now.Add(-time.Hour))
	})
}

// A topic that is deleted under the sink stops its Writers; when it is back, a new Writer works without a restart.
func TestTopicDeletedAndCreatedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		defer s.close()
		writeOne(t, s.sink)
		if err := s.cluster.DeleteTopic(topic); err != nil {
			t.Fatal(err)
		}
		w, _, err := s.sink.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), sinktest.Batch("shard-0", "2", 0, 1, 200), "2", func(error) {}); err != nil {
			t.Fatal(err)
		}
		err = w.Flush(t.Context())
		if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !strings.Contains(err.Error(), "create the topic") {
			t.Fatalf("Flush = %v, want a permanent error that says to create the topic", err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.cluster.CreateTopic(topic, 3, nil); err != nil {
			t.Fatal(err)
		}
		writeOne(t, s.sink)
		if got := len(s.durable(t)); got != 1 {
			t.Errorf("%d rows in the new topic, want 1", got)
		}
	})
}

// The pool is the bound: what a blocked broker makes the sink hold is exactly its slabs, whatever number of Writers there is.
func TestBufferBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil) // 4 MiB: 16 slabs
		defer s.close()
		f := s.cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		finished := make(chan error)
		const writers = 5
		for n := range writers {
			go func() {
				w, _, err := s.sink.Open(ctx, fmt.Sprintf("shard-%d", n))
				if err != nil {
					finished <- err
					return
				}
				for err == nil {
					err = w.Write(ctx, sinktest.Batch("shard", "1", 0, 1000, 1000), "1", func(error) {})
				}
				finished <- errors.Join(w.Close(ctx), err)
			}()
		}
		if err := f.Await(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := s.sink.slabs.out(), int(s.cfg.BufferBytes/slabBytes); got != want {
			t.Errorf("%d slabs are out, want all %d", got, want)
		}
		flying := testutil.ToFloat64(s.sink.metrics.flying)
		if limit := float64(s.cfg.BufferBytes); flying > limit || flying < limit*3/4 {
			t.Errorf("%.0f bytes are in flight, want nearly %.0f", flying, limit)
		}
		if n := s.sink.client.BufferedProduceBytes(); n > s.cfg.BufferBytes {
			t.Errorf("the client buffers %d bytes, more than %d", n, s.cfg.BufferBytes)
		}
		for range writers {
			if err := <-finished; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Write = %v, want %v", err, context.DeadlineExceeded)
			}
		}
		f.Mend()
	})
}

// Closing the sink with a dead broker ends at once: open Writers are told, every buffer comes home.
func TestCloseWithADeadBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		f := s.refuse(kerr.CorruptMessage) // keeps the sink in its own retries
		w, _, err := s.sink.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		var done []error
		for range 3 {
			err := w.Write(t.Context(), sinktest.Batch("shard-0", "1", 0, 500, 800), "1", func(err error) { done = append(done, err) })
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.close()
		if len(done) != 3 {
			t.Fatalf("%d writes were reported, want 3", len(done))
		}
		for _, err := range done {
			if !errors.Is(err, errClosed) {
				t.Errorf("done = %v, want %v", err, errClosed)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, _, err := s.sink.Open(t.Context(), "shard-0"); !errors.Is(err, errClosed) {
			t.Errorf("Open after Close = %v, want %v", err, errClosed)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		defer s.close()
		f := s.refuse(kerr.CorruptMessage)
		w, _, err := s.sink.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), sinktest.Batch("shard-0", "1", 0, 50, 300), "1", func(error) {}); err != nil {
			t.Fatal(err)
		}
		if err := f.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := testutil.ToFloat64(s.sink.metrics.rows); n != 0 {
			t.Errorf("rows_total = %v before anything was acknowledged", n)
		}
		f.Mend()
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := s.sink.metrics
		if n := testutil.ToFloat64(m.rows); n != 50 {
			t.Errorf("rows_total = %v, want 50", n)
		}
		if n, e := testutil.ToFloat64(m.retries), testutil.ToFloat64(m.errors[classTransient]); n < 1 || n != e {
			t.Errorf("retried_rows_total = %v, errors_total{transient} = %v, want the same and some", n, e)
		}
		if n := testutil.ToFloat64(m.flying); n != 0 {
			t.Errorf("in_flight_bytes = %v at rest", n)
		}
		if testutil.ToFloat64(m.written) == 0 || testutil.ToFloat64(m.bytes) == 0 {
			t.Error("no bytes were counted")
		}
		if problems, err := testutil.GatherAndLint(s.reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Filling a slab, the whole of our work per row, allocates nothing.
func TestFillDoesNotAllocate(t *testing.T) {
	cfg := DefaultConfig()
	cfg.RecordKey = true
	p := newPool(&Sink{cfg: cfg, encoder: sinktest.Encoder{}, closing: t.Context()}, 1)
	b := sinktest.Batch("s", "1", 0, 300, 700)
	enc := stored{[]byte(strings.Repeat("x", 700))}
	p.sink.encoder = enc
	st := newStamper(&cfg)
	tooLarge := func(int, []byte) error { return errors.New("too large") }
	allocs := testing.AllocsPerRun(100, func() {
		s, err := p.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if next, err := s.fill(b, 0, cfg.maxRow(), &st, tooLarge); err != nil || next != len(b.Rows) {
			t.Fatalf("fill = %d, %v", next, err)
		}
		p.put(s)
	})
	if allocs != 0 {
		t.Errorf("%v allocations for 300 rows, want none", allocs)
	}
}

// Each record's key and value are its own bytes, even when a large row made the slab's buffer move.
func TestFillAfterGrowth(t *testing.T) {
	cfg := DefaultConfig()
	cfg.RecordKey = true
	p := newPool(&Sink{cfg: cfg, encoder: sinktest.Encoder{}, closing: t.Context()}, 1)
	b := sinktest.Batch("s", "1", 0, 40, 700)
	b.Rows[30].Packets = 400_000
	s, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.entry = &ack.Entry{}
	st := newStamper(&cfg)
	next, err := s.fill(b, 0, cfg.maxRow(), &st, nil)
	if err != nil || next != 31 {
		t.Fatalf("fill = %d, %v, want 31 rows: the large one fills the slab", next, err)
	}
	check := func(r *kgo.Record, i int) {
		id, err := sinktest.ParseRow(string(r.Value))
		if err != nil || id.Index != i || len(r.Key) != keyBytes {
			t.Errorf("record %d = %s with a key of %d bytes, %v", i, id, len(r.Key), err)
		}
	}
	for i := range s.recs {
		check(&s.recs[i], i)
	}
	p.put(s)
	if cap(s.buf) > slabBytes {
		t.Errorf("a slab of %d bytes went home, want %d", cap(s.buf), slabBytes)
	}
}
