package s3

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"dredge/internal/retry"
)

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
	for part := range slices.Chunk(remove, batchSize) {
		g.delete(ctx, part)
	}
	for part := range slices.Chunk(back, batchSize) {
		g.giveBack(ctx, part)
	}
}

// delete takes a batch of notifications out of their queue. What is not deleted comes again and is found in the ledger.
func (g *Gatherer) delete(ctx context.Context, list []*held) {
	g.insist(ctx, list, "not deleted", func(left []*held) ([]types.BatchResultErrorEntry, error) {
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &g.cfg.Gather.Queue}
		for i, h := range left {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: batchID(i), ReceiptHandle: &h.receipt})
		}
		out, err := g.d.SQS.DeleteMessageBatch(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.Failed, nil
	})
}

// giveBack makes a batch of notifications visible. What is not made visible becomes so when its time is over.
func (g *Gatherer) giveBack(ctx context.Context, list []*held) {
	g.insist(ctx, list, "not given back", func(left []*held) ([]types.BatchResultErrorEntry, error) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &g.cfg.Gather.Queue}
		for i, h := range left {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{Id: batchID(i), ReceiptHandle: &h.receipt, VisibilityTimeout: int32(h.pause / time.Second)})
		}
		out, err := g.d.SQS.ChangeMessageVisibilityBatch(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.Failed, nil
	})
}

// insist sends a batch until SQS has carried it out for all of list, or their time is over; their room is kept until then, since SQS
// counts them as in flight. An entry that SQS says is at fault itself is no longer ours.
func (g *Gatherer) insist(ctx context.Context, list []*held, failure string, send func(left []*held) ([]types.BatchResultErrorEntry, error)) {
	defer g.released(len(list))
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for left := list; ; {
		failed, err := send(left)
		if err == nil {
			var rest []*held
			for _, f := range failed {
				if i := batchIndex(f.Id); i >= 0 && i < len(left) && !f.SenderFault {
					rest = append(rest, left[i])
				}
			}
			if left = rest; len(left) == 0 {
				return
			}
			err = fmt.Errorf("%d of the batch: %s", len(left), aws.ToString(failed[0].Message))
		}
		if ctx.Err() == nil {
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Msg("notifications " + failure + ", trying again")
		}
		if time.Now().After(left[0].visible) || retry.Sleep(ctx, again.Next()) != nil {
			return
		}
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

// batchID names an entry of a batch by its place, which batchIndex reads again; -1 when it names none.
func batchID(i int) *string { return aws.String(strconv.Itoa(i)) }

func batchIndex(id *string) int {
	i, err := strconv.Atoi(aws.ToString(id))
	if err != nil {
		return -1
	}
	return i
}
