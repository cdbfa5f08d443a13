package main

import (
	"context"
	"fmt"
	"time"

	"dredge/internal/flowgen"
	"dredge/metadata/event"
)

// bound is the most that the rules of identity over time allow: the same lines through the same gate and join, over a store that
// was told before the first of them who is going to hold each address, to the millisecond. Progress and heartbeats come when they
// come, so this too waits no longer than hold. What it does not name, no source that tells sooner or better could have named
// without breaking a rule.
func bound(ctx context.Context, cfg flowgen.Config, length, hold time.Duration) (*score, error) {
	facts, err := hindsight(ctx, cfg, cfg.Start.Add(length+max(hold, laterBy)))
	if err != nil {
		return nil, err
	}
	b, err := newBench(cfg, hold)
	if err != nil {
		return nil, err
	}
	for i := range facts {
		if err := b.store.Apply(&facts[i]); err != nil {
			return nil, fmt.Errorf("a fact of the simulation is refused: %w", err)
		}
	}
	b.known = true
	if err := b.run(ctx, length); err != nil {
		return nil, err
	}
	if b.result.dredge.Wrong > 0 {
		return nil, fmt.Errorf("with everything known %d names are wrong; the first: %s", b.result.dredge.Wrong, b.result.examples[0])
	}
	return &b.result.dredge, nil
}

// hindsight is who holds which address until end.
func hindsight(ctx context.Context, cfg flowgen.Config, end time.Time) ([]event.Event, error) {
	// Knowledge draws from a stream of its own, so an estate that tells nothing has the same owners and the same traffic.
	cfg.Identity.Policy, cfg.Keep, cfg.Expect = flowgen.Silent, 0, false
	sim, err := flowgen.New(cfg)
	if err != nil {
		return nil, err
	}
	for range sim.Until(end) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	events, err := sim.Hindsight()
	if err != nil {
		return nil, err
	}
	return events[:len(events)-1], nil // the last one says that this is all
}
