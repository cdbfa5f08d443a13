package scenario

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/enrich"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/store"
	"dredge/pipeline"
	"dredge/row"
	"dredge/sink"
	"dredge/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	streamName  = "vpc-flow-logs"
	application = "dredge-scenario"
)

// rig is an AWS in memory with one stream, a sink that all workers share, and any number of workers.
type rig struct {
	*testing.T
	aws     *awsfake.Server
	table   *tableWatch
	mem     *sinktest.Memory
	letters *letterBox

	// sink is mem unless a test puts another one here before the first worker starts.
	sink     sink.Sink
	consumer kinesis.Config
	pipeline pipeline.Config
	sets     []row.Set
	// lateAfter is rows.late_after; 0 is never.
	lateAfter time.Duration

	told    []event.Event
	workers []*worker
}

// worker is one dredge process: each has an identity store, books and metrics of its own.
type worker struct {
	*kinesis.Worker
	identity *store.Store
	pipeline *pipeline.Pipeline
	reg      *prometheus.Registry

	rig    *rig
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error
}

// inBubble runs test in virtual time. When it returns, every worker is stopped, and its books must balance at rest.
func inBubble(t *testing.T, shards int, aws awsfake.Config, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// A bubble begins in the year 2000, when there were no flow logs.
		<-time.After(time.Until(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)))
		r := &rig{
			T: t, aws: awsfaketest.NewServer(t, aws), mem: &sinktest.Memory{}, letters: &letterBox{},
			consumer: kinesis.DefaultConfig(), pipeline: pipeline.DefaultConfig(),
		}
		r.sink = r.mem
		r.consumer.Application, r.consumer.StreamName = application, streamName
		r.table = &tableWatch{rig: r, inner: r.aws.Transport(), highest: map[string]lease.Checkpoint{}}
		if err := r.aws.Kinesis().CreateStream(streamName, shards); err != nil {
			t.Fatal(err)
		}
		test(r)
		for _, w := range r.workers {
			w.stop()
		}
	})
}

// start runs a worker that knows what was told so far and hears what is told from now on.
func (r *rig) start(id string) *worker {
	r.Helper()
	w := &worker{reg: prometheus.NewRegistry(), rig: r, ended: make(chan struct{})}
	if err := w.build(id); err != nil {
		r.Fatal(err)
	}
	for i := range r.told {
		w.tell(&r.told[i])
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	w.cancel = cancel
	go func() {
		defer close(w.ended)
		background, stop := context.WithCancel(context.WithoutCancel(ctx))
		var beside sync.WaitGroup
		beside.Go(func() { _ = w.identity.Run(background) })
		w.err = w.Run(ctx)
		stop()
		beside.Wait()
	}()
	r.workers = append(r.workers, w)
	return w
}

// build wires the parts as newService and newCore of cmd/dredge do.
func (w *worker) build(id string) (err error) {
	r := w.rig
	if w.identity, err = store.New(metadata.DefaultConfig(), store.Dependencies{Registerer: w.reg}); err != nil {
		return err
	}
	join, err := enrich.New(enrich.Config{NamingGrades: metadata.DefaultConfig().Naming(), ColumnSets: r.sets, LateAfter: r.lateAfter}, enrich.Deps{Resolver: w.identity, Registerer: w.reg})
	if err != nil {
		return err
	}
	sightings, err := enrich.NewSightings(w.identity, heartbeats{w.identity})
	if err != nil {
		return err
	}
	gate, err := enrich.NewGate(join, w.identity)
	if err != nil {
		return err
	}
	log := zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.ErrorLevel)
	w.pipeline, err = pipeline.New(r.pipeline, pipeline.Deps{
		Sink: r.sink, Enricher: join, Observer: sightings, Watermarks: gate, DeadLetter: sink.Count(r.letters, w.reg), Log: log, Registry: w.reg,
	})
	if err != nil {
		return err
	}
	cfg := r.consumer
	cfg.WorkerID = id
	leases, err := lease.NewDynamoDB(cfg.Table(), awsfaketest.DynamoDB(r.aws, func(o *dynamodb.Options) {
		o.RetryMaxAttempts = 2
		o.HTTPClient = &http.Client{Transport: r.table}
	}))
	if err != nil {
		return err
	}
	w.Worker, err = kinesis.New(cfg, kinesis.Deps{
		Kinesis: awsfaketest.Kinesis(r.aws, func(o *awskinesis.Options) { o.RetryMaxAttempts = 2 }),
		Leases:  leases, Processor: w.pipeline, Budget: w.pipeline.Budget(), Log: log, Metrics: w.reg,
	})
	return err
}

// heartbeats hands what traffic proves to the store.
type heartbeats struct{ *store.Store }

func (h heartbeats) Observe(s enrich.Sighting) {
	h.Store.Observe(store.Sighting{Scope: s.Scope, ENI: s.ENI, IP: s.IP, Start: s.Start, End: s.End, Primary: s.Primary})
}

