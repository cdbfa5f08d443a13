package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/row"
	"dredge/row/encode"
	"dredge/row/rollup"
	"dredge/sink/sinktest"
	"dredge/stream"
)

const (
	minuteTopic = "flows_1m"
	lateTopic   = "flows_late"
)

func minuteEncoder(t *testing.T) *encode.Minute {
	t.Helper()
	m, err := encode.NewMinute(row.DefaultConfig().Columns(row.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// withTopics asks for all three topics of rows.
func withTopics(c *Config) { c.MinuteTopic, c.LateTopic = minuteTopic, lateTopic }

func seedTopics() kfake.Opt { return kfake.SeedTopics(3, minuteTopic, lateTopic) }

// rolled is what the test reads of a rolled-up row.
type rolled struct {
	Time     int64  `json:"time"`
	Src      string `json:"src_app"`
	Observed int64  `json:"bytes_observed"`
	RowsIn   int64  `json:"rows_in"`
}

// rolledUp sums rolled-up rows, and counts them.
func rolledUp(t *testing.T, records []*kgo.Record) (sum rolled, rows int) {
	t.Helper()
	for _, r := range records {
		var x rolled
		if err := json.Unmarshal(r.Value, &x); err != nil {
			t.Fatalf("%v: %s", err, r.Value)
		}
		if x.Time%60_000 != 0 || x.Src == "" {
			t.Errorf("no rolled-up row: %s", r.Value)
		}
		sum.Observed += x.Observed
		sum.RowsIn += x.RowsIn
	}
	return sum, len(records)
}

// lateBatch is a batch of n rows of which every third is late and one may be too large.
func lateBatch(at stream.Position, n, tooLarge int) (b *row.Batch, want rolled, late []sinktest.RowID) {
	b = sinktest.Batch(shard0, at, 0, n, 300)
	ids := sinktest.IDs(b)
	for i := range b.Rows {
		switch {
		case i == tooLarge:
			b.Rows[i].Packets = 20_000 // the length of the padding
		case i%3 == 0:
			b.Rows[i].Late = true
			late = append(late, ids[i])
		default:
			want.Observed += b.Rows[i].Bytes
			want.RowsIn++
		}
	}
	return b, want, late
}

func parsed(t *testing.T, records []*kgo.Record) (ids []sinktest.RowID) {
	t.Helper()
	for _, r := range records {
		id, err := sinktest.ParseRow(string(r.Value))
		if err != nil {
			t.Error(err)
		}
		ids = append(ids, id)
	}
	return sinktest.Sorted(ids)
}

// Rows are rolled up Write by Write; late rows and rows that became letters are in no sum. Late rows have a topic of their own.
func TestMinuteAndLateTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) {
			withTopics(c)
			c.BatchMaxBytes, c.DeadLetter.MaxDataBytes = 16<<10, 1<<10
		}, seedTopics())
		defer s.close()
		w, _, err := s.sink.Open(t.Context(), shard0)
		if err != nil {
			t.Fatal(err)
		}
		var want rolled
		var late []sinktest.RowID
		done := 0
		for n := range 2 {
			b, sum, ids := lateBatch(sinktest.Position(n+1), 30, 4)
			want.Observed += sum.Observed
			want.RowsIn += sum.RowsIn
			late = append(late, ids...)
			if err := w.Write(t.Context(), b, sinktest.Position(n+1), func(err error) {
				if err != nil {
					t.Error(err)
				}
				done++
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(t.Context()); err != nil || done != 2 {
			t.Fatalf("Flush = %v, %d done", err, done)
		}
		sum, rows := rolledUp(t, s.read(minuteTopic))
		if d := cmp.Diff(want, sum); d != "" || rows < 2*5 || rows >= int(want.RowsIn) { // five pairs of applications
			t.Errorf("%d rolled-up rows, sums (-want +got):\n%s", rows, d)
		}
		if d := cmp.Diff(late, parsed(t, s.read(lateTopic))); d != "" {
			t.Errorf("late rows (-want +got):\n%s", d)
		}
		if got, want := len(s.durable(t)), 2*(30-10-1); got != want {
			t.Errorf("%d rows in the topic of raw rows, want %d", got, want)
		}
		m := s.sink.metrics
		if raw, minute := testutil.ToFloat64(m.rows), testutil.ToFloat64(m.minute); raw != 2*(30-1) || int(minute) != rows {
			t.Errorf("counted %v raw rows and %v rolled-up ones of %d", raw, minute, rows)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Rolled-up and late rows are in the transaction of their raw rows: one row for all that are equal in it, none of an aborted one,
// none twice.
func TestMinuteAndLateTopicsInTheTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTxStage(t, withTopics, seedTopics())
		defer s.cluster.Close()
		p, q := s.process("one"), s.process("two")
		defer p.Close()
		defer q.Close()
		var want rolled
		var late []sinktest.RowID
		write := func(a *author) {
			a.next++
			at := sinktest.Position(a.next)
			b, _, _ := lateBatch(at, 30, -1)
			a.must(a.Write(t.Context(), b, at, func(error) {}))
		}
		a := s.open(p, shard0, "")
		write(a)
		write(a)
		a.must(a.Flush(t.Context()))
		if _, rows := rolledUp(t, s.committed(minuteTopic)); rows != 5 {
			t.Errorf("two Writes of one transaction are rolled up to %d rows, want one for each of 5 pairs", rows)
		}
		write(a) // is aborted
		pass(50 * time.Millisecond)
		s.lose(p, a, loseRequest) // rows and rolled-up rows are with the broker, the commit is not
		a.must(a.Close(t.Context()))

		s.table.take(shard0, "two")
		c := s.open(q, shard0, sinktest.Position(2))
		write(c)
		c.must(c.Flush(t.Context()))
		c.must(c.Close(t.Context()))
		for n := range 3 {
			_, sum, ids := lateBatch(sinktest.Position(n+1), 30, -1)
			want.Observed += sum.Observed
			want.RowsIn += sum.RowsIn
			late = append(late, ids...)
		}
		sum, rows := rolledUp(t, s.committed(minuteTopic))
		if d := cmp.Diff(want, sum); d != "" || rows != 10 {
			t.Errorf("%d rolled-up rows, sums (-want +got):\n%s", rows, d)
		}
		if d := cmp.Diff(late, parsed(t, s.committed(lateTopic))); d != "" {
			t.Errorf("late rows (-want +got):\n%s", d)
		}
	})
}

// A rolled-up row that no record batch can hold stops the shard: its lines stand among the raw rows, so it is no letter.
func TestRolledUpRowTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTxStage(t, func(c *Config) {
			withTopics(c)
			c.BatchMaxBytes, c.DeadLetter.MaxDataBytes = 16<<10, 1<<10
		}, seedTopics())
		defer s.cluster.Close()
		p := s.process("one")
		defer p.Close()
		a := s.open(p, shard0, "")
		b := sinktest.Batch(shard0, sinktest.Position(1), 0, 1, 300)
		b.Rows[0].Src.Identity = &row.Identity{App: "web", Cluster: strings.Repeat("x", 20_000)}
		a.must(a.Write(t.Context(), b, sinktest.Position(1), func(error) {}))
		if err := a.Flush(t.Context()); !permanentWith(err, "batch_max_bytes: a rolled-up row of 20") {
			t.Errorf("Flush = %v, want a refusal", err)
		}
		a.must(a.Close(t.Context()))
		if got := len(s.rows()); got != 0 {
			t.Errorf("%d rows of the refused transaction are seen", got)
		}
	})
}

