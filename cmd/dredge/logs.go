package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/enrich"
	"dredge/internal/blob"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/sonar"
	"dredge/metadata/store"
)

// identityLogs is a worker's part in the identity logs: it reads those of all configured regions, and writes what its traffic
// showed into the local one.
type identityLogs struct {
	buckets []*blob.Bucket
	local   []*idlog.Reader
	remote  []*idlog.Reader
	// remoteScopes are the routing domains that only other regions' logs tell of: they hold no row back.
	remoteScopes scopeSet
	// writer and sharer are nil without a local log.
	writer *idlog.Writer
	sharer *idlog.Sharer
	// fold is what the worker's own snapshots are made of, in a log that no sonar writes; else nil.
	fold *idlog.Fold
}

// remoteWait is how long the first lease waits for other regions' logs.
const remoteWait = 30 * time.Second

func newIdentityLogs(c config.IdentityConfig, st *store.Store, log zerolog.Logger, reg prometheus.Registerer) (*identityLogs, error) {
	l := &identityLogs{}
	for _, lc := range c.Logs {
		bucket, err := blob.New(lc.URL)
		if err != nil {
			return nil, fmt.Errorf("identity.logs: %w", err)
		}
		l.buckets = append(l.buckets, bucket)
		target := &logTarget{store: st}
		deps := idlog.ReaderDeps{Bucket: bucket, Target: target, State: st, Logger: log, Registerer: reg}
		if lc.Remote {
			target.remote = &l.remoteScopes
			deps.State = foreignState{st, &l.remoteScopes}
		}
		r, err := idlog.NewReader(lc, c.LogSettings, deps)
		if err != nil {
			return nil, err
		}
		if lc.Remote {
			l.remote = append(l.remote, r)
			continue
		}
		l.local = append(l.local, r)
		if l.writer == nil {
			if err := l.share(c, lc, bucket, r, log, reg); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// share makes the writer of this worker's sightings.
func (l *identityLogs) share(c config.IdentityConfig, lc idlog.Config, bucket *blob.Bucket, r *idlog.Reader, log zerolog.Logger, reg prometheus.Registerer) error {
	deps := idlog.WriterDeps{Bucket: bucket, Logger: log, Registerer: reg, Covered: r.Covered}
	if lc.SightingsOnly {
		l.fold = idlog.NewFold(c.Store.Retention)
		deps.Snapshotter = l.fold
	}
	w, err := idlog.NewWriter(c.LogSettings, idlog.Worker, c.Store.Retention, deps)
	if err != nil {
		return err
	}
	r.Ignore(w.Stream())
	l.writer, l.sharer = w, idlog.NewSharer(c.LogSettings, w, l.fold, reg, nil)
	return nil
}

// run reads and writes until ctx ends, then writes what is left.
func (l *identityLogs) run(ctx context.Context) error {
	var group errgroup.Group
	for _, r := range append(slices.Clip(l.local), l.remote...) {
		group.Go(func() error { return r.Run(ctx) })
	}
	if l.writer != nil {
		group.Go(func() error { return l.writer.Run(ctx) })
	}
	if l.fold != nil {
		group.Go(func() error { return l.trim(ctx) })
	}
	return group.Wait()
}

func (l *identityLogs) trim(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			l.fold.Trim(now)
		}
	}
}

func (l *identityLogs) close() error {
	var errs []error
	for _, b := range l.buckets {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// ready returns nil when every log was read to its end lately; the others' only when they are asked for.
func (l *identityLogs) ready(others bool) error {
	var errs []error
	for _, r := range l.local {
		errs = append(errs, r.Ready())
	}
	for _, r := range l.remote {
		if others {
			errs = append(errs, r.Ready())
		}
	}
	return errors.Join(errs...)
}

// problems says what is wrong with the logs, for the page.
func (l *identityLogs) problems() []string {
	var out []string
	for _, r := range append(slices.Clip(l.local), l.remote...) {
		switch err := r.Ready(); {
		case err != nil:
			out = append(out, err.Error())
		case r.Status().Fault != "":
			out = append(out, "identity log "+r.URL()+": "+r.Status().Fault)
		}
	}
	return out
}

// logTarget takes what a log holds into the store.
type logTarget struct {
	store *store.Store
	// remote takes the scopes of another region's log; nil for a local one.
	remote *scopeSet
}

// Apply implements idlog.Target.
func (t *logTarget) Apply(e *event.Event) error {
	if t.remote != nil && e.Scope != "" {
		t.remote.add(t.store.InternScope(e.Scope))
	}
	return t.store.Apply(e)
}

// Observe implements idlog.Target.
func (t *logTarget) Observe(s idlog.Sighting) { t.store.Observe(sonar.StoreSighting(t.store, s)) }

// foreignState takes the compact form of another region's log.
type foreignState struct {
	*store.Store
	scopes *scopeSet
}

// ReadSnapshot implements idlog.Compact.
func (f foreignState) ReadSnapshot(r io.Reader) error { return f.ReadForeignSnapshot(r, f.scopes.add) }

// scopeSet is a set of scopes that only grows. It is safe for concurrent use.
type scopeSet struct {
	mu     sync.RWMutex
	scopes map[metadata.Scope]struct{}
}

func (s *scopeSet) add(sc metadata.Scope) {
	if s.has(sc) || sc == metadata.Public {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scopes == nil {
		s.scopes = map[metadata.Scope]struct{}{}
	}
	s.scopes[sc] = struct{}{}
}

func (s *scopeSet) has(sc metadata.Scope) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.scopes[sc]
	return ok
}

// localGate asks how complete the sources are, of those scopes that this region's own logs and sources tell of.
type localGate struct {
	of     enrich.Completeness
	remote *scopeSet
}

// CompleteEverywhere is true when even the scopes of other regions are complete.
func (g localGate) CompleteEverywhere(t int64) bool {
	all, can := g.of.(interface{ CompleteEverywhere(t int64) bool })
	return can && all.CompleteEverywhere(t)
}

// Complete implements enrich.Completeness.
func (g localGate) Complete(scopes []metadata.Scope, t int64) (ok bool, changed <-chan struct{}) {
	for i, sc := range scopes {
		if !g.remote.has(sc) {
			continue
		}
		local := append([]metadata.Scope(nil), scopes[:i]...)
		for _, sc := range scopes[i+1:] {
			if !g.remote.has(sc) {
				local = append(local, sc)
			}
		}
		return g.of.Complete(local, t)
	}
	return g.of.Complete(scopes, t)
}
