package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/internal/flowgen"
	"dredge/row"
	"dredge/stream"
)

// shardsEnv asks a second process of the test binary to be the stream, of as many shards.
const shardsEnv = "DREDGE_BENCH_SHARDS"

// TestServeShards is no test: BenchmarkShards starts it in a process of its own. It feeds its shards evenly for as long as its
// standard input stays open, with as many bytes as polling may read from four of them.
func TestServeShards(t *testing.T) {
	shards, err := strconv.Atoi(os.Getenv(shardsEnv))
	if err != nil {
		t.SkipNow()
	}
	const perSecond, ticks = 8_000_000, 20
	bulk, err := shardsWorkload()
	if err != nil {
		t.Fatal(err)
	}
	var payloads [][]byte
	for p := range bulk.All() {
		payloads = append(payloads, p.Data)
	}
	server := awsfaketest.NewListeningServer(t, awsfake.Config{})
	if err := server.Kinesis().CreateStream("flows", shards); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("serving %s\n", server.URL())
	in := bufio.NewScanner(os.Stdin)
	in.Scan() // the worker owns all shards
	over := make(chan struct{})
	go func() {
		defer close(over)
		in.Scan()
	}()
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for n, owed := 0, 0; ; {
		for owed += perSecond / ticks; owed > 0; n++ {
			data := payloads[n%len(payloads)]
			if _, _, err := server.Kinesis().Put("flows", strconv.Itoa(n), data); err != nil {
				t.Fatal(err)
			}
			owed -= len(data)
		}
		select {
		case <-tick.C:
		case <-over:
			return
		}
	}
}

func shardsWorkload() (*flowgen.Bulk, error) {
	return workload(options{end: time.Now().Add(-time.Hour).Truncate(time.Hour).Unix(), lines: 100_000, addresses: 1 << 16}, "random")
}

// BenchmarkShards reads 8 MB a second for 20 seconds from 200 shards, each at most once a second, or from four, which is as few as
// Kinesis lets polling read that much from, and reports the processor time that the worker takes: as a whole (down to encoded
// rows, which are thrown away), or with nothing behind the reading. The stream is in another process, and the answers come
// over loopback. The ratio is what shards cost beside their bytes.
//
//	go test ./test/bench -run '^$' -bench Shards -benchtime 1x
func BenchmarkShards(b *testing.B) {
	for _, what := range []string{"whole", "reading"} {
		for _, shards := range []int{4, 200} {
			b.Run(fmt.Sprintf("worker=%s/shards=%d", what, shards), func(b *testing.B) { benchmarkShards(b, what, shards) })
		}
	}
}

func benchmarkShards(b *testing.B, what string, shards int) {
	const seconds = 20
	read := new(atomic.Int64)
	var behind stream.Processor = swallowed{new(atomic.Int64)}
	var budget stream.Budget = noBudget{}
	if what == "whole" {
		bulk, err := shardsWorkload()
		if err != nil {
			b.Fatal(err)
		}
		p := pathPipeline(b, pathStore(b, bulk), row.DefaultConfig())
		behind, budget = p, p.Budget()
	}
	url, feed := serveBeside(b, "TestServeShards", shardsEnv, strconv.Itoa(shards))
	cfg := kinesis.DefaultConfig()
	cfg.Application, cfg.StreamName, cfg.WorkerID = "bench", "flows", "dredge-bench"
	cfg.ReadsPerSecond, cfg.IdleWait = 1, time.Second
	w, err := kinesis.New(cfg, kinesis.Deps{
		Kinesis: awskinesis.NewFromConfig(aws.Config{
			Region: "eu-west-1", HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(kinesis.Transport),
			Credentials: credentials.NewStaticCredentialsProvider("AKIDAWSFAKE", "awsfake", ""), BaseEndpoint: &url,
		}, kinesis.FastAnswers),
		Leases: lease.NewMemory(), Processor: weighed{behind, read}, Budget: budget, Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	tick := time.NewTicker(time.Second / 10)
	defer tick.Stop()
	for w.Status().Owned < shards {
		<-tick.C
	}
	if _, err := io.WriteString(feed, "go\n"); err != nil {
		b.Fatal(err)
	}
	for range 30 { // all shards have been read, and the pools are filled
		<-tick.C
	}
	used, took, bytes := 0.0, time.Duration(0), int64(0)
	for b.Loop() {
		began, before, had := time.Now(), cpuSeconds(), read.Load()
		for range seconds * 10 {
			<-tick.C
		}
		used, took, bytes = used+cpuSeconds()-before, took+time.Since(began), bytes+read.Load()-had
	}
	b.ReportMetric(used*1000/took.Seconds(), "cpu-ms/s")
	b.ReportMetric(float64(bytes)/1e6/took.Seconds(), "MB/s")
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// weighed counts the bytes on their way to a Processor.
type weighed struct {
	stream.Processor
	bytes *atomic.Int64
}

func (w weighed) Open(ctx context.Context, partition string) (stream.Handler, stream.Position, error) {
	h, at, err := w.Processor.Open(ctx, partition)
	return weighedHandler{h, w.bytes}, at, err
}

type weighedHandler struct {
	stream.Handler
	bytes *atomic.Int64
}

func (w weighedHandler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	for i := range c.Payloads {
		w.bytes.Add(int64(len(c.Payloads[i].Data)))
	}
	return w.Handler.Handle(ctx, c, progress)
}
