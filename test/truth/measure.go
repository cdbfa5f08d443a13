package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/internal/flowgen"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/store"
	"dredge/pipeline"
	"dredge/row"

	"github.com/prometheus/client_golang/prometheus"
)

// bench is one simulation and everything that is judged by it.
type bench struct {
	sim     *flowgen.Sim
	hold    time.Duration
	guard   time.Duration
	now     time.Time
	formats map[string]*flowlog.Format

	store     *store.Store
	enricher  *enrich.Enricher
	gate      *enrich.Gate
	sightings *enrich.Sightings
	decoder   *flowlog.Decoder
	rows      row.Batch
	idle      []*held
	// waiting are held back by the gate, in the order of their arrival; progress says that a source told progress since they
	// were last asked about.
	waiting  []*held
	progress bool

	// known says that the store was told everything before; see bound.
	known bool

	latest    *flowgen.LatestValue
	versioned *flowgen.Versioned
	later     []*flowgen.Payload // asked again after laterBy

	result result
}

// laterBy is how long the patient baseline waits.
const laterBy = 5 * time.Minute

// held is a payload on its way through the gate.
type held struct {
	payload *flowgen.Payload
	batch   flowlog.Batch
	need    int64
}

type heartbeats struct{ *store.Store }

func (h heartbeats) Observe(s enrich.Sighting) { h.Store.Observe(store.Sighting(s)) }

// newBench makes a simulation and what is judged by it.
func newBench(cfg flowgen.Config, hold time.Duration) (*bench, error) {
	sim, err := flowgen.New(cfg)
	if err != nil {
		return nil, err
	}
	b := &bench{
		sim: sim, hold: hold, guard: pipeline.DefaultConfig().Guard, now: cfg.Start, formats: map[string]*flowlog.Format{},
		decoder: flowlog.NewDecoder(), latest: flowgen.NewLatestValue(), versioned: flowgen.NewVersioned(),
	}
	for group, layout := range sim.LogGroups() {
		if b.formats[group], err = flowlog.ParseFormat(layout.String()); err != nil {
			return nil, err
		}
	}
	b.result.init()
	return b, b.build()
}

// measure runs one simulation of a length. What arrives after that is told and seen, so that the last lines are held like all
// others, but it is not judged.
func measure(ctx context.Context, cfg flowgen.Config, length, hold time.Duration) (*result, error) {
	b, err := newBench(cfg, hold)
	if err != nil {
		return nil, err
	}
	return &b.result, b.run(ctx, length)
}

