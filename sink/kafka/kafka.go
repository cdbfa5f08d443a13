// Package kafka is the Kafka sink, in two modes. At least once: one idempotent producer for all partitions of the process, acks
// from all in-sync replicas, positions reported after the acks. Exactly once: one transactional producer for each partition,
// whose position is committed with its rows; txwriter.go and takeover.go say how.
//
// Rows go to up to three topics: raw ones, the same rolled up by minute, and late ones apart. A Write is done when its rows are
// acknowledged in all of them.
//
// Rows are encoded into slabs, blocks of memory of a fixed size. A slab belongs to one Write until the client has answered for
// the last of its records; then it returns to the pool. The pool is the bound of this sink: when every slab is out, Write
// waits, the pipeline stops and the shard is not read. So nothing of a row is copied between the encoder and the client, and
// nothing is allocated per row.
//
// Faults that may pass are retried without end: by the client, and where the client gives a record up, by the sink, which
// produces it again from its slab. Such a record can land behind later ones. A refusal that no retry mends ends the Writers
// whose rows it hit. A row larger than one record batch may be goes to the dead letter before it is produced.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/row"
	"dredge/row/rollup"
	"dredge/sink"
	"dredge/stream"
)

// Encoder appends the JSON of row i of b. It is called by many goroutines at once.
type Encoder interface {
	Append(dst []byte, b *row.Batch, i int) []byte
}

// Deps is what a Sink works with. All fields but Options are needed.
type Deps struct {
	Encoder Encoder
	// Minute is needed when a topic for rolled-up rows is configured.
	Minute MinuteEncoder
	// DeadLetter takes the rows that are too large.
	DeadLetter sink.DeadLetter
	Registry   prometheus.Registerer
	Log        zerolog.Logger
	// AWS is needed for sasl.mechanism AWS_MSK_IAM.
	AWS AWSCredentials
	// Options are added to the client's, for tests.
	Options []kgo.Opt

	// Application and Leases are needed in mode exactly-once: whose shards these are, and the proof that they are ours.
	Application string
	Leases      Leases
	// Letters, when not nil, is what DeadLetter ends in: dead letters then are part of the transactions.
	Letters *Letters
}

// Sink makes Writers. In mode at-least-once they share one client. It is safe for concurrent use.
type Sink struct {
	cfg     Config
	encoder Encoder
	letters sink.DeadLetter
	client  *kgo.Client
	slabs   *pool
	metrics *metrics
	// minute and rollups are nil when no rolled-up rows are produced.
	minute  MinuteEncoder
	rollups *rollup.Metrics
	chunks  atomic.Uint64 // numbers slabs, for spreading rows

	// purge is set when the broker said that a topic is unknown. The client then holds an id that will never be valid again,
	// and the next Open makes it forget the topics.
	purge atomic.Bool

	log         zerolog.Logger
	aws         AWSCredentials
	options     []kgo.Opt
	application string
	leases      Leases
	held        *Letters
	positions   *positions

	closing context.Context //nolint:containedctx // ends the retries, whose Writes returned long ago
	stop    context.CancelFunc
	// retries are the goroutines that wait to produce a slab again. mu makes sure that none is started while Close waits.
	mu      sync.Mutex
	retries sync.WaitGroup
	writers map[*txWriter]struct{} // that are open, in mode exactly-once
	stints  map[string]*stint      // partitions that slots work on
}

var errClosed = errors.New("kafka sink closed")

// New makes a Sink and its client. Nothing is dialed before the first Check, Open or Write. The caller closes the Sink.
func New(cfg Config, deps Deps) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Mode == ExactlyOnce && (deps.Leases == nil || deps.Application == "") {
		return nil, errors.New("mode: exactly-once needs a source with leases; write at-least-once")
	}
	if cfg.MinuteTopic != "" && deps.Minute == nil {
		return nil, errors.New("minute_topic: is set, but there is no encoder of rolled-up rows")
	}
	m := newMetrics(deps.Registry, cfg.Mode)
	opts, err := cfg.options(deps.Log, deps.AWS, m)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts, deps.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("making the kafka client: %w", err)
	}
	s := &Sink{
		cfg: cfg, encoder: deps.Encoder, letters: deps.DeadLetter, client: client, metrics: m, log: deps.Log,
		aws: deps.AWS, options: deps.Options, application: deps.Application, leases: deps.Leases, held: deps.Letters,
		positions: newPositions(cfg.ExactlyOnce.CheckpointsTopic, client), writers: map[*txWriter]struct{}{}, stints: map[string]*stint{},
	}
	if cfg.MinuteTopic != "" {
		s.minute, s.rollups = deps.Minute, rollup.NewMetrics(deps.Registry)
	}
	s.closing, s.stop = context.WithCancel(context.Background())
	s.slabs = newPool(s, int(cfg.BufferBytes/slabBytes))
	m.watch(deps.Registry, s.slabs)
	if cfg.Mode == ExactlyOnce {
		deps.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dredge_sink_kafka_open_transaction_age_seconds", Help: "Age of the oldest open transaction; it holds back every read_committed reader.",
		}, s.oldestTransaction))
	}
	return s, nil
}

// oldestTransaction is the age of the oldest open transaction in seconds.
func (s *Sink) oldestTransaction() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := time.Duration(0)
	for w := range s.writers {
		if at := w.opened.Load(); at != 0 {
			oldest = max(oldest, time.Since(time.Unix(0, at)))
		}
	}
	return oldest.Seconds()
}

// Open makes a Writer for partition. In mode at-least-once the sink keeps no position and fences nobody: a former owner's rows
// may still arrive. In mode exactly-once it is a take-over.
func (s *Sink) Open(ctx context.Context, partition string) (sink.Writer, stream.Position, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if s.closing.Err() != nil {
		return nil, "", errClosed
	}
	if s.cfg.Mode == ExactlyOnce {
		return s.openTx(ctx, partition)
	}
	if s.purge.CompareAndSwap(true, false) {
		for _, t := range s.cfg.rowTopics() {
			s.client.PurgeTopicsFromProducing(t.name)
		}
	}
	return &Writer{sink: s, partition: partition, rollup: s.newRollup()}, "", nil
}

// Close drops what is not acknowledged, reports it to the Writers that are still open, and returns when every buffer is home
// and every goroutine has ended. Writers should have been closed before.
func (s *Sink) Close() {
	s.mu.Lock()
	s.stop()
	open := slices.Collect(maps.Keys(s.writers))
	s.mu.Unlock()
	for _, w := range open {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.Close(over) // it never fails
	}
	s.retries.Wait()
	s.client.Close()
	s.slabs.drain()
}

// again produces the failed records of b once more after a pause, unless the sink or the Writer is closed by then.
func (s *Sink) again(b *slab) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return false
	}
	s.retries.Go(func() {
		pause := time.NewTimer(s.cfg.RetryBackoff)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-s.closing.Done():
		}
		if s.closing.Err() != nil || b.entry.Dead() {
			b.release(errClosed)
			return
		}
		s.metrics.retried(b.failed)
		b.resend()
	})
	return true
}
