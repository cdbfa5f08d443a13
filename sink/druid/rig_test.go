package druid

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	cluster "dredge/druid"
	"dredge/druid/druidtest"
	"dredge/row"
	"dredge/sink/sinktest"
	"dredge/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a place for objects, which the cluster reads.
type store struct {
	mu      sync.Mutex
	objects map[string][]byte
	// fault, when set, may refuse a Create, before or after the object is there.
	fault func(key string) (before, after error)
}

func newStore() *store { return &store{objects: map[string][]byte{}} }

func (s *store) Create(_ context.Context, key string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var before, after error
	if s.fault != nil {
		before, after = s.fault(key)
	}
	if before != nil {
		return before
	}
	if s.objects[key] != nil {
		return fmt.Errorf("%s: %w", key, fs.ErrExist)
	}
	s.objects[key] = bytes.Clone(data)
	return after
}

func (s *store) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

func (s *store) read(uri string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const place = "s3://bucket/batches/"
	data, ok := s.objects[uri[min(len(place), len(uri)):]]
	if !ok {
		return nil, fmt.Errorf("%s: %w", uri, fs.ErrNotExist)
	}
	return data, nil
}

// table of leases, as several workers see it: who has a partition, its checkpoint and what is pending.
type leases struct {
	mu   sync.Mutex
	rows map[string]*leaseRow
	// slow, when set, delays what is recorded.
	slow func()
}

type leaseRow struct {
	owner          string
	checkpoint, at stream.Position
	state          []byte
	prepared       int
}

func newLeases() *leases { return &leases{rows: map[string]*leaseRow{}} }

func (l *leases) row(partition string) *leaseRow {
	r := l.rows[partition]
	if r == nil {
		r = &leaseRow{}
		l.rows[partition] = r
	}
	return r
}

// give makes worker the owner of partition.
func (l *leases) give(partition, worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.row(partition).owner = worker
}

// durable says that partition's rows up to at are checkpointed.
func (l *leases) durable(partition string, at stream.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.row(partition)
	r.checkpoint = max(r.checkpoint, at)
	if r.checkpoint >= r.at {
		r.at, r.state = "", nil
	}
}

func (l *leases) pending(partition string) (at stream.Position, prepared int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.row(partition).at, l.row(partition).prepared
}

// of is the table as one worker sees it.
func (l *leases) of(worker string) *workerLeases { return &workerLeases{l, worker} }

type workerLeases struct {
	*leases
	worker string
}

func (l *workerLeases) mine(partition string) (*leaseRow, error) {
	r := l.row(partition)
	if r.owner == "" {
		r.owner = l.worker
	}
	if r.owner != l.worker {
		return nil, fmt.Errorf("%s has it: %w", r.owner, stream.ErrFenced)
	}
	return r, nil
}

func (l *workerLeases) Prepare(ctx context.Context, partition string, after, at stream.Position, state []byte) error {
	if l.slow != nil {
		l.slow()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := l.mine(partition)
	if err != nil {
		return err
	}
	r.checkpoint, r.at, r.state = max(r.checkpoint, after), at, bytes.Clone(state)
	r.prepared++
	return nil
}

func (l *workerLeases) Prepared(_ context.Context, partition string) (checkpoint, at stream.Position, state []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.mine(partition)
	if err != nil {
		return "", "", nil, err
	}
	return r.checkpoint, r.at, bytes.Clone(r.state), nil
}

// rig is a cluster, a lease table and any number of workers' sinks.
type rig struct {
	*testing.T
	druid  *druidtest.Cluster
	leases *leases
	store  *store
	client *cluster.Client
	sinks  []*Sink
	log    sayings
}

// sayings are what the sinks have logged.
type sayings struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sayings) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(line)
}

func (s *sayings) has(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), part)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, druid: druidtest.New(), leases: newLeases(), store: newStore()}
	r.druid.Object = r.store.read
	var err error
	r.client, err = cluster.NewClient(cluster.Config{Overlord: "http://druid.test", Timeout: 10 * time.Second}, cluster.WithTransport(r.druid))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inline is a small configuration without objects, objects one with them.
func inline(c *Config) {
	c.BatchInterval, c.PollInterval, c.InlineBytes = 2*time.Second, 500*time.Millisecond, 1<<20
}

func objects(c *Config) {
	inline(c)
	c.Objects, c.InlineBytes, c.BatchBytes = "s3://bucket/batches", 0, 2<<20
}

// sink makes the sink of one worker; nil leases make one that records nothing.
func (r *rig) sink(worker string, leases Leases, change func(*Config)) *Sink {
	r.Helper()
	cfg := DefaultConfig()
	change(&cfg)
	columns := []row.Column{{Name: "time", Role: row.Timestamp, Number: func(_ *row.Batch, r *row.Row) (int64, bool) { return r.Start, true }}}
	s, err := New(cfg, Deps{
		Encoder: timed{}, Minute: minutes{}, Cluster: r.client, Objects: r.store, Leases: leases, Application: "app", Registry: prometheus.NewPedanticRegistry(),
		Raw: cluster.Table{Datasource: "flows_raw", Columns: columns}, Late: cluster.Table{Datasource: "flows_late", Columns: columns},
		Rolled: cluster.Table{Datasource: "flows_1m", Columns: columns, Rollup: true},
		Log:    zerolog.New(io.MultiWriter(zerolog.NewTestWriter(r.T), &r.log)).With().Str("worker", worker).Logger(),
	})
	if err != nil {
		r.Fatal(err)
	}
	r.sinks = append(r.sinks, s)
	return s
}

// close ends every sink.
func (r *rig) close() {
	for _, s := range r.sinks {
		if err := s.Close(); err != nil {
			r.Errorf("Close = %v", err)
		}
	}
}

// ids are the rows of a datasource.
func (r *rig) ids(datasource string) []sinktest.RowID {
	r.Helper()
	var ids []sinktest.RowID
	for _, row := range r.druid.Rows(datasource) {
		id, err := parseRow(row.Line)
		if err != nil {
			r.Error(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// minutes rolls rows up by their applications.
type minutes struct{}

func (minutes) AppendDimensions(dst []byte, b *row.Batch, i int) []byte {
	return append(append(append(dst, b.Rows[i].Src.App...), ' '), b.Rows[i].Dst.App...)
}

func (minutes) Append(dst []byte, minute int64, dims []byte, s *row.Sums) []byte {
	return fmt.Appendf(dst, `{"time":%d,"dims":%q,"rows_in":%d,"bytes":%d}`, minute, dims, s.RowsIn, s.BytesObserved)
}

// timed puts the row's time before what the suite's encoder writes.
type timed struct{ sinktest.Encoder }

func (e timed) Append(dst []byte, b *row.Batch, i int) []byte {
	start := len(dst)
	dst = e.Encoder.Append(dst, b, i)
	return slices.Insert(dst, start+1, fmt.Appendf(nil, `"time":%d,`, b.Rows[i].Start)...)
}

func parseRow(line string) (sinktest.RowID, error) {
	_, rest, _ := strings.Cut(line, ",")
	return sinktest.ParseRow("{" + rest)
}
