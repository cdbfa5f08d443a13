package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/metadata/event"
	"dredge/metadata/file"
	"dredge/metadata/networks"
)

// sources are the configured sources of identity, and which of their settings can change while they run.
type sources struct {
	list  []event.Source
	parts []config.Part
}

// newSources makes the configured sources of identity. They ask nobody anything before they run.
func newSources(c config.Config, base aws.Config, log zerolog.Logger, reg prometheus.Registerer) (sources, error) {
	var out sources
	if c.Identity.File.Path != "" {
		f, err := newFileSource(c.Identity.File, log, reg)
		if err != nil {
			return out, fmt.Errorf("identity.file: %w", err)
		}
		out.list = append(out.list, f)
	}
	names, err := newNames(c)
	if err != nil {
		return out, err
	}
	var renamed []func()
	if len(c.Identity.Kube.Clusters) > 0 {
		k, err := newKubeSource(c.Identity.Kube, names, log, reg)
		if err != nil {
			return out, fmt.Errorf("identity.kube: %w", err)
		}
		out.list = append(out.list, k)
		renamed = append(renamed, k.source.Renamed)
	}
	estates, err := newAWSSources(c, base, names, log, reg)
	if err != nil {
		return out, err
	}
	for _, src := range estates.list {
		out.list = append(out.list, src)
	}
	out.parts = append(out.parts, namesPart(names, renamed...))
	if len(out.list) > 0 || len(c.Identity.Networks) > 0 {
		declared := newNetworksSource(c.Identity.Networks)
		out.list = append(out.list, declared)
		out.parts = append(out.parts, networksPart(declared))
	}
	return out, nil
}

// teller is a function that takes events one by one.
type teller func(e *event.Event) error

// Apply implements networks.Target.
func (t teller) Apply(e *event.Event) error { return t(e) }

// networksSource makes the configured networks a source like the others.
type networksSource struct {
	first networks.Config
	next  chan networks.Config // holds the newest list that was not told yet
}

func newNetworksSource(list networks.Config) *networksSource {
	return &networksSource{first: list, next: make(chan networks.Config, 1)}
}

// replace has list told in place of what was told. Calls must not overlap.
func (n *networksSource) replace(list networks.Config) {
	select {
	case <-n.next: // was not told yet, and never will be
	default:
	}
	n.next <- list
}

// Names implements event.Source: networks hold nothing back, so nothing waits for them.
func (*networksSource) Names() []string { return nil }

// Faults implements event.Source.
func (*networksSource) Faults() []string { return nil }

// Run implements event.Source.
func (n *networksSource) Run(ctx context.Context, emit event.Emit) error {
	target := teller(func(e *event.Event) error { return emit([]event.Event{*e}) })
	told := n.first
	err := told.Tell(target)
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case list := <-n.next:
			err = told.Update(list, time.Now(), target)
			told = list
		}
	}
	return err
}

// fileSource makes identity files a source like the others.
type fileSource struct {
	path   string
	source *file.Source
	emit   event.Emit // set by Run
}

var _ event.Source = (*fileSource)(nil)

func newFileSource(c file.Config, log zerolog.Logger, reg prometheus.Registerer) (*fileSource, error) {
	f := &fileSource{path: c.Path}
	src, err := file.New(c, file.Dependencies{Target: f, Logger: log, Registerer: reg})
	if err != nil {
		return nil, err
	}
	f.source = src
	return f, nil
}

// Names implements event.Source: the files' lines say who tells.
func (*fileSource) Names() []string { return nil }

// Faults implements event.Source: the source logs and counts what it cannot read.
func (f *fileSource) Faults() []string {
	if err := f.Listed(); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// Listed says whether the files were read to their end once.
func (f *fileSource) Listed() error {
	if !f.source.Loaded() {
		return fmt.Errorf("%s was not read to its end yet", f.path)
	}
	return nil
}

// Run implements event.Source.
func (f *fileSource) Run(ctx context.Context, emit event.Emit) error {
	f.emit = emit
	return f.source.Run(ctx)
}

// Apply implements file.Target.
func (f *fileSource) Apply(e *event.Event) error { return f.emit([]event.Event{*e}) }

// MarkProgress implements file.Target.
func (f *fileSource) MarkProgress(src string, t int64) {
	_ = f.emit([]event.Event{{Src: src, Op: event.Progress, To: t}}) // an error only says that the end has come
}

// MarkComplete implements file.Target. A file that is followed never says it.
func (*fileSource) MarkComplete(string) {}