func (b *bench) run(ctx context.Context, length time.Duration) error {
	begin := b.now
	end := begin.Add(length)
	for it := range b.sim.Until(end.Add(max(b.hold, laterBy))) {
		if it.Arrive.After(b.now) {
			b.advance(it.Arrive)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		var err error
		switch {
		case it.Event != nil:
			err = b.tell(it.Event)
		case it.Payload.Lines == 0:
		case it.Arrive.Before(end):
			err = b.take(it.Payload)
		default:
			err = b.see(it.Payload)
		}
		if err != nil {
			return err
		}
	}
	b.advance(end.Add(max(b.hold, laterBy)))
	b.result.phantoms(b.sim.Truth())
	b.result.churn = float64(b.sim.Truth().Totals().Changes) / b.sim.Now().Sub(begin).Seconds()
	return nil
}

func (b *bench) build() error {
	var err error
	c := metadata.DefaultConfig()
	c.MaxFuture = 24 * time.Hour // bound tells what is to come
	registry := prometheus.NewRegistry()
	if b.store, err = store.New(c, store.Dependencies{Registerer: registry, Now: func() time.Time { return b.now }}); err != nil {
		return err
	}
	if b.enricher, err = enrich.New(enrich.DefaultConfig(), enrich.Deps{Resolver: b.store, Registerer: registry}); err != nil {
		return err
	}
	if b.gate, err = enrich.NewGate(b.enricher, b.store); err != nil {
		return err
	}
	b.sightings, err = enrich.NewSightings(b.store, heartbeats{b.store})
	return err
}

func (b *bench) tell(e *event.Event) error {
	if b.known {
		switch e.Op {
		case event.Progress, event.SnapBegin, event.SnapEnd: // when the sources tell stays as it is
		default:
			return nil
		}
	}
	if err := b.store.Apply(e); err != nil {
		return fmt.Errorf("an event of the simulation is refused: %w", err)
	}
	b.progress = b.progress || e.Op == event.Progress
	b.latest.Apply(e)
	b.versioned.Apply(e)
	return nil
}

var errLines = errors.New("a payload's lines and its truth differ in number")

// decode makes a batch of a payload.
func (b *bench) decode(p *flowgen.Payload) (*held, error) {
	h := b.spare()
	h.payload = p
	h.batch.Origins = append(h.batch.Origins, flowlog.Origin{Arrived: p.Arrive, LogGroup: p.LogGroup, LogStream: p.LogStream})
	n := uint32(0)
	var fault error
	flowgen.SplitLines(p.Data, func(line []byte) {
		if reason := b.decoder.Append(&h.batch, b.formats[p.LogGroup], line, 0, n); reason != 0 {
			fault = fmt.Errorf("line %q is refused: %s", line, reason)
		}
		n++
	})
	if fault == nil && int(n) != len(p.Truth) {
		fault = errLines
	}
	return h, fault
}

// see takes the heartbeats of a payload.
func (b *bench) see(p *flowgen.Payload) error {
	h, err := b.decode(p)
	if err != nil {
		return err
	}
	b.sightings.Observe(&h.batch)
	b.idle = append(b.idle, h)
	return nil
}

// take reads a payload as the pipeline does: heartbeats at once, rows when the gate lets it through.
func (b *bench) take(p *flowgen.Payload) error {
	h, err := b.decode(p)
	if err != nil {
		return err
	}
	b.sightings.Observe(&h.batch)
	h.need = pipeline.NewestEnd(&h.batch) + b.guard.Milliseconds()

	for i := range p.Truth {
		e := &p.Truth[i]
		b.result.latest.line(e, b.latest.Name(e.SrcScope, e.Src.String()), b.latest.Name(e.DstScope, e.Dst.String()))
	}
	b.askVersioned(&b.result.versioned, p)
	b.later = append(b.later, p)

	if ok, _ := b.gate.Complete(&h.batch, h.need); ok {
		b.join(h)
		return nil
	}
	b.result.held += int64(p.Lines)
	b.waiting = append(b.waiting, h)
	return nil
}

func (b *bench) askVersioned(s *score, p *flowgen.Payload) {
	for i := range p.Truth {
		e := &p.Truth[i]
		s.line(e, b.versioned.Name(e.SrcScope, e.Src.String(), e.Start), b.versioned.Name(e.DstScope, e.Dst.String(), e.Start))
	}
}

func (b *bench) spare() *held {
	if n := len(b.idle); n > 0 {
		h := b.idle[n-1]
		b.idle = b.idle[:n-1]
		h.batch.Reset()
		return h
	}
	return &held{}
}

// advance moves the clock and lets go what the gate held back until then.
func (b *bench) advance(to time.Time) {
	if b.progress {
		b.progress = false
		b.waiting = slices.DeleteFunc(b.waiting, func(h *held) bool {
			ok, _ := b.gate.Complete(&h.batch, h.need)
			if ok {
				b.join(h)
			}
			return ok
		})
	}
	n := 0
	for n < len(b.waiting) && !b.waiting[n].payload.Arrive.Add(b.hold).After(to) {
		b.join(b.waiting[n])
		n++
	}
	b.waiting = slices.Delete(b.waiting, 0, n)
	n = 0
	for n < len(b.later) && !b.later[n].Arrive.Add(laterBy).After(to) {
		b.askVersioned(&b.result.patient, b.later[n])
		n++
	}
	b.later = slices.Delete(b.later, 0, n)
	b.now = to
}

// join makes the rows of a payload and judges each of them.
func (b *bench) join(h *held) {
	b.rows.Reset()
	b.enricher.Enrich(&h.batch, &b.rows)
	for i := range b.rows.Rows {
		r := &b.rows.Rows[i]
		b.result.row(&h.payload.Truth[r.Index], r)
	}
	b.idle = append(b.idle, h)
}
