package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dredge/internal/retry"
	"dredge/stream"
)

// maxRetryDelay bounds the pause before a mouthful is tried again.
const maxRetryDelay = time.Hour

// WorkerDeps is what a Worker works with. All fields but Slots are needed.
type WorkerDeps struct {
	SQS       SQS
	Store     Store
	Ledger    DynamoDB
	Processor stream.Processor
	Budget    stream.Budget
	// Slots is the sink behind Processor, when it commits exactly once; nil when it delivers at least once.
	Slots Slots
	// IsHeader says whether a line names the fields of the lines after it.
	IsHeader func(line []byte) bool
	Log      zerolog.Logger
	Metrics  prometheus.Registerer
}

// Worker reads mouthfuls. Any number of them may work on the same queue and ledger. Make it with NewWorker.
type Worker struct {
	cfg    Config
	d      WorkerDeps
	m      *workMetrics
	ledger *ledger
	name   string
	busy   atomic.Int64
	ready  atomic.Bool
	// filesOver and bytesOver count the files that are read to their end or quarantined, and their bytes in S3.
	filesOver, bytesOver, quarantined atomic.Int64
	lost                              atomic.Int64 // claims
	seen                              sizes
}

// NewWorker checks cfg and deps.
func NewWorker(cfg Config, d WorkerDeps) (*Worker, error) {
	errs := []error{cfg.Validate()}
	if cfg.MouthfulQueue == "" {
		errs = append(errs, errors.New("mouthful_queue: is empty; write the queue's URL"))
	}
	if d.SQS == nil || d.Store == nil || d.Ledger == nil || d.Processor == nil || d.Budget == nil || d.IsHeader == nil || d.Metrics == nil {
		errs = append(errs, errors.New("dependencies SQS, Store, Ledger, Processor, Budget, IsHeader and Metrics are needed"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("s3 worker: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return &Worker{
		cfg: cfg, d: d, m: newWorkMetrics(d.Metrics), name: host + "-" + newID(time.Now()),
		ledger: &ledger{api: d.Ledger, table: cfg.LedgerTable, retention: cfg.Retention},
	}, nil
}

// Ready says whether the ledger was found, so that mouthfuls are asked for.
func (w *Worker) Ready() bool { return w.ready.Load() }

// Busy is how many mouthfuls are being read.
func (w *Worker) Busy() int { return int(w.busy.Load()) }

// Run reads mouthfuls until ctx ends. Then it flushes nothing more: what is not durable is read again by whoever takes the mouthful,
// from where the ledger says.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.ledger.init(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no fault
		}
		return err
	}
	w.ready.Store(true)
	w.d.Log.Info().Str("worker", w.name).Int("slots", w.cfg.Work.Slots).Msg("reading mouthfuls")
	var slots sync.WaitGroup
	for i := range w.cfg.Work.Slots {
		slots.Go(func() {
			p := &place{w: w, number: i}
			w.slot(ctx, p)
			p.leave(ctx)
		})
	}
	slots.Wait()
	return nil
}

// slot reads one mouthful after another.
func (w *Worker) slot(ctx context.Context, p *place) {
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 20 * time.Second}
	for ctx.Err() == nil {
		out, err := w.d.SQS.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &w.cfg.MouthfulQueue, MaxNumberOfMessages: 1, WaitTimeSeconds: int32(longPoll / time.Second),
			VisibilityTimeout: seconds(w.cfg.Work.Visibility), MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameSentTimestamp},
		})
		if err == nil && len(out.Messages) > 0 {
			w.see(out.Messages[0])
			w.busy.Add(1)
			err = w.take(ctx, p, out.Messages[0])
			w.busy.Add(-1)
		}
		if err == nil {
			again.Reset()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		w.m.errors.Inc()
		w.d.Log.Warn().Err(err).Msg("mouthful not read, it is tried again")
		if retry.Sleep(ctx, again.Next()) != nil {
			return
		}
	}
}

func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }

// mouthfulNamed returns the id of the mouthful that a message's body names.
func mouthfulNamed(body string) (id string, ok bool) {
	m, ok := parseMessage(body)
	return m.Mouthful, ok
}

func parseMessage(body string) (m mouthfulMessage, ok bool) {
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return m, false
	}
	return m, m.Mouthful != ""
}