func (w *worker) tell(e *event.Event) {
	if err := w.identity.Apply(e); err != nil {
		w.rig.Errorf("identity event %+v: %v", e, err)
	}
}

// tell tells all workers, also those that start later.
func (r *rig) tell(e *event.Event) {
	r.told = append(r.told, *e)
	for _, w := range r.workers {
		w.tell(e)
	}
}

// stop drains w and checks what it leaves behind. It may be called again.
func (w *worker) stop() {
	w.rig.Helper()
	w.end(context.Canceled)
	if w.err != nil {
		w.rig.Errorf("%s: Run = %v", w.ID(), w.err)
	}
}

// kill makes w vanish as a crash would.
func (w *worker) kill() {
	w.rig.Helper()
	w.end(kinesis.ErrAbandon)
}

func (w *worker) end(cause error) {
	r := w.rig
	r.Helper()
	w.cancel(cause)
	<-w.ended
	if err := w.pipeline.Books().Snapshot().CheckAtRest(); err != nil {
		r.Errorf("%s: the books at rest: %v", w.ID(), err)
	}
	if held := w.metric("dredge_pipeline_budget_held_bytes"); held != 0 {
		r.Errorf("%s: %v bytes of the budget were never given back", w.ID(), held)
	}
	if problems, err := testutil.GatherAndLint(w.reg); err != nil || len(problems) > 0 {
		r.Errorf("%s: metrics: %v %v", w.ID(), problems, err)
	}
}

// metric sums all series of a counter or gauge.
func (w *worker) metric(name string) float64 {
	w.rig.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.rig.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	w.rig.Fatalf("no metric %s", name)
	return 0
}

// books adds up the books of all workers that there ever were.
func (r *rig) books() pipeline.Snapshot {
	total := pipeline.Snapshot{Rejected: map[string]int64{}, Skipped: map[string]int64{}, Dropped: map[string]int64{}, DeadLettered: map[string]int64{}, Abandoned: map[string]int64{}, Payloads: map[string]int64{}}
	for _, w := range r.workers {
		s := w.pipeline.Books().Snapshot()
		total.Lines += s.Lines
		total.Decoded += s.Decoded
		total.Delivered += s.Delivered
		total.InFlight += s.InFlight
		for _, m := range []struct{ to, from map[string]int64 }{
			{total.Rejected, s.Rejected}, {total.Skipped, s.Skipped}, {total.Dropped, s.Dropped}, {total.DeadLettered, s.DeadLettered}, {total.Abandoned, s.Abandoned}, {total.Payloads, s.Payloads},
		} {
			for k, n := range m.from {
				m.to[k] += n
			}
		}
	}
	return total
}

// await lets time pass until cond holds, and returns how long that took.
func (r *rig) await(what string, limit time.Duration, cond func() bool) time.Duration {
	r.Helper()
	begin := time.Now()
	for {
		synctest.Wait()
		if cond() {
			return time.Since(begin)
		}
		if time.Since(begin) >= limit {
			r.Fatalf("%s: not within %s\n%s", what, limit, r.dump())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// wait lets d pass.
func (r *rig) wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// put writes one record and says where it is.
func (r *rig) put(key string, data []byte) (shard, sequence string) {
	r.Helper()
	shard, sequence, err := r.aws.Kinesis().Put(streamName, key, data)
	if err != nil {
		r.Fatal(err)
	}
	return shard, sequence
}

// openShards are the shards that take records now, in the order of their hash keys.
func (r *rig) openShards() []awsfake.Shard {
	open := slices.DeleteFunc(r.aws.Kinesis().Shards(streamName), func(s awsfake.Shard) bool { return !s.Closed.IsZero() })
	slices.SortFunc(open, func(a, b awsfake.Shard) int { return lease.CompareSequences(a.StartingHashKey, b.StartingHashKey) })
	return open
}

// leases are the rows of the lease table, by key, as they are at this moment.
func (r *rig) leases() map[string]leaseRow {
	r.Helper()
	return r.table.read()
}

func (r *rig) dump() string {
	var b bytes.Buffer
	for key, l := range r.leases() {
		fmt.Fprintf(&b, "%s owner=%q at %s\n", key, l.owner, l.checkpoint)
	}
	for _, w := range r.workers {
		fmt.Fprintf(&b, "%s: %+v\n", w.ID(), w.pipeline.Books().Snapshot())
	}
	return b.String()
}

// letterBox is a dead letter in memory. Only what was flushed counts.
type letterBox struct {
	mu      sync.Mutex
	put     []sink.Letter
	durable int
}

func (b *letterBox) Put(_ context.Context, l sink.Letter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.Data = bytes.Clone(l.Data)
	b.put = append(b.put, l)
	return nil
}

func (b *letterBox) Flush(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.durable = len(b.put)
	return nil
}

func (b *letterBox) letters() []sink.Letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.put[:b.durable])
}
