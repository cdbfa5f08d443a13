package main

import (
	"context"
	"flag"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/enrich"
	"dredge/internal/flowgen"
	"dredge/metadata"
	"dredge/metadata/store"
	"dredge/pipeline"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink"
	"dredge/stream"
)

var (
	pathAddresses = flag.Int("path-addresses", 1<<18, "addresses in BenchmarkPath, with four owners each")
	pathSlice     = flag.Int64("path-slice", int64(pipeline.DefaultConfig().Slice), "pipeline.slice in BenchmarkPath")
)

// thrown encodes rows and throws them away.
type thrown struct{ enc *encode.JSON }

func (s thrown) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return &thrownRows{enc: s.enc}, "", nil
}

type thrownRows struct {
	enc  *encode.JSON
	buf  []byte
	size int64
}

func (w *thrownRows) Write(_ context.Context, b *row.Batch, _ stream.Position, done func(error)) error {
	w.buf = w.buf[:0]
	for i := range b.Rows {
		w.buf = w.enc.Append(w.buf, b, i)
	}
	w.size += int64(len(w.buf))
	done(nil)
	return nil
}
func (*thrownRows) Flush(context.Context) error { return nil }
func (*thrownRows) Close(context.Context) error { return nil }
func (w *thrownRows) EncodedBytes() int64       { return w.size }

// sightings hands heartbeats to the store, as the service does.
type sightings struct{ *store.Store }

func (h sightings) Observe(s enrich.Sighting) {
	h.Store.Observe(store.Sighting{Scope: s.Scope, ENI: s.ENI, IP: s.IP, Start: s.Start, End: s.End, Primary: s.Primary})
}

// BenchmarkPath is the path from payload to encoded row in one process, without Kinesis, Kafka and leases: what is left of a
// profile when the network is taken away. It hands over chunks of 2,000 lines, as small as the time that a busy machine leaves
// undisturbed: p5-ns/line is the twentieth part of them that was disturbed least, and tells builds apart where the median
// tells how busy the machine was.
//
//	go test ./test/bench -run '^$' -bench Path -cpu 1 -cpuprofile cpu.out
func BenchmarkPath(b *testing.B) {
	for _, mix := range []string{"one", "random"} {
		for _, sets := range []string{"core", "all"} {
			b.Run("mix="+mix+"/columns="+sets, func(b *testing.B) { benchmarkPath(b, mix, sets) })
		}
	}
}

