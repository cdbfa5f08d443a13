package pipeline

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/flowlog"
	"dredge/row"
	"dredge/sink"
	"dredge/stream"
)

// null is a sink that confirms at once.
type null struct{}

func (null) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return null{}, "", nil
}

func (null) Write(_ context.Context, _ *row.Batch, _ stream.Position, done func(error)) error {
	done(nil)
	return nil
}
func (null) Flush(context.Context) error { return nil }
func (null) Close(context.Context) error { return nil }

// many makes rows of forty edges, without a name ever being made.
type many struct{ apps [40]string }

func newMany() *many {
	m := &many{}
	for i := range m.apps {
		m.apps[i] = fmt.Sprintf("application-%d", i)
	}
	return m
}

func (m *many) Enrich(in *flowlog.Batch, out *row.Batch) {
	out.Partition = in.Partition
	for i := range in.Origins {
		o := &in.Origins[i]
		out.Origins = append(out.Origins, row.Origin{Position: o.Position, Arrived: o.Arrived, LogGroup: o.LogGroup})
	}
	for i := range in.Records {
		r := &in.Records[i]
		out.Rows = append(out.Rows, row.Row{
			Origin: r.Origin, Index: r.Index, Start: r.Start, End: r.End, Bytes: r.Bytes, Packets: r.Packets, Counted: i%2 == 0,
			Src: row.Side{Addr: r.SrcAddr, App: m.apps[i%len(m.apps)], Grade: "confirmed"},
			Dst: row.Side{Addr: r.DstAddr, App: m.apps[i*7%len(m.apps)], Grade: "public"},
		})
	}
}

func benchPipeline(tb testing.TB, log zerolog.Logger) (*Pipeline, stream.Handler) {
	tb.Helper()
	p, err := New(DefaultConfig(), Deps{Sink: null{}, Enricher: newMany(), Registry: prometheus.NewRegistry(), Log: log})
	if err != nil {
		tb.Fatal(err)
	}
	h, _, err := p.Open(tb.Context(), "shard-1")
	if err != nil {
		tb.Fatal(err)
	}
	return p, h
}

// benchChunk is one read of a Kinesis shard: n payloads of lines lines each.
func benchChunk(n, lines int) (c stream.Chunk, lineBytes int64) {
	payload := message("flows", flowLines(0, lines)...)
	c.Partition = "shard-1"
	for i := range n {
		c.Payloads = append(c.Payloads, stream.Payload{Data: payload, At: pos(i), Arrived: time.Now()})
		c.Last = pos(i)
	}
	for _, l := range flowLines(0, lines) {
		lineBytes += int64(n * (len(l) + 1))
	}
	return c, lineBytes
}

func BenchmarkHandle(b *testing.B) {
	for _, c := range []struct{ payloads, lines int }{{500, 20}, {20, 500}, {2, 5000}} {
		b.Run(fmt.Sprintf("payloads=%d/lines=%d", c.payloads, c.lines), func(b *testing.B) {
			_, h := benchPipeline(b, zerolog.Nop())
			chunk, size := benchChunk(c.payloads, c.lines)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Handle(b.Context(), chunk, func(stream.Position, error) {}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.payloads*c.lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
			if err := h.Close(context.WithoutCancel(b.Context())); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkSummary(b *testing.B) {
	in := &flowlog.Batch{Origins: []flowlog.Origin{{}}, Records: make([]flowlog.Record, partRecords)}
	var out row.Batch
	newMany().Enrich(in, &out)
	t, l, now := newTraffic(time.Now(), 1000), &local{}, time.Now()
	b.ReportAllocs()
	for b.Loop() {
		l.sum(out.Rows)
		t.add(l, int64(len(out.Rows)), now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/partRecords, "ns/row")
}

// Handle allocates by payload and by part, never by line.
func TestHandleDoesNotAllocatePerLine(t *testing.T) {
	const lines = 5000
	_, h := benchPipeline(t, zerolog.Nop())
	chunk, _ := benchChunk(1, lines)
	allocs := testing.AllocsPerRun(20, func() {
		if err := h.Handle(t.Context(), chunk, func(stream.Position, error) {}); err != nil {
			t.Fatal(err)
		}
	})
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if allocs > lines/50 {
		t.Errorf("%.0f allocations for a payload of %d lines", allocs, lines)
	}
	t.Logf("%.0f allocations for a payload of %d lines", allocs, lines)
}
