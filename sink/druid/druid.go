// Package druid is the sink for a Druid without Kafka: it submits batches of rows as tasks, through Druid's own HTTP API.
//
// The partitions of a worker are divided into groups. A group fills one batch while the one before is with Druid. A batch is a range of
// positions of each of its partitions, and its name follows from the ranges. In this order:
//
//	cut       take the complete rows of every partition of the group            group.go
//	store     put them into objects, unless they are few                        deliver.go
//	record    write to each lease what is about to be submitted                 deliver.go
//	settle    submit, wait, compare the report; try again what failed           settle.go
//	report    done, and with it the checkpoint
//
// A task id is taken once, whatever became of the task, so submitting is repeated without fear. Whoever opens a partition finds what was
// recorded last and settles it first (open.go): rows that are published are not read again. When the first task was never submitted, its
// id is taken by a task without rows, so that nobody can submit it later; then the rows are read again.
//
// What remains: a task that Druid calls failed although it publishes after that was looked for. docs/sinks.md names that window.
package druid

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	cluster "dredge/druid"
	"dredge/row"
	"dredge/row/rollup"
	"dredge/sink"
	"dredge/stream"
)

// Encoder appends the JSON of row i of b. It is called by many goroutines at once.
type Encoder interface {
	Append(dst []byte, b *row.Batch, i int) []byte
}

// MinuteEncoder writes rolled-up rows; encode.Minute is one. It is called by many goroutines at once.
type MinuteEncoder interface {
	rollup.Dimensions
	// Append appends the JSON of a rolled-up row, without a newline.
	Append(dst []byte, minute int64, dims []byte, s *row.Sums) []byte
}

// Objects keeps batches where Druid finds them. blob.Bucket is one.
type Objects interface {
	// Create makes an object that must not exist; an error that is fs.ErrExist says that it does.
	Create(ctx context.Context, key string, data []byte) error
	Delete(ctx context.Context, key string) error
}

// Leases records with the source what is about to be submitted. Calls may be concurrent.
type Leases interface {
	// Prepare records, on condition that partition still is this worker's, that the rows after the position after and up to at are about
	// to be submitted under state. It waits until everything up to after is checkpointed. An error that is stream.ErrFenced says that
	// the partition is another's.
	Prepare(ctx context.Context, partition string, after, at stream.Position, state []byte) error
	// Prepared returns the checkpoint of partition and what was recorded after it, "" and nil when there is nothing.
	Prepared(ctx context.Context, partition string) (checkpoint, at stream.Position, state []byte, err error)
}

// Deps is what a Sink works with.
type Deps struct {
	Encoder Encoder
	// Minute is needed when rolled-up rows are asked for.
	Minute MinuteEncoder
	// Cluster is the client of Druid; the Sink's owner closes it.
	Cluster *cluster.Client
	// Raw, Late and Rolled are the tables; those that the configuration does not ask for may be empty.
	Raw, Late, Rolled cluster.Table
	// Objects is needed when the configuration names a place for them.
	Objects Objects
	// Leases is nil for a source that has none. Then nothing is recorded, and what is interrupted and done again is there twice.
	Leases Leases
	// Application tells the batches of different applications apart: its name, region and stream.
	Application string
	Registry    prometheus.Registerer
	Log         zerolog.Logger
}

// Sink makes Writers. It is safe for concurrent use.
type Sink struct {
	cfg         Config
	encoder     Encoder
	minute      MinuteEncoder
	rollups     *rollup.Metrics
	cluster     *cluster.Client
	tables      [tables]cluster.Table
	time        *row.Column
	objects     Objects
	leases      Leases
	application string
	// run tells the batches of one run from those of another where ranges do not: without leases a range may be read again on purpose.
	run     string
	log     zerolog.Logger
	metrics *metrics
	poller  *poller
	slots   chan struct{}

	closing context.Context //nolint:containedctx // ends the groups, whose Writes returned long ago
	stop    context.CancelFunc
	mu      sync.Mutex
	started bool
	groups  []*group
	working sync.WaitGroup
}

var errClosed = errors.New("sink closed before the rows were published")

// New checks and makes a Sink. Nothing is called before the first Open. The caller closes the Sink.
func New(cfg Config, deps Deps) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Sink{
		cfg: cfg, encoder: deps.Encoder, cluster: deps.Cluster, tables: [tables]cluster.Table{deps.Raw, deps.Late, deps.Rolled},
		objects: deps.Objects, leases: deps.Leases, application: deps.Application, log: deps.Log,
		slots: make(chan struct{}, cfg.TaskSlots), metrics: newMetrics(deps.Registry),
	}
	if cfg.Minute {
		if deps.Minute == nil {
			return nil, errors.New("minute: is set, but there is no encoder of rolled-up rows")
		}
		s.minute, s.rollups = deps.Minute, rollup.NewMetrics(deps.Registry)
	}
	if cfg.Objects != "" && deps.Objects == nil {
		return nil, errors.New("objects: is set, but there is no store")
	}
	for i := range deps.Raw.Columns {
		if deps.Raw.Columns[i].Role == row.Timestamp {
			s.time = &deps.Raw.Columns[i]
		}
	}
	if s.time == nil {
		return nil, errors.New("the raw table has no column of time")
	}
	if s.leases == nil {
		s.run = s.nonce()
	}
	s.poller = newPoller(s.cluster, cfg, s.metrics, s.log)
	s.closing, s.stop = context.WithCancel(context.Background())
	for range cfg.TaskSlots {
		s.groups = append(s.groups, newGroup(s))
	}
	return s, nil
}

// nonce is a short name that nobody else takes.
func (*Sink) nonce() string { return rand.Text()[:10] }

// timeOf is the row's time, in Unix milliseconds.
func (s *Sink) timeOf(b *row.Batch, r *row.Row) int64 {
	t, _ := s.time.Number(b, r)
	return t
}

// Open settles what was recorded for partition last, and makes a Writer. It returns the position up to which that went when it is
// published, else the checkpoint.
func (s *Sink) Open(ctx context.Context, partition string) (sink.Writer, stream.Position, error) {
	if err := s.start(); err != nil {
		return nil, "", err
	}
	o, err := s.resolve(ctx, partition)
	if err != nil {
		return nil, "", err
	}
	w := &Writer{sink: s, partition: partition, recording: make(chan struct{}, 1), burnt: o.burnt, last: o.at, after: o.at}
	if s.minute != nil {
		w.rollup = rollup.New(s.minute, s.rollups)
	}
	w.life, w.end = context.WithCancelCause(s.closing)
	s.mu.Lock()
	w.group = s.groups[0]
	for _, g := range s.groups[1:] {
		if g.size() < w.group.size() {
			w.group = g
		}
	}
	w.group.enter(w)
	s.mu.Unlock()
	return w, o.at, nil
}

// start starts what runs as long as the Sink, at the first Open.
func (s *Sink) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return errClosed
	}
	if s.started {
		return nil
	}
	s.started = true
	s.working.Go(func() { s.poller.run(s.closing) })
	for _, g := range s.groups {
		s.working.Go(func() { g.run(s.closing) })
	}
	return nil
}

// Close ends the work. Tasks that were submitted go on; whoever opens their partitions asks for them.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.working.Wait()
	for _, g := range s.groups {
		for _, w := range g.members() {
			w.fail(fmt.Errorf("partition %q: %w", w.partition, errClosed))
		}
	}
	return nil
}
