package kinesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
)

// cooldown keeps this worker off a lease that it gave up because the sink refused it.
type cooldown struct {
	until time.Time
	wait  retry.Backoff
}

// coolDown starts or lengthens the pause for key.
func (w *Worker) coolDown(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.cooling[key]
	if !ok {
		c.wait = retry.Backoff{Min: w.cfg.FailoverTime, Max: 5 * time.Minute}
	}
	c.until = time.Now().Add(c.wait.Next())
	w.cooling[key] = c
}

// warmUp forgets the pause for key: its shard makes progress.
func (w *Worker) warmUp(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.cooling, key)
}

const (
	// handOffPoll is how often the table is looked at while a lease is on its way to us.
	handOffPoll = 500 * time.Millisecond
	// startPoll is the time to the next look while the table is empty, and after the first lease of all: others start too.
	startPoll = 1500 * time.Millisecond
	// settleTimes the failover time after leases were moved, the throughput of their workers is measured anew.
	settleTimes = 3
	// takers bounds the writes to the table that are under way at once to win leases.
	takers = 8
)

// taker is the state of the taking goroutine.
type taker struct {
	*Worker
	seen *observer
	// incoming are leases that their owners were asked for, and until when it is worth looking for them.
	incoming map[string]time.Time
	// isKnown says that the table has shown our id to others.
	isKnown bool
	pulled  time.Time // when leases were last asked for
	sink    sinkWatch
}

// takeLoop looks at the lease table and takes leases, or those that it was assigned, until ctx ends.
func (w *Worker) takeLoop(ctx context.Context) {
	t := &taker{Worker: w, seen: newObserver(), incoming: map[string]time.Time{}, sink: newSinkWatch(w.cfg.GiveUp)}
	next := time.Now()
	for ctx.Err() == nil {
		if !time.Now().Before(next) {
			wait, err := t.turn(ctx)
			if errors.Is(err, lease.ErrNoTable) {
				w.stop(err)
				return
			}
			if err != nil && ctx.Err() == nil {
				w.m.leaseErrors.Inc()
				w.log.Warn().Err(err).Msg("lease table not read, trying again")
			}
			next = time.Now().Add(wait)
		}
		t.collect(ctx)
		wait := time.Until(next)
		if len(t.incoming) > 0 {
			wait = min(wait, handOffPoll)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-w.takeSoon:
			next = time.Now()
		case <-timer.C:
		}
		timer.Stop()
	}
	if w.life.Err() != nil {
		return
	}
	if w.follows() {
		t.refuseAssigned()
	}
	if len(t.incoming) > 0 {
		t.waive()
	}
}

// turn does what the application's state asks for, and returns the time to the next turn.
func (t *taker) turn(ctx context.Context) (time.Duration, error) {
	if t.follows() {
		return jittered(t.cfg.FailoverTime), t.discover(ctx)
	}
	return t.round(ctx)
}

// waive gives up leases that were asked for and may arrive only now that the worker stops: in the table they would look owned until
// they expire. Their owners need a renewal and a flush to answer, so it waits for them, but not longer than an expiry would take.
func (t *taker) waive() {
	ctx, cancel := context.WithTimeout(t.life, t.cfg.FailoverTime)
	defer cancel()
	for len(t.incoming) > 0 {
		for key := range t.incoming {
			l, err := t.store.Get(ctx, key)
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, lease.ErrNotFound), err == nil && l.Owner != t.id:
				delete(t.incoming, key)
			case err == nil && !l.InHandOff() && t.store.Evict(ctx, l) == nil:
				delete(t.incoming, key)
			}
		}
		if len(t.incoming) > 0 && retry.Sleep(ctx, handOffPoll) != nil {
			return
		}
	}
}

