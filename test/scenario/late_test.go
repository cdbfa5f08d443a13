package scenario

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/internal/awsfake"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink/file"
)

// putLines writes version-2 lines of a flow that began so long ago as one record.
func (r *rig) putLines(key string, age time.Duration, n int) (shard, sequence string) {
	r.Helper()
	start := time.Now().Add(-age)
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "2 123456789010 eni-0aaa 10.0.1.5 10.0.2.6 %d 443 6 1 100 %d %d ACCEPT OK\n", 40000+i, start.Unix(), start.Add(30*time.Second).Unix())
	}
	return r.put(key, []byte(lines.String()))
}

// TestO7LateRows: a row that is 2 h late goes to the late stream, which is a file of its own here, and to the counter; it is in no other file, nothing is dropped, and the books
// count it as delivered. The topic of the Kafka sink is tested beside that sink.
func TestO7LateRows(t *testing.T) {
	dir := t.TempDir()
	cfg := file.DefaultConfig()
	cfg.Path, cfg.LatePath, cfg.MinutePath = filepath.Join(dir, "rows.jsonl"), filepath.Join(dir, "late.jsonl"), filepath.Join(dir, "minute.jsonl")
	rows := row.DefaultConfig()
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		encoder, err := encode.NewJSON(rows.Columns(row.Raw))
		if err != nil {
			t.Fatal(err)
		}
		minute, err := encode.NewMinute(rows.Columns(row.Minute))
		if err != nil {
			t.Fatal(err)
		}
		out, err := file.New(cfg, file.Deps{Encoder: encoder, Minute: minute, Registry: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		r.sink, r.lateAfter = out, time.Hour
		r.pipeline.Formats.Default = "default"
		w := r.start("dredge-a")
		r.putLines("a", 2*time.Minute, 5)
		r.putLines("a", 2*time.Hour, 1)
		r.putLines("a", time.Minute, 3)
		r.await("all is delivered", 5*time.Minute, func() bool { return w.pipeline.Books().Snapshot().Delivered == 9 })
		if n := w.metric("dredge_enrich_late_rows_total"); n != 1 {
			t.Errorf("%v late rows are counted", n)
		}
		w.stop()
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	})
	columns := rows.Columns(row.Raw)
	timely, late := readRows(t, cfg.Path, columns), readRows(t, cfg.LatePath, columns)
	if len(timely) != 8 || len(late) != 1 {
		t.Errorf("%d rows in time and %d late ones, want 8 and 1", len(timely), len(late))
	}
	var rolled int64
	for _, m := range readRows(t, cfg.MinutePath, rows.Columns(row.Minute)) {
		rolled += number(t, m, "rows_in")
	}
	if rolled != 8 {
		t.Errorf("the minutes are made of %d rows, want the 8 in time", rolled)
	}
}
