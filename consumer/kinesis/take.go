package kinesis

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"dredge/consumer/kinesis/lease"
)

// balance is what one worker sees when it decides which leases to take.
type balance struct {
	me       string
	leases   []lease.Lease // those whose shard is not read to its end
	held     func(key string) bool
	cooling  func(key string) bool
	still    func(lease.Lease) time.Duration
	failover time.Duration
	max      int // 0: no bound
}

// takePlan is what to do about it.
type takePlan struct {
	take      []lease.Lease // free ones
	steal     []lease.Lease // of live workers
	handOff   bool          // steal by asking the owner
	workers   []string      // that hold leases, and this one
	available int
	target    int
}

// veryOld times the failover time without a renewal makes a lease so urgent that the fair share no longer counts.
const veryOld = 3

// plan decides. Leases nobody renews are taken up to this worker's fair share; when there are none, and a worker has more than its
// share, some of its leases are stolen. A difference of one is no reason to steal, or leases would wander for ever.
func (b balance) plan() takePlan {
	var (
		p      takePlan
		free   []lease.Lease
		urgent []lease.Lease
		mine   int
		loads  = map[string]int{b.me: 0}
		loaded = map[string][]lease.Lease{}
	)
	p.handOff = strings.HasPrefix(b.me, WorkerIDPrefix)
	for _, l := range b.leases {
		switch {
		case b.held(l.Key):
			mine++
		case l.ActualOwner() == "" || b.still(l) > b.failover:
			p.available++
			switch {
			case b.cooling(l.Key):
			case b.max > 0 && b.waits(l):
				// Room is scarce: a shard that must wait for its parents would take it from them.
			case b.still(l) > veryOld*b.failover && l.ActualOwner() != "":
				urgent = append(urgent, l)
			default:
				free = append(free, l)
			}
		default:
			// A lease that is being handed over counts for its next owner, so that others don't move it again.
			loads[l.Owner]++
			if !strings.HasPrefix(l.ActualOwner(), WorkerIDPrefix) {
				p.handOff = false
			}
			if !l.InHandOff() && l.Owner != b.me {
				loaded[l.Owner] = append(loaded[l.Owner], l)
			}
		}
	}
	p.workers = slices.Sorted(maps.Keys(loads))
	p.target = 1
	if n := len(p.workers); n < len(b.leases) {
		p.target = (len(b.leases) + n - 1) / n
	}
	limit := len(b.leases)
	if b.max > 0 {
		p.target, limit = min(p.target, b.max), b.max
	}

	shuffle(urgent)
	shuffle(free)
	p.take = urgent[:min(len(urgent), max(0, limit-mine))]
	need := p.target - mine - len(p.take)
	if need <= 0 {
		return p
	}
	p.take = append(p.take, free[:min(len(free), need)]...)
	if p.available > 0 {
		return p
	}
	p.steal = b.steals(loads, loaded, need, p.target, p.handOff)
	return p
}

// waits says whether a parent of l is not read to its end.
func (b balance) waits(l lease.Lease) bool {
	return slices.ContainsFunc(b.leases, func(p lease.Lease) bool { return slices.Contains(l.Parents, p.Shard()) })
}

// steals picks leases of the most loaded workers. Without the owner's help it is one at a time, since each theft repeats what
// the owner has in flight.
func (b balance) steals(loads map[string]int, loaded map[string][]lease.Lease, need, target int, handOff bool) []lease.Lease {
	most := 1
	if handOff {
		most = need
	}
	for _, ls := range loaded {
		shuffle(ls)
	}
	var out []lease.Lease
	for len(out) < most {
		victims := slices.SortedFunc(maps.Keys(loaded), func(x, y string) int {
			return cmp.Or(cmp.Compare(loads[y], loads[x]), strings.Compare(x, y))
		})
		if len(victims) == 0 {
			break
		}
		v := victims[0]
		over := loads[v] - target
		// With nobody over the share, someone who lacks two or more still takes one: the rounding up left others short.
		if over < 0 || over == 0 && need-len(out) < 2 {
			break
		}
		ls := loaded[v]
		out = append(out, ls[len(ls)-1])
		if loaded[v] = ls[:len(ls)-1]; len(ls) == 1 {
			delete(loaded, v)
		}
		loads[v]--
	}
	return out
}

func shuffle(ls []lease.Lease) {
	rand.Shuffle(len(ls), func(i, j int) { ls[i], ls[j] = ls[j], ls[i] })
}

// cooldown keeps this worker off a lease that it gave up because the sink refused it.
type cooldown struct {
	until time.Time
	wait  backoff
}

// coolDown starts or lengthens the pause for key.
func (w *Worker) coolDown(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.cooling[key]
	if !ok {
		c.wait = backoff{min: w.cfg.FailoverTime, max: 5 * time.Minute}
	}
	c.until = time.Now().Add(c.wait.next())
	w.cooling[key] = c
}

