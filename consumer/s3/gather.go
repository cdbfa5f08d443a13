package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"dredge/internal/retry"
)

const (
	// committers is how many mouthfuls a gatherer writes at once, takers how many files of one.
	committers = 4
	takers     = 16
	// shutdownGrace bounds what a gatherer still writes after it was told to end.
	shutdownGrace = 15 * time.Second
	// sweepEvery is how often mouthfuls that were not sent are looked for, resendAfter how old they are then: a gatherer that
	// lives sends its own at once.
	sweepEvery  = 30 * time.Second
	resendAfter = time.Minute
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
	ledger *ledger
	// room is how many notifications may be held.
	room *semaphore.Weighted
	// wake has an element when ready may have one.
	wake chan struct{}

	mu     sync.Mutex
	packer *packer
	ready  []*bin            // to be written, oldest first
	files  map[string]*entry // those in the packer, by id
	count  int               // notifications held
}

// held is a notification that was received and not yet deleted or given back.
type held struct {
	receipt string
	// waits is how many of its files are not settled; guarded by Gatherer.mu.
	waits int
	// kept says that it must not be deleted: a part of it was not understood, or a file of it may not be acknowledged yet.
	kept bool
	// pause is how long it then stays hidden.
	pause time.Duration
	// visible is when SQS shows it to others again.
	visible time.Time
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
		cfg: cfg, d: d, m: newGatherMetrics(d.Metrics), ledger: &ledger{api: d.Ledger, table: cfg.LedgerTable, retention: cfg.Retention},
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
	if err := g.ledger.init(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no fault
		}
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	for range g.cfg.Gather.Receivers {
		work.Go(func() error { return g.receiveLoop(ctx) })
	}
	for range committers {
		work.Go(func() error { return g.commitLoop(ctx) })
	}
	work.Go(func() error { return g.ageLoop(ctx) })
	work.Go(func() error { return g.sweepLoop(ctx) })
	err := work.Wait()
	g.giveUp(ctx)
	return err
}

// receiveLoop takes notifications as room allows.
func (g *Gatherer) receiveLoop(ctx context.Context) error {
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 20 * time.Second}
	for ctx.Err() == nil {
		if !g.room.TryAcquire(batchSize) {
			g.squeeze()
			if g.room.Acquire(ctx, batchSize) != nil {
				return nil //nolint:nilerr // the end of ctx is no fault
			}
		}
		until := time.Now().Add(g.visibility())
		out, err := g.d.SQS.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &g.cfg.Gather.Queue, MaxNumberOfMessages: batchSize, WaitTimeSeconds: int32(longPoll / time.Second),
			VisibilityTimeout: int32(g.visibility() / time.Second),
		})
		if err != nil {
			g.room.Release(batchSize)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the end of ctx is no fault
			}
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Msg("notifications not received, trying again")
			if retry.Sleep(ctx, again.Next()) != nil {
				return nil //nolint:nilerr // the end of ctx is no fault
			}
			continue
		}
		again.Reset()
		g.room.Release(int64(batchSize - len(out.Messages)))
		g.take(ctx, out.Messages, until)
	}
	return nil
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

// put adds a file to a bin, or to the file that is there already. With g.mu.
func (g *Gatherer) put(o Object, h *held, now time.Time) {
	h.waits++
	if e := g.files[o.ID()]; e != nil {
		g.m.duplicates.Inc()
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

// squeeze makes room before its time.
func (g *Gatherer) squeeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b := g.packer.largest(); b != nil {
		g.send(b)
	}
}

func (g *Gatherer) ageLoop(ctx context.Context) error {
	every := min(time.Second, g.cfg.Gather.MaxAge/4)
	for retry.Sleep(ctx, every) == nil {
		g.mu.Lock()
		for _, b := range g.packer.due(time.Now().Add(every - g.cfg.Gather.MaxAge)) {
			g.send(b)
		}
		g.mu.Unlock()
	}
	return nil
}

func (g *Gatherer) commitLoop(ctx context.Context) error {
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
			b := g.next()
			if b == nil {
				continue
			}
			err := g.commit(ctx, b)
			if err == nil {
				again.Reset()
				continue
			}
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Int("files", len(b.entries)).Msg("mouthful not written, its notifications are given back")
			if retry.Sleep(ctx, again.Next()) != nil {
				return nil //nolint:nilerr // the end of ctx is no fault
			}
		}
	}
}

// commit makes a mouthful of b. Whatever happens, it lets go of the notifications.
func (g *Gatherer) commit(ctx context.Context, b *bin) error {
	soon, cancel := grace(ctx, shutdownGrace)
	defer cancel()
	soon, stop := context.WithTimeout(soon, writeTimeout)
	defer stop()
	settled, err := g.write(soon, b.entries)
	pause := tryLater
	if err != nil {
		pause = 0
	}
	g.settle(ctx, b.entries, settled, pause)
	return err
}

