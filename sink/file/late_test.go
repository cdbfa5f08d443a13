package file

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"dredge/sink/sinktest"
)

// Late rows stand in their own file and nowhere else; without one they stand with the others.
func TestLatePath(t *testing.T) {
	for _, own := range []bool{true, false} {
		dir, lateDir, minuteDir := t.TempDir(), t.TempDir(), t.TempDir()
		cfg := DefaultConfig()
		cfg.Path, cfg.MinutePath = filepath.Join(dir, "rows.jsonl"), filepath.Join(minuteDir, "rows_1m.jsonl")
		if own {
			cfg.LatePath = filepath.Join(lateDir, "rows_late.jsonl")
		}
		s := open(t, cfg, &disk{})
		w, _, err := s.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		b := sinktest.Batch("shard-0", "1", 0, 6, 300)
		all := 0
		for i := range b.Rows {
			b.Rows[i].Late = i%3 == 0
		}
		if err := w.Write(t.Context(), b, "1", func(err error) {
			if err != nil {
				t.Error(err)
			}
			all++
		}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Flush(t.Context()), w.Close(t.Context()), s.Close()); err != nil {
			t.Fatal(err)
		}
		timely, late := len(lines(t, dir)), len(lines(t, lateDir))
		got := []int{timely, late, all}
		want := []int{6, 0, 1}
		if own {
			want = []int{4, 2, 1}
		}
		if !slices.Equal(got, want) {
			t.Errorf("with a file of its own %v: %v rows in time, late, and Writes reported; want %v", own, got, want)
		}
	}
}
