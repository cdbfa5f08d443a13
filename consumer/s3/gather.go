package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"dredge/internal/retry"
)

const (
	// committers is how many mouthfuls a gatherer writes at once.
	committers = 4
	// shutdownGrace bounds what a gatherer still writes after it was told to end.
	shutdownGrace = 15 * time.Second
	// tryLater hides what was not understood, and files whose mouthful may yet be abandoned.
	tryLater = time.Minute
)

// GathererDeps is what a Gatherer works with. All fields are needed.
type GathererDeps struct {
	SQS     SQS
	Ledger  DynamoDB
	Log     zerolog.Logger
	Metrics prometheus.Registerer
}

// Gatherer turns notifications into mouthfuls. Any number of them may work on the same queues and ledger. Make it with
// NewGatherer.
type Gatherer struct {
	cfg    Config
	d      GathererDeps
	m      *gatherMetrics
	former *former
	// room is how many notifications may be held.
	room *semaphore.Weighted
	// wake has an element when ready may have one.
	wake chan struct{}

	mu     sync.Mutex
	packer *packer
	ready  []*bin            // to be written, oldest first
	files  map[string]*entry // those in the packer, by id
	count  int               // notifications held
	busy   int               // bins that are ready or being written
	// starved is how many receivers wait for room.
	starved int
}

// NewGatherer checks cfg and deps.
func NewGatherer(cfg Config, d GathererDeps) (*Gatherer, error) {
	errs := []error{cfg.Validate()}
	if d.SQS == nil || d.Ledger == nil || d.Metrics == nil {
		errs = append(errs, errors.New("dependencies SQS, Ledger and Metrics are needed"))
	}
	if cfg.Gather.Queue == "" {
		errs = append(errs, errors.New("gather.queue: is empty; write the URL of the queue that S3 announces files in"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("gatherer: %w", err)
	}
	return &Gatherer{
		cfg: cfg, d: d, m: newGatherMetrics(d.Metrics), former: newFormer(cfg, d),
		room: semaphore.NewWeighted(int64(cfg.Gather.MaxHeld)), wake: make(chan struct{}, 1),
		packer: newPacker(cfg.Gather), files: map[string]*entry{},
	}, nil
}

// visibility is how long a received notification stays hidden from others: as long as it may wait and be written.
func (g *Gatherer) visibility() time.Duration {
	return g.cfg.Gather.MaxAge + writeTimeout + time.Minute
}

// Run gathers until ctx ends, gives back what it holds, and returns when nothing that it started runs.
func (g *Gatherer) Run(ctx context.Context) error {
	if err := g.former.ledger.init(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no fault
		}
		return err
	}
	var loops sync.WaitGroup
	for range g.cfg.Gather.Receivers {
		loops.Go(func() { g.receiveLoop(ctx) })
	}
	for range committers {
		loops.Go(func() { g.commitLoop(ctx) })
	}
	loops.Go(func() { g.ageLoop(ctx) })
	loops.Go(func() { g.sweepLoop(ctx) })
	loops.Wait()
	g.giveUp(ctx)
	return nil
}

// receiveLoop takes notifications as room allows.
func (g *Gatherer) receiveLoop(ctx context.Context) {
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 20 * time.Second}
	for ctx.Err() == nil {
		if !g.room.TryAcquire(batchSize) && g.starve(ctx) != nil {
			return
		}
		until := time.Now().Add(g.visibility())
		out, err := g.d.SQS.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &g.cfg.Gather.Queue, MaxNumberOfMessages: batchSize, WaitTimeSeconds: int32(longPoll / time.Second),
			VisibilityTimeout: int32(g.visibility() / time.Second),
		})
		if err == nil {
			again.Reset()
			g.room.Release(int64(batchSize - len(out.Messages)))
			g.take(ctx, out.Messages, until)
			continue
		}
		g.room.Release(batchSize)
		if ctx.Err() != nil {
			return
		}
		g.m.errors.Inc()
		g.d.Log.Warn().Err(err).Msg("notifications not received, trying again")
		_ = retry.Sleep(ctx, again.Next()) // the loop sees the end of ctx
	}
}

