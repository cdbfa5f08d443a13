package s3

import (
	"context"
	"errors"
	"time"

	"dredge/internal/retry"
)

const (
	// sweepEvery is how often mouthfuls that were not sent are looked for, resendAfter how old they are then: a gatherer that
	// lives sends its own at once.
	sweepEvery  = 30 * time.Second
	resendAfter = time.Minute
)

// sweepLoop sends what a gatherer sealed and did not live to send, and takes apart what it did not live to seal.
func (g *Gatherer) sweepLoop(ctx context.Context) {
	for {
		if err := g.sweep(ctx); err != nil && ctx.Err() == nil {
			g.m.errors.Inc()
			g.d.Log.Warn().Err(err).Msg("unsent mouthfuls not looked for, trying again")
		}
		if retry.Sleep(ctx, sweepEvery) != nil {
			return
		}
	}
}

func (g *Gatherer) sweep(ctx context.Context) error {
	return g.former.unfinished(ctx, func(m Mouthful) error {
		if m.State != StateSealed || time.Since(m.Created) <= resendAfter {
			return nil
		}
		if err := g.former.announce(ctx, &m); err != nil {
			return err
		}
		g.m.resent.Inc()
		g.d.Log.Warn().Str("mouthful", m.ID).Msg("mouthful of another gatherer sent")
		return nil
	})
}

// unfinished calls found for each mouthful that is not noted as sent. Those whose forming was begun long ago are abandoned before: their
// files come again with their notifications, or are listed again.
func (f *former) unfinished(ctx context.Context, found func(Mouthful) error) error {
	ids, err := f.ledger.unsent(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		m, err := f.ledger.get(ctx, id)
		switch {
		case errors.Is(err, errNoMouthful):
			continue
		case err != nil:
			return err
		case m.State == StateForming && time.Since(m.Created) >= abandonAfter:
			err = f.ledger.abandon(ctx, id)
			if errors.Is(err, errLost) {
				err = nil // it was sealed meanwhile
			}
		default:
			err = found(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
