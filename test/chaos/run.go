package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"golang.org/x/sync/errgroup"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/flowgen"
)

const (
	application, streamName = "chaos", "flows"
	linesPerPayload         = 500
	// distinct payloads are put again and again: a row's id comes from where it stands in the stream, not from what it says.
	distinct = 32
)

// happening is one thing that was done.
type happening struct {
	At     time.Duration
	What   string
	Window int64 // bytes after the checkpoints of the victim's shards
}

// outcome is what a run found.
type outcome struct {
	tally
	Happenings             []happening
	Window                 int64
	Fed, Settled           time.Duration
	Throttled              int
	Kills, Stops, Reshards int
	Struck                 map[moment]int // kills and stops
	Died                   int            // processes that ended without being told to
	kafkaOutcome
	Druid druidOutcome
}

// experiment is one run.
type experiment struct {
	plan    plan
	server  *awsfake.Server
	table   *lease.DynamoDB
	fleet   *fleet
	ledger  *ledger
	workers []*worker
	random  *rand.Rand
	begin   time.Time
	kafka   *kafkaSide // nil when rows go to standard output
	druid   *druidSide // nil without Druid
	mu      sync.Mutex // of result and workers
	result  outcome
}

// run does what p says and counts.
func (p plan) run(ctx context.Context) (outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // kills what still runs
	e := &experiment{plan: p, server: awsfake.New(awsfake.Config{Limits: awsfake.Limits{ReadBytes: true, ReadCalls: true}}), ledger: newLedger(), random: rand.New(rand.NewPCG(p.seed, 0)), begin: time.Now(), result: outcome{Struck: map[moment]int{}}}
	defer e.server.Close() //nolint:errcheck // it holds nothing that outlives it
	if err := e.server.Listen(ctx, "127.0.0.1:0"); err != nil {
		return outcome{}, err
	}
	if err := e.server.Kinesis().CreateStream(streamName, p.shards); err != nil {
		return outcome{}, err
	}
	var err error
	if e.table, err = lease.NewDynamoDB(application, dynamodb.NewFromConfig(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("chaos", "chaos", ""),
		BaseEndpoint: aws.String(e.server.URL()), HTTPClient: &http.Client{Transport: e.server.Transport()},
	})); err != nil {
		return outcome{}, err
	}
	var faults []*awsfake.Injection
	for i, op := range []string{"GetRecords", "UpdateItem", "Scan", "ListShards", "GetShardIterator"} {
		faults = append(faults, e.server.Inject(awsfake.Fault{Op: op, Kind: awsfake.Throttle, Probability: 0.03, Seed: p.seed + uint64(i)}))
	}
	e.fleet = &fleet{plan: p, url: e.server.URL(), ledger: e.ledger}
	if p.brokers != nil {
		if e.kafka, err = newKafkaSide(p, e.ledger); err != nil {
			return outcome{}, err
		}
		defer e.kafka.close()
		e.fleet.config = e.kafka.config
	}
	for range p.workers {
		w, err := e.fleet.start(ctx)
		if err != nil {
			return outcome{}, err
		}
		e.workers = append(e.workers, w)
	}
	var both errgroup.Group
	feeding, stopFeeding := context.WithTimeout(ctx, p.duration)
	both.Go(func() error { return e.feed(feeding) })
	both.Go(func() error { return e.disturb(ctx) })
	counting, stopCounting := context.WithCancel(ctx)
	defer stopCounting()
	if e.kafka != nil {
		e.kafka.begin(counting, e)
		both.Go(func() error { return e.disturbBrokers(ctx) })
		both.Go(func() error { return e.loseCommits(ctx) })
		both.Go(func() error { return e.visits(ctx) })
	}
	if p.druid != nil {
		e.druid = &druidSide{druidCluster: p.druid, outcome: druidOutcome{tables: tablesOf(p)}, undisturbed: p.bad, probes: map[string]time.Time{}}
		both.Go(func() error { return e.druid.disturb(ctx, e) })
		e.kafka.beside.Go(func() error {
			e.druid.probe(counting, e.ledger)
			return nil
		})
	}
	err = both.Wait()
	stopFeeding()
	if err != nil {
		return outcome{}, errors.Join(err, e.stop())
	}
	e.result.Fed = time.Since(e.begin)
	if e.kafka != nil {
		for _, x := range p.brokers.proxies {
			e.kafka.steady = max(e.kafka.steady, x.open.Load())
		}
	}
	err = e.settle(ctx)
	e.result.Settled = time.Since(e.begin)
	if e.kafka != nil {
		e.kafka.scraper.look(ctx, e.all())
	}
	if err := errors.Join(err, e.stop()); err != nil {
		return outcome{}, err
	}
	if e.kafka != nil {
		if e.result.kafkaOutcome, err = e.kafka.end(ctx, stopCounting); err != nil {
			return outcome{}, err
		}
	}
	if e.druid != nil {
		if e.result.Druid, err = e.druid.count(ctx, e.ledger); err != nil {
			return outcome{}, err
		}
	}
	for _, f := range faults {
		e.result.Throttled += f.Struck()
	}
	e.result.tally = e.ledger.tally()
	return e.result, nil
}

