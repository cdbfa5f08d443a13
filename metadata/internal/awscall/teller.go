package awscall

import (
	"context"
	"slices"
	"sync"
	"time"

	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// progressInterval is how often a watermark is told.
	progressInterval = 10 * time.Second
	// tellMost is how many events are handed over at once.
	tellMost = 1000
)

// Teller numbers the events of one source and hands them over, and keeps how far the source has told. It is not safe for concurrent use:
// its owner's lock orders what is told.
type Teller struct {
	// Src is the source's name.
	Src string
	Now func() time.Time
	// Events counts what was told.
	Events prometheus.Counter

	emit       event.Emit
	epoch, seq int64
	// vouched is the watermark, whole whether the last listing was complete: a source that fails is silent, so that nobody waits for it.
	vouched int64
	whole   bool
}

// Begin starts a new epoch, whose events go to emit.
func (t *Teller) Begin(emit event.Emit) { t.emit, t.epoch, t.seq = emit, t.Now().UnixMilli(), 0 }

// Tell hands events over, with version, source, epoch, number and time of observation filled in. The error is that of emit.
func (t *Teller) Tell(events []event.Event) error {
	now := t.Now().UnixMilli()
	for i := range events {
		t.seq++
		ev := &events[i]
		ev.V, ev.Src, ev.Epoch, ev.Seq, ev.Obs = event.Version, t.Src, t.epoch, t.seq, now
	}
	t.Events.Add(float64(len(events)))
	for some := range slices.Chunk(events, tellMost) {
		if err := t.emit(some); err != nil {
			return err
		}
	}
	return nil
}

// Complete notes a complete listing that vouches for everything up to a time, and returns the progress to tell behind it.
func (t *Teller) Complete(upTo int64) event.Event {
	t.Recall(upTo)
	t.whole = true
	return event.Event{Op: event.Progress, To: t.vouched}
}

// Fail notes a listing that did not come to its end.
func (t *Teller) Fail() { t.whole = false }

// Whole says whether the last listing was complete.
func (t *Teller) Whole() bool { return t.whole }

// Recall notes up to when an earlier life had told everything.
func (t *Teller) Recall(upTo int64) { t.vouched = max(t.vouched, upTo) }

// Vouch tells t's watermark again every ten seconds, as long as listings are complete, until ctx ends. lock is t's owner's. The error is
// that of emit.
func Vouch(ctx context.Context, lock sync.Locker, t *Teller) error {
	again := func() error {
		lock.Lock()
		defer lock.Unlock()
		if !t.whole || t.vouched == 0 {
			return nil
		}
		return t.Tell([]event.Event{{Op: event.Progress, To: t.vouched}})
	}
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := again(); err != nil {
				return err
			}
		}
	}
}