// round is one look at the table and what follows from it. It returns the time to the next one.
func (t *taker) round(ctx context.Context) (time.Duration, error) {
	wait := t.cfg.takeInterval() + rand.N(t.cfg.takeInterval()/50+1)
	start := time.Now()
	listing, err := t.listLeases(ctx)
	if err != nil {
		return wait, err
	}
	end := time.Now()
	if listing.ClientVersion != "" || t.fleet == nil {
		t.setVersion(listing.ClientVersion)
	}
	if t.seen.update(listing.Leases, t.id, end) {
		t.sink.othersMoved(end)
	}
	if err := t.checkWorkerID(listing.Leases); err != nil {
		t.stop(err)
		return wait, nil
	}
	t.forgetDead(listing.Leases, start)

	// Leases of other streams are others' to read.
	open := slices.DeleteFunc(slices.Clone(listing.Leases), func(l lease.Lease) bool {
		return l.Checkpoint.IsShardEnd() || t.sourceOf(l) == nil
	})
	t.isKnown = slices.ContainsFunc(open, func(l lease.Lease) bool { return l.Owner == t.id })
	b := balance{
		me:       t.id,
		leases:   open,
		held:     t.holds,
		cooling:  t.isCooling,
		own:      t.isOwnChild,
		still:    func(l lease.Lease) time.Duration { return t.seen.still(l, start) },
		free:     func(l lease.Lease) time.Duration { return t.seen.free(l, start, t.cfg.FailoverTime) },
		failover: t.cfg.FailoverTime,
		max:      t.cfg.MaxLeases,
		known:    t.isKnown,
		moved:    !t.pulled.IsZero() && start.Sub(t.pulled) < settleTimes*t.cfg.FailoverTime,
	}
	p := b.plan()
	if t.watchSink(end) {
		// Taking more would only stop more shards. One lease at a time tells whether the sink has come back.
		b.max, b.known = 1, false
		p = b.plan()
		if t.sink.isResting(end) {
			p.take, p.steal = nil, nil
		}
	}
	t.publish(listing, open, p)
	if lease.LeaderAssigns(t.clientVersion()) {
		// A leader assigns the leases now. Ours are kept, but taking would work against it.
		return wait, nil
	}
	t.takeAll(ctx, p.take)
	for _, l := range p.steal {
		t.steal(ctx, l, p.handOff)
	}
	switch expiry, pending := t.seen.nextExpiry(start, t.cfg.FailoverTime); {
	case len(open) == 0, !t.isKnown && len(p.take)+len(p.steal) > 0:
		wait = min(wait, startPoll)
	case pending:
		// Someone has stopped renewing: the next look is just when that is beyond doubt.
		wait = min(wait, max(expiry, handOffPoll))
	}
	return wait, nil
}

// takeAll takes leases, several at a time: thousands of them must not wait for one another's answers.
func (t *taker) takeAll(ctx context.Context, leases []lease.Lease) {
	var taking sync.WaitGroup
	room := make(chan struct{}, takers)
	for _, l := range leases {
		room <- struct{}{}
		taking.Go(func() {
			t.take(ctx, l, moveTaken)
			<-room
		})
	}
	taking.Wait()
}

// listTableTimeout bounds one scan of the lease table, which may have many pages.
const listTableTimeout = 30 * time.Second

func (w *Worker) listLeases(ctx context.Context) (lease.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, listTableTimeout)
	defer cancel()
	return w.store.List(ctx)
}

// checkWorkerID looks for renewals under our id that we did not make: our own counter is at most one write behind the table.
func (t *taker) checkWorkerID(leases []lease.Lease) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range leases {
		if h := t.held[l.Key]; h != nil && l.ActualOwner() == t.id && l.Counter > h.current().Counter+1 {
			return ErrDuplicateWorkerID
		}
	}
	return nil
}

// holds says whether key is this worker's, or on its way here.
func (t *taker) holds(key string) bool {
	if _, ok := t.incoming[key]; ok {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held[key] != nil
}

// isFull says whether this worker may hold no more leases.
func (w *Worker) isFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg.MaxLeases > 0 && len(w.held) >= w.cfg.MaxLeases
}

func (t *taker) isCooling(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.cooling[key].until)
}

// isOwnChild says whether this worker made the lease when it had read the shard's parent to its end. Whoever ends a shard goes on with its
// children at once, and lets the balance come later.
func (t *taker) isOwnChild(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.children[key]
	return ok
}

func (t *taker) publish(listing lease.Listing, open []lease.Lease, p takePlan) {
	t.note(listing)
	t.m.leases.Set(float64(len(open)))
	t.m.expired.Set(float64(p.available))
	t.m.workers.Set(float64(len(p.workers)))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.workers, t.table.target = p.workers, p.target
	t.table.balanced = p.available == 0 && len(p.steal) == 0 && len(t.incoming) == 0
	for key := range t.children {
		if t.held[key] != nil || !slices.ContainsFunc(open, func(l lease.Lease) bool { return l.Key == key && l.ActualOwner() == "" }) {
			delete(t.children, key)
		}
	}
}

