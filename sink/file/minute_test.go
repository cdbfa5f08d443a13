package file

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"dredge/row"
	"dredge/stream"
)

// flows makes n rows of one application pair in one minute; every other one is not counted.
func flows(n int) *row.Batch {
	id := &row.Identity{App: "web", Kind: "pod"}
	b := &row.Batch{Partition: "shard-0", Origins: []row.Origin{{Position: "1"}}}
	for i := range n {
		r := b.Add()
		r.Index = uint32(i)
		r.Src = row.Side{App: id.App, Identity: id, Port: uint16(40000 + i)}
		r.Dst = row.Side{App: id.App, Identity: id, Port: 443}
		r.Client, r.Action, r.Counted = row.EndSrc, row.Accept, i%2 == 0
		r.Start, r.Bytes, r.Packets = 1767225600000+int64(i), 100, 1
	}
	return b
}

// The second file has the same flows in fewer rows, with the same sums.
func TestMinutePathTakesRolledUpRows(t *testing.T) {
	dir := t.TempDir()
	cfg := DefaultConfig()
	cfg.Path, cfg.MinutePath = filepath.Join(t.TempDir(), "rows.jsonl"), filepath.Join(dir, "rows_1m.jsonl")
	s := open(t, cfg, &disk{})
	w, _, err := s.Open(t.Context(), "shard-0")
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for range 2 {
		if err := w.Write(t.Context(), flows(10), "1", func(err error) {
			if err != nil {
				t.Error(err)
			}
			done++
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Flush(t.Context()), w.Close(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	got := lines(t, dir)
	if len(got) != 2 || done != 2 {
		t.Fatalf("%d lines after %d Writes, want one for each of 2:\n%s", len(got), done, got)
	}
	for _, line := range got {
		var r struct {
			Time     int64  `json:"time"`
			Service  string `json:"service_port"`
			Bytes    int64  `json:"bytes"`
			Observed int64  `json:"bytes_observed"`
			RowsIn   int64  `json:"rows_in"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Time != 1767225600000 || r.Service != "443" || r.Bytes != 500 || r.Observed != 1000 || r.RowsIn != 10 {
			t.Errorf("rolled up to %s", line)
		}
	}
}

// A row is delivered when it stands in both files: while the second can't be written nothing is reported as durable.
func TestMinutePathHoldsDelivery(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Path, cfg.MinutePath = filepath.Join(t.TempDir(), "rows.jsonl"), filepath.Join(t.TempDir(), "none", "rows_1m.jsonl")
	s := open(t, cfg, &disk{})
	w, _, err := s.Open(t.Context(), "shard-0")
	if err != nil {
		t.Fatal(err)
	}
	var told error
	if err := w.Write(t.Context(), flows(3), "1", func(err error) { told = err }); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err == nil {
		t.Error("Flush without an error")
	}
	if _, ok := errors.AsType[*stream.PermanentError](told); !ok {
		t.Errorf("done got %v, want a permanent error", told)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	_ = s.Close() // it cannot complete the file, and said so
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check finds nothing wrong with the folder that is missing")
	}
}
