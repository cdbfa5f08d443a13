//go:build integration

package integration

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/sink"
	"dredge/sink/kafka"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// committedReader counts what a reader of committed records finds in topics of a real Kafka, as it comes.
type committedReader struct {
	mu      sync.Mutex
	records map[string]map[string]int // by topic, by row id
	rowsIn  int64
	aborted map[[2]int64]bool // producers and epochs of transactions that were aborted
}

// readCommitted reads raw and rolled-up rows until the test ends.
func readCommitted(t *testing.T, raw, minute string) *committedReader {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(setting(t, "DREDGE_TEST_KAFKA")), kgo.ConsumeTopics(raw, minute), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	r := &committedReader{records: map[string]map[string]int{raw: {}}, aborted: map[[2]int64]bool{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-ended
		client.Close()
	})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			for rec := range client.PollFetches(ctx).RecordsAll() {
				r.mu.Lock()
				switch {
				case rec.Attrs.IsControl():
					if binary.BigEndian.Uint16(rec.Key[2:]) == 0 {
						r.aborted[[2]int64{rec.ProducerID, int64(rec.ProducerEpoch)}] = true
					}
				case rec.Topic == minute:
					var sums struct {
						RowsIn int64 `json:"rows_in"`
					}
					_ = json.Unmarshal(rec.Value, &sums) // a row that can't be read adds nothing, and the sum fails
					r.rowsIn += sums.RowsIn
				default:
					r.records[rec.Topic][rowIDOf(rec.Value)]++
				}
				r.mu.Unlock()
			}
		}
	}()
	return r
}

// counts are the distinct rows of topic, those that came again, and the raw rows that the rolled-up ones are made of.
func (r *committedReader) counts(topic string) (distinct, twice int, rowsIn int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.records[topic] {
		twice += n - 1
	}
	return len(r.records[topic]), twice, r.rowsIn
}

func rowIDOf(value []byte) string {
	var r struct {
		ID string `json:"row_id"`
	}
	_ = json.Unmarshal(value, &r) // then the id is empty, and the count fails
	return r.ID
}

// TestExactlyOnceKilled: two dredge processes put the lines of a stream exactly once into a real Kafka, raw and rolled up. One is
// killed with open transactions, several times; what it left open is aborted, and the other goes on where it had committed. A
// third is stopped for longer than its leases live, and is fenced when it goes on.
func TestExactlyOnceKilled(t *testing.T) {
	t.Parallel()
	const shards, perPayload = 4, 20
	dir, name := t.TempDir(), prefix()+"once"
	server := awsfake.New(awsfake.Config{})
	defer server.Close()
	if err := server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := server.Kinesis().CreateStream(name, shards); err != nil {
		t.Fatal(err)
	}
	transport := server.Transport()
	table, err := lease.NewDynamoDB(name, dynamodb.NewFromConfig(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		BaseEndpoint: aws.String(server.URL()), HTTPClient: &http.Client{Transport: transport},
	}))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "dredge.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `kinesis: {application: %s, stream_name: %s, failover_time: 3s}
aws: {kinesis_endpoint: %q, dynamodb_endpoint: %q}
http: {listen: "127.0.0.1:0"}
sink:
  type: kafka
  kafka:
    mode: exactly-once
    brokers: [%q]
    topic: %[1]s
    minute_topic: %[1]s-1m
    late_topic: %[1]s-late
    create_topic: true
    partitions: 3
    replication: 1
    exactly_once: {checkpoints_topic: %[1]s-positions}
`, name, name, server.URL(), server.URL(), setting(t, "DREDGE_TEST_KAFKA")), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := build(t)
	workers := 0
	begin := func() *program {
		workers++
		p, _ := start(t, regexp.MustCompile(`"url":"(http://[^"]+/)"`),
			dredge(t, binary, []string{"DREDGE_KINESIS_WORKER_ID=" + fmt.Sprintf("dredge-%d", workers)}, "run", "-c", config))
		return p
	}
	put, lines := 0, 0
	feed := func(payloads int) {
		t.Helper()
		for range payloads {
			put++
			if _, _, err := server.Kinesis().Put(name, fmt.Sprint(put), flowLines(put, perPayload)); err != nil {
				t.Fatal(err)
			}
			lines += perPayload
		}
	}
	committed := readCommitted(t, name, name+"-1m")
	landed := func() (n int) {
		n, _, _ = committed.counts(name)
		return n
	}
	owners := func() map[string]int {
		listing, err := table.List(t.Context())
		if err != nil {
			return nil
		}
		n := map[string]int{}
		for _, l := range listing.Leases {
			n[l.ActualOwner()]++
		}
		return n
	}

	one, two := begin(), begin()
	feed(40)
	await(t, "the first lines", time.Minute, func() bool { return landed() == lines })
	for kill := range 3 {
		victim := one
		// Transactions are open while lines come faster than they are committed.
		for range 8 {
			feed(10)
			pause(100 * time.Millisecond)
		}
		if err := victim.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-victim.done
		killed := time.Now()
		one, two = two, begin()
		feed(20)
		await(t, "the rest, by who lived on", 2*time.Minute, func() bool { return landed() == lines })
		t.Logf("kill %d: everything is committed %s after it (failover time 3 s)", kill+1, time.Since(killed).Round(100*time.Millisecond))
	}

	// One is stopped until the other has all its leases, and has rows in a transaction when it goes on.
	await(t, "leases of both", time.Minute, func() bool { return len(owners()) == 2 && owners()[""] == 0 })
	feed(10)
	pause(300 * time.Millisecond)
	if err := one.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	feed(20)
	await(t, "the stopped one's leases at the other", time.Minute, func() bool { return len(owners()) == 1 && owners()[""] == 0 })
	await(t, "its lines, by the other", time.Minute, func() bool { return landed() == lines })
	if err := one.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	feed(40)
	await(t, "every line", 2*time.Minute, func() bool { return landed() == lines })
	for _, p := range []*program{one, two} {
		if err := p.interrupt(); err != nil {
			t.Errorf("run ended with %v:\n%s", err, p.output())
		}
	}
	await(t, "the sums by minute", time.Minute, func() bool { _, _, in := committed.counts(name); return in >= int64(lines) })
	distinct, twice, rowsIn := committed.counts(name)
	if distinct != lines || twice != 0 || rowsIn != int64(lines) {
		t.Errorf("%d lines were put: %d rows are committed, %d of them twice, and rolled-up rows are made of %d", lines, distinct, twice, rowsIn)
	}
	committed.mu.Lock()
	defer committed.mu.Unlock()
	if len(committed.aborted) == 0 {
		t.Error("no transaction was aborted, so nothing was proven")
	}
	t.Logf("%d lines, %d transactions aborted", lines, len(committed.aborted))
}