// note keeps what a scan of the table showed, for Status and the metrics.
func (w *Worker) note(listing lease.Listing) {
	completed, elsewhere := 0, 0
	for _, l := range listing.Leases {
		switch {
		case w.sourceOf(l) == nil:
			elsewhere++
		case l.Checkpoint.IsShardEnd():
			completed++
		}
	}
	w.m.completed.Set(float64(completed))
	w.m.elsewhere.Set(float64(elsewhere))
	w.m.malformed.Set(float64(listing.Malformed))
	w.m.foreign.Set(float64(listing.Foreign))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.table.at, w.table.leases = time.Now(), listing.Leases
}

// take makes l ours and starts its shard. The write is not cut short by a shutdown: a take that lands unheard of would leave
// the shard unread until it expires.
func (t *taker) take(ctx context.Context, l lease.Lease, move string) {
	if ctx.Err() != nil {
		return
	}
	t.win(ctx, l, move, func(ctx context.Context) (lease.Lease, error) { return t.store.Take(ctx, l, t.id) })
}

// win makes the write that gets l, and starts its shard. A write whose reply was lost is repeated until it is known how it ended: the
// store recognises one that had landed, which else would leave the shard unread until the lease expires.
func (t *taker) win(ctx context.Context, l lease.Lease, move string, write func(context.Context) (lease.Lease, error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.callTimeout())
	defer cancel()
	sent := time.Now()
	var won lease.Lease
	err := t.insist(ctx, func() (err error) {
		won, err = write(ctx)
		return err
	})
	switch {
	case err == nil:
		t.hold(won, sent, move)
	case errors.Is(err, lease.ErrNoTable):
		t.stop(err)
	case !errors.Is(err, lease.ErrLost): // else another was faster
		t.log.Warn().Err(err).Str("shard", l.Key).Msg("lease not taken")
	}
}

// insist repeats a write to the lease table that failed without an answer, until ctx ends. The writes of the store may be repeated:
// one that had landed is recognised.
func (w *Worker) insist(ctx context.Context, write func() error) error {
	again := retry.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	for {
		err := write()
		if err == nil || errors.Is(err, lease.ErrLost) || errors.Is(err, lease.ErrDuplicateOwner) || errors.Is(err, lease.ErrNoTable) {
			return err
		}
		w.m.leaseErrors.Inc()
		if retry.Sleep(ctx, again.Next()) != nil {
			return err
		}
	}
}

// steal takes l from a live worker, or asks for it.
func (t *taker) steal(ctx context.Context, l lease.Lease, handOff bool) {
	if ctx.Err() != nil {
		return
	}
	// The scan may be old by now; a lease that has moved is left alone.
	now, err := t.store.Get(ctx, l.Key)
	if err != nil || now.Owner != l.Owner || now.InHandOff() {
		return
	}
	if !handOff {
		t.take(ctx, now, moveStolen)
		return
	}
	t.pulled = time.Now()
	t.incoming[l.Key] = time.Now().Add(t.cfg.ShutdownTimeout + t.cfg.FailoverTime)
	_, err = t.store.BeginHandOff(ctx, now, t.id)
	switch {
	case err == nil:
		t.log.Info().Str("shard", l.Key).Str("owner", l.Owner).Msg("lease asked for")
	case errors.Is(err, lease.ErrLost):
		delete(t.incoming, l.Key)
	default:
		// It may have landed: the row tells.
		t.m.leaseErrors.Inc()
		t.log.Warn().Err(err).Str("shard", l.Key).Msg("no answer to asking for a lease")
	}
}

// collect starts the shards of leases that their owners have handed over, and gives up on those that went elsewhere. It reads the rows
// consistently: a scan may not know yet that they were asked for.
func (t *taker) collect(ctx context.Context) {
	for key, until := range t.incoming {
		l, err := t.store.Get(ctx, key)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !errors.Is(err, lease.ErrNotFound) && time.Now().Before(until):
			t.m.leaseErrors.Inc()
		case err != nil, l.Owner != t.id, l.Checkpoint.IsShardEnd(), time.Now().After(until):
			// Gone, taken by another, read to its end by its old owner; or that one neither finished nor died.
			delete(t.incoming, key)
		case !l.InHandOff():
			delete(t.incoming, key)
			t.win(ctx, l, moveReceived, func(ctx context.Context) (lease.Lease, error) { return t.store.Renew(ctx, l, lease.Renewal{}) })
		}
	}
}

// forgetDead lets leases be taken in the ordinary way whose owners died after they were asked for them.
func (t *taker) forgetDead(leases []lease.Lease, start time.Time) {
	for _, l := range leases {
		if _, ok := t.incoming[l.Key]; ok && l.InHandOff() && t.seen.still(l, start) > t.cfg.FailoverTime {
			delete(t.incoming, l.Key)
		}
	}
}