// warmUp forgets the pause for key: its shard makes progress.
func (w *Worker) warmUp(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.cooling, key)
}

// handOffPoll is how often the table is looked at while a lease is on its way to us.
const handOffPoll = 500 * time.Millisecond

// Client versions in which Java's leader assigns leases, and a worker that takes them disturbs it.
const (
	version3xRollback = "CLIENT_VERSION_3X_WITH_ROLLBACK"
	version3x         = "CLIENT_VERSION_3X"
)

// taker is the state of the taking goroutine.
type taker struct {
	*Worker
	seen *observer
	// incoming are leases that their owners were asked for, and until when it is worth looking for them.
	incoming map[string]time.Time
}

// takeLoop looks at the lease table and takes leases until ctx ends.
func (w *Worker) takeLoop(ctx context.Context) {
	t := &taker{Worker: w, seen: newObserver(), incoming: map[string]time.Time{}}
	next := time.Now()
	for ctx.Err() == nil {
		if !time.Now().Before(next) {
			if err := t.round(ctx); err != nil && ctx.Err() == nil {
				w.m.leaseErrors.Inc()
				w.log.Warn().Err(err).Msg("lease table not read, trying again")
			}
			next = time.Now().Add(jittered(w.cfg.takeInterval()))
		}
		t.collect(ctx)
		wait := time.Until(next)
		if len(t.incoming) > 0 {
			wait = min(wait, handOffPoll)
		}
		select {
		case <-ctx.Done():
		case <-w.takeSoon:
			next = time.Now()
		case <-time.After(wait):
		}
	}
	if len(t.incoming) > 0 && w.life.Err() == nil {
		t.waive()
	}
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
		if len(t.incoming) > 0 && sleep(ctx, handOffPoll) != nil {
			return
		}
	}
}

// round is one look at the table and what follows from it.
func (t *taker) round(ctx context.Context) error {
	start := time.Now()
	listing, err := t.listLeases(ctx)
	if err != nil {
		return err
	}
	t.seen.update(listing.Leases, time.Now())
	if err := t.checkWorkerID(listing.Leases); err != nil {
		t.stop(err)
		return nil
	}
	t.forgetDead(listing.Leases, start)

	// Leases of other streams are others' to read.
	open := slices.DeleteFunc(slices.Clone(listing.Leases), func(l lease.Lease) bool {
		return l.Checkpoint.IsShardEnd() || t.sourceOf(l) == nil
	})
	p := balance{
		me:       t.id,
		leases:   open,
		held:     t.holds,
		cooling:  t.isCooling,
		still:    func(l lease.Lease) time.Duration { return t.seen.still(l, start) },
		failover: t.cfg.FailoverTime,
		max:      t.cfg.MaxLeases,
	}.plan()
	t.publish(listing, len(open), p)
	if v := listing.ClientVersion; v == version3x || v == version3xRollback {
		// Java's leader assigns the leases now. Ours are kept, but taking would work against it.
		return nil
	}
	for _, l := range p.take {
		t.take(ctx, l, moveTaken)
	}
	for _, l := range p.steal {
		t.steal(ctx, l, p.handOff)
	}
	return nil
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

func (t *taker) publish(listing lease.Listing, open int, p takePlan) {
	t.m.leases.Set(float64(open))
	t.m.completed.Set(float64(len(listing.Leases) - open))
	t.m.expired.Set(float64(p.available))
	t.m.workers.Set(float64(len(p.workers)))
	t.m.malformed.Set(float64(listing.Malformed))
	t.m.foreign.Set(float64(listing.Foreign))
	t.m.suspended.Set(0)
	if v := listing.ClientVersion; v == version3x || v == version3xRollback {
		t.m.suspended.Set(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table.version != listing.ClientVersion {
		t.log.Info().Str("was", t.table.version).Str("is", listing.ClientVersion).Msg("client version of the application changed")
	}
	t.table = tableView{at: time.Now(), leases: listing.Leases, workers: p.workers, target: p.target, version: listing.ClientVersion}
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
	case !errors.Is(err, lease.ErrLost): // else another was faster
		t.log.Warn().Err(err).Str("shard", l.Key).Msg("lease not taken")
	}
}

// insist repeats a write to the lease table that failed without an answer, until ctx ends. The writes of the store may be repeated:
// one that had landed is recognised.
func (w *Worker) insist(ctx context.Context, write func() error) error {
	again := backoff{min: 50 * time.Millisecond, max: time.Second}
	for {
		err := write()
		if err == nil || errors.Is(err, lease.ErrLost) || errors.Is(err, lease.ErrDuplicateOwner) {
			return err
		}
		w.m.leaseErrors.Inc()
		if sleep(ctx, again.next()) != nil {
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
