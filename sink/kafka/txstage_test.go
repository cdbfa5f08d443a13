package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

const (
	checkpointsTopic = "dredge_checkpoints"
	lettersTopic     = "dead"
)

// table is a lease table: who has each partition, and its checkpoint.
type table struct {
	mu     sync.Mutex
	owner  map[string]string
	leased map[string]stream.Position
}

func newTable() *table {
	return &table{owner: map[string]string{}, leased: map[string]stream.Position{}}
}

func (l *table) take(partition, worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owner[partition] = worker
}

func (l *table) checkpoint(partition string, at stream.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leased[partition] = at
}

// worker is one worker's view of the table: a Leases. A partition that nobody took is everybody's.
type worker struct {
	*table
	id string
	// stopped, when set, is where the worker stands still between its lease and the fencing.
	stopped chan struct{}
}

func (w *worker) Name(ctx context.Context, partition string) (string, error) {
	if w.stopped != nil {
		select {
		case <-w.stopped:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "123456789012/eu-west-1/flows:1700000000/" + partition, nil
}

func (w *worker) Prove(_ context.Context, partition string) (stream.Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.owner[partition]; o != "" && o != w.id {
		return "", fmt.Errorf("lease of %q is %q's: %w", partition, o, stream.ErrFenced)
	}
	return w.leased[partition], nil
}

// Compare orders the suite's positions, numbers of equal length.
func (*worker) Compare(a, b stream.Position) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// txStage is a broker in memory and a lease table, on which workers come and go.
type txStage struct {
	*stage
	table *table
	links map[string]*link
}

func newTxStage(t *testing.T, change func(*Config), opts ...kfake.Opt) *txStage {
	t.Helper()
	vnet, cluster := newCluster(t, append([]kfake.Opt{
		kfake.SeedTopics(3, topic), kfake.SeedTopics(1, lettersTopic), kfake.SeedTopics(checkpointPartitions, checkpointsTopic),
	}, opts...)...)
	cfg := testConfig(cluster)
	cfg.Mode = ExactlyOnce
	cfg.DeadLetter.Topic = lettersTopic
	if change != nil {
		change(&cfg)
	}
	return &txStage{
		stage: &stage{t: t, net: vnet, cluster: cluster, cfg: cfg, log: zerolog.Nop()},
		table: newTable(), links: map[string]*link{},
	}
}

// process is one worker's sink.
type process struct {
	*Sink
	leases  *worker
	letters *Letters
	link    *link
	reg     *prometheus.Registry
}

func (s *txStage) process(id string, opts ...kgo.Opt) *process {
	s.t.Helper()
	p := &process{
		leases: &worker{table: s.table, id: id}, letters: NewLetters(s.cfg), reg: prometheus.NewPedanticRegistry(),
		link: &link{dial: s.net.DialContext},
	}
	k, err := New(s.cfg, Deps{
		Encoder: sinktest.Encoder{}, Minute: minuteEncoder(s.t), DeadLetter: p.letters, Letters: p.letters, Registry: p.reg, Log: s.log,
		Application: "flows-app", Leases: p.leases, Options: append([]kgo.Opt{kgo.Dialer(p.link.DialContext)}, opts...),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	p.Sink = k
	return p
}

// committed returns the records of name that a read_committed reader finds now, partition by partition.
func (s *txStage) committed(name string) []*kgo.Record {
	s.t.Helper()
	opts, err := s.cfg.connection(s.log, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	want := map[int32]int64{}
	for _, p := range s.cluster.PartitionInfos(name) {
		if p.LastStableOffset > 0 {
			want[p.Partition] = p.LastStableOffset - 1
		}
	}
	client, err := kgo.NewClient(append(opts, kgo.Dialer(s.net.DialContext), kgo.ConsumeTopics(name), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), time.Minute)
	defer cancel()
	byPartition := map[int32][]*kgo.Record{}
	for len(want) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatalf("reading %q back: %v; not reached: %v", name, err, want)
		}
		for r := range fetches.RecordsAll() {
			if last, ok := want[r.Partition]; ok && r.Offset >= last {
				delete(want, r.Partition)
			}
			if !r.Attrs.IsControl() {
				byPartition[r.Partition] = append(byPartition[r.Partition], r)
			}
		}
	}
	var all []*kgo.Record
	for p := range s.cluster.PartitionInfos(name) {
		all = append(all, byPartition[int32(p)]...)
	}
	return all
}

func (s *txStage) rows() []sinktest.RowID {
	s.t.Helper()
	var ids []sinktest.RowID
	for _, r := range s.committed(topic) {
		id, err := sinktest.ParseRow(string(r.Value))
		if err != nil {
			s.t.Errorf("offset %d: %v", r.Offset, err)
		}
		ids = append(ids, id)
	}
	return ids
}

// positions returns the committed positions of partition, in order.
func (s *txStage) positionsOf(partition string) []stream.Position {
	s.t.Helper()
	key := transactionalID("flows-app", "123456789012/eu-west-1/flows:1700000000/"+partition)
	var out []stream.Position
	for _, r := range s.committed(checkpointsTopic) {
		if string(r.Key) != key {
			continue
		}
		c, err := parseCheckpoint(r.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, c.Position)
	}
	return out
}

// commits groups the rows of partition by the transaction that committed them.
func (s *txStage) commits(partition string) [][]sinktest.RowID {
	s.t.Helper()
	bounds := s.positionsOf(partition)
	out := make([][]sinktest.RowID, len(bounds))
	for _, id := range s.rows() {
		if id.Partition != partition {
			continue
		}
		for i, b := range bounds {
			if id.Position <= b {
				out[i] = append(out[i], id)
				break
			}
		}
	}
	return out
}

// link is a worker's way to the brokers. It can be cut, and can lose the answer to a commit.
type link struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu    sync.Mutex
	down  bool
	conns []net.Conn
	// lose is armed for the next EndTxn: it is not sent, or sent and its answer is lost; then the link is down.
	lose lost
	met  chan struct{}
}

type lost int

const (
	loseNothing lost = iota
	loseRequest
	loseAnswer
)

var errLinkDown = errors.New("link down")

func (l *link) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down {
		return nil, errLinkDown
	}
	c, err := l.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return &linkConn{Conn: c, link: l}, nil
}

// cut closes every connection; with down none is made any more.
func (l *link) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// arm loses the next commit; met is closed when it happened.
func (l *link) arm(what lost) (met <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.met = what, make(chan struct{})
	return l.met
}

type linkConn struct {
	net.Conn
	link *link

	mu        sync.Mutex
	swallowed bool
}

// Write sees whole requests: the client writes each with one call.
func (c *linkConn) Write(b []byte) (int, error) {
	const keyAt = 4
	if len(b) > keyAt+2 && kmsg.Key(binary.BigEndian.Uint16(b[keyAt:])) == kmsg.EndTxn {
		c.link.mu.Lock()
		what, met := c.link.lose, c.link.met
		c.link.lose = loseNothing
		c.link.mu.Unlock()
		switch what {
		case loseRequest:
			c.link.cut(true)
			close(met)
			return 0, errLinkDown
		case loseAnswer:
			c.mu.Lock()
			c.swallowed = true
			c.mu.Unlock()
		case loseNothing:
		}
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	swallow := c.swallowed
	c.swallowed = false
	c.mu.Unlock()
	if swallow && err == nil {
		c.link.mu.Lock()
		met := c.link.met
		c.link.mu.Unlock()
		c.link.cut(true)
		close(met)
		return 0, errLinkDown
	}
	return n, err
}

// opener is a worker's sink, or what works with one.
type opener interface {
	sink.Sink
	Close()
}

// harness runs the contract suite with the sink one; two takes shards over.
func (s *txStage) harness(one, two opener, fault func() sinktest.Fault) sinktest.Harness {
	return sinktest.Harness{
		Sink:    one,
		Durable: func(*testing.T) []sinktest.RowID { return s.rows() },
		Break:   func(*testing.T) sinktest.Fault { return fault() },
		Forbid:  func(*testing.T) { s.refuse(kerr.TopicAuthorizationFailed) },
		Commits: func(_ *testing.T, partition string) [][]sinktest.RowID { return s.commits(partition) },
		Fence: func(t *testing.T, partition string) {
			t.Helper()
			s.table.take(partition, "two")
			w, _, err := two.Open(t.Context(), partition)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Undo: func(t *testing.T, partition string) stream.Position {
			t.Helper()
			s.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.CorruptMessage, Count: 1})
			at := s.positionsOf(partition)
			return at[len(at)-1]
		},
		Close: func(*testing.T) {
			one.Close()
			two.Close()
			s.cluster.Close()
		},
	}
}

func TestExactlyOnceContract(t *testing.T) {
	run := func(name string, fault func(*txStage) sinktest.Fault) {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Options{Virtual: true, Unordered: true, ExactlyOnce: true, New: func(t *testing.T) sinktest.Harness {
				t.Helper()
				s := newTxStage(t, nil)
				return s.harness(s.process("one"), s.process("two"), func() sinktest.Fault { return fault(s) })
			}})
		})
	}
	run("NotEnoughReplicas", func(s *txStage) sinktest.Fault { return s.refuse(kerr.NotEnoughReplicas) })
	run("ConnectionCut", func(s *txStage) sinktest.Fault { return s.cut() })
}

var _ sink.DeadLetter = (*Letters)(nil)
