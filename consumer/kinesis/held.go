package kinesis

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/window"
	"dredge/internal/retry"
)

// State of a held shard, as Status shows it.
const (
	StateParents  = "waiting_for_parents"
	StateOpening  = "opening"
	StateReading  = "reading"
	StateHandling = "handling" // what was read is with the pipeline
	StateBackOff  = "backing_off"
	StateEnding   = "ending"
	StateDraining = "draining"
)

// held is a lease of this worker. It lives from the take to the release; its shard's goroutine and its renewing goroutine
// share it.
//
// There are two contexts. Work ends when reading must stop: a drain, a hand-off. Life, its parent, ends when the lease
// is not ours any more: then nothing may be flushed for it or written to its row.
type held struct {
	key      string
	src      *source
	life     context.Context
	kill     context.CancelCauseFunc
	work     context.Context
	stopWork context.CancelCauseFunc

	// write has an element while a conditional write is under way, so that no two of them start from the same counter. It is a
	// channel because it is held over a remote call, and whoever waits must be able to give up.
	write chan struct{}
	gone  bool // guarded by write: nothing is written any more
	// restart holds a wish that the shard be read anew from its last durable position.
	restart chan struct{}

	mu        sync.Mutex
	lease     lease.Lease
	window    *window.Window
	done      lease.Checkpoint // everything up to it is durable, apart from what the window knows
	expiry    *time.Timer
	bytes     int64 // read since the last renewal
	measured  time.Time
	kbps      float64
	state     string
	since     time.Time // of state
	behind    time.Duration
	lastRead  time.Time
	lastError string
}

// hold starts to renew and to read a lease that was won by a write begun at sent.
func (w *Worker) hold(l lease.Lease, sent time.Time, move string) {
	h := &held{key: l.Key, src: w.sourceOf(l), lease: l, write: make(chan struct{}, 1), restart: make(chan struct{}, 1), measured: sent, kbps: l.ThroughputKBps}
	h.life, h.kill = context.WithCancelCause(w.life)
	h.work, h.stopWork = context.WithCancelCause(h.life)
	h.setState(StateParents)
	h.expiry = time.AfterFunc(w.cfg.FailoverTime-time.Since(sent), func() { h.kill(errExpired) })

	w.mu.Lock()
	if w.draining != nil {
		h.stopWork(w.draining)
	}
	w.held[l.Key] = h
	w.m.owned.Set(float64(len(w.held)))
	w.mu.Unlock()
	w.m.moves[move].Inc()
	w.log.Info().Str("shard", l.Key).Str("move", move).Str("checkpoint", l.Checkpoint.String()).Int64("counter", l.Counter).Msg("lease won")

	w.shards.Go(func() {
		var renewing sync.WaitGroup
		renewing.Go(func() { w.renewLoop(h) })
		w.runShard(h)
		h.kill(nil)
		renewing.Wait()
		h.expiry.Stop()
		w.m.behind.DeleteLabelValues(h.key)
		w.mu.Lock()
		delete(w.held, h.key)
		w.m.owned.Set(float64(len(w.held)))
		w.mu.Unlock()
	})
}

// renewLoop renews h until its life ends. It never waits for the shard's goroutine.
func (w *Worker) renewLoop(h *held) {
	again := retry.Backoff{Min: w.cfg.renewInterval() / 8, Max: w.cfg.renewInterval() / 3}
	pause := jittered(w.cfg.renewInterval())
	for retry.Sleep(h.life, pause) == nil {
		// What went wrong is logged and counted there. A table that refuses or stutters is asked again soon, until the lease expires.
		if w.renew(h) != nil {
			pause = again.Next()
			continue
		}
		again.Reset()
		pause = jittered(w.cfg.renewInterval())
	}
}

// renew proves that the lease still is ours and writes the checkpoint when it can move on. It ends the life of a lease that was
// lost, and the work of one that another worker asks for.
func (w *Worker) renew(h *held) error { return w.renewWith(h, lease.Checkpoint{}, nil) }

