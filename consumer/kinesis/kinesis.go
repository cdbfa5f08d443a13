// Package kinesis reads the shards of a Kinesis stream as a worker of a Kinesis Client Library (KCL) application.
//
// A Worker shares the shards with the application's other workers, Go or Java, through the lease table of package lease. For each
// lease that it wins it opens a stream.Handler, reads the shard and hands over what it read, chunk by chunk. It
// checkpoints only what the Handler reported as durable, so nothing is lost when a worker dies, a shard splits or a sink refuses;
// what was in flight then is read again.
//
// One goroutine per lease renews it and one reads its shard; neither waits for the other. One goroutine looks at the table and
// takes leases, one compares the stream's shards with the table. All of them end before Run returns.
package kinesis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
	"dredge/stream"
)

// API is what a Worker needs of *kinesis.Client.
type API interface {
	ListShards(ctx context.Context, in *kinesis.ListShardsInput, opts ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error)
	GetShardIterator(ctx context.Context, in *kinesis.GetShardIteratorInput, opts ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error)
	GetRecords(ctx context.Context, in *kinesis.GetRecordsInput, opts ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error)
	// DescribeStreamSummary is called only when the application reads several streams, or by fan_out.
	DescribeStreamSummary(ctx context.Context, in *kinesis.DescribeStreamSummaryInput, opts ...func(*kinesis.Options)) (*kinesis.DescribeStreamSummaryOutput, error)
}

// Deps is what a Worker works with. All fields are needed, unless they say otherwise.
type Deps struct {
	// Kinesis must also be a FanOutAPI for streams that are read by fan_out; *kinesis.Client is both.
	Kinesis API
	// StreamAPI, when not nil, makes the client for one stream, for instance with the credentials of the stream's role; else all are read by
	// Kinesis. New calls it once per configured stream.
	StreamAPI func(StreamConfig) (API, error)
	// Leases is the lease table. Its client should be its own, with at most one retry: see lease.Client.
	Leases lease.Store
	// Fleet is how workers of KCL 3.x agree; *lease.DynamoDB is one. It may be nil with mode 2.x: then the application's version is known only
	// if it stands in the lease table.
	Fleet lease.Fleet
	// Processor opens a Handler per shard. The partition it is given is the lease key.
	Processor stream.Processor
	// Budget bounds the bytes in memory: room for a whole answer is taken before each read.
	Budget  stream.Budget
	Log     zerolog.Logger
	Metrics prometheus.Registerer
}

func (d Deps) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"Kinesis": d.Kinesis == nil && d.StreamAPI == nil, "Leases": d.Leases == nil, "Processor": d.Processor == nil, "Budget": d.Budget == nil, "Metrics": d.Metrics == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("dependency %s is missing", name))
		}
	}
	return errors.Join(errs...)
}

// Worker reads shards. Make it with New.
type Worker struct {
	cfg     Config
	id      string
	sources []*source
	store   lease.Store
	fleet   lease.Fleet
	proc    stream.Processor
	budget  stream.Budget
	log     zerolog.Logger
	m       *metrics
	started atomic.Bool
	// wallClock is time.Now, but for tests that make it jump. Nothing but what others read as a date is made of it: ownership knows
	// only how long something took.
	wallClock atomic.Pointer[func() time.Time]
	// progress is when a row was last durable, in time since born.
	born     time.Time
	progress atomic.Int64
	// handled is how many bytes of data the processor took.
	handled atomic.Int64

	// stop ends Run with a fault that no retry mends.
	stop context.CancelCauseFunc
	// life is the context of everything that must go on during a drain. It ends when all shards have stopped, or at once when the worker abandons its leases.
	life context.Context
	// takeSoon asks the taking goroutine for a look at the table now.
	takeSoon chan struct{}
	shards   sync.WaitGroup

	mu       sync.Mutex
	held     map[string]*held
	draining error         // why, once the worker stops
	ended    chan struct{} // closed and replaced when a shard of this worker ends
	cooling  map[string]cooldown
	children map[string]struct{} // keys of leases that were made at the end of own shards and may be without an owner
	version  string              // state of KCL's migration to 3.x
	gaveUp   bool
	table    tableView
}

// tableView is the last look at the lease table, for Status.
type tableView struct {
	at      time.Time
	leases  []lease.Lease
	workers []string
	target  int
	// balanced says that all leases have owners and this worker lacks none.
	balanced bool
}

