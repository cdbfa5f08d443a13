package enrich

import (
	"errors"
	"slices"
	"sync"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// Completeness tells how far the sources of identity have told everything.
type Completeness interface {
	// Complete says whether every source that matters for scopes has told everything up to t (Unix milliseconds). When it
	// has not, changed is closed at the next progress of any of them. scopes is borrowed until it returns.
	Complete(scopes []metadata.Scope, t int64) (ok bool, changed <-chan struct{})
}

// everywhere is a Completeness that can say without being told the scopes that Complete would be true of all. False means nothing.
type everywhere interface{ CompleteEverywhere(t int64) bool }

// Gate tells the pipeline whether a batch can be joined: it finds the scopes that the join would ask, and asks how complete
// those are. It is the pipeline's Watermarks. Safe for concurrent use.
type Gate struct {
	e  *Enricher
	of Completeness

	mu   sync.Mutex
	idle [][]metadata.Scope
}

// NewGate returns a Gate for what e joins.
func NewGate(e *Enricher, of Completeness) (*Gate, error) {
	if e == nil || of == nil {
		return nil, errors.New("making a gate: enricher and completeness are both needed")
	}
	return &Gate{e: e, of: of}, nil
}

// Complete says whether every source that matters for in has told everything up to t (Unix milliseconds).
func (g *Gate) Complete(in *flowlog.Batch, t int64) (ok bool, changed <-chan struct{}) {
	// Nearly always: then the records need not be asked for their scopes.
	if all, can := g.of.(everywhere); can && all.CompleteEverywhere(t) {
		return true, nil
	}
	scopes := g.take()
	s := g.e.take()
	scopes = s.start(g.e, in, nil).scopes(scopes)
	g.e.give(s)
	ok, changed = g.of.Complete(scopes, t)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = append(g.idle, scopes[:0])
	return ok, changed
}

func (g *Gate) take() []metadata.Scope {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.idle); n > 0 {
		s := g.idle[n-1]
		g.idle = g.idle[:n-1]
		return s
	}
	return nil
}

// scopes appends the scopes that the records of the batch touch, each once.
func (j *join) scopes(list []metadata.Scope) []metadata.Scope {
	add := func(s metadata.Scope) {
		if s != metadata.NoScope && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	var f flow
	for i := range j.in.Records {
		if i%warmBlock == 0 {
			j.warm(&j.scratch.ahead, j.in.Records[i:], noAddresses)
		}
		r := &j.in.Records[i]
		if !Flow(r) {
			continue
		}
		last := f.r
		f.r, f.w = r, metadata.Window{Start: r.Start, End: r.End}
		f.ends()
		j.layout(r)
		if j.traits.nextHop || j.traits.transit || r.InterfaceID == "" || last == nil || r.Format != last.Format ||
			r.InterfaceID != last.InterfaceID || r.VPCID != last.VPCID {
			f.by, f.local = recorder{}, row.EndUnknown
			j.recorder(&f)
			add(f.by.scope)
			if j.traits.nextHop {
				j.locate(&f) // only there does an end's scope depend on the side it is on
			}
		}
		for k, e := range [...]*end{&f.src, &f.dst} {
			s, _ := j.scope(&f, e, sides[k])
			add(s)
		}
	}
	return list
}
