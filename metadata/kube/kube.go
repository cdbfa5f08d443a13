// Package kube watches the pods of Kubernetes clusters and tells who had which address as identity events.
//
// A pod's claim is a layer above the claim of the interface that carries its address: it names an end, the interface only proves
// where the address is. Pods on their node's network claim nothing. Progress is told from a watch without gaps only: the server is
// asked for its newest version, and once the watch has reached it, everything up to the time of the question has been told.
package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// Target takes what the clusters tell.
type Target interface {
	// Apply takes one event in; it refuses faulty ones. The event is the caller's again afterwards. It is called by several
	// goroutines at once when there are several clusters.
	Apply(e *event.Event) error
}

// Claim is what an earlier run told and nobody has ended since.
type Claim struct {
	Owner, Scope, IP string
	// From is the claim's start, Known until when it is known to have held, in Unix milliseconds.
	From, Known int64
}

// Dependencies are what a Source needs from outside.
type Dependencies struct {
	// Target takes the events. Required.
	Target Target
	Logger zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Names names applications; nil leaves them to each cluster's app_labels.
	Names Namer
	// Open returns the claims that an earlier run of the source of this name left open; those of pods that are gone are released
	// after the first listing. nil when nothing was kept.
	Open func(src string) []Claim
	// Connect returns a client of a cluster and its base URL; nil is Connect of this package.
	Connect func(Cluster) (*http.Client, string, error)
}

// Source watches clusters. Call Run once.
type Source struct {
	deps     Dependencies
	clusters []*cluster
}

// SourceName is the src of a cluster's events.
func SourceName(cluster string) string { return "kube/" + cluster }

// New returns a Source. It reads credentials and dials nothing.
func New(cfg Config, deps Dependencies) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making kubernetes source: %w", err)
	}
	if len(cfg.Clusters) == 0 {
		return nil, errors.New("making kubernetes source: clusters: is empty; write the clusters to watch")
	}
	if deps.Target == nil {
		return nil, errors.New("BUG: kubernetes source without a target")
	}
	if deps.Connect == nil {
		deps.Connect = Connect
	}
	s := &Source{deps: deps}
	vecs := newMetrics(deps.Registerer)
	for _, c := range cfg.Clusters {
		client, base, err := deps.Connect(c)
		if err != nil {
			return nil, fmt.Errorf("making kubernetes source: %w", err)
		}
		s.clusters = append(s.clusters, newCluster(c, deps, client, base, vecs.of(c.Name)))
	}
	return s, nil
}

// Sources returns the src of every cluster, so that a store can expect them.
func (s *Source) Sources() []string {
	out := make([]string, 0, len(s.clusters))
	for _, c := range s.clusters {
		out = append(out, c.src)
	}
	return out
}

// Loaded says whether every cluster was listed completely since Run began, with the name of one that was not. Any goroutine may
// ask.
func (s *Source) Loaded() (ok bool, missing string) {
	for _, c := range s.clusters {
		if !c.loaded.Load() {
			return false, c.cfg.Name
		}
	}
	return true, ""
}

// Renamed says that Names gives other names from now on: pods get theirs when they change, and all of them when the present watch
// ends, which is within five minutes. Any goroutine may call it.
func (s *Source) Renamed() {
	for _, c := range s.clusters {
		c.renamed.Store(true)
	}
}

// Run watches until ctx ends. A cluster that cannot be reached costs the others nothing. It returns nil.
func (s *Source) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, c := range s.clusters {
		g.Go(func() error { return c.run(ctx) })
	}
	return g.Wait()
}

// Check lists one pod and one node of every cluster and returns what went wrong: the answers that Run would wait for.
func (s *Source) Check(ctx context.Context) error {
	var errs []error
	for _, c := range s.clusters {
		for _, path := range [...]string{podsPath, nodesPath} {
			w := watcher{client: c.client, base: c.base, path: path}
			if _, err := w.newest(ctx); err != nil {
				errs = append(errs, fmt.Errorf("cluster %s: %w", c.cfg.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// progressEvery is how often progress is told and the server's newest version asked for.
const progressEvery = 10 * time.Second