// New checks cfg and deps and makes a Worker; nothing is started and nobody is called.
func New(cfg Config, deps Deps) (*Worker, error) {
	if err := errors.Join(cfg.Validate(), deps.validate()); err != nil {
		return nil, fmt.Errorf("kinesis consumer: %w", err)
	}
	if cfg.Mode == Mode3x && deps.Fleet == nil {
		return nil, fmt.Errorf("kinesis consumer: dependency Fleet is missing, which mode %s needs", cfg.Mode)
	}
	id := cfg.WorkerID
	if id == "" {
		id = newWorkerID()
	}
	sources, err := newSources(cfg, deps)
	if err != nil {
		return nil, fmt.Errorf("kinesis consumer: %w", err)
	}
	w := &Worker{
		cfg:      cfg,
		id:       id,
		sources:  sources,
		store:    deps.Leases,
		fleet:    deps.Fleet,
		born:     time.Now(),
		proc:     deps.Processor,
		budget:   deps.Budget,
		log:      deps.Log.With().Str("worker", id).Logger(),
		m:        newMetrics(deps.Metrics),
		takeSoon: make(chan struct{}, 1),
		held:     map[string]*held{},
		ended:    make(chan struct{}),
		cooling:  map[string]cooldown{},
		children: map[string]struct{}{},
	}
	now := time.Now
	w.wallClock.Store(&now)
	return w, nil
}

// newWorkerID is different at every start: a restarted worker must not mistake its predecessor's leases for its own.
func newWorkerID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return WorkerIDPrefix + host + "-" + rand.Text()[:10]
}

// wall is the date and time.
func (w *Worker) wall() time.Time { return (*w.wallClock.Load())() }

// ID is this worker's id in the lease table.
func (w *Worker) ID() string { return w.id }

// Run reads shards until ctx ends, then drains: reading stops, what was read is flushed for at most the shutdown timeout, the
// final positions are checkpointed and all leases are released, even if the flush failed. It returns nil after a drain that ctx
// asked for, and an error when the worker cannot start or must not go on. It may be called once.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("BUG: Run of a kinesis worker was called twice")
	}
	ctx, w.stop = context.WithCancelCause(ctx)
	defer w.stop(nil)
	// A drain still renews, checkpoints and releases, so it outlives ctx.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	w.life = life

	if err := w.initTable(ctx); err != nil {
		return err
	}
	if err := w.initVersion(ctx); err != nil {
		return err
	}
	var loops sync.WaitGroup
	if w.fleet != nil {
		loops.Go(func() { w.fleetLoop(ctx) })
	}
	loops.Go(func() { w.takeLoop(ctx) })
	loops.Go(func() { w.syncLoop(ctx) })

	<-ctx.Done()
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, ErrAbandon):
		end(ErrAbandon)
	case errors.Is(cause, lease.ErrNoTable):
		w.log.Error().Err(cause).Msg("the lease table was deleted: the worker stops; what it read is read again by whoever finds a table")
		end(cause) // there is no row to write to
	}
	w.drain()
	loops.Wait()
	w.shards.Wait()
	if errors.Is(cause, ErrDuplicateWorkerID) || errors.Is(cause, lease.ErrNoTable) {
		return cause
	}
	return nil
}

// initTries bounds the tries to reach the lease table at start: about a minute.
const initTries = 8

func (w *Worker) initTable(ctx context.Context) error {
	b := retry.Backoff{Min: 500 * time.Millisecond, Max: 20 * time.Second}
	for {
		err := w.store.Init(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return nil //nolint:nilerr // asked to stop before it began
		case errors.Is(err, lease.ErrForeignTable), b.Tries == initTries:
			return fmt.Errorf("prepare lease table: %w", err)
		}
		w.m.leaseErrors.Inc()
		w.log.Warn().Err(err).Msg("lease table not ready, trying again")
		if retry.Sleep(ctx, b.Next()) != nil {
			return nil //nolint:nilerr // asked to stop
		}
	}
}

// drain stops all shards, and those that are won from now on. It does not wait.
func (w *Worker) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = errDrain
	for _, h := range w.held {
		h.stopWork(errDrain)
	}
}

// kick makes the receiver of c run soon.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
