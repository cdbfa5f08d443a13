package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/enrich"
	"dredge/enrich/rules"
	"dredge/enrich/segment"
	"dredge/metadata"
	"dredge/metadata/idlog"
	"dredge/metadata/store"
	"dredge/pipeline"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink"
)

// core is what run, replay and demo have in common: identity, the join, and the pipeline into a sink.
type core struct {
	identity *store.Store
	pipeline *pipeline.Pipeline
	rules    *rules.Rules
	// sets are the column sets, beside core, that the join fills.
	sets []row.Set
	// segments is nil when no edges are declared.
	segments *segment.Segments
}

// coreDeps is what differs between them.
type coreDeps struct {
	sink       sink.Sink
	deadLetter sink.DeadLetter
	identity   *store.Store
	// public names public ends; nil leaves that to the records.
	public enrich.PublicNames
	// gate holds rows back until identity is complete; a replay knows everything beforehand.
	gate bool
	// ask looks up interfaces that traffic shows and nobody knows; nil leaves them unknown.
	ask func(eni string)
	// foreknown says that heartbeats were taken beforehand, so this core takes none.
	foreknown bool
	// logs are the identity logs that sightings go to; nil shares none.
	logs *identityLogs
	// tap is shown every row; nil when nobody can look.
	tap func(*row.Batch)
	// wrap stands around the join; nil leaves it alone.
	wrap func(pipeline.Enricher) pipeline.Enricher
	log  zerolog.Logger
	reg  prometheus.Registerer
}

func newCore(c config.Config, d coreDeps) (*core, error) {
	own, err := rules.New(c.Rules, d.reg)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	sets := append(c.Rows.NeededSets(), own.Sets()...)
	joinDeps := enrich.Deps{Resolver: d.identity, Public: d.public, Rules: own, Registerer: d.reg}
	segments, err := loadSegments(c, d.log, d.reg)
	if err != nil {
		return nil, err
	}
	if segments != nil {
		joinDeps.Segments = segments
		sets = append(sets, segment.Sets()...)
	}
	join, err := enrich.New(enrich.Config{
		NamingGrades: c.Identity.Store.Naming(),
		ColumnSets:   sets,
		LateAfter:    c.Rows.LateAfter,
	}, joinDeps)
	if err != nil {
		return nil, fmt.Errorf("make join: %w", err)
	}
	beats := heartbeats{Store: d.identity}
	complete := enrich.Completeness(d.identity)
	if d.logs != nil {
		beats.share = d.logs.sharer
		complete = localGate{of: d.identity, remote: &d.logs.remoteScopes}
	}
	sightings, err := enrich.NewSightings(d.identity, askFor(beats, d.identity, d.ask))
	if err != nil {
		return nil, err
	}
	deps := pipeline.Deps{
		Sink: d.sink, Enricher: join, DeadLetter: d.deadLetter, Tap: d.tap, Rules: own.Names(), Log: d.log, Registry: d.reg,
	}
	if d.wrap != nil {
		deps.Enricher = d.wrap(join)
	}
	if !d.foreknown {
		deps.Observer = sightings
	}
	if d.gate {
		gate, err := enrich.NewGate(join, complete)
		if err != nil {
			return nil, err
		}
		deps.Watermarks = gate
	}
	p, err := pipeline.New(c.Pipeline, deps)
	if err != nil {
		return nil, err
	}
	return &core{identity: d.identity, pipeline: p, rules: own, sets: sets, segments: segments}, nil
}

// loadSegments reads the declared edges; nil when there are none. A faulty file ends the start, as a faulty configuration does.
func loadSegments(c config.Config, log zerolog.Logger, reg prometheus.Registerer) (*segment.Segments, error) {
	if !c.Segmentation.Enabled() {
		return nil, nil
	}
	s, err := segment.New(c.Segmentation, segment.Dependencies{Logger: log, Registerer: reg})
	if err == nil {
		err = s.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("segmentation: %w", err)
	}
	return s, nil
}

// heartbeats hands what traffic proves to the store, and to the other workers.
type heartbeats struct {
	*store.Store
	// share is nil when nobody else is told.
	share *idlog.Sharer
}

// Observe implements enrich.Heartbeats.
func (h heartbeats) Observe(s enrich.Sighting) {
	ok := h.Store.Observe(store.Sighting{Scope: s.Scope, ENI: s.ENI, IP: s.IP, Start: s.Start, End: s.End, Primary: s.Primary})
	if !ok || h.share == nil {
		return
	}
	scope := s.Scope
	if scope == metadata.NoScope {
		scope = h.ScopeOfInterface(s.ENI)
	}
	h.share.Observe(idlog.Sighting{Scope: h.ScopeName(scope), ENI: s.ENI, IP: s.IP, Start: s.Start, End: s.End, Primary: s.Primary})
}

// newEncoder makes the JSON encoder of raw rows as c wants them.
func newEncoder(c row.Config) (*encode.JSON, error) {
	return encode.NewJSON(c.Columns(row.Raw))
}

// closers closes in reverse order what was opened.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c closers) close() error {
	var errs []error
	for _, closer := range slices.Backward(c) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}