func benchmarkPath(b *testing.B, mix, sets string) {
	const payloads, perChunk, linesPerPayload = 320, 4, 500
	bulk, err := workload(options{
		end: time.Now().Add(-time.Hour).Truncate(time.Hour).Unix(), lines: payloads * linesPerPayload, addresses: *pathAddresses,
	}, mix)
	if err != nil {
		b.Fatal(err)
	}
	identity := pathStore(b, bulk)
	rows := row.DefaultConfig()
	if sets == "all" {
		rows.ColumnSets = []row.Set{row.Lineage, row.Endpoint, row.Evidence, row.Network, row.TagSet}
	}
	p := pathPipeline(b, identity, rows)
	const partition = "shardId-000000000000"
	chunks := pathChunks(bulk, partition, perChunk)
	h, _, err := p.Open(b.Context(), partition)
	if err != nil {
		b.Fatal(err)
	}
	handle := func(c *stream.Chunk) {
		now := time.Now()
		for k := range c.Payloads {
			c.Payloads[k].Arrived = now // live: the gate asks for watermarks
		}
		if err := h.Handle(b.Context(), *c, func(stream.Position, error) {}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range chunks { // fills the pools
		handle(&chunks[i])
	}
	runtime.GC() // of what loading identity left
	const lines = perChunk * linesPerPayload
	var took []float64
	begin := cpuSeconds()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		handle(&chunks[i%len(chunks)])
		took = append(took, float64(time.Since(start).Nanoseconds())/lines)
	}
	slices.Sort(took)
	b.ReportMetric((cpuSeconds()-begin)*1e9/float64(b.N)/lines, "cpu-ns/line")
	b.ReportMetric(took[len(took)/20], "p5-ns/line")
	b.ReportMetric(took[len(took)/2], "median-ns/line")
	books := p.Books().Snapshot()
	if books.Lines != books.Decoded || books.Decoded == 0 {
		b.Fatalf("%+v", books)
	}
	if err := h.Close(context.WithoutCancel(b.Context())); err != nil {
		b.Fatal(err)
	}
}

// pathChunks are the payloads of bulk, so many in a chunk.
func pathChunks(bulk *flowgen.Bulk, partition string, perChunk int) []stream.Chunk {
	var chunks []stream.Chunk
	n := 0
	for payload := range bulk.All() {
		if n%perChunk == 0 {
			chunks = append(chunks, stream.Chunk{Partition: partition})
		}
		c := &chunks[len(chunks)-1]
		c.Last = stream.Position(strconv.Itoa(n))
		c.Payloads = append(c.Payloads, stream.Payload{Data: payload.Data, At: c.Last})
		n++
	}
	return chunks
}

func pathStore(b testing.TB, bulk *flowgen.Bulk) *store.Store {
	b.Helper()
	s, err := store.New(metadata.DefaultConfig(), store.Dependencies{})
	if err != nil {
		b.Fatal(err)
	}
	for e := range bulk.Events() {
		if err := s.Apply(e); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func pathPipeline(b testing.TB, identity *store.Store, rows row.Config) *pipeline.Pipeline {
	b.Helper()
	enc, err := encode.NewJSON(rows.Columns(row.Raw))
	if err != nil {
		b.Fatal(err)
	}
	return pathPipelineTo(b, identity, rows, thrown{enc})
}

func pathPipelineTo(b testing.TB, identity *store.Store, rows row.Config, to sink.Sink) *pipeline.Pipeline {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	reg := prometheus.NewRegistry()
	join, err := enrich.New(enrich.Config{NamingGrades: metadata.DefaultGrades, ColumnSets: rows.ColumnSets}, enrich.Deps{Resolver: identity, Registerer: reg})
	must(err)
	gate, err := enrich.NewGate(join, identity)
	must(err)
	observer, err := enrich.NewSightings(identity, sightings{identity})
	must(err)
	cfg := pipeline.DefaultConfig()
	cfg.Slice = pipeline.ByteSize(*pathSlice)
	p, err := pipeline.New(cfg, pipeline.Deps{
		Sink: to, Enricher: join, Observer: observer, Watermarks: gate, Log: zerolog.Nop(), Registry: reg,
	})
	must(err)
	return p
}

// TestRowSize holds the price of everything after the join on the mixes that are measured: the mean core row, with both ends
// named.
func TestRowSize(t *testing.T) {
	const most = 700
	for _, mix := range []string{"one", "random"} {
		t.Run(mix, func(t *testing.T) {
			bulk, err := workload(options{end: time.Now().Add(-time.Hour).Truncate(time.Hour).Unix(), lines: 20_000, addresses: 4096}, mix)
			if err != nil {
				t.Fatal(err)
			}
			rows := row.DefaultConfig()
			enc, err := encode.NewJSON(rows.Columns(row.Raw))
			if err != nil {
				t.Fatal(err)
			}
			w := &thrownRows{enc: enc}
			p := pathPipelineTo(t, pathStore(t, bulk), rows, only{w})
			h, _, err := p.Open(t.Context(), "shardId-000000000000")
			if err != nil {
				t.Fatal(err)
			}
			c := stream.Chunk{Partition: "shardId-000000000000"}
			for payload := range bulk.All() {
				c.Last = stream.Position(strconv.Itoa(len(c.Payloads)))
				c.Payloads = append(c.Payloads, stream.Payload{Data: payload.Data, At: c.Last, Arrived: time.Now()})
			}
			if err := h.Handle(t.Context(), c, func(stream.Position, error) {}); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			delivered := p.Books().Snapshot().Delivered
			if delivered != 20_000 {
				t.Fatalf("%d rows", delivered)
			}
			mean := w.size / delivered
			t.Logf("mean core row: %d bytes", mean)
			if mean > most {
				t.Errorf("the mean core row has %d bytes, more than %d: %s", mean, most, w.buf[:2*most])
			}
		})
	}
}

// only is a sink of one Writer.
type only struct{ w *thrownRows }

func (s only) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return s.w, "", nil
}