// write makes mouthfuls of entries, and returns which of them may be acknowledged. Its steps stand in the package comment.
func (g *Gatherer) write(ctx context.Context, entries []*entry) (settled map[*entry]bool, err error) {
	objects := make([]Object, len(entries))
	for i, e := range entries {
		objects[i] = e.object
	}
	list, err := packList(objects)
	if err != nil {
		return nil, err
	}
	if len(list) > maxItem && len(entries) > 1 {
		first, err := g.write(ctx, entries[:len(entries)/2])
		if err != nil {
			return first, err
		}
		second, err := g.write(ctx, entries[len(entries)/2:])
		for e := range second {
			first[e] = true
		}
		return first, err
	}
	m := &Mouthful{ID: newID(time.Now()), Created: time.Now()}
	if err := g.ledger.form(ctx, m.ID, m.Created); err != nil {
		return nil, err
	}
	fresh, settled, err := g.enter(ctx, entries, m)
	if err != nil {
		return nil, err
	}
	if len(fresh) == 0 {
		return settled, g.ledger.abandon(ctx, m.ID)
	}
	m.Files = fresh
	if len(fresh) < len(objects) {
		if list, err = packList(fresh); err != nil {
			return nil, err
		}
	}
	if err := g.ledger.seal(ctx, m, list); err != nil {
		return nil, err
	}
	if err := g.announce(ctx, m); err != nil {
		return nil, err
	}
	g.m.mouthfuls.Inc()
	g.m.files.Add(float64(len(fresh)))
	g.m.bytes.Add(float64(m.Bytes))
	g.m.fill.Observe(float64(m.Bytes) / float64(g.cfg.Gather.MaxBytes))
	g.d.Log.Info().Str("mouthful", m.ID).Int("files", len(fresh)).Int64("bytes", m.Bytes).Msg("mouthful sent")
	return settled, nil
}

