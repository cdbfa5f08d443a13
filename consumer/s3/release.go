package s3

import (
	"context"
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
	defer g.released(len(list))
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for left := list; ; {
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
				return
			}
		} else if ctx.Err() == nil {
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Msg("notifications not deleted, trying again")
		}
		if time.Now().After(left[0].visible) || retry.Sleep(ctx, again.Next()) != nil {
			return
		}
	}
}

// giveBack makes a batch of notifications visible. Where that fails they stay in flight until their time is over, so their room is kept
// until then.
func (g *Gatherer) giveBack(ctx context.Context, list []*held) {
	defer g.released(len(list))
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &g.cfg.Gather.Queue}
	for i, h := range list {
		in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{Id: batchID(i), ReceiptHandle: &h.receipt, VisibilityTimeout: int32(h.pause / time.Second)})
	}
	if _, err := g.d.SQS.ChangeMessageVisibilityBatch(ctx, in); err != nil {
		g.m.errors.Inc()
		_ = retry.Sleep(ctx, time.Until(list[0].visible)) // either way they are no longer ours
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