// flowLines is a payload of n lines of flow log, all of the present minute.
func flowLines(seed, n int) []byte {
	var b strings.Builder
	now := time.Now().Unix()
	for i := range n {
		fmt.Fprintf(&b, "2 123456789012 eni-0%07d 10.0.%d.%d 10.1.%d.%d %d 443 6 10 %d %d %d ACCEPT OK\n",
			i, seed%250, i%250, i%250, seed%250, 1024+seed%60000, 100+i, now-60, now)
	}
	return []byte(b.String())
}

// holder is one worker's view of a lease that whoever asked last has.
type holder struct {
	me   int64
	last *atomic.Int64
}

func (holder) Name(_ context.Context, partition string) (string, error) {
	return "123456789012/eu-west-1/flows:1/" + partition, nil
}

func (h holder) Prove(context.Context, string) (stream.Position, error) {
	if h.last.Load() != h.me {
		return "", stream.ErrFenced
	}
	return "", nil
}

func (holder) Compare(a, b stream.Position) int { return strings.Compare(string(a), string(b)) }

// TestExactlyOnceFigures measures single commits and take-overs against a real Kafka, and checks that each take-over stands where
// the last commit was. Times are told, not judged: the machine may be busy.
func TestExactlyOnceFigures(t *testing.T) {
	name := prefix() + "figures"
	cfg := kafka.DefaultConfig()
	cfg.Mode, cfg.Brokers, cfg.Topic, cfg.CreateTopic = kafka.ExactlyOnce, []string{setting(t, "DREDGE_TEST_KAFKA")}, name, true
	cfg.Partitions, cfg.Replication, cfg.ExactlyOnce.CheckpointsTopic = 12, 1, name+"-positions"
	cfg.ExactlyOnce.CommitInterval = 30 * time.Second // commits are asked for
	var last atomic.Int64
	newSink := func() *kafka.Sink {
		s, err := kafka.New(cfg, kafka.Deps{
			Encoder: sinktest.Encoder{}, DeadLetter: sink.Discard{}, Registry: prometheus.NewRegistry(), Log: zerolog.Nop(),
			Application: name, Leases: holder{last.Add(1), &last},
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	write := func(w sink.Writer, n int, rows int) {
		t.Helper()
		at := sinktest.Position(n)
		if err := w.Write(t.Context(), sinktest.Batch("shard-0", at, 0, rows, 700), at, func(error) {}); err != nil {
			t.Fatal(err)
		}
	}
	s := newSink()
	defer func() { s.Close() }()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, _, err := s.Open(t.Context(), "shard-0")
	if err != nil {
		t.Fatal(err)
	}
	const commits, takeOvers = 200, 20
	var commit, takeOver, firstRow []time.Duration
	n := 0
	for range commits {
		n++
		write(w, n, 100)
		began := time.Now()
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		commit = append(commit, time.Since(began))
	}
	for range takeOvers {
		n++
		write(w, n, 100) // is open when another process takes the shard over
		next := newSink()
		began := time.Now()
		v, at, err := next.Open(t.Context(), "shard-0")
		if err != nil {
			t.Fatal(err)
		}
		takeOver = append(takeOver, time.Since(began))
		if at != sinktest.Position(n-1) {
			t.Fatalf("taken over at %q, committed was %q", at, sinktest.Position(n-1))
		}
		write(v, n, 100)
		if err := v.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		firstRow = append(firstRow, time.Since(began))
		s.Close() // the fenced one
		s, w = next, v
	}
	for _, f := range []struct {
		what string
		list []time.Duration
	}{
		{"commit of 100 rows in 12 partitions, from its decision to the answer", commit},
		{"take-over", takeOver}, {"take-over to the first row committed", firstRow},
	} {
		slices.Sort(f.list)
		t.Logf("%s: p50 %s, p99 %s, worst %s of %d", f.what, f.list[len(f.list)/2].Round(100*time.Microsecond),
			f.list[len(f.list)*99/100].Round(100*time.Microsecond), f.list[len(f.list)-1].Round(100*time.Microsecond), len(f.list))
	}
}