// enter notes in the ledger that the files are in m. It returns those that are, and the entries that may be acknowledged when m is sent.
func (g *Gatherer) enter(ctx context.Context, entries []*entry, m *Mouthful) (fresh []Object, settled map[*entry]bool, err error) {
	taken := make([]bool, len(entries))
	waiting := make([]bool, len(entries))
	work, wctx := errgroup.WithContext(ctx)
	work.SetLimit(takers)
	for i, e := range entries {
		work.Go(func() error {
			ok, err := g.ledger.take(wctx, e.object, m.ID, m.Created)
			if errors.Is(err, errForming) {
				waiting[i] = true
				return nil
			}
			taken[i] = ok
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, nil, err
	}
	settled = map[*entry]bool{}
	for i, e := range entries {
		switch {
		case waiting[i]:
			g.m.deferred.Inc()
			continue
		case taken[i]:
			fresh = append(fresh, e.object)
			m.Bytes += e.object.Size
		default:
			g.m.duplicates.Inc()
		}
		settled[e] = true
	}
	return fresh, settled, nil
}

// mouthfulMessage is the body of a message in the mouthful queue. The list of files is in the ledger.
type mouthfulMessage struct {
	Mouthful string `json:"mouthful"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
}

// announce sends a sealed mouthful and notes that.
func (g *Gatherer) announce(ctx context.Context, m *Mouthful) error {
	body, err := json.Marshal(mouthfulMessage{Mouthful: m.ID, Files: len(m.Files), Bytes: m.Bytes})
	if err != nil {
		return fmt.Errorf("announce mouthful %q: %w", m.ID, err)
	}
	if _, err := g.d.SQS.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &g.cfg.MouthfulQueue, MessageBody: aws.String(string(body))}); err != nil {
		return fmt.Errorf("announce mouthful %q: %w", m.ID, err)
	}
	return g.ledger.markSent(ctx, m.ID)
}

// settle lets go of the notifications of entries: those whose files are all settled are deleted, others given back after a pause.
func (g *Gatherer) settle(ctx context.Context, entries []*entry, settled map[*entry]bool, pause time.Duration) {
	var over []*held
	g.mu.Lock()
	for _, e := range entries {
		for _, h := range e.messages {
			if !settled[e] {
				h.kept, h.pause = true, pause
			}
			if h.waits--; h.waits == 0 {
				over = append(over, h)
			}
		}
	}
	g.mu.Unlock()
	g.letGo(ctx, over)
}

// letGo deletes notifications, or makes those that must be kept visible again at their time. Room is made when SQS no longer counts
// them as in flight, so that a failing ledger or queue never makes the gatherer hold more than it may.
func (g *Gatherer) letGo(ctx context.Context, list []*held) {
	ctx, cancel := grace(ctx, shutdownGrace)
	defer cancel()
	var remove, back []*held
	for _, h := range list {
		if h.kept {
			back = append(back, h)
		} else {
			remove = append(remove, h)
		}
	}
	for len(remove) > 0 {
		n := min(batchSize, len(remove))
		g.delete(ctx, remove[:n])
		remove = remove[n:]
	}
	g.forget(ctx, back)
}

func (g *Gatherer) delete(ctx context.Context, list []*held) {
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	left := list
	for {
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &g.cfg.Gather.Queue}
		for i, h := range left {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: batchID(i), ReceiptHandle: &h.receipt})
		}
		out, err := g.d.SQS.DeleteMessageBatch(ctx, in)
		if err == nil {
			var failed []*held
			for _, f := range out.Failed {
				if i := batchIndex(f.Id); i >= 0 && i < len(left) && !f.SenderFault {
					failed = append(failed, left[i])
				}
			}
			if left = failed; len(left) == 0 {
				break
			}
		} else if ctx.Err() == nil {
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Msg("notifications not deleted, trying again")
		}
		// What is not deleted comes again and is found in the ledger.
		if time.Now().After(left[0].visible) || retry.Sleep(ctx, again.Next()) != nil {
			break
		}
	}
	g.released(len(list))
}

// forget gives notifications back. Where that fails they stay in flight until their time is over, so their room is kept until then.
func (g *Gatherer) forget(ctx context.Context, list []*held) {
	for len(list) > 0 {
		n := min(batchSize, len(list))
		part := list[:n]
		list = list[n:]
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &g.cfg.Gather.Queue}
		for i, h := range part {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{Id: batchID(i), ReceiptHandle: &h.receipt, VisibilityTimeout: int32(h.pause / time.Second)})
		}
		if _, err := g.d.SQS.ChangeMessageVisibilityBatch(ctx, in); err != nil {
			g.m.errors.Inc()
			_ = retry.Sleep(ctx, time.Until(part[0].visible)) // either way they are no longer ours
		}
		g.released(len(part))
	}
}

func (g *Gatherer) released(n int) {
	g.mu.Lock()
	g.count -= n
	g.m.held.Set(float64(g.count))
	g.mu.Unlock()
	g.room.Release(int64(n))
}

// giveUp makes what is held visible to other gatherers.
func (g *Gatherer) giveUp(ctx context.Context) {
	var entries []*entry
	g.mu.Lock()
	for b := g.packer.largest(); b != nil; b = g.packer.largest() {
		g.send(b)
	}
	g.mu.Unlock()
	for b := g.next(); b != nil; b = g.next() {
		entries = append(entries, b.entries...)
	}
	g.settle(ctx, entries, nil, 0)
}

// sweepLoop sends what a gatherer sealed and did not live to send, and takes apart what it did not live to seal.
func (g *Gatherer) sweepLoop(ctx context.Context) error {
	for {
		if err := g.sweep(ctx); err != nil && ctx.Err() == nil {
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Msg("unsent mouthfuls not looked for, trying again")
		}
		if retry.Sleep(ctx, sweepEvery) != nil {
			return nil //nolint:nilerr // the end of ctx is no fault
		}
	}
}

func (g *Gatherer) sweep(ctx context.Context) error {
	ids, err := g.ledger.unsent(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		m, err := g.ledger.get(ctx, id)
		if errors.Is(err, errNoMouthful) {
			continue
		}
		if err != nil {
			return err
		}
		age := time.Since(m.Created)
		switch {
		case m.State == StateForming && age > abandonAfter:
			// Its files come again with their notifications.
			if err := g.ledger.abandon(ctx, id); err != nil && !errors.Is(err, errLost) {
				return err
			}
		case m.State == StateSealed && age > resendAfter:
			if err := g.announce(ctx, &m); err != nil {
				return err
			}
			g.m.resent.Inc()
			g.d.Log.Warn().Str("mouthful", id).Msg("mouthful of another gatherer sent")
		}
	}
	return nil
}

// newID makes the id of a mouthful: its time, so that lists are in order, and chance.
func newID(now time.Time) string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	return now.UTC().Format("20060102T150405.000Z") + "-" + hex.EncodeToString(b[:])
}

const batchDigits = "0123456789"

func batchID(i int) *string { return aws.String(batchDigits[i : i+1]) }

func batchIndex(id *string) int {
	if id == nil || len(*id) != 1 {
		return -1
	}
	return int((*id)[0] - '0')
}