// take claims the mouthful that a message names, and reads it.
func (w *Worker) take(ctx context.Context, p *place, msg types.Message) error {
	id, ok := mouthfulNamed(aws.ToString(msg.Body))
	if !ok {
		w.m.unknown.Inc()
		w.d.Log.Error().Str("message", aws.ToString(msg.MessageId)).Msg("message names no mouthful, left in its queue")
		return nil
	}
	now := time.Now()
	m, err := w.ledger.claim(ctx, id, p.owner(now), w.d.Slots != nil, now, now.Add(w.cfg.Work.Visibility))
	switch {
	case errors.Is(err, errDone):
		return w.deleteMessage(ctx, msg)
	case errors.Is(err, errClaimed):
		w.m.contended.Inc()
		return nil // it shows again, and is deleted when its reader is done
	case errors.Is(err, errNoMouthful):
		w.m.unknown.Inc()
		w.d.Log.Error().Str("mouthful", id).Msg("the ledger does not know this mouthful, its message is left in its queue")
		return nil
	case err != nil:
		return err
	}
	j := &job{m: m, place: p, p: m.progress, until: now.Add(w.cfg.Work.Visibility), receipt: aws.ToString(msg.ReceiptHandle)}
	if j.p.Files == nil {
		j.p.Files = map[int]fileProgress{}
	}
	if p.slot != nil {
		if err := w.succeed(ctx, j); err != nil {
			j.fault = err
			return w.end(ctx, j, msg)
		}
	}
	return w.work(ctx, j, msg)
}

// job is a claimed mouthful.
type job struct {
	m       Mouthful
	place   *place
	receipt string

	mu    sync.Mutex
	p     progress
	until time.Time // of the claim
	fault error     // of the sink, the first one
}

// goesOn says whether a further file may be begun. With exactly once none is after a fault of the sink, when less is known here than
// was perhaps committed.
func (j *job) goesOn() bool {
	if j.place.slot == nil {
		return true
	}
	j.mu.Lock()
	fault := j.fault
	j.mu.Unlock()
	return fault == nil && j.partial() < maxPartial
}

func (j *job) snapshot() progress {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.p.clone()
}

// read reads the files of a mouthful that are left, and writes down what became of it.
func (w *Worker) read(ctx context.Context, j *job, msg types.Message) error {
	life, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	var keeping sync.WaitGroup
	keep, stopKeeping := context.WithCancel(life)
	defer stopKeeping()
	keeping.Go(func() {
		if err := w.keep(keep, j); err != nil {
			kill(err)
		}
	})
	var files errgroup.Group
	files.SetLimit(w.cfg.Work.Files)
	if j.place.slot != nil {
		files.SetLimit(1) // a slot has one transaction at a time
	}
	before := j.snapshot()
	for i := range j.m.Files {
		if before.done(i) {
			continue
		}
		files.Go(func() error {
			if life.Err() == nil && j.goesOn() {
				w.file(life, j, i)
			}
			return nil
		})
	}
	_ = files.Wait() // what went wrong stands in the job
	stopKeeping()
	keeping.Wait()
	if errors.Is(context.Cause(life), errLost) {
		w.loses(j)
		return fmt.Errorf("mouthful %q: %w", j.m.ID, errLost)
	}
	return w.end(ctx, j, msg)
}

