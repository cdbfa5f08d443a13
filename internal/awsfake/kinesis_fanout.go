package awsfake

import (
	"context"
	"net/http"
	"time"
)

const (
	subscriptionLife  = 5 * time.Minute
	subscriptionGuard = 5 * time.Second // in which no other call may take a subscription over
	heartbeat         = 5 * time.Second // between events without records
	maxEventBytes     = 1 << 20
)

// subscription is one SubscribeToShard. The stream's mutex guards it.
type subscription struct {
	kinesis   *Kinesis
	stream    *dataStream
	consumer  *streamConsumer
	shard     *shard
	started   time.Time
	index     int64 // of the next record
	last      sequence
	taken     bool // over by a later call
	broken    bool // on order
	paidUntil time.Time
}

// subscriptionKey is what can have one subscriber at a time.
type subscriptionKey struct{ consumerARN, shardID string }

func (k *Kinesis) subscribeToShard(c *call) (any, error) {
	var in struct {
		ShardId          string //nolint:revive // AWS's name
		StartingPosition struct {
			Type           string
			SequenceNumber string
			Timestamp      timestamp
		}
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return k.withConsumer(c, func(st *dataStream, sc *streamConsumer) (any, error) {
		if c.now.Before(sc.active) {
			return nil, failure("ResourceInUseException", "Consumer %s is not ACTIVE.", sc.name)
		}
		sh := st.shard(in.ShardId)
		if sh == nil {
			return nil, k.shardNotFound(in.ShardId, st.name)
		}
		p := in.StartingPosition
		index, err := k.resolve(st, sh, startingPosition{p.Type, p.SequenceNumber, p.Timestamp.Time}, c.now)
		if err != nil {
			return nil, err
		}
		key := subscriptionKey{sc.arn, sh.id}
		if old := st.subscriptions[key]; old != nil {
			if c.now.Sub(old.started) < subscriptionGuard {
				return nil, failure("ResourceInUseException", "Another active subscription exists for this consumer: %s on shard %s", sc.name, sh.id)
			}
			old.taken = true
		}
		sub := &subscription{kinesis: k, stream: st, consumer: sc, shard: sh, started: c.now, index: index, last: sh.first}
		if records, at := sh.from(index - 1); at == index-1 && len(records) > 0 {
			sub.last = records[0].seq
		}
		st.subscriptions[key] = sub
		st.wake()
		return sub, nil
	})
}

// BreakSubscriptions cuts the connections of all SubscribeToShard calls on the stream, as a network fault would.
func (k *Kinesis) BreakSubscriptions(stream string) error {
	st, err := k.lock(streamRef{StreamName: stream}, k.server.now())
	if err != nil {
		return err
	}
	defer st.mu.Unlock()
	for _, sub := range st.subscriptions {
		sub.broken = true
	}
	st.wake()
	return nil
}

// serve sends events until the subscription's end.
func (sub *subscription) serve(ctx context.Context, c *call, w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	if c.format == formatRPC {
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	send := func(message []byte) error {
		if _, err := w.Write(message); err != nil {
			return errAbort // the client has gone
		}
		if flusher.Flush() != nil {
			return errAbort
		}
		return nil
	}
	// Go's SDK waits for this frame before anything else.
	if err := send(c.event("initial-response", object{})); err != nil {
		return err
	}
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	due := true
	for {
		s := sub.step(due)
		switch {
		case s.broken:
			return errAbort
		case s.fault != nil:
			return send(c.exception(s.fault))
		case s.event != nil:
			message := c.event("SubscribeToShardEvent", s.event)
			if c.truncated {
				_ = send(message[:len(message)/2])
				return errAbort
			}
			if err := send(message); err != nil {
				return err
			}
			due = false
		}
		if s.over {
			return nil
		}
		quiet.Reset(s.wait)
		select {
		case <-ctx.Done():
			return errAbort
		case <-s.changed:
		case <-quiet.C:
			due = true
		}
	}
}

// subscriptionStep is what a subscription has to do now, and how long to wait then.
type subscriptionStep struct {
	event   object
	fault   *apiError
	broken  bool
	over    bool
	wait    time.Duration
	changed <-chan struct{} // nil while a limit holds
}

// step takes the next records. Without any there is an event only if one is due.
func (sub *subscription) step(due bool) subscriptionStep {
	k, st, sh := sub.kinesis, sub.stream, sub.shard
	now, held := k.server.now(), k.heldLimits()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.settle(now)
	left := subscriptionLife - now.Sub(sub.started)
	switch {
	case sub.broken:
		return subscriptionStep{broken: true}
	case sub.taken:
		return subscriptionStep{fault: failure("ResourceInUseException", "Another call has taken over the subscription of %s.", sub.consumer.name), over: true}
	case st.consumer(sub.consumer.name) != sub.consumer || st.status == statusDeleting || st.status == "":
		return subscriptionStep{fault: failure("ResourceNotFoundException", "Consumer %s not found.", sub.consumer.name), over: true}
	case left <= 0:
		return subscriptionStep{over: true}
	case held.ReadBytes && now.Before(sub.paidUntil):
		return subscriptionStep{wait: sub.paidUntil.Sub(now)}
	}
	b := sh.read(sub.index, maxGetRecords, maxEventBytes)
	sub.index = b.next
	if n := len(b.records); n > 0 {
		sub.last = b.records[n-1].seq
	}
	sub.paidUntil = now.Add(time.Duration(b.bytes) * time.Second / readBytes)
	next := subscriptionStep{wait: min(heartbeat, left), changed: st.watch()}
	ended := b.next == sh.position() && !sh.open()
	if len(b.records) > 0 || due || ended {
		next.event = object{{"Records", recordList(b.records)}, {"MillisBehindLatest", b.behind(sh, now)}}
		if ended {
			// AWS ends a shard by an event without a number to go on from.
			next.event, next.over = append(next.event, member{"ChildShards", st.childShards(sh.id)}), true
		} else {
			next.event = append(next.event, member{"ContinuationSequenceNumber", sub.last.String()})
		}
	}
	if b.next < sh.position() {
		next.wait, next.changed = 0, nil
	}
	return next
}
