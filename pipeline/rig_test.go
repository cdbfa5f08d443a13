package pipeline

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/flowlog"
	"dredge/row"
	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// copying is an Enricher that copies what tests look at. Flows from port 9 are dropped, as by a user's rule.
type copying struct{}

func (copying) Enrich(in *flowlog.Batch, out *row.Batch) {
	out.Partition = in.Partition
	for i := range in.Origins {
		o := &in.Origins[i]
		out.Origins = append(out.Origins, row.Origin{Position: o.Position, Arrived: o.Arrived, LogGroup: o.LogGroup})
	}
	for i := range in.Records {
		r := &in.Records[i]
		if r.SrcPort == 9 {
			continue
		}
		out.Rows = append(out.Rows, row.Row{
			Origin: r.Origin, Index: r.Index, Start: r.Start, End: r.End, Bytes: r.Bytes, Packets: r.Packets, Protocol: r.Protocol,
			Src:         row.Side{Addr: r.SrcAddr, Port: r.SrcPort, App: "web", Grade: "confirmed", Named: true},
			Dst:         row.Side{Addr: r.DstAddr, Port: r.DstPort, App: "db", Grade: "unknown"},
			InterfaceID: r.InterfaceID, Counted: true,
		})
	}
}

// letterBox is a dead letter in memory. Letters put are kept apart from letters made durable by Flush.
type letterBox struct {
	mu      sync.Mutex
	put     []sink.Letter
	durable int
	// refuse is what Put returns, fail what Flush returns. gate, when set, blocks Flush until it is closed.
	refuse, fail error
	gate         chan struct{}
	flushes      int
}

func (b *letterBox) Put(_ context.Context, l sink.Letter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return b.refuse
	}
	l.Data = bytes.Clone(l.Data)
	b.put = append(b.put, l)
	return nil
}

func (b *letterBox) Flush(ctx context.Context) error {
	b.mu.Lock()
	gate := b.gate
	b.flushes++
	b.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.durable = len(b.put)
	}
	return b.fail
}

func (b *letterBox) letters() []sink.Letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.put[:b.durable])
}

// progress records what a Handler tells, and faults calls that overlap.
type progress struct {
	t    *testing.T
	mu   sync.Mutex
	told []stream.Position
	errs []error
}

func (p *progress) tell(at stream.Position, err error) {
	if !p.mu.TryLock() {
		p.t.Error("progress was called concurrently with itself")
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	if len(p.errs) > 0 {
		p.t.Errorf("progress(%q, nil) after an error", at)
	}
	if n := len(p.told); n > 0 && at < p.told[n-1] {
		p.t.Errorf("progress went back from %q to %q", p.told[n-1], at)
	}
	p.told = append(p.told, at)
}

func (p *progress) last() stream.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) == 0 {
		return ""
	}
	return p.told[len(p.told)-1]
}

func (p *progress) failures() []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.errs)
}

// rig is a pipeline over a sink in memory.
type rig struct {
	t       *testing.T
	p       *Pipeline
	mem     *sinktest.Memory
	letters *letterBox
	reg     *prometheus.Registry
	logged  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newRig(t *testing.T, change ...func(*Config, *Deps)) *rig {
	t.Helper()
	r := &rig{t: t, mem: &sinktest.Memory{}, letters: &letterBox{}, reg: prometheus.NewRegistry(), logged: &lockedBuffer{}}
	cfg := DefaultConfig()
	deps := Deps{Sink: r.mem, Enricher: copying{}, DeadLetter: r.letters, Log: zerolog.New(r.logged), Registry: r.reg}
	for _, f := range change {
		f(&cfg, &deps)
	}
	p, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	r.p = p
	return r
}

func (r *rig) open(partition string) stream.Handler {
	r.t.Helper()
	h, _, err := r.p.Open(r.t.Context(), partition)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// run hands chunks to one partition, flushes and closes it, and checks the books and the budget at rest.
func (r *rig) run(partition string, chunks ...stream.Chunk) *progress {
	r.t.Helper()
	h, got := r.open(partition), &progress{t: r.t}
	for _, c := range chunks {
		if err := h.Handle(r.t.Context(), c, got.tell); err != nil {
			r.t.Fatalf("Handle = %v", err)
		}
	}
	if err := h.Flush(r.t.Context()); err != nil {
		r.t.Fatalf("Flush = %v", err)
	}
	if err := h.Close(r.t.Context()); err != nil {
		r.t.Fatalf("Close = %v", err)
	}
	r.atRest()
	return got
}

func (r *rig) atRest() {
	r.t.Helper()
	if err := r.p.Books().Snapshot().CheckAtRest(); err != nil {
		r.t.Error(err)
	}
	if use := r.p.budget.use(); use != (budgetUse{}) {
		r.t.Errorf("budget at rest: %+v", use)
	}
	if n := len(r.p.lanes); n != 0 {
		r.t.Errorf("%d lanes taken at rest", n)
	}
}

func pos(n int) stream.Position { return sinktest.Position(n) }

// chunk makes a chunk of payloads whose positions are numbered from first on.
func chunk(first int, payloads ...[]byte) stream.Chunk {
	c := stream.Chunk{Partition: "shard-1", Last: pos(first)}
	for i, data := range payloads {
		c.Last = pos(first + i)
		c.Payloads = append(c.Payloads, stream.Payload{Data: data, At: c.Last, Arrived: time.Now()})
	}
	return c
}

// flowLine is a version 2 line; n tells lines apart.
func flowLine(n int) string {
	return fmt.Sprintf("2 123456789010 eni-1235b8ca123456789 10.%d.%d.%d 172.31.16.21 20641 22 6 20 %d 1418530010 1418530070 ACCEPT OK",
		n>>16&255, n>>8&255, n&255, 1000+n)
}

func flowLines(first, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = flowLine(first + i)
	}
	return lines
}

func zip(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data) // a bytes.Buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// message is a CloudWatch Logs subscription message, gzipped as in a Kinesis record.
func message(group string, lines ...string) []byte {
	return zip(messageJSON("DATA_MESSAGE", group, lines...))
}

func messageJSON(kind, group string, lines ...string) []byte {
	type event struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Message   string `json:"message"`
	}
	m := struct {
		MessageType         string   `json:"messageType"`
		Owner               string   `json:"owner"`
		LogGroup            string   `json:"logGroup"`
		LogStream           string   `json:"logStream"`
		SubscriptionFilters []string `json:"subscriptionFilters"`
		LogEvents           []event  `json:"logEvents"`
	}{kind, "123456789010", group, "eni-1235b8ca123456789-all", []string{"to-kinesis"}, []event{}}
	for i, l := range lines {
		m.LogEvents = append(m.LogEvents, event{ID: fmt.Sprintf("%056d", i), Timestamp: 1418530070000, Message: l})
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

func controlPayload() []byte {
	return zip(messageJSON("CONTROL_MESSAGE", "", "CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."))
}

func raw(lines ...string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }

func ruleFor(group, format string) flowlog.Rule { return flowlog.Rule{LogGroup: group, Format: format} }