// Rows of one pair of applications meet in one partition in both grains; rows without a named end spread by their dimensions.
func TestMinuteHash(t *testing.T) {
	cfg := DefaultConfig()
	st := newStamper(&cfg)
	raw := st.hash(pairRow("web", "api"))
	if got := st.minuteHash(&rollup.Row{SrcApp: "web", DstApp: "api", Dimensions: []byte("a")}); got != raw {
		t.Errorf("a pair has hash %d rolled up and %d raw", got, raw)
	}
	partitions := map[uint64]bool{}
	for i := range 100 {
		h := st.minuteHash(&rollup.Row{SrcApp: row.AppUnknown, DstApp: row.AppInternet, Dimensions: fmt.Appendf(nil, "%d", i)})
		partitions[h%12] = true
	}
	if len(partitions) < 12 {
		t.Errorf("rows without a name come to %d of 12 partitions", len(partitions))
	}
}

// Check looks at every topic of rows, and makes what may be made.
func TestCheckMinuteAndLateTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, withTopics, kfake.SeedTopics(1, minuteTopic))
		defer s.close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.sink.Check(ctx)
		for _, want := range []string{`topic "flows_1m" has 1, fewer than 3`, `late_topic: "flows_late" does not exist; write create_topic: true`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Check = %v, want %q", err, want)
			}
		}
	})
}
