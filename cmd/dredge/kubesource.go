package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/metadata/event"
	"dredge/metadata/kube"
)

// kubeSource makes the watch of Kubernetes clusters a source like the others.
type kubeSource struct {
	source *kube.Source
	emit   event.Emit // set by Run
	// claims and vouched are what sources told in an earlier life, by source.
	claims  map[string]map[kubeClaim]kubeTenure
	vouched map[string]int64
}

type kubeClaim struct{ owner, scope, ip string }

// kubeTenure is the last time that a pod was told to have an address: it has it still when it took it after it gave it back.
type kubeTenure struct{ took, gave int64 }

var _ event.Source = (*kubeSource)(nil)

func newKubeSource(c kube.Config, names endpointNamer, log zerolog.Logger, reg prometheus.Registerer) (*kubeSource, error) {
	k := &kubeSource{claims: map[string]map[kubeClaim]kubeTenure{}, vouched: map[string]int64{}}
	var err error
	k.source, err = kube.New(c, kube.Dependencies{Target: k, Names: names, Logger: log, Registerer: reg, Open: k.open})
	return k, err
}

// Recall tells the source an event of an earlier life, before Run and in any order: pods that have gone meanwhile are then released.
// Events of other sources are passed over.
func (k *kubeSource) Recall(ev *event.Event) {
	if !strings.HasPrefix(ev.Src, kube.SourceName("")) {
		return
	}
	if ev.Op == event.Progress {
		k.vouched[ev.Src] = max(k.vouched[ev.Src], ev.To)
		return
	}
	if ev.IP == "" || ev.Op != event.Assign && ev.Op != event.Release {
		return
	}
	claims := k.claims[ev.Src]
	if claims == nil {
		claims = map[kubeClaim]kubeTenure{}
		k.claims[ev.Src] = claims
	}
	key := kubeClaim{ev.Owner, ev.Scope, ev.IP}
	t := claims[key]
	if ev.Op == event.Release {
		t.gave = max(t.gave, ev.End())
	} else {
		t.took, t.gave = max(t.took, ev.Start()), max(t.gave, ev.To)
	}
	claims[key] = t
}

// open returns the claims that were recalled and not given back, once.
func (k *kubeSource) open(src string) (out []kube.Claim) {
	for c, t := range k.claims[src] {
		if t.took > t.gave {
			out = append(out, kube.Claim{Owner: c.owner, Scope: c.scope, IP: c.ip, From: t.took, Known: max(t.took, k.vouched[src])})
		}
	}
	return out
}

// Names implements event.Source.
func (k *kubeSource) Names() []string { return k.source.Sources() }

// Faults implements event.Source.
func (k *kubeSource) Faults() []string {
	if err := k.Listed(); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// Listed says whether every cluster was listed once.
func (k *kubeSource) Listed() error {
	if ok, missing := k.source.Loaded(); !ok {
		return fmt.Errorf("cluster %s was not listed yet", missing)
	}
	return nil
}

// Run implements event.Source.
func (k *kubeSource) Run(ctx context.Context, emit event.Emit) error {
	k.emit = emit
	return k.source.Run(ctx)
}

// Apply implements kube.Target.
func (k *kubeSource) Apply(e *event.Event) error { return k.emit([]event.Event{*e}) }
