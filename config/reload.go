package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Part is a setting that can change while dredge runs.
type Part struct {
	// Key is a setting such as pipeline.hold, or a section, which stands for all settings in it.
	Key string
	// Files says that Key names a file whose content is part of the setting: Prepare is called at every reload, and returns a
	// nil commit when neither the setting nor the file has changed.
	Files bool
	// Prepare checks what next asks for and gets it ready, without changing anything yet. The function that it returns puts
	// it in force and cannot fail. Without Files, Prepare is called only when something of Key differs from what is in force.
	// It is never called by two goroutines at once.
	Prepare func(next Config) (commit func(), err error)
}

// The outcomes of a reload, as the metric counts them.
const (
	ReloadApplied   = "applied"
	ReloadUnchanged = "unchanged"
	ReloadRefused   = "refused"
)

// ReloaderDeps are what a Reloader works with.
type ReloaderDeps struct {
	// Load reads the configuration anew, as it was read at the start.
	Load func() (Config, error)
	// Parts are the settings that can change. Everything else needs a restart.
	Parts    []Part
	Registry prometheus.Registerer
}

// Reloader puts a changed configuration in force: all of it or nothing. Safe for concurrent use.
type Reloader struct {
	deps    ReloaderDeps
	metrics reloadMetrics

	mu     sync.Mutex // held for a whole reload, so that two never mix
	now    Config
	since  time.Time
	denied *Refusal
}

// Refusal is a configuration that was read and is not in force.
type Refusal struct {
	At time.Time
	// Err holds every reason.
	Err error
}

type reloadMetrics struct {
	reloads    map[string]prometheus.Counter
	successful prometheus.Gauge
	last       prometheus.Gauge
}

// NewReloader returns a Reloader for a process in which now is in force.
func NewReloader(now Config, deps ReloaderDeps) (*Reloader, error) {
	known := leaves(reflect.TypeFor[Config](), "")
	for _, p := range deps.Parts {
		if !slices.ContainsFunc(known, func(f field) bool { return p.covers(f.path) }) {
			return nil, fmt.Errorf("BUG: no setting is called %q", p.Key)
		}
	}
	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_config_reloads_total", Help: "Times the configuration was read anew, by outcome; a refused one changed nothing.",
	}, []string{"outcome"})
	r := &Reloader{deps: deps, now: now, since: time.Now(), metrics: reloadMetrics{
		reloads: map[string]prometheus.Counter{},
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dredge_config_last_reload_successful", Help: "1 when the configuration file, as last read, is in force; 0 when it was refused.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dredge_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was read.",
		}),
	}}
	for _, outcome := range []string{ReloadApplied, ReloadUnchanged, ReloadRefused} {
		r.metrics.reloads[outcome] = reloads.WithLabelValues(outcome)
	}
	for _, c := range []prometheus.Collector{reloads, r.metrics.successful, r.metrics.last} {
		if err := deps.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register reload metrics: %w", err)
		}
	}
	r.metrics.successful.Set(1)
	r.metrics.last.SetToCurrentTime()
	return r, nil
}

// Current returns the configuration in force.
func (r *Reloader) Current() Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// Standing returns when the configuration in force was read, and the refusal of a later one; nil when the last one read is in force.
func (r *Reloader) Standing() (since time.Time, refused *Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, r.denied
}

// Reload reads the configuration and puts it in force. It returns the keys that changed, also those whose files did. An error says why the
// whole was refused; then everything stays as it is.
func (r *Reloader) Reload() ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, err := r.reload()
	switch {
	case err != nil:
		r.denied = &Refusal{At: time.Now(), Err: err}
		r.metrics.reloads[ReloadRefused].Inc()
		r.metrics.successful.Set(0)
		return nil, err
	case len(changed) == 0:
		r.metrics.reloads[ReloadUnchanged].Inc()
	default:
		r.metrics.reloads[ReloadApplied].Inc()
	}
	r.since, r.denied = time.Now(), nil
	r.metrics.successful.Set(1)
	r.metrics.last.SetToCurrentTime()
	return changed, nil
}

func (r *Reloader) reload() ([]string, error) {
	next, err := r.deps.Load()
	if err != nil {
		return nil, err
	}
	changed := Changes(r.now, next)
	var errs []error
	for _, key := range changed {
		if !slices.ContainsFunc(r.deps.Parts, func(p Part) bool { return p.covers(key) }) {
			errs = append(errs, fmt.Errorf("%s: cannot change while dredge runs; write the old value back, or restart to change it (what can: %s)", key, r.keys()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var commits []func()
	for _, p := range r.deps.Parts {
		told := slices.ContainsFunc(changed, p.covers)
		if !told && !p.Files {
			continue
		}
		commit, err := p.Prepare(next)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", p.Key, err))
		case commit != nil:
			commits = append(commits, commit)
			if !told {
				changed = append(changed, p.Key)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, commit := range commits {
		commit()
	}
	r.now = next
	return changed, nil
}

// keys lists what can change.
func (r *Reloader) keys() string {
	list := make([]string, 0, len(r.deps.Parts))
	for _, p := range r.deps.Parts {
		list = append(list, p.Key)
	}
	return strings.Join(list, ", ")
}
