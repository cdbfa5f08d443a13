package file

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/row"
	"dredge/sink/sinktest"
)

// constant is an Encoder that writes the same row every time.
type constant []byte

func (c constant) Append(dst []byte, _ *row.Batch, _ int) []byte { return append(dst, c...) }

// BenchmarkWrite is the sink without encoding and compression: copying rows into blocks and handing those to the system.
func BenchmarkWrite(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Path, cfg.RotateBytes = filepath.Join(b.TempDir(), "rows.jsonl"), 256<<20
	const rows, size = 6000, 700
	s, err := New(cfg, Deps{Encoder: constant(bytes.Repeat([]byte("0123456789"), size/10)), Registry: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	w, _, err := s.Open(b.Context(), "shard-0")
	if err != nil {
		b.Fatal(err)
	}
	batch := sinktest.Batch("shard-0", "1", 0, rows, size)
	b.ReportAllocs()
	b.SetBytes(rows * size)
	for b.Loop() {
		if err := w.Write(b.Context(), batch, "1", func(error) {}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
	if err := w.Close(b.Context()); err != nil {
		b.Error(err)
	}
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}