// file reads one file and notes how far it came.
func (w *Worker) file(ctx context.Context, j *job, i int) {
	o := j.m.Files[i]
	j.mu.Lock()
	p := j.p.Files[i]
	j.mu.Unlock()
	if slot := j.place.slot; slot != nil {
		slot.Enter(o.ID(), &stint{w: w, j: j, i: i})
		defer slot.Leave(o.ID())
	}
	at, err := w.readFile(ctx, o, p.At)
	p.At = at
	fault, bad := errors.AsType[*FileError](err)
	done := err == nil
	switch {
	case done:
		w.m.files.Inc()
		w.m.fileBytes.Add(float64(o.Size))
	case bad:
		p.Tries++
		p.Reason = fault.Reason
		w.m.faults[fault.Reason].Inc()
		last := fault.final() || p.Tries >= w.cfg.Work.MaxTries
		w.d.Log.Warn().Err(fault.Err).Str("file", o.ID()).Str("reason", fault.Reason).Int("tries", p.Tries).Int64("position", at).
			Bool("quarantined", last).Msg("file not read")
		if last {
			if err := w.ledger.quarantine(ctx, o, fault.Reason, clip(fault.Err.Error())); err != nil {
				p.Tries-- // it is quarantined with the next try
				break
			}
			w.m.quarantined[fault.Reason].Inc()
			w.quarantined.Add(1)
			done = true
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if done {
		j.p.setDone(i)
		w.filesOver.Add(1)
		w.bytesOver.Add(o.Size)
	}
	if err == nil {
		delete(j.p.Files, i)
	} else {
		j.p.Files[i] = p
		if !bad && j.fault == nil {
			j.fault = fmt.Errorf("file %q: %w", o.ID(), err)
		}
	}
}

// keep holds the claim and the message for as long as ctx lasts. It returns errLost when they are another's.
func (w *Worker) keep(ctx context.Context, j *job) error {
	for retry.Sleep(ctx, w.cfg.Work.Visibility/3) == nil {
		until := time.Now().Add(w.cfg.Work.Visibility)
		err := w.ledger.write(ctx, &j.m, keepClaim, j.snapshot(), until)
		switch {
		case errors.Is(err, errLost):
			return err
		case err == nil:
			j.mu.Lock()
			j.until = until
			j.mu.Unlock()
			_, err = w.d.SQS.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
				QueueUrl: &w.cfg.MouthfulQueue, ReceiptHandle: &j.receipt, VisibilityTimeout: seconds(w.cfg.Work.Visibility),
			})
		}
		if err != nil && ctx.Err() == nil {
			w.m.errors.Inc()
			w.d.Log.Warn().Err(err).Str("mouthful", j.m.ID).Msg("claim not extended, trying again")
		}
		j.mu.Lock()
		over := time.Now().After(j.until)
		j.mu.Unlock()
		if over {
			return errLost
		}
	}
	return nil
}

// end writes down how the reading of a mouthful ended: done, or to be gone on with by whoever takes it next.
func (w *Worker) end(ctx context.Context, j *job, msg types.Message) error {
	soon, cancel := grace(ctx, shutdownGrace)
	defer cancel()
	done, tries := true, 0
	for i := range j.m.Files {
		if !j.p.done(i) {
			done = false
			tries = max(tries, j.p.Files[i].Tries)
		}
	}
	how, until := giveClaim, time.Time{}
	switch {
	case done:
		how = endClaim
	case j.place.slot != nil && j.fault != nil:
		// More may be committed than is known here: the next owner has to fence this one and ask.
		how, until = keepClaim, time.UnixMilli(0)
		j.place.spoil()
	}
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := w.ledger.write(soon, &j.m, how, j.p, until)
		if err == nil {
			break
		}
		if errors.Is(err, errLost) || time.Now().After(j.until) || retry.Sleep(soon, again.Next()) != nil {
			w.loses(j)
			return err
		}
	}
	if done {
		w.m.mouthfuls.Inc()
		w.d.Log.Info().Str("mouthful", j.m.ID).Int("files", len(j.m.Files)).Int("bad", len(j.p.Files)).Msg("mouthful done")
		return w.deleteMessage(soon, msg)
	}
	pause := time.Duration(0) // a drain: the next worker may have it at once
	if tries > 0 {
		pause = min(maxRetryDelay, w.cfg.Work.RetryDelay<<min(tries-1, 10))
	} else if ctx.Err() == nil {
		pause = w.cfg.Work.RetryDelay
	}
	w.m.unfinished.Inc()
	_, err := w.d.SQS.ChangeMessageVisibility(soon, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &w.cfg.MouthfulQueue, ReceiptHandle: &j.receipt, VisibilityTimeout: seconds(pause),
	})
	if j.fault != nil && ctx.Err() == nil {
		return errors.Join(fmt.Errorf("mouthful %q: %w", j.m.ID, j.fault), err)
	}
	return err
}

// loses counts that the claim on a mouthful was lost, and ends the slot that had it.
func (w *Worker) loses(j *job) {
	w.m.lost.Inc()
	w.lost.Add(1)
	j.place.spoil()
}

func (w *Worker) deleteMessage(ctx context.Context, msg types.Message) error {
	_, err := w.d.SQS.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &w.cfg.MouthfulQueue, ReceiptHandle: msg.ReceiptHandle})
	if err != nil {
		return fmt.Errorf("delete message of a mouthful that is done: %w", err) // it comes again, and is found done
	}
	return nil
}
