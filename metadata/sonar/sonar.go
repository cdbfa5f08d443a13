// Package sonar is the service of identity: it runs the sources, writes the identity log that workers tail, and answers who had
// an address at a time, with the evidence. Of several that share a log one runs the sources; the others stand by and answer.
package sonar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/store"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// Deps are what a Service needs from outside.
type Deps struct {
	// Store judges; the Service tells it everything. Required.
	Store *store.Store
	// Bucket is where the log lies. Required.
	Bucket idlog.Bucket
	// Sources are started when it is this process's turn. One that has a method Listed() error says itself when it has told
	// everything once; of others the first progress of each of their names counts. One that has Recall(*event.Event) is told
	// what was known of it before.
	Sources []event.Source
	// Name is this process, as it shows in the log.
	Name   string
	Logger zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Service is one dredge sonar.
type Service struct {
	log      idlog.Config
	settings idlog.Settings
	identity metadata.Config
	// startTimeout is how long the sources may take to tell everything once, before the log counts as loaded without.
	startTimeout time.Duration
	deps         Deps
	fold         *idlog.Fold
	reader       *idlog.Reader
	leader       idlog.Leader
	leading      prometheus.Gauge

	mu sync.Mutex
	// progressed are the names of sources that have made progress in this life.
	progressed map[string]struct{}
	leads      bool
}

// New returns a Service. It starts nothing.
func New(log idlog.Config, s idlog.Settings, identity metadata.Config, startTimeout time.Duration, deps Deps) (*Service, error) {
	if deps.Store == nil || deps.Bucket == nil {
		return nil, errors.New("BUG: sonar without a store or a bucket")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	sv := &Service{
		log: log, settings: s, identity: identity, startTimeout: startTimeout, deps: deps, fold: idlog.NewFold(identity.Retention),
		progressed: map[string]struct{}{},
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dredge_sonar_leading", Help: "1 while this process runs the sources and writes the identity log.",
		}),
	}
	reader, err := idlog.NewReader(log, s, idlog.ReaderDeps{
		Bucket: deps.Bucket, Target: sv, Logger: deps.Logger, Registerer: deps.Registerer, Now: deps.Now,
	})
	if err != nil {
		return nil, err
	}
	sv.reader = reader
	sv.leader = idlog.Leader{Bucket: deps.Bucket, Name: deps.Name, Lease: s.LeaseDuration, Logger: deps.Logger, Now: deps.Now}
	if deps.Registerer != nil {
		deps.Registerer.MustRegister(sv.leading)
	}
	return sv, nil
}

// Asker answers from what the Service knows.
func (s *Service) Asker() *Asker { return &Asker{Store: s.deps.Store, Fold: s.fold, Now: s.deps.Now} }

// Apply implements idlog.Target: what the log tells.
func (s *Service) Apply(e *event.Event) error {
	if err := s.deps.Store.Apply(e); err != nil {
		return err
	}
	return s.fold.Apply(e)
}

// Observe implements idlog.Target: what workers saw.
func (s *Service) Observe(x idlog.Sighting) {
	s.deps.Store.Observe(StoreSighting(s.deps.Store, x))
	s.fold.Observe(x)
}

// StoreSighting is a sighting of the log as the store takes it.
func StoreSighting(st *store.Store, x idlog.Sighting) store.Sighting {
	return store.Sighting{Scope: st.InternScope(x.Scope), ENI: x.ENI, IP: x.IP, Start: x.Start, End: x.End, Primary: x.Primary}
}

// Ready returns nil when the log was read to its end, and, while this process leads, when the sources have told everything once.
func (s *Service) Ready() error {
	s.mu.Lock()
	leads := s.leads
	s.mu.Unlock()
	if !leads {
		return s.reader.Ready()
	}
	if missing := s.missing(); len(missing) > 0 {
		return fmt.Errorf("not told everything yet: %s", strings.Join(missing, "; "))
	}
	return nil
}

// Leads says whether this process runs the sources.
func (s *Service) Leads() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leads
}

// Faults says what the sources cannot read at present.
func (s *Service) Faults() []string {
	var out []string
	if f := s.reader.Status().Fault; f != "" {
		out = append(out, f)
	}
	for _, src := range s.deps.Sources {
		out = append(out, src.Faults()...)
	}
	return out
}

