package kafka

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"dredge/row"
	"dredge/sink"
	"dredge/sink/sinktest"
)

// stored is an Encoder that copies rows encoded beforehand, so that a benchmark shows the cost of producing alone.
type stored [][]byte

func (s stored) Append(dst []byte, _ *row.Batch, i int) []byte { return append(dst, s[i%len(s)]...) }

// benchRows makes n rows of about 700 bytes as the raw grain has them: names that repeat, addresses and numbers that do not.
func benchRows(n int) (*row.Batch, stored) {
	const apps = 200
	rng := rand.New(rand.NewPCG(1, 2))
	b := sinktest.Batch("shardId-000000000017", "49590338271490256608559692538361571095921575989136588898", 0, n, 700)
	rows := make(stored, n)
	for i := range n {
		src, dst := rng.IntN(apps), rng.IntN(apps)
		b.Rows[i].Src.App, b.Rows[i].Dst.App = fmt.Sprintf("service-%03d", src), fmt.Sprintf("service-%03d", dst)
		start := 1_760_000_000_000 + int64(i/50)*1000
		side := func(name string, app int) string {
			return fmt.Sprintf(`"%[1]s_addr":"10.%[2]d.%[3]d.%[4]d","%[1]s_port":"%[5]d","%[1]s_app":"service-%03[2]d","%[1]s_grade":"confirmed",`+
				`"%[1]s_cluster":"prod-%[6]d","%[1]s_account":"1234567890%02[6]d","%[1]s_vpc":"vpc-0a1b2c3d4e5f6%04[2]d","%[1]s_az":"use1-az%[6]d",`+
				`"%[1]s_eni":"%08[7]x"`, name, app, rng.IntN(4), rng.IntN(250), 1024+rng.IntN(60000), app%4, app*7919)
		}
		rows[i] = fmt.Appendf(nil, `{"time":%d,"end":%d,%s,%s,"protocol":6,"action":"ACCEPT","bytes":%d,"packets":%d,"direction":"egress",`+
			`"observed_at":"src","counted":true,"path":"same-vpc","eni":"eni-0%016x","partition":"shardId-000000000017",`+
			`"seq":"4959033827149025660855969253836157109592157598913%07d","index":%d}`,
			start, start+int64(rng.IntN(60000)), side("src", src), side("dst", dst), rng.IntN(2_000_000), 1+rng.IntN(1500), src*31, i/1000, i)
	}
	return b, rows
}

// BenchmarkProduce is the whole sink with the broker in this process ("here") or in another ("there"); only there the figures
// cpu-ns/row and rows/cpu-s are the sink's own. Run with -benchtime=2s -run=^$.
func BenchmarkProduce(b *testing.B) {
	for _, place := range []string{"here", "there"} {
		for _, codec := range []string{"none", "snappy", "lz4", "zstd"} {
			b.Run(place+"/"+codec, func(b *testing.B) {
				benchProduce(b, place, func(c *Config) { c.Compression = codec })
			})
		}
	}
	for name, change := range map[string]func(*Config){
		"key":          func(c *Config) { c.RecordKey = true },
		"no_pair":      func(c *Config) { c.PartitionBy = PartitionByNone },
		"time_produce": func(c *Config) { c.RecordTime = RecordTimeProduce },
	} {
		b.Run("there/snappy/"+name, func(b *testing.B) { benchProduce(b, "there", change) })
	}
}

func benchProduce(b *testing.B, place string, change func(*Config)) {
	b.Helper()
	addrs := startBroker(b, place)
	cfg := DefaultConfig()
	cfg.Brokers = addrs
	change(&cfg)
	const n = 4 << 20 / 700
	batch, rows := benchRows(n)
	size := 0
	for _, r := range rows {
		size += len(r)
	}
	reg := prometheus.NewRegistry()
	s, err := New(cfg, Deps{Encoder: rows, DeadLetter: sink.Discard{}, Registry: reg, Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	w, _, err := s.Open(b.Context(), "shard-0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := w.Close(b.Context()); err != nil {
			b.Error(err)
		}
	}()
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	round := func() {
		if err := w.Write(b.Context(), batch, "1", done); err != nil {
			b.Fatal(err)
		}
	}
	round()
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(size))
	before, sent := cpu(b), testutil.ToFloat64(s.metrics.written)
	for b.Loop() {
		round()
	}
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	used := cpu(b) - before
	total := float64(b.N) * n
	b.ReportMetric(total/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(used)/total, "cpu-ns/row")
	b.ReportMetric(total/used.Seconds(), "rows/cpu-s")
	b.ReportMetric((testutil.ToFloat64(s.metrics.written)-sent)/total, "wire-B/row")
	b.ReportMetric(float64(size)/n, "B/row")
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const brokerVariable = "DREDGE_KAFKA_BENCH_BROKER"

// startBroker starts a broker that takes rows and forgets them.
func startBroker(b *testing.B, place string) []string {
	b.Helper()
	if place == "here" {
		c, err := kfake.NewCluster(brokerOptions()...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		return c.ListenAddrs()
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, self, "-test.run", "^TestBenchBroker$")
	cmd.Env = append(os.Environ(), brokerVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cancel(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.Fields(line)
}

func brokerOptions() []kfake.Opt {
	return []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(12, topic), kfake.BlackholeProduce()}
}

// TestBenchBroker is the other process of BenchmarkProduce: a broker until it is killed.
func TestBenchBroker(t *testing.T) {
	if os.Getenv(brokerVariable) == "" {
		return
	}
	c, err := kfake.NewCluster(brokerOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(strings.Join(c.ListenAddrs(), " "))
	var forever sync.WaitGroup
	forever.Add(1)
	forever.Wait()
}
