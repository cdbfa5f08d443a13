package envelope

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"dredge/flowlog"
)

const benchLines = 5000

// BenchmarkScan is the reader alone on text that is not compressed.
func BenchmarkScan(b *testing.B) {
	lines := events(benchLines)
	for name, payload := range map[string][]byte{
		"cloudwatch": message(b, "eni-1", lines...),
		"raw":        []byte(strings.Join(lines, "\n")),
		"jsonlines":  []byte(`{"message":"` + strings.Join(lines, "\"}\n{\"message\":\"") + `"}`),
	} {
		b.Run(name, func(b *testing.B) {
			r := NewReader(0, 0)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			done := measure(b)
			for b.Loop() {
				if n := drain(r, payload); n != benchLines {
					b.Fatal(n, r.Err())
				}
			}
			done()
		})
	}
}

func drain(r *Reader, payload []byte) (n int) {
	r.Reset(payload)
	for r.Next() {
		n++
	}
	return n
}

// measure starts a clock of the processor time that this process gets; the function it returns reports lines per second
// of it. On a shared machine the wall clock tells more about the neighbours.
func measure(b *testing.B) func() {
	b.Helper()
	start := cpuTime(b)
	return func() {
		b.ReportMetric(benchLines*float64(b.N)/(cpuTime(b)-start).Seconds(), "lines/cpu-s")
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPayload is one compressed CloudWatch message to Records; inflate-only shows what of it is inflating, naive is
// the same job with the standard library.
func BenchmarkPayload(b *testing.B) {
	text := message(b, "eni-1", events(benchLines)...)
	packed := zip(b, text)
	b.Run("dredge", func(b *testing.B) {
		r, d, batch := NewReader(0, 0), flowlog.NewDecoder(), &flowlog.Batch{}
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		unfold := func() {
			batch.Reset()
			r.Reset(packed)
			for i := uint32(0); r.Next(); i++ {
				d.Append(batch, nil, r.Line(), 0, i)
			}
			if len(batch.Records) != benchLines {
				b.Fatal(len(batch.Records), r.Err())
			}
		}
		unfold() // the batch grows once
		done := measure(b)
		for b.Loop() {
			unfold()
		}
		done()
	})
	b.Run("inflate-only", func(b *testing.B) {
		r := NewReader(0, 0)
		buf := make([]byte, 64<<10)
		b.SetBytes(int64(len(text)))
		done := measure(b)
		for b.Loop() {
			r.left = r.maxInflated
			if err := r.outer.gz.Reset(bytes.NewReader(packed)); err != nil {
				b.Fatal(err)
			}
			for {
				if _, err := r.outer.Read(buf); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
		done()
	})
	b.Run("naive", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		done := measure(b)
		for b.Loop() {
			z, err := gzip.NewReader(bytes.NewReader(packed))
			if err != nil {
				b.Fatal(err)
			}
			var m struct {
				LogEvents []struct{ Message string }
			}
			if err := json.NewDecoder(z).Decode(&m); err != nil {
				b.Fatal(err)
			}
			n := 0
			for _, e := range m.LogEvents {
				n += len(strings.Fields(e.Message))
			}
			if n != benchLines*14 {
				b.Fatal(n)
			}
		}
		done()
	})
}
