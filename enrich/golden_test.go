package enrich_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/store"
	"dredge/row"
	"dredge/row/encode"
)

var update = flag.Bool("update", false, "write the rows of testdata/*.txt")

// epoch is what times in the cases are counted from: 2026-01-01T00:00:00Z.
const epoch = 1767225600

// world is a store that was told events, and an Enricher that asks it.
type world struct {
	store    *store.Store
	enricher *enrich.Enricher
	registry *prometheus.Registry
}

func newWorld(t testing.TB, events string, options ...func(*enrich.Config, *enrich.Deps)) *world {
	t.Helper()
	now := time.Unix(epoch+3600, 0)
	s, err := store.New(metadata.DefaultConfig(), store.Dependencies{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	tell(t, s, events)
	w := &world{store: s, registry: prometheus.NewRegistry()}
	c, d := enrich.DefaultConfig(), enrich.Deps{Resolver: s, Registerer: w.registry}
	c.ColumnSets = allSets().ColumnSets
	for _, o := range options {
		o(&c, &d)
	}
	if w.enricher, err = enrich.New(c, d); err != nil {
		t.Fatal(err)
	}
	return w
}

// tell applies events, one JSON object per line.
func tell(t testing.TB, s *store.Store, events string) {
	t.Helper()
	now := time.Unix(epoch+3600, 0)
	dec := event.NewDecoder(strings.NewReader(events))
	dec.Parser.Now = func() time.Time { return now }
	for {
		var e event.Event
		if err := dec.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			t.Fatalf("events: %v", err)
		}
		if err := s.Apply(&e); err != nil {
			t.Fatal(err)
		}
	}
}

func allSets() row.Config {
	c := row.DefaultConfig()
	for _, s := range row.Sets() {
		c.ColumnSets = append(c.ColumnSets, s.Name)
	}
	return c
}

// decode makes a batch of lines; those that begin with # are comments.
func decode(t testing.TB, format, lines string) *flowlog.Batch {
	t.Helper()
	f := flowlog.DefaultFormat()
	if format = strings.TrimSpace(format); format != "" {
		var err error
		if f, err = flowlog.ParseFormat(format); err != nil {
			t.Fatal(err)
		}
	}
	b := &flowlog.Batch{Partition: "shardId-000000000000", Origins: []flowlog.Origin{{Position: "4950", Arrived: time.Unix(epoch+900, 0), LogGroup: "flows"}}}
	d := flowlog.NewDecoder()
	n := uint32(0)
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if reason := d.Append(b, f, []byte(line), 0, n); reason != flowlog.ReasonNone {
			t.Fatalf("%q: %v: %v", line, reason, flowlog.Explain(f, []byte(line)))
		}
		n++
	}
	return b
}

// rows joins lines and returns what was written of each row.
func (w *world) rows(t testing.TB, format, lines string) []map[string]any {
	t.Helper()
	var out row.Batch
	w.enricher.Enrich(decode(t, format, lines), &out)
	return written(t, &out)
}

func written(t testing.TB, b *row.Batch) []map[string]any {
	t.Helper()
	j, err := encode.NewJSON(allSets().Columns(row.Raw))
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	for i := range b.Rows {
		dec := json.NewDecoder(bytes.NewReader(j.Append(nil, b, i)))
		dec.UseNumber()
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

// shown leaves out what only repeats the line or says nothing in these cases.
func shown(rows []map[string]any) string {
	skip := []string{"time", "flow_start", "flow_end", "partition", "position", "bytes", "packets", "flows", "protocol", "row_id", "arrived", "log_group", "src_port", "dst_port", "account", "tcp_flags"}
	var b strings.Builder
	for _, m := range rows {
		keys := slices.Sorted(maps.Keys(m))
		for _, prefix := range []string{"src_", "dst_", ""} {
			if prefix == "" {
				b.WriteString("    ")
			} else {
				b.WriteString(prefix[:3] + " ")
			}
			for _, key := range keys {
				end := strings.HasPrefix(key, "src_") || strings.HasPrefix(key, "dst_")
				if slices.Contains(skip, key) || !strings.HasPrefix(key, prefix) || prefix == "" && end {
					continue
				}
				fmt.Fprintf(&b, " %s=%v", strings.TrimPrefix(key, prefix), m[key])
			}
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	return strings.TrimSpace(b.String()) + "\n"
}

// section returns the part of a case file below "-- name --".
func section(text, name string) string {
	_, rest, found := strings.Cut(text, "-- "+name+" --\n")
	if !found {
		return ""
	}
	if i := strings.Index(rest, "\n-- "); i >= 0 {
		rest = rest[:i+1]
	}
	return strings.TrimRight(rest, "\n") + "\n"
}

// TestCases joins the lines of each file in testdata and compares the rows. Times in events and lines are written as T+seconds.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(raw)
			w := newWorld(t, times(section(text, "events"), 1000))
			got := shown(w.rows(t, section(text, "format"), times(section(text, "lines"), 1)))
			if *update {
				head, _, _ := strings.Cut(text, "-- rows --\n")
				if err := os.WriteFile(file, []byte(head+"-- rows --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(section(text, "rows"), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// times replaces T+n by that time in Unix seconds times unit.
func times(text string, unit int64) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "T+")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n, digits := int64(0), 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			n = n*10 + int64(rest[digits]-'0')
			digits++
		}
		fmt.Fprint(&b, (epoch+n)*unit)
		text = rest[digits:]
	}
}
