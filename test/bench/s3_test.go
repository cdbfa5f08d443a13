package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/consumer/s3"
	"dredge/consumer/s3/s3test"
	"dredge/flowlog"
	"dredge/flowlog/envelope"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/internal/flowgen"
	"dredge/row"
	"dredge/stream"
)

// linesOf returns the lines of bulk with the names of their fields before them.
func linesOf(b testing.TB, bulk *flowgen.Bulk) (text []byte, lines int) {
	b.Helper()
	out := []byte(flowgen.V2 + "\n")
	reader := envelope.NewReader(1<<30, 1<<20)
	for p := range bulk.All() {
		reader.Reset(p.Data)
		for reader.Next() {
			out = append(append(out, reader.Line()...), '\n')
			lines++
		}
		if err := reader.Err(); err != nil {
			b.Fatal(err)
		}
	}
	return out, lines
}

// parquetFile is text as AWS writes Parquet.
func parquetFile(b testing.TB, text []byte) []byte {
	b.Helper()
	data, err := s3test.Parquet(text)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// s3Run reads files once: it announces them, gathers and reads until all are done.
func s3Run(b testing.TB, srv *awsfake.Server, name string, files int, p stream.Processor, budget stream.Budget, slots int) {
	b.Helper()
	cfg := s3.DefaultConfig()
	cfg.MouthfulQueue = srv.SQS().CreateQueue(name)
	cfg.LedgerTable = name
	cfg.Work.Slots, cfg.Work.Files = slots, 1
	base := awsfaketest.AWSConfig(srv)
	c := s3.BackfillConfig{S3: cfg, Run: "bench", Selection: s3.Selection{Prefixes: []string{"s3://flows/"}, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}}
	api := awss3.NewFromConfig(base)
	fill, err := s3.NewBackfill(c, api, s3.WorkerDeps{
		SQS: sqs.NewFromConfig(base), Ledger: dynamodb.NewFromConfig(base), Store: api, Processor: p, Budget: budget, IsHeader: flowlog.IsHeader,
		Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := fill.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	if at := fill.Progress(); at.Files != int64(files) || at.Quarantined != 0 {
		b.Fatalf("%+v", at)
	}
}

// BenchmarkS3 is the path from a file in S3 to encoded rows without roll-up, with its requests to S3 and to the ledger: files of gzip and of
// Parquet, read by one slot. flows/cpu-s is what a core does in a second.
//
//	go test ./test/bench -run '^$' -bench S3 -cpu 1
func BenchmarkS3(b *testing.B) {
	const files, linesPerPayload, payloads = 4, 500, 200
	for _, kind := range []string{"gzip", "parquet"} {
		b.Run(kind, func(b *testing.B) {
			bulk, err := workload(options{end: time.Now().Add(-time.Hour).Truncate(time.Hour).Unix(), lines: linesPerPayload * payloads, addresses: *pathAddresses}, "random")
			if err != nil {
				b.Fatal(err)
			}
			text, lines := linesOf(b, bulk)
			data, suffix := s3test.Gzip(text), ".log.gz"
			if kind == "parquet" {
				data, suffix = parquetFile(b, text), ".log.parquet"
			}
			srv := awsfaketest.NewServer(b, awsfake.Config{})
			srv.S3().CreateBucket("flows", false)
			for i := range files {
				if _, err := srv.S3().Put("flows", strconv.Itoa(i)+suffix, data); err != nil {
					b.Fatal(err)
				}
			}
			p := pathPipeline(b, pathStore(b, bulk), row.DefaultConfig())
			n := 0
			round := func() {
				n++
				s3Run(b, srv, fmt.Sprintf("%s-%d", kind, n), files, p, p.Budget(), 1)
			}
			round() // fills the pools
			begin := cpuSeconds()
			last, least := begin, math.Inf(1)
			b.ReportAllocs()
			for b.Loop() {
				round()
				now := cpuSeconds()
				last, least = now, min(least, now-last)
			}
			all := float64(files * lines)
			b.ReportMetric(all*float64(b.N)/(last-begin), "flows/cpu-s")
			b.ReportMetric(all/least, "most-flows/cpu-s")
			b.ReportMetric(float64(len(data))/float64(lines), "file-bytes/flow")
			if books := p.Books().Snapshot(); books.Delivered != int64(n*files*lines) {
				b.Fatalf("%+v", books)
			}
		})
	}
}

// swallowed is a Processor that keeps nothing, so that what is held is the source's.
type swallowed struct{ bytes *atomic.Int64 }

func (s swallowed) Open(context.Context, string) (stream.Handler, stream.Position, error) {
	return s, "", nil
}

func (s swallowed) Handle(_ context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	for _, p := range c.Payloads {
		s.bytes.Add(int64(len(p.Data)))
	}
	progress(c.Last, nil)
	return nil
}
func (swallowed) Flush(context.Context) error { return nil }
func (swallowed) Close(context.Context) error { return nil }

type noBudget struct{}

func (noBudget) Acquire(context.Context, int64) error { return nil }
func (noBudget) Release(int64)                        {}

// A slot that reads a file holds at most 64 MiB, whatever the size of the file: the live heap beyond what it was before the reading began, after
// a garbage collection at every eighth piece. The files themselves lie in memory before.
func TestS3MemoryPerSlot(t *testing.T) {
	const most = 64 << 20
	bulk, err := workload(options{end: time.Now().Add(-time.Hour).Truncate(time.Hour).Unix(), lines: 50_000, addresses: 1 << 12}, "random")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := linesOf(t, bulk)
	member := s3test.Gzip(text)
	for name, data := range map[string][]byte{
		"large.log.gz":  bytes.Repeat(member, 75<<20/len(member)), // as large as AWS makes them
		"larger.log.gz": bytes.Repeat(member, 225<<20/len(member)),
		"f.log.parquet": parquetFile(t, slices.Concat(text, bytes.Repeat(text[bytes.IndexByte(text, '\n')+1:], 3))),
	} {
		srv := awsfaketest.NewListeningServer(t, awsfake.Config{}) // over sockets: in one process an answer would be copied whole
		srv.S3().CreateBucket("flows", false)
		if _, err := srv.S3().Put("flows", name, data); err != nil {
			t.Fatal(err)
		}
		for range 3 { // what pools keep goes with the second one
			runtime.GC()
		}
		before, highest, pieces := liveHeap(), int64(0), 0
		watch := watched{swallowed{new(atomic.Int64)}, func() {
			if pieces++; pieces%8 == 1 {
				runtime.GC()
				highest = max(highest, liveHeap()-before)
			}
		}}
		s3Run(t, srv, "memory", 1, watch, noBudget{}, 1)
		t.Logf("%s: %d MB give %d MB of text; at most %.1f MB are held", name, len(data)>>20, watch.bytes.Load()>>20, float64(highest)/(1<<20))
		if highest < 1<<20 {
			t.Errorf("%s: %d bytes are held; less than a piece can't be", name, highest)
		}
		if highest > most {
			t.Errorf("%s: %d bytes are held", name, highest)
		}
	}
}

// watched looks at each piece.
type watched struct {
	swallowed
	look func()
}

func (w watched) Open(context.Context, string) (stream.Handler, stream.Position, error) {
	return w, "", nil
}

func (w watched) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	w.look()
	return w.swallowed.Handle(ctx, c, progress)
}

// liveHeap is the heap that was reachable at the last collection.
func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}