// Run reads the log and keeps reading it, leads when it is this process's turn, and forgets what is older than the retention,
// until ctx ends. It returns when everything that it started has ended; idlog.ErrSuperseded when another process took the turn.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.reader.Run(ctx) })
	group.Go(func() error { return s.trim(ctx) })
	group.Go(func() error {
		if !s.awaitLog(ctx) {
			return nil
		}
		return s.leader.Run(ctx, s.lead)
	})
	return group.Wait()
}

func (s *Service) trim(ctx context.Context) error {
	ticker := time.NewTicker(min(s.identity.Retention/4, 10*time.Minute))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.fold.Trim(s.deps.Now())
		}
	}
}

// awaitLog waits until the log was read once: what earlier leaders knew goes into this one's first snapshot.
func (s *Service) awaitLog(ctx context.Context) bool {
	ticker := time.NewTicker(min(s.settings.PollInterval, 50*time.Millisecond))
	defer ticker.Stop()
	for s.reader.Status().Looked.IsZero() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

// lead runs the sources into a new stream of the log.
func (s *Service) lead(ctx context.Context) error {
	w, err := idlog.NewWriter(s.settings, idlog.Tracker, s.identity.Retention, idlog.WriterDeps{
		Bucket: s.deps.Bucket, Logger: s.deps.Logger, Registerer: s.deps.Registerer, Snapshotter: s.fold, State: s.deps.Store, Covers: s.reader.Covers, Now: s.deps.Now,
	})
	if err != nil {
		return err
	}
	s.reader.Ignore(w.Stream())
	if s.reader.Ready() == nil { // an earlier leader's sources had told everything: it stays true
		w.SetLoaded()
	}
	for _, src := range s.deps.Sources {
		if r, ok := src.(interface{ Recall(ev *event.Event) }); ok {
			s.fold.Each(r.Recall)
		}
	}
	s.setLeads(true)
	defer s.setLeads(false)

	// Sources end before the writer, so that it writes what they told last.
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beside errgroup.Group
	beside.Go(func() error { return w.Run(writing) })
	group, sctx := errgroup.WithContext(ctx)
	for _, src := range s.deps.Sources {
		group.Go(func() error {
			if err := src.Run(sctx, func(events []event.Event) error { return s.take(sctx, w, events) }); err != nil && sctx.Err() == nil {
				return fmt.Errorf("source %s: %w", strings.Join(src.Names(), ", "), err)
			}
			return nil
		})
	}
	group.Go(func() error { return s.awaitSources(sctx, w) })
	err = group.Wait()
	stop()
	return errors.Join(err, beside.Wait())
}

func (s *Service) setLeads(leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leads = leads
	s.leading.Set(0)
	if leads {
		s.leading.Set(1)
	}
}

// take is what sources emit into: the store and the fold first, then the log.
func (s *Service) take(ctx context.Context, w *idlog.Writer, events []event.Event) error {
	good := make([]event.Event, 0, len(events))
	for i := range events {
		if s.Apply(&events[i]) != nil {
			continue // the store has counted it
		}
		good = append(good, events[i])
		if events[i].Op == event.Progress {
			s.mu.Lock()
			s.progressed[events[i].Src] = struct{}{}
			s.mu.Unlock()
		}
	}
	return w.Emit(ctx, good)
}

// missing says which sources have not told everything once.
func (s *Service) missing() []string {
	var out []string
	for _, src := range s.deps.Sources {
		if l, ok := src.(interface{ Listed() error }); ok {
			if err := l.Listed(); err != nil {
				out = append(out, err.Error())
			}
			continue
		}
		s.mu.Lock()
		for _, name := range src.Names() {
			if _, ok := s.progressed[name]; !ok {
				out = append(out, name+" has made no progress yet")
			}
		}
		s.mu.Unlock()
	}
	return out
}

// awaitSources marks the log as loaded when every source has told everything once, or has had the time for it.
func (s *Service) awaitSources(ctx context.Context, w *idlog.Writer) error {
	deadline := time.NewTimer(s.startTimeout)
	defer deadline.Stop()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		missing := s.missing()
		if len(missing) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-deadline.C:
			s.deps.Logger.Error().Strs("missing", missing).Dur("waited", s.startTimeout).
				Msg("sources have not told everything yet; workers may start without it")
			w.SetLoaded()
			return nil
		case <-ticker.C:
		}
	}
	w.SetLoaded()
	return nil
}