// renewWith is renew that records what is pending, too, unless pending is zero.
func (w *Worker) renewWith(h *held, pending lease.Checkpoint, state []byte) error {
	if err := h.beginWrite(); err != nil {
		return err
	}
	defer h.endWrite()
	now := time.Now()
	l, r := h.renewal(now)
	r.Pending, r.PendingState = pending, state
	ctx, cancel := context.WithTimeout(h.life, w.cfg.callTimeout())
	defer cancel()
	next, err := w.store.Renew(ctx, l, r)
	switch {
	case errors.Is(err, lease.ErrNoTable):
		w.stop(err)
		return err
	case errors.Is(err, lease.ErrLost), errors.Is(err, lease.ErrDuplicateOwner):
		if errors.Is(err, lease.ErrDuplicateOwner) {
			w.stop(ErrDuplicateWorkerID)
		}
		h.gone = true
		h.kill(errLeaseLost)
		return errLeaseLost
	case err != nil:
		// The write may have landed. What the store knows of the row lets the next try find out.
		if next.Key != "" {
			h.mu.Lock()
			h.lease = next
			h.mu.Unlock()
		}
		if h.life.Err() == nil {
			w.m.leaseErrors.Inc()
			w.log.Warn().Err(err).Str("shard", h.key).Msg("lease not renewed, trying again")
		}
		return err
	}
	if err := h.ours(); err != nil {
		// It expired while the write was under way. Whether others saw it expire too can't be known, so it stays dead.
		return err
	}
	w.m.renewals.Inc()
	if !r.Checkpoint.IsZero() {
		w.m.checkpoints.Inc()
	}
	h.mu.Lock()
	h.lease = next
	h.expiry.Reset(w.cfg.FailoverTime - time.Since(now))
	h.mu.Unlock()
	if next.InHandOff() {
		h.stopWork(errHandOff)
	}
	return nil
}

// beginWrite waits for its turn to write the row. It fails when the row may not be written any more.
func (h *held) beginWrite() error {
	select {
	case h.write <- struct{}{}:
	case <-h.life.Done():
		return context.Cause(h.life)
	}
	if err := h.ours(); err != nil {
		h.endWrite()
		return err
	}
	return nil
}

func (h *held) endWrite() { <-h.write }

// ours says whether the row may still be written; between beginWrite and endWrite.
func (h *held) ours() error {
	if h.gone {
		return errLeaseLost
	}
	return context.Cause(h.life)
}

// throughputWindow is the time constant of the measured throughput.
const throughputWindow = time.Minute

// renewal is the lease as last known and what the next renewing write changes.
func (h *held) renewal(now time.Time) (lease.Lease, lease.Renewal) {
	safe := h.safe()
	h.mu.Lock()
	defer h.mu.Unlock()
	var r lease.Renewal
	if safe.Compare(h.lease.Checkpoint) > 0 {
		r.Checkpoint = safe
	}
	if d := now.Sub(h.measured); d > 0 {
		// Smoothed over a minute: flow logs come in bursts, and the balance must not follow each.
		h.kbps += (float64(h.bytes)/1024/d.Seconds() - h.kbps) * (1 - math.Exp(-d.Seconds()/throughputWindow.Seconds()))
		h.bytes, h.measured = 0, now
		r.ThroughputKBps = h.kbps
	}
	return h.lease, r
}

// safe returns the place up to which everything is durable; the zero Checkpoint while nothing is known beyond the lease's own.
func (h *held) safe() lease.Checkpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.window != nil {
		// Positions were checked when they were reported.
		if c, err := lease.ParsePosition(h.window.Safe()); err == nil {
			h.done = lease.Later(h.done, c)
		}
	}
	return h.done
}

// reached says that everything up to c is durable.
func (h *held) reached(c lease.Checkpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = lease.Later(h.done, c)
}

// setWindow replaces the window; what the old one knows is kept, what is reported to it later does not count.
func (h *held) setWindow(win *window.Window) {
	h.mu.Lock()
	old := h.window
	h.mu.Unlock()
	if old != nil {
		old.Close()
		h.safe()
	}
	h.mu.Lock()
	h.window = win
	h.mu.Unlock()
}

func (h *held) setState(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state, h.since = s, time.Now()
}

func (h *held) current() lease.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease
}

// release gives the lease up in the table: to the next owner when there is one, else to nobody. It tries for as long as one call may
// take, and returns how the lease left.
func (w *Worker) release(h *held) string {
	if h.beginWrite() != nil {
		return ""
	}
	defer h.endWrite()
	ctx, cancel := context.WithTimeout(h.life, w.cfg.callTimeout())
	defer cancel()
	l, move, give := h.current(), moveReleased, w.store.Evict
	if l.InHandOff() {
		move, give = moveHanded, w.store.EndHandOff
	}
	h.gone = true
	if err := w.insist(ctx, func() error { return give(ctx, l) }); err != nil {
		w.log.Warn().Err(err).Str("shard", h.key).Msg("lease not released, others wait for it to expire")
		return ""
	}
	return move
}
