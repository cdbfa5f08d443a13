package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"

	"dredge/consumer/window"
	"dredge/internal/retry"
)

const (
	// subscribeTimeout bounds the wait for the answer to SubscribeToShard.
	subscribeTimeout = 20 * time.Second
	// quietTimeout is how long a subscription may be without an event. Kinesis sends an empty one every few seconds, so a longer
	// silence means that the connection is dead.
	quietTimeout = 30 * time.Second
	// subscribeGuard is how long after a subscription began Kinesis refuses another one.
	subscribeGuard = 5 * time.Second
	// roomPatience is how long an event waits for room in memory before its subscription is closed.
	roomPatience = 5 * time.Second
	// inboxBytes and inboxRecords bound what lies unhandled of one shard: as much as one GetRecords may return.
	inboxBytes   = 10 << 20
	inboxRecords = readLimit
)

var (
	errNoRoom = errors.New("no room in memory for an event")
	errQuiet  = fmt.Errorf("the subscription sent nothing for %s", quietTimeout)
	errNoEnd  = errors.New("the subscription ended the shard without children")
)

// fanOutReader reads one shard by SubscribeToShard. Kinesis ends a subscription after five minutes; the next one goes on behind the last
// event that was put.
type fanOutReader struct {
	cursor
	// prove renews the lease. It ends the shard when the lease is not ours any more.
	prove      func() error
	subscribed time.Time // when the last subscription began
}

// run implements reader.
func (r *fanOutReader) run(ctx context.Context, to *inbox, dog *watchdog) error {
	for {
		if err := retry.Sleep(ctx, time.Until(r.notBefore)); err != nil {
			return err
		}
		dog.want()
		ended, err := r.subscription(ctx, to, dog)
		if ended {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rd, err := r.after(ctx, to, dog, err)
		if err != nil {
			return err
		}
		if rd.end {
			to.put(rd)
			return nil
		}
	}
}

// after decides what to do when a subscription ended by err, or could not be made. It returns a read that has an end when the shard
// has none to subscribe to any more.
func (r *fanOutReader) after(ctx context.Context, to *inbox, dog *watchdog, err error) (read, error) {
	var inUse *types.ResourceInUseException
	switch {
	case err == nil: // its five minutes are over; one that ended at once must not be a busy loop
		r.notBefore = r.subscribed.Add(subscribeGuard)
	case errors.Is(err, errNoRoom):
		return read{}, r.awaitRoom(ctx, to, dog)
	case errors.Is(err, errNoEnd):
		return r.confirmEnd(ctx)
	case errors.As(err, &inUse):
		// The other one may be the lease's new owner, whom a new subscription of ours would disturb.
		r.w.m.conflicts.Inc()
		if err := r.prove(); err != nil && ctx.Err() != nil {
			return read{}, context.Cause(ctx)
		}
		r.notBefore = time.Now().Add(r.waiting.Next())
	default:
		if r.fault(err) == faultGone {
			r.src.fanOut.forget()
			return r.confirmGone(ctx)
		}
	}
	return read{}, nil
}

// awaitRoom waits until what lies in the inbox was taken and the budget has room for as much again.
func (r *fanOutReader) awaitRoom(ctx context.Context, to *inbox, dog *watchdog) error {
	r.w.m.closedForRoom.Inc()
	dog.pause()
	if err := to.awaitRoom(ctx, 0, 0); err != nil {
		return err
	}
	if err := r.w.budget.Acquire(ctx, inboxBytes); err != nil {
		return err
	}
	r.w.budget.Release(inboxBytes)
	r.notBefore = r.subscribed.Add(subscribeGuard)
	return nil
}

// subscription makes one subscription and puts what it sends until it ends. It says whether the shard has ended; otherwise a nil
// error means that the subscription's time was over.
func (r *fanOutReader) subscription(ctx context.Context, to *inbox, dog *watchdog) (ended bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := r.subscribe(ctx, cancel)
	if err != nil {
		return false, window.CauseOr(ctx, err)
	}
	defer func() {
		cancel(nil)        // first, because Close waits for a read that only this ends on a dead connection
		_ = stream.Close() // gives the stream's error again
	}()
	quiet := time.NewTimer(quietTimeout)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-quiet.C:
			return false, errQuiet
		case e, open := <-stream.Events():
			if !open {
				return false, stream.Err()
			}
			event, ok := e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
			if !ok {
				continue // a kind that is not known yet; the next event tells where it stands
			}
			dog.got()
			r.waiting.Reset()
			if ended, err := r.take(ctx, to, &event.Value); ended || err != nil {
				return ended, err
			}
			dog.want()
			quiet.Reset(quietTimeout)
		}
	}
}

// subscribe returns an event stream that lives as long as ctx.
func (r *fanOutReader) subscribe(ctx context.Context, cancel context.CancelCauseFunc) (*kinesis.SubscribeToShardEventStream, error) {
	slow := time.AfterFunc(subscribeTimeout, func() { cancel(context.DeadlineExceeded) })
	defer slow.Stop()
	consumer, err := r.src.fanOut.consumer(ctx)
	if err != nil {
		return nil, err
	}
	at, asked := r.start(), time.Now()
	out, err := r.src.fanOut.api.SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: &consumer, ShardId: &r.shard, StartingPosition: &at,
	}, func(o *kinesis.Options) {
		// A client's protocol has one buffer for all its event streams, without a lock.
		o.Protocol = awsjson.New11(schemas.Kinesis_20131202)
		o.Retryer = aws.NopRetryer{} // the reader tries again itself
	})
	if err != nil {
		return nil, refused(at, err)
	}
	r.opened(at, asked)
	r.subscribed = time.Now()
	r.w.m.subscriptions.Inc()
	return out.GetStream(), nil
}

// take puts one event when there is room for it. An event that was not put comes again with the next subscription.
func (r *fanOutReader) take(ctx context.Context, to *inbox, e *types.SubscribeToShardEvent) (ended bool, err error) {
	rd := read{records: e.Records, behind: time.Duration(aws.ToInt64(e.MillisBehindLatest)) * time.Millisecond}
	rd.held = dataBytes(rd.records)
	if err := r.makeRoom(ctx, to, rd.held); err != nil {
		return false, err
	}
	if n := len(rd.records); n > 0 {
		r.fetched = aws.ToString(rd.records[n-1].SequenceNumber)
	}
	r.count(&rd)
	next := aws.ToString(e.ContinuationSequenceNumber)
	switch {
	case next != "":
		r.fetched = next
	case len(e.ChildShards) > 0:
		rd.end = true
		for _, c := range e.ChildShards {
			rd.children = append(rd.children, newChildInfo(c))
		}
	default:
		err = errNoEnd
	}
	to.put(rd)
	return rd.end, err
}

// makeRoom takes n bytes of the budget, once the inbox is not full.
func (r *fanOutReader) makeRoom(ctx context.Context, to *inbox, n int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, roomPatience, errNoRoom)
	defer cancel()
	if err := to.awaitRoom(ctx, inboxBytes, inboxRecords); err != nil {
		return err
	}
	if err := r.w.budget.Acquire(ctx, n); err != nil {
		return window.CauseOr(ctx, err)
	}
	return nil
}
