package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
)

// Modes of a worker beside the KCL versions of others.
const (
	// Mode2x takes leases for itself. When the application's Java workers go over to 3.x, it keeps what it has and takes no more.
	Mode2x = "2.x"
	// Mode3x does the same until then, and after that takes part: it reports that it lives and reads what the leader assigns to it.
	Mode3x = "3.x"
)

const (
	// versionInterval is how often the state of the migration is read; half of it more is added at random.
	versionInterval = time.Minute
	// announceFirst and announceInterval are KCL's. A worker that was silent for two intervals is dead to the leader.
	announceFirst, announceInterval = 2 * time.Second, 30 * time.Second
)

// follows says whether leases are assigned to this worker rather than taken by it.
func (w *Worker) follows() bool {
	return w.cfg.Mode == Mode3x && lease.LeaderAssigns(w.clientVersion())
}

// announces says whether the worker reports that it lives. During the migration a worker that owns leases and does not, keeps
// the fleet from going over.
func (w *Worker) announces() bool {
	v := w.clientVersion()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg.Mode == Mode3x && !w.gaveUp && (lease.LeaderAssigns(v) || v == lease.VersionUpgrade)
}

func (w *Worker) clientVersion() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.version
}

// setVersion takes in the state of the migration and makes the worker act on a change at once.
func (w *Worker) setVersion(v string) {
	w.mu.Lock()
	was := w.version
	w.version = v
	w.mu.Unlock()
	if was == v {
		return
	}
	w.log.Info().Str("was", was).Str("is", v).Msg("client version of the application changed")
	suspended := lease.LeaderAssigns(v) && w.cfg.Mode != Mode3x
	w.m.suspended.Set(0)
	if suspended {
		w.m.suspended.Set(1)
		w.log.Error().Msg("the application's Java workers let their leader assign the leases: none are taken any more; set kinesis.mode to 3.x")
	}
	kick(w.takeSoon)
}

// initVersion reads the state before the first lease is taken.
func (w *Worker) initVersion(ctx context.Context) error {
	if w.fleet == nil {
		return nil
	}
	b := retry.Backoff{Min: 500 * time.Millisecond, Max: 20 * time.Second}
	for {
		err := w.readVersion(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return nil //nolint:nilerr // asked to stop before it began
		case b.Tries == initTries:
			return fmt.Errorf("read the application's client version: %w", err)
		}
		w.m.leaseErrors.Inc()
		w.log.Warn().Err(err).Msg("client version of the application not read, trying again")
		_ = retry.Sleep(ctx, b.Next()) // the loop looks at ctx itself
	}
}

func (w *Worker) readVersion(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.callTimeout())
	defer cancel()
	v, err := w.fleet.ClientVersion(ctx)
	if err == nil {
		w.setVersion(v)
	}
	return err
}

// fleetLoop reads the state of the migration and reports that this worker lives, until ctx ends.
func (w *Worker) fleetLoop(ctx context.Context) {
	nextVersion := time.Now().Add(stretched(versionInterval))
	nextAnnounce := time.Now().Add(announceFirst)
	announced := false
	for ctx.Err() == nil {
		if err := retry.Sleep(ctx, min(time.Until(nextVersion), time.Until(nextAnnounce))); err != nil {
			break
		}
		if !time.Now().Before(nextVersion) {
			if err := w.readVersion(ctx); err != nil && ctx.Err() == nil {
				w.m.leaseErrors.Inc()
				w.log.Warn().Err(err).Msg("client version of the application not read")
			}
			nextVersion = time.Now().Add(stretched(versionInterval))
		}
		if !time.Now().Before(nextAnnounce) {
			nextAnnounce = time.Now().Add(announceInterval)
			if !w.announces() {
				if announced {
					w.retire()
					announced = false
				}
				continue
			}
			if err := w.announce(ctx); err != nil && ctx.Err() == nil {
				w.m.leaseErrors.Inc()
				w.log.Warn().Err(err).Msg("worker not announced to the leader")
				nextAnnounce = time.Now().Add(announceFirst)
				continue
			}
			announced = true
		}
	}
	if announced && w.life.Err() == nil {
		w.retire()
	}
}

func (w *Worker) announce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.callTimeout())
	defer cancel()
	return w.fleet.Announce(ctx, w.id, w.wall())
}

// retire goes before the leases do: to a leader that sees a worker alive without leases, it is the first to get them back.
func (w *Worker) retire() {
	ctx, cancel := context.WithTimeout(w.life, w.cfg.callTimeout())
	defer cancel()
	if err := w.insist(ctx, func() error { return w.fleet.Retire(ctx, w.id) }); err != nil {
		w.log.Warn().Err(err).Msg("worker not retired: the leader may assign leases to it for another minute")
	}
}

// discover starts the shards of leases that were assigned to this worker. The index that names them lags behind the table, so each row is
// read; one that is still being handed over is left for the next turn.
func (t *taker) discover(ctx context.Context) error {
	if t.watchOthers(ctx) && t.sink.isResting(time.Now()) {
		return nil
	}
	callCtx, cancel := context.WithTimeout(ctx, listTableTimeout)
	defer cancel()
	keys, err := t.fleet.Assigned(callCtx, t.id)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if ctx.Err() != nil {
			return nil
		}
		if t.isHeld(key) || t.isCooling(key) {
			continue
		}
		l, err := t.store.Get(ctx, key)
		switch {
		case errors.Is(err, lease.ErrNotFound):
			continue
		case err != nil:
			return err
		case l.Owner != t.id || t.sourceOf(l) == nil:
			continue
		case l.InHandOff():
			// Its owner finishes first. That takes seconds, so the row is watched.
			if _, ok := t.incoming[key]; !ok {
				t.incoming[key] = time.Now().Add(t.cfg.ShutdownTimeout + t.cfg.FailoverTime)
			}
			continue
		}
		delete(t.incoming, key)
		t.win(ctx, l, moveAssigned, func(ctx context.Context) (lease.Lease, error) { return t.store.Renew(ctx, l, lease.Renewal{}) })
	}
	return nil
}

// watchOthers does for the sink's sake what a worker that takes leases sees with each look at the table. It says whether the sink is in doubt.
func (t *taker) watchOthers(ctx context.Context) bool {
	if t.cfg.GiveUp > 0 && t.waitsForSink() {
		if listing, err := t.listLeases(ctx); err == nil && t.seen.update(listing.Leases, t.id, time.Now()) {
			t.sink.othersMoved(time.Now())
		}
	}
	return t.watchSink(time.Now())
}

func (t *taker) isHeld(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held[key] != nil
}

// refuseAssigned gives back what was assigned to this worker while it stopped, and nobody reads.
func (t *taker) refuseAssigned() {
	ctx, cancel := context.WithTimeout(t.life, t.cfg.callTimeout())
	defer cancel()
	keys, err := t.fleet.Assigned(ctx, t.id)
	if err != nil {
		return // they expire
	}
	for _, key := range keys {
		if t.isHeld(key) {
			continue // its shard releases it
		}
		l, err := t.store.Get(ctx, key)
		switch {
		case err != nil || l.Owner != t.id:
		case l.InHandOff():
			t.incoming[key] = time.Now().Add(t.cfg.FailoverTime)
		default:
			_ = t.store.Evict(ctx, l) // it expires
		}
	}
}
