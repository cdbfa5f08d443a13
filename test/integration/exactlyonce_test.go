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
	"strconv"
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

// onceStage is a stream in a fake AWS, and workers that put its lines exactly once into a real Kafka.
type onceStage struct {
	*testing.T
	server         *awsfake.Server
	table          *lease.DynamoDB
	binary, config string
	name           string
	committed      *committedReader
	workers        int
	put, lines     int
	// sequences are those of the payloads, by shard.
	sequences map[string][]string
}

const linesPerPayload = 20

func newOnceStage(t *testing.T, shards int) *onceStage {
	t.Helper()
	s := &onceStage{T: t, server: awsfake.New(awsfake.Config{}), name: prefix() + "once", config: filepath.Join(t.TempDir(), "dredge.yaml"), sequences: map[string][]string{}}
	t.Cleanup(func() { _ = s.server.Close() })
	if err := s.server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := s.server.Kinesis().CreateStream(s.name, shards); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.table, err = lease.NewDynamoDB(s.name, dynamodb.NewFromConfig(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		BaseEndpoint: aws.String(s.server.URL()), HTTPClient: &http.Client{Transport: s.server.Transport()},
	})); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, fmt.Appendf(nil, `kinesis: {application: %[1]s, stream_name: %[1]s, failover_time: 3s}
aws: {kinesis_endpoint: %[2]q, dynamodb_endpoint: %[2]q}
http: {listen: "127.0.0.1:0"}
sink:
  type: kafka
  kafka:
    mode: exactly-once
    brokers: [%[3]q]
    topic: %[1]s
    minute_topic: %[1]s-1m
    late_topic: %[1]s-late
    create_topic: true
    partitions: 3
    replication: 1
    exactly_once: {checkpoints_topic: %[1]s-positions}
`, s.name, s.server.URL(), setting(t, "DREDGE_TEST_KAFKA")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.binary = build(t)
	s.committed = readCommitted(t, s.name, s.name+"-1m")
	return s
}

// begin starts a worker.
func (s *onceStage) begin() *program {
	s.Helper()
	s.workers++
	p, _ := start(s.T, regexp.MustCompile(`"url":"(http://[^"]+/)"`),
		dredge(s.T, s.binary, []string{"DREDGE_KINESIS_WORKER_ID=" + fmt.Sprintf("dredge-%d", s.workers)}, "run", "-c", s.config))
	return p
}

func (s *onceStage) feed(payloads int) {
	s.Helper()
	for range payloads {
		s.put++
		shard, sequence, err := s.server.Kinesis().Put(s.name, strconv.Itoa(s.put), flowLines(s.put, linesPerPayload))
		if err != nil {
			s.Fatal(err)
		}
		s.sequences[shard] = append(s.sequences[shard], sequence)
		s.lines += linesPerPayload
	}
}

// all says whether every line is committed.
func (s *onceStage) all() bool {
	n, _, _ := s.committed.counts(s.name)
	return n == s.lines
}

// owners counts the leases of each worker.
func (s *onceStage) owners() map[string]int {
	listing, err := s.table.List(s.Context())
	if err != nil {
		return nil
	}
	n := map[string]int{}
	for _, l := range listing.Leases {
		n[l.ActualOwner()]++
	}
	return n
}

// end stops a worker gently.
func (s *onceStage) end(p *program) {
	s.Helper()
	if err := p.interrupt(); err != nil {
		s.Errorf("run ended with %v:\n%s", err, p.output())
	}
}

