package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/row"
	"dredge/sink"
	"dredge/stream"
)

// memoryChild holds the memory budget of the workload that this binary runs instead of its tests.
const memoryChild = "DREDGE_TEST_MEMORY_BUDGET"

type memoryResult struct {
	Blocked, Peak ByteSize // peak resident sizes: when everything stood still, and at the end
	Rows, Want    int64
	Waiting       [classes]int
	Held          [classes]int64
}

// I8: eight shards with answers of 10 MB that inflate to 100 MB each, and a sink that confirms nothing until every shard has
// come to a stand: the process stays within its budget of 256 MiB plus 150 MiB, then and until everything is delivered.
//
// The figure is a sink blocked for 60 seconds. Once every source goroutine waits (for the budget, a lane, or the
// sink), nothing of the pipeline can run until the sink confirms, so staying longer in that state changes nothing; the test
// waits for the state and not for the time. Under the race detector, whose own memory is many times that, a tenth of the
// payloads goes through and only the rows and the books are checked. The runtime gets the memory limit that dredge gives it: Config.MemoryLimit.
func TestI8BoundedMemoryWithABlockedSink(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MemoryBudget = 256 * MiB
	r := runMemoryChild(t, cfg.MemoryBudget)
	if bound := cfg.MemoryBudget + 150*MiB; r.Peak > bound && !raceDetector {
		t.Errorf("peak resident size %d MiB (%d MiB while blocked) is above %s", r.Peak/MiB, r.Blocked/MiB, bound)
	}
	if r.Rows != r.Want {
		t.Errorf("%d rows delivered, want %d", r.Rows, r.Want)
	}
	var held int64
	for _, h := range r.Held {
		held += h
	}
	if held < int64(cfg.MemoryBudget)/2 && !raceDetector {
		t.Errorf("only %d MiB of the budget were in use when everything stood still: the test shows nothing", held>>20)
	}
	t.Logf("peak %d MiB, %d MiB while blocked; held %v, waiting %v", r.Peak/MiB, r.Blocked/MiB, r.Held, r.Waiting)
}

func runMemoryChild(t *testing.T, budget ByteSize) memoryResult {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), memoryChild+"="+budget.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var r memoryResult
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// hoarder is a sink that encodes rows, keeps the bytes, and confirms nothing until it is let go.
type hoarder struct {
	mu       sync.Mutex
	letGo    chan struct{}
	pending  []hoarded
	rows     atomic.Int64
	flushing atomic.Int64
}

type hoarded struct {
	data []byte
	rows int64
	done func(error)
}

func (s *hoarder) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return s, "", nil
}

func (s *hoarder) Write(_ context.Context, b *row.Batch, _ stream.Position, done func(error)) error {
	h := hoarded{data: bytes.Repeat([]byte{'x'}, firstRowSize*len(b.Rows)), rows: int64(len(b.Rows)), done: done}
	select {
	case <-s.letGo:
		s.confirm(h)
		return nil
	default:
	}
	s.mu.Lock()
	s.pending = append(s.pending, h)
	s.mu.Unlock()
	return nil
}

func (s *hoarder) confirm(h hoarded) {
	s.rows.Add(h.rows)
	h.done(nil)
}

func (s *hoarder) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.pending {
		s.confirm(h)
	}
	s.pending = nil
	close(s.letGo)
}

func (s *hoarder) Flush(context.Context) error {
	s.flushing.Add(1)
	<-s.letGo
	s.flushing.Add(-1)
	return nil
}

func (s *hoarder) Close(context.Context) error { return nil }

// memoryWorkload is the child process.
func memoryWorkload() int {
	if err := memoryRun(os.Getenv(memoryChild)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func memoryRun(budget string) error {
	const shards = 8
	payloads := 10
	if raceDetector {
		payloads = 1
	}
	cfg := DefaultConfig()
	if err := cfg.MemoryBudget.UnmarshalText([]byte(budget)); err != nil {
		return err
	}
	debug.SetMemoryLimit(cfg.MemoryLimit())
	payload, lines := largePayload()
	debug.FreeOSMemory()
	s := &hoarder{letGo: make(chan struct{})}
	p, err := New(cfg, Deps{Sink: s, Enricher: copying{}, Registry: prometheus.NewRegistry(), Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	errs := make(chan error, shards)
	for k := range shards {
		go func() { errs <- memoryShard(p, strconv.Itoa(k), payload, payloads) }()
	}
	var r memoryResult
	r.Want = int64(shards * payloads * lines)
	for moved := int64(-1); ; {
		select {
		case err := <-errs:
			return fmt.Errorf("a shard ended while the sink confirmed nothing: %w", errors.Join(err, p.Books().Snapshot().Check()))
		default:
		}
		use, decoded := p.budget.use(), p.Books().Snapshot().Decoded
		waiting := p.laneWaiters.Load() + s.flushing.Load()
		for _, n := range use.waiting {
			waiting += int64(n)
		}
		if waiting == shards && decoded == moved {
			r.Held, r.Waiting = use.held, use.waiting
			break
		}
		moved = decoded
		<-time.After(5 * time.Millisecond) // between two looks at the condition
	}
	if r.Blocked, err = peakResident(); err != nil {
		return err
	}
	s.open()
	for range shards {
		if err := <-errs; err != nil {
			return err
		}
	}
	r.Rows = s.rows.Load()
	if r.Peak, err = peakResident(); err != nil {
		return err
	}
	if err := p.Books().Snapshot().CheckAtRest(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// memoryShard does what a polling reader does for one answer.
func memoryShard(p *Pipeline, name string, payload []byte, n int) error {
	ctx := context.Background()
	h, _, err := p.Open(ctx, name)
	if err != nil {
		return err
	}
	budget := p.Budget()
	if err := budget.Acquire(ctx, readSize); err != nil {
		return err
	}
	c, size := stream.Chunk{Partition: name}, int64(0)
	for i := range n {
		c.Last = pos(i)
		c.Payloads = append(c.Payloads, stream.Payload{Data: bytes.Clone(payload), At: c.Last, Arrived: time.Now()})
		size += int64(len(payload))
	}
	budget.Release(readSize - size)
	if err := h.Handle(ctx, c, func(stream.Position, error) {}); err != nil {
		return err
	}
	budget.Release(size)
	if err := h.Flush(ctx); err != nil {
		return err
	}
	return h.Close(ctx)
}

// largePayload is a Kinesis record of about 1 MB that inflates to about 10 MB.
func largePayload() (payload []byte, lines int) {
	var b strings.Builder
	b.WriteString(`{"messageType":"DATA_MESSAGE","owner":"123456789010","logGroup":"flows","logStream":"eni-1-all","subscriptionFilters":["f"],"logEvents":[`)
	random := rand.New(rand.NewPCG(1, 2))
	for ; b.Len() < 10_000_000; lines++ {
		if lines > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%056d","timestamp":1418530070000,"message":"2 123456789010 eni-1235b8ca123456789 10.0.%d.%d 172.31.16.21 %d 443 6 20 %d 1418530010 1418530070 ACCEPT OK"}`,
			lines, random.IntN(256), random.IntN(256), 1024+random.IntN(60000), random.IntN(1e6))
	}
	b.WriteString("]}")
	return zip([]byte(b.String())), lines
}

// peakResident is the largest resident size that this process ever had.
func peakResident() (ByteSize, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return ByteSize(kb) * KiB, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/self/status")
}
