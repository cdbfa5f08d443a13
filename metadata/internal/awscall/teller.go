package awscall

import (
	"context"
	"slices"
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

// Teller numbers the events of one source and hands them over. It is not safe for concurrent use: its owner's lock orders what is told.
type Teller struct {
	// Src is the source's name.
	Src string
	Now func() time.Time
	// Events counts what was told.
	Events prometheus.Counter

	emit       event.Emit
	epoch, seq int64
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

// Vouch calls tell, which repeats a watermark if there is one to repeat, every ten seconds until ctx ends. The error is that of tell.
func Vouch(ctx context.Context, tell func() error) error {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := tell(); err != nil {
				return err
			}
		}
	}
}