// take puts the files of messages into bins, and acknowledges those that announce none.
func (g *Gatherer) take(ctx context.Context, messages []types.Message, until time.Time) {
	var over []*held
	now := time.Now()
	g.mu.Lock()
	g.count += len(messages)
	g.m.held.Set(float64(g.count))
	for _, msg := range messages {
		n := ParseNotification([]byte(aws.ToString(msg.Body)))
		g.m.notifications.Inc()
		for _, reason := range n.Skipped {
			g.m.skip(reason)
		}
		h := &held{receipt: aws.ToString(msg.ReceiptHandle), visible: until, kept: len(n.Faults) > 0, pause: tryLater}
		for _, f := range n.Faults {
			g.m.fault(f.Reason)
		}
		if len(n.Faults) > 0 {
			g.d.Log.Warn().Str("message", aws.ToString(msg.MessageId)).Err(n.Faults[0]).Int("faults", len(n.Faults)).
				Msg("notification not understood, left in its queue")
		}
		if n.Subscription != nil {
			g.tell(*n.Subscription)
		}
		for _, o := range n.Objects {
			if reason := g.cfg.Gather.foreign(o); reason != "" {
				g.m.skip(reason)
				continue
			}
			g.put(o, h, now)
		}
		if h.waits == 0 {
			over = append(over, h)
		}
	}
	g.mu.Unlock()
	g.letGo(ctx, over)
}

// tell logs what is to be done about a message of SNS's own, which is acknowledged: what it needs is a person.
func (g *Gatherer) tell(s Subscription) {
	e := g.d.Log.Warn().Str("topic", s.Topic).Str("token", s.Token)
	if s.Ended {
		e.Msg("the subscription of the queue of new files to an SNS topic has ended; to have it back: aws sns confirm-subscription --topic-arn TOPIC --token TOKEN")
		return
	}
	e.Msg("the subscription of the queue of new files to an SNS topic waits for its confirmation: aws sns confirm-subscription --topic-arn TOPIC --token TOKEN")
}

// put adds a file to a bin, or to the file that is there already. With g.mu.
func (g *Gatherer) put(o Object, h *held, now time.Time) {
	h.waits++
	if e := g.files[o.ID()]; e != nil {
		g.former.m.duplicates.Inc()
		e.messages = append(e.messages, h)
		return
	}
	e := &entry{object: o, messages: []*held{h}}
	g.files[o.ID()] = e
	for _, b := range g.packer.add(o.group(g.cfg.Gather.GroupBy), e, now) {
		g.send(b)
	}
}

// send hands a bin to the committers. With g.mu.
func (g *Gatherer) send(b *bin) {
	for _, e := range b.entries {
		delete(g.files, e.object.ID())
	}
	g.ready = append(g.ready, b)
	g.busy++
	g.signal()
}

func (g *Gatherer) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// next takes the bin that was ready first; nil when there is none.
func (g *Gatherer) next() *bin {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.ready) == 0 {
		return nil
	}
	b := g.ready[0]
	if g.ready = g.ready[1:]; len(g.ready) > 0 {
		g.signal()
	}
	return b
}

// starve takes the room of a batch when there is some again.
func (g *Gatherer) starve(ctx context.Context) error {
	g.mu.Lock()
	g.starved++
	g.squeeze()
	g.mu.Unlock()
	err := g.room.Acquire(ctx, batchSize)
	g.mu.Lock()
	g.starved--
	g.mu.Unlock()
	return err
}

// squeeze makes room before its time, by sending a bin that is not full. While others are being written room comes by itself: with a
// backlog it always runs out, and mouthfuls are to be full then, too. With g.mu.
func (g *Gatherer) squeeze() {
	if g.busy > 0 || g.count+g.cfg.Gather.Receivers*batchSize <= g.cfg.Gather.MaxHeld {
		return
	}
	if b := g.packer.largest(); b != nil {
		g.send(b)
	}
}

// ageLoop sends the bins whose first file has waited long enough.
func (g *Gatherer) ageLoop(ctx context.Context) {
	every := min(time.Second, g.cfg.Gather.MaxAge/4)
	for retry.Sleep(ctx, every) == nil {
		g.mu.Lock()
		for _, b := range g.packer.due(time.Now().Add(every - g.cfg.Gather.MaxAge)) {
			g.send(b)
		}
		g.mu.Unlock()
	}
}

// commitLoop makes mouthfuls of the bins that are ready.
func (g *Gatherer) commitLoop(ctx context.Context) {
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		}
		b := g.next()
		if b == nil {
			continue
		}
		if err := g.commit(ctx, b); err != nil {
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Int("files", len(b.entries)).Msg("mouthful not written, its notifications are given back")
			_ = retry.Sleep(ctx, again.Next()) // the loop sees the end of ctx
			continue
		}
		again.Reset()
	}
}

// commit makes a mouthful of b. Whatever happens, it lets go of the notifications.
func (g *Gatherer) commit(ctx context.Context, b *bin) error {
	soon, cancel := grace(ctx, shutdownGrace)
	defer cancel()
	soon, stop := context.WithTimeout(soon, writeTimeout)
	defer stop()
	settled, err := g.former.write(soon, b.entries)
	pause := tryLater
	if err != nil {
		pause = 0
	}
	g.settle(ctx, b.entries, settled, pause)
	g.mu.Lock()
	if g.busy--; g.starved > 0 {
		g.squeeze()
	}
	g.mu.Unlock()
	return err
}