// TestExactlyOnceKilled: two dredge processes put the lines of a stream exactly once into a real Kafka, raw and rolled up. One is
// killed with open transactions, several times; what it left open is aborted, and the other goes on where it had committed. Then one
// is stopped for longer than its leases live, and is fenced when it goes on.
func TestExactlyOnceKilled(t *testing.T) {
	t.Parallel()
	s := newOnceStage(t, 4)
	one, two := s.begin(), s.begin()
	s.feed(40)
	await(t, "the first lines", time.Minute, s.all)
	for kill := range 3 {
		// Transactions are open while lines come faster than they are committed.
		for range 8 {
			s.feed(10)
			pause(100 * time.Millisecond)
		}
		if err := one.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-one.done
		killed := time.Now()
		one, two = two, s.begin()
		s.feed(20)
		await(t, "the rest, by who lived on", 2*time.Minute, s.all)
		t.Logf("kill %d: everything is committed %s after it (failover time 3 s)", kill+1, time.Since(killed).Round(100*time.Millisecond))
	}

	// One is stopped until the other has all its leases, and has rows in a transaction when it goes on.
	await(t, "leases of both", time.Minute, func() bool { n := s.owners(); return len(n) == 2 && n[""] == 0 })
	s.feed(10)
	pause(300 * time.Millisecond)
	if err := one.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.feed(20)
	await(t, "the stopped one's leases at the other", time.Minute, func() bool { n := s.owners(); return len(n) == 1 && n[""] == 0 })
	await(t, "its lines, by the other", time.Minute, s.all)
	if err := one.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.feed(40)
	await(t, "every line", 2*time.Minute, s.all)
	s.end(one)
	s.end(two)
	await(t, "the sums by minute", time.Minute, func() bool { _, _, in := s.committed.counts(s.name); return in >= int64(s.lines) })
	distinct, twice, rowsIn := s.committed.counts(s.name)
	if distinct != s.lines || twice != 0 || rowsIn != int64(s.lines) {
		t.Errorf("%d lines were put: %d rows are committed, %d of them twice, and rolled-up rows are made of %d", s.lines, distinct, twice, rowsIn)
	}
	s.committed.mu.Lock()
	defer s.committed.mu.Unlock()
	if len(s.committed.aborted) == 0 {
		t.Error("no transaction was aborted, so nothing was proven")
	}
	t.Logf("%d lines, %d transactions aborted", s.lines, len(s.committed.aborted))
}

// TestExactlyOnceCheckpointSet: an operator moves a shard back; the sink's position goes with its lease, so exactly what lies behind
// is there twice afterwards. Without the configuration the lease alone would move, and nothing would be read again.
func TestExactlyOnceCheckpointSet(t *testing.T) {
	t.Parallel()
	s := newOnceStage(t, 1)
	w := s.begin()
	s.feed(10)
	await(t, "the lines", time.Minute, s.all)
	s.end(w)
	const shard, again = "shardId-000000000000", 4
	to := s.sequences[shard][len(s.sequences[shard])-1-again]
	out, err := dredge(t, s.binary, nil, "leases", "checkpoint", "set", "-c", s.config, shard, to).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--allow-repeat") {
		t.Errorf("a move back without leave: %v\n%s", err, out)
	}
	out, err = dredge(t, s.binary, nil, "leases", "checkpoint", "set", "-c", s.config, "--allow-repeat", shard, to).CombinedOutput()
	if err != nil || !strings.Contains(string(out), to+" in topic "+s.name+"-positions") {
		t.Fatalf("checkpoint set: %v\n%s", err, out)
	}
	w = s.begin()
	s.feed(1)
	await(t, "the line after", time.Minute, s.all)
	s.end(w)
	if _, twice, _ := s.committed.counts(s.name); twice != again*linesPerPayload {
		t.Errorf("%d rows came again, want those of %d payloads", twice, again)
	}
	out, err = dredge(t, s.binary, nil, "leases", "checkpoint", "adopt", "-c", s.config, shard).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nothing was changed") {
		t.Errorf("adopt of a shard that has a record: %v\n%s", err, out)
	}
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
		{"take-over", takeOver},
		{"take-over to the first row committed", firstRow},
	} {
		slices.Sort(f.list)
		t.Logf("%s: p50 %s, p99 %s, worst %s of %d", f.what, f.list[len(f.list)/2].Round(100*time.Microsecond),
			f.list[len(f.list)*99/100].Round(100*time.Microsecond), f.list[len(f.list)-1].Round(100*time.Microsecond), len(f.list))
	}
}
