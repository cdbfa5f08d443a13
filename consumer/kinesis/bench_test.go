package kinesis

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/stream"
)

// nullSink is done with every chunk at once.
type nullSink struct{ bytes atomic.Int64 }

func (n *nullSink) Open(context.Context, string) (stream.Handler, stream.Position, error) {
	return n, "", nil
}

func (n *nullSink) Handle(_ context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	for _, p := range c.Payloads {
		n.bytes.Add(int64(len(p.Data)))
	}
	progress(c.Last, nil)
	return nil
}

func (n *nullSink) Flush(context.Context) error { return nil }
func (n *nullSink) Close(context.Context) error { return nil }

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkShards reads 8 MB a second, for 10 seconds, from one shard or from 200, each at most once a second, and reports the CPU of the whole
// process: worker, SDK, and the fake that writes and serves the records. The ratio of the two cpu-ms/s is what 200 shards cost beside their bytes.
func BenchmarkShards(b *testing.B) {
	const perSecond, seconds, size = 8_000_000, 10, 20_000
	for _, shards := range []int{1, 200} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			server := awsfaketest.NewServer(b, awsfake.Config{})
			if err := server.Kinesis().CreateStream("flows", shards); err != nil {
				b.Fatal(err)
			}
			cfg := testConfig()
			cfg.ReadsPerSecond, cfg.IdleWait, cfg.WorkerID = 1, time.Second, "dredge-bench"
			sink := &nullSink{}
			w, err := New(cfg, Deps{
				Kinesis: awsfaketest.Kinesis(server, func(o *kinesis.Options) { o.RetryMaxAttempts = 2 }, FastAnswers), Leases: lease.NewMemory(),
				Processor: sink, Budget: &fakeBudget{}, Log: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- w.Run(ctx) }()
			tick := time.NewTicker(time.Second / 10)
			defer tick.Stop()
			for w.Status().Owned < shards {
				<-tick.C
			}
			data := []byte(strings.Repeat("flow log line\n", size/14+1)[:size])
			written := int64(0)
			used, busy := time.Duration(0), time.Duration(0)
			server.ResetCounts()
			for b.Loop() {
				began, before := time.Now(), cpu(b)
				for range seconds * 10 {
					for range perSecond / 10 / size {
						if _, _, err := server.Kinesis().Put("flows", fmt.Sprint(written), data); err != nil {
							b.Fatal(err)
						}
						written += size
					}
					<-tick.C
				}
				used, busy = used+cpu(b)-before, busy+time.Since(began)
			}
			for sink.bytes.Load() < written {
				<-tick.C
			}
			b.ReportMetric(float64(used.Milliseconds())/busy.Seconds(), "cpu-ms/s")
			b.ReportMetric(float64(server.Count("GetRecords"))/float64(shards)/busy.Seconds(), "reads/s/shard")
			b.ReportMetric(float64(written)/1e6/busy.Seconds(), "MB/s")
			stop()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
