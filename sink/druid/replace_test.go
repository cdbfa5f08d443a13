package druid

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	cluster "dredge/druid"
	"dredge/druid/druidtest"
	"dredge/row"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// replacement makes a Replacement of the hour that the bubble's clock shows.
func (r *rig) replacement(change func(*Config)) *Replacement {
	r.Helper()
	cfg := DefaultConfig()
	change(&cfg)
	columns := []row.Column{{Name: "time", Role: row.Timestamp, Number: func(_ *row.Batch, r *row.Row) (int64, bool) { return r.Start, true }}}
	hour := time.Now().Truncate(time.Hour)
	p, err := NewReplacement(cfg, Deps{
		Encoder: timed{}, Minute: minutes{}, Cluster: r.client, Objects: r.store, Registry: prometheus.NewPedanticRegistry(), Log: zerolog.Nop(),
		Raw: cluster.Table{Datasource: "flows_raw", Columns: columns}, Rolled: cluster.Table{Datasource: "flows_1m", Columns: columns, Rollup: true},
	}, hour, hour.Add(time.Hour))
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// What was streamed and is done again leaves every row once, in both grains; rows of other hours stay as they were, and nothing changes before
// Publish. Tasks that fail, and requests that do, change nothing of that.
func TestReplacementLeavesEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		withMinutes := func(c *Config) { objects(c); c.Minute = true }
		s := &source{rig: r, partitions: 2, payloads: 30, rows: 5}
		k := r.sink("a", r.leases.of("a"), withMinutes)
		for p := range s.partitions {
			s.work(t.Context(), k, partitionName(p))
		}
		s.wantOnce(true)
		before := len(r.druid.Tasks())

		again := r.replacement(withMinutes)
		w, _, err := again.Open(t.Context(), "again")
		if err != nil {
			t.Fatal(err)
		}
		put := func(b *row.Batch) {
			t.Helper()
			if err := w.Write(t.Context(), b, "", func(err error) {
				if err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		for p := range s.partitions {
			for n := 1; n <= s.payloads; n++ {
				put(sinktest.Batch(partitionName(p), sinktest.Position(n), 0, s.rows, 200))
			}
		}
		other := sinktest.Batch("other", sinktest.Position(1), 0, 7, 200)
		for i := range other.Rows {
			other.Rows[i].Start += 2 * time.Hour.Milliseconds()
		}
		put(other)
		if n := len(r.druid.Tasks()); n != before {
			t.Errorf("%d tasks before Publish, want %d", n, before)
		}
		failed := false
		r.druid.Change(func(c *druidtest.Cluster) {
			n := 0
			c.Fault = func(string, string) druidtest.Fault {
				if n++; n%3 == 0 {
					return []druidtest.Fault{druidtest.DropAfter, druidtest.Busy, druidtest.Internal}[n/3%3]
				}
				return druidtest.None
			}
			c.Outcome = func(string) druidtest.Outcome {
				if failed {
					return druidtest.Succeeds
				}
				failed = true
				return druidtest.FailsPublished
			}
		})
		rows, err := again.Publish(t.Context())
		if err != nil || rows != int64(len(s.all())) || again.Outside() != 7 {
			t.Errorf("Publish = %d, %v with %d rows outside; want %d and 7", rows, err, again.Outside(), len(s.all()))
		}
		r.druid.Change(func(c *druidtest.Cluster) { c.Fault = nil })
		s.wantOnce(true)
		if tasks := r.druid.Tasks(); !slices.ContainsFunc(tasks, func(id string) bool { return strings.HasPrefix(id, "dredge-replace-1m-") }) {
			t.Errorf("tasks %v hold none that replaces the rolled-up rows", tasks)
		}
	})
}

// An object whose write succeeded and whose answer was lost is not written a second time, nor waited for without end.
func TestReplacementWhoseObjectIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		lost := 0
		r.store.fault = func(string) (before, after error) {
			lost++
			return nil, errors.New("connection reset")
		}
		again := r.replacement(objects)
		w, _, err := again.Open(t.Context(), "again")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), sinktest.Batch("again", sinktest.Position(1), 0, 5, 200), "", func(error) {}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if n, err := again.Publish(ctx); n != 5 || err != nil {
			t.Errorf("Publish: %d rows, %v", n, err)
		}
		if n := len(r.store.objects); n != 1 || lost != 2 {
			t.Errorf("%d objects after %d writes, want one after two", n, lost)
		}
	})
}

// Rows that no object can take are more than a task's spec may hold.
func TestReplacementWithoutObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.replacement(inline)
		w, _, err := p.Open(t.Context(), "again")
		if err != nil {
			t.Fatal(err)
		}
		for n := range 100 {
			err = w.Write(t.Context(), sinktest.Batch("a", sinktest.Position(n), 0, 1000, 1000), "", func(error) {})
			if err != nil {
				break
			}
		}
		if _, ok := err.(*stream.PermanentError); !ok { //nolint:errorlint // it is returned as it is
			t.Errorf("Write = %v, want a stream.PermanentError", err)
		}
	})
}

// A report that comes a little later than the end of its task is waited for: only it says that rows are missing.
func TestReplacementWhoseReportComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		asks := 0
		r.druid.Outcome = func(string) druidtest.Outcome { return druidtest.Shortens }
		r.druid.Fault = func(_, path string) druidtest.Fault {
			if strings.HasSuffix(path, "/reports") {
				if asks++; asks < 3 {
					return druidtest.NotFound
				}
			}
			return druidtest.None
		}
		p := r.replacement(inline)
		w, _, err := p.Open(t.Context(), "again")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), sinktest.Batch("a", sinktest.Position(1), 0, 10, 10), "", func(error) {}); err != nil {
			t.Fatal(err)
		}
		_, err = p.Publish(t.Context())
		if err == nil || !strings.Contains(err.Error(), "reports 9 rows of 10") {
			t.Errorf("Publish = %v; want that a row is missing", err)
		}
		if asks != 3 {
			t.Errorf("%d asks for the report", asks)
		}
	})
}

func TestReplacementTakesWholeHours(t *testing.T) {
	hour := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, span := range [][2]time.Time{{hour, hour}, {hour, hour.Add(time.Minute)}, {hour.Add(time.Minute), hour.Add(time.Hour)}} {
		if _, err := NewReplacement(DefaultConfig(), Deps{}, span[0], span[1]); err == nil || !strings.Contains(err.Error(), "only whole hours") {
			t.Errorf("%s to %s: %v", span[0], span[1], err)
		}
	}
}