// stop ends all workers gently and waits until everything they wrote is counted.
func (e *experiment) stop() error {
	for _, w := range e.all() {
		if w.alive() {
			_ = w.signal(syscall.SIGTERM) // it may just have ended
		}
	}
	return e.fleet.readers.Wait()
}

// all are the present workers.
func (e *experiment) all() []*worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.workers)
}

// replace starts a worker in the place of the i-th.
func (e *experiment) replace(ctx context.Context, i int) error {
	w, err := e.fleet.start(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers[i] = w
	return nil
}

// feed puts payloads at the plan's rate until ctx ends.
func (e *experiment) feed(ctx context.Context) error {
	cfg := flowgen.DefaultBulkConfig(time.Now(), distinct*linesPerPayload)
	cfg.LinesPerPayload, cfg.Addresses = linesPerPayload, 1<<12
	bulk, err := flowgen.NewBulk(cfg)
	if err != nil {
		return err
	}
	var payloads []flowgen.Payload
	for pl := range bulk.All() {
		pl.Data = append([]byte(nil), pl.Data...) // All may use its buffer again
		payloads = append(payloads, pl)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	start, put := time.Now(), 0
	for {
		due := int(time.Since(start).Seconds() * float64(e.plan.rate) / linesPerPayload)
		for ; put < due; put++ {
			pl := payloads[put%len(payloads)]
			shard, sequence, err := e.server.Kinesis().Put(streamName, strconv.Itoa(put), pl.Data)
			if err != nil {
				return fmt.Errorf("put into the stream: %w", err)
			}
			e.ledger.put(shard, sequence, pl.Lines, len(pl.Data))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// disturb does the plan's kills, stops and reshards, mixed and spread over the duration.
func (e *experiment) disturb(ctx context.Context) error {
	var acts []func(context.Context) error
	for i := range e.plan.kills {
		acts = append(acts, func(ctx context.Context) error { return e.kill(ctx, e.plan.killsAt[i%len(e.plan.killsAt)]) })
	}
	for i := range e.plan.stops {
		acts = append(acts, func(ctx context.Context) error { return e.pause(ctx, e.plan.stopsAt[i%len(e.plan.stopsAt)]) })
	}
	for range e.plan.reshards {
		acts = append(acts, e.reshard)
	}
	e.random.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
	interval := e.plan.duration / time.Duration(len(acts)+1)
	for i, act := range acts {
		if err := wait(ctx, time.Until(e.begin.Add(interval*time.Duration(i+1)))); err != nil {
			return err
		}
		if err := e.revive(ctx); err != nil {
			return err
		}
		if err := act(ctx); err != nil {
			return err
		}
	}
	return wait(ctx, time.Until(e.begin.Add(e.plan.duration)))
}

// revive starts a worker for each that ended by itself, which is counted.
func (e *experiment) revive(ctx context.Context) error {
	for i, w := range e.workers {
		if w.alive() {
			continue
		}
		e.result.Died++
		e.note("ended by itself: "+w.id, 0)
		if err := e.replace(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (e *experiment) note(what string, window int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.result.Window += window
	e.result.Happenings = append(e.result.Happenings, happening{time.Since(e.begin), what, window})
}

// kill ends a process and starts another in its place.
func (e *experiment) kill(ctx context.Context, at moment) error {
	i, at, release, err := e.victim(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	w := e.workers[i]
	if err := w.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", w.id, err)
	}
	<-w.ended
	if _, err := e.open(ctx, fmt.Sprintf("kill -9 %s %s", w.id, at), w.id); err != nil {
		return err
	}
	e.result.Kills++
	e.result.Struck[at]++
	if err := wait(ctx, time.Duration(e.random.IntN(2000))*time.Millisecond); err != nil {
		return err
	}
	return e.replace(ctx, i)
}

// pause stops a process until others have its leases, then lets it go on.
func (e *experiment) pause(ctx context.Context, at moment) error {
	i, at, release, err := e.victim(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	w := e.workers[i]
	if err := w.signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop %s: %w", w.id, err)
	}
	had, err := e.open(ctx, fmt.Sprintf("SIGSTOP %s %s", w.id, at), w.id)
	if err == nil {
		err = wait(ctx, e.plan.failover*5/2)
	}
	if err == nil && at != anytime {
		err = e.overtaken(ctx, had)
	}
	if err := w.signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("continue %s: %w", w.id, err)
	}
	e.result.Stops++
	e.result.Struck[at]++
	e.note("SIGCONT "+w.id, 0)
	return err
}

// overtaken waits until others have got on with all of the leases had, but not for so long that the transactions of the worker that
// had them time out.
func (e *experiment) overtaken(ctx context.Context, had []lease.Lease) error {
	until := time.Now().Add(transactionTimeout - e.plan.failover*5/2 - 5*time.Second)
	for time.Now().Before(until) {
		now, err := e.leases(ctx)
		if err != nil {
			return err
		}
		left := len(had)
		for _, old := range had {
			i := slices.IndexFunc(now, func(l lease.Lease) bool { return l.Key == old.Key })
			if i < 0 || now[i].ActualOwner() != old.ActualOwner() && now[i].Checkpoint.Compare(old.Checkpoint) > 0 {
				left--
			}
		}
		if left == 0 {
			return nil
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// leases are those of the table as it is now.
func (e *experiment) leases(ctx context.Context) ([]lease.Lease, error) {
	listing, err := e.table.List(ctx)
	for tries := 0; err != nil && tries < 10; tries++ { // the table is throttled for us, too
		listing, err = e.table.List(ctx)
	}
	if errors.Is(err, lease.ErrNoTable) {
		return nil, nil
	}
	return listing.Leases, err
}

// open notes how much lies after the checkpoints of the shards that a worker had when it was silenced, and returns its leases.
func (e *experiment) open(ctx context.Context, what, id string) (had []lease.Lease, err error) {
	all, err := e.leases(ctx)
	if err != nil {
		return nil, err
	}
	var window int64
	for _, l := range all {
		if l.ActualOwner() == id && !l.Checkpoint.IsShardEnd() {
			had = append(had, l)
			window += e.ledger.window(l.Shard(), l.Checkpoint)
		}
	}
	e.note(fmt.Sprintf("%s, which had %d leases", what, len(had)), window)
	return had, nil
}

// reshard splits a shard and merges two neighbours, in turn.
func (e *experiment) reshard(context.Context) error {
	var open []awsfake.Shard
	for _, s := range e.server.Kinesis().Shards(streamName) {
		if s.Closed.IsZero() {
			open = append(open, s)
		}
	}
	e.result.Reshards++
	if e.result.Reshards%2 == 1 {
		s := open[e.random.IntN(len(open))]
		e.note("split "+s.ID, 0)
		return e.server.Kinesis().Split(streamName, s.ID)
	}
	for _, a := range open {
		for _, b := range open {
			if next(a.EndingHashKey) == b.StartingHashKey {
				e.note("merge "+a.ID+" and "+b.ID, 0)
				return e.server.Kinesis().Merge(streamName, a.ID, b.ID)
			}
		}
	}
	return errors.New("no two open shards are neighbours")
}

// settle waits until every line came out, or until nothing has come out for long enough.
func (e *experiment) settle(ctx context.Context) error {
	quiet := 5 * e.plan.failover
	if e.kafka != nil {
		quiet += 2 * transactionTimeout // what a worker left open, and a lost commit, hold readers back
	}
	last, since := -1, time.Now()
	for {
		missing, out := e.ledger.outstanding()
		if out != last {
			last, since = out, time.Now()
		}
		if missing == 0 || time.Since(since) > quiet {
			return nil
		}
		if err := e.revive(ctx); err != nil {
			return err
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
