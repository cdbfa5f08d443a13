package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Part is a setting that can change while dredge runs.
type Part struct {
	// Key is a setting such as pipeline.hold, or a section, which stands for all settings in it.
	Key string
	// Prepare checks what next asks for and gets it ready, without changing anything yet. The function that it returns puts
	// it in force and cannot fail. Prepare is called only when something of Key differs from what is in force, and never by
	// two goroutines at once.
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

	mu  sync.Mutex // held for a whole reload, so that two never mix
	now Config
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
	r := &Reloader{deps: deps, now: now, metrics: reloadMetrics{
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

// Reload reads the configuration and puts it in force. It returns the keys that changed. An error says why the file was
// refused as a whole; then everything stays as it is.
func (r *Reloader) Reload() ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, err := r.reload()
	switch {
	case err != nil:
		r.metrics.reloads[ReloadRefused].Inc()
		r.metrics.successful.Set(0)
		return nil, err
	case len(changed) == 0:
		r.metrics.reloads[ReloadUnchanged].Inc()
	default:
		r.metrics.reloads[ReloadApplied].Inc()
	}
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
		if !slices.ContainsFunc(changed, p.covers) {
			continue
		}
		commit, err := p.Prepare(next)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Key, err))
			continue
		}
		commits = append(commits, commit)
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
