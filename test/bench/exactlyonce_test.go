package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"dredge/row"
	"dredge/row/encode"
	"dredge/sink"
	"dredge/sink/kafka"
	"dredge/stream"
)

var (
	onceShards = flag.Int("once-shards", 50, "shards in BenchmarkExactlyOnce")
	onceRate   = flag.Int("once-rate", 0, "lines a second in BenchmarkExactlyOnce; 0 for as many as go through")
	onceRound  = flag.Duration("once-round", 4*time.Second, "how long BenchmarkExactlyOnce stays in one mode")
	onceBroker = flag.String("once-broker", "", "host:port of a real broker for BenchmarkExactlyOnce; it makes the topics there, and leaves them")
)

// oncePerChunk is the lines of a chunk: those of one payload.
const oncePerChunk = 500

// onceEnv asks a second process of the test binary to be the broker.
const onceEnv = "DREDGE_BENCH_BROKER"

// TestServeOnce is no test: BenchmarkExactlyOnce starts it in a process of its own. It is a broker for as long as its
// standard input stays open.
func TestServeOnce(t *testing.T) {
	if os.Getenv(onceEnv) == "" {
		t.SkipNow()
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, topicName))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Printf("serving %s\n", c.ListenAddrs()[0])
	bufio.NewScanner(os.Stdin).Scan()
}

// BenchmarkExactlyOnce compares the modes of the Kafka sink on the whole path, from payload to acknowledged or committed row, with 50 shards,
// 12 partitions and a commit a second, the broker in another process. Rounds of both modes follow each other in one run, so that they find the
// same machine; each ends with a flush. It reports the processor time of this process for a row, the median of the rounds, and how that of
// at-least-once stands to that of exactly-once: 0.9 is the aim. How much of it is the price of transactions, which is one a second and
// shard, depends on the rate.
//
//	go test ./test/bench -run '^$' -bench ExactlyOnce -benchtime 5x -cpu 1
//	go test ./test/bench -run '^$' -bench ExactlyOnce -benchtime 5x -cpu 1 -once-rate 20000
func BenchmarkExactlyOnce(b *testing.B) {
	broker := *onceBroker
	if broker == "" {
		broker, _ = serveBeside(b, "TestServeOnce", onceEnv, "1")
	}
	bulk, err := workload(options{end: time.Now().Add(-time.Hour).Truncate(time.Hour).Unix(), lines: 160_000, addresses: 1 << 16}, "random")
	if err != nil {
		b.Fatal(err)
	}
	identity := pathStore(b, bulk)
	chunks := pathChunks(bulk, "", 1) // of oncePerChunk lines
	modes := []kafka.Mode{kafka.AtLeastOnce, kafka.ExactlyOnce}
	loads := map[kafka.Mode]*onceLoad{}
	for _, m := range modes {
		enc, err := encode.NewJSON(row.DefaultConfig().Columns(row.Raw))
		if err != nil {
			b.Fatal(err)
		}
		cfg := kafka.DefaultConfig()
		cfg.Mode, cfg.Brokers, cfg.Topic = m, []string{broker}, topicName
		cfg.CreateTopic, cfg.Partitions, cfg.Replication = true, 12, 1
		s, err := kafka.New(cfg, kafka.Deps{
			Encoder: enc, DeadLetter: sink.Discard{}, Registry: prometheus.NewRegistry(), Log: zerolog.Nop(), Application: "bench", Leases: onceLeases{},
		})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		if err := s.Check(b.Context()); err != nil {
			b.Fatal(err)
		}
		loads[m] = newOnceLoad(b, pathPipelineTo(b, identity, row.DefaultConfig(), s), chunks)
		defer loads[m].close(b)
		loads[m].round(b, time.Second) // fills the pools
	}
	runtime.GC()
	used := map[kafka.Mode][]float64{}
	for b.Loop() {
		for _, m := range modes {
			used[m] = append(used[m], loads[m].round(b, *onceRound))
		}
	}
	for _, m := range modes {
		slices.Sort(used[m])
	}
	least, once := used[kafka.AtLeastOnce][b.N/2], used[kafka.ExactlyOnce][b.N/2]
	b.ReportMetric(least, "at-least-once-ns/row")
	b.ReportMetric(once, "exactly-once-ns/row")
	b.ReportMetric(least/once, "ratio")
	b.ReportMetric(loads[kafka.AtLeastOnce].rate, "at-least-once-rows/s")
	b.ReportMetric(loads[kafka.ExactlyOnce].rate, "exactly-once-rows/s")
}

// onceLeases are leases that are never lost, of shards that nobody has read.
type onceLeases struct{}

func (onceLeases) Name(_ context.Context, partition string) (string, error) {
	return fmt.Sprintf("123456789012/eu-west-1/bench:%d/%s", os.Getpid(), partition), nil
}
func (onceLeases) Prove(context.Context, string) (stream.Position, error) { return "", nil }
func (onceLeases) Compare(a, b stream.Position) int                       { return strings.Compare(string(a), string(b)) }

// onceLoad is a pipeline with its shards.
type onceLoad struct {
	shards []stream.Handler
	chunks []stream.Chunk
	next   atomic.Int64
	rate   float64 // of the last round
}

func newOnceLoad(b *testing.B, p stream.Processor, chunks []stream.Chunk) *onceLoad {
	b.Helper()
	l := &onceLoad{chunks: chunks}
	for i := range *onceShards {
		h, _, err := p.Open(b.Context(), fmt.Sprintf("shardId-%012d", i))
		if err != nil {
			b.Fatal(err)
		}
		l.shards = append(l.shards, h)
	}
	return l
}

// round hands chunks to all shards for a while, flushes, and returns the processor time for a row in nanoseconds.
func (l *onceLoad) round(b *testing.B, duration time.Duration) float64 {
	b.Helper()
	begin, before := time.Now(), cpuSeconds()
	const lines = oncePerChunk
	var handed atomic.Int64
	var all sync.WaitGroup
	for _, h := range l.shards {
		all.Go(func() {
			for n := handed.Add(1); time.Since(begin) < duration; n = handed.Add(1) {
				if *onceRate > 0 {
					due := time.Duration(float64(n) * lines / float64(*onceRate) * float64(time.Second))
					if due > duration {
						break
					}
					<-time.After(due - time.Since(begin))
				}
				if err := l.hand(b.Context(), h); err != nil {
					b.Error(err)
					return
				}
			}
			handed.Add(-1) // the one that was not
			if err := h.Flush(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	rows := float64(handed.Load()) * lines
	l.rate = rows / time.Since(begin).Seconds()
	return (cpuSeconds() - before) * 1e9 / rows
}

// hand hands the next chunk to h. Positions grow, and all have the same length.
func (l *onceLoad) hand(ctx context.Context, h stream.Handler) error {
	n := l.next.Add(1)
	c := l.chunks[int(n)%len(l.chunks)]
	at := stream.Position(strconv.FormatInt(1_000_000_000+n, 10))
	c.Payloads = slices.Clone(c.Payloads)
	for i := range c.Payloads {
		c.Payloads[i].At, c.Payloads[i].Arrived = at, time.Now()
	}
	c.Last = at
	return h.Handle(ctx, c, func(stream.Position, error) {})
}

func (l *onceLoad) close(b *testing.B) {
	b.Helper()
	for _, h := range l.shards {
		if err := h.Close(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	}
}
