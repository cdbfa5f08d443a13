package flowgen

import (
	"slices"
	"strings"

	"dredge/metadata/event"
)

// LatestValue is the join that most pipelines have: a map from address to whoever was last said to have it. It is kind to
// itself: a release removes only the owner that it names, and pods and tasks are not hidden by their node's interface.
type LatestValue struct {
	upper, lower map[scoped]held // claims of pods and tasks; claims of interfaces
}

type scoped struct{ scope, ip string }

type held struct{ owner, app string }

// NewLatestValue returns an empty map.
func NewLatestValue() *LatestValue {
	return &LatestValue{upper: map[scoped]held{}, lower: map[scoped]held{}}
}

// Apply takes an event as it arrives.
func (m *LatestValue) Apply(e *event.Event) {
	if e.IP == "" {
		return
	}
	layer := m.upper
	if len(e.Owner) > 4 && e.Owner[:4] == "eni:" {
		layer = m.lower
	}
	k := scoped{e.Scope, e.IP}
	switch e.Op {
	case event.Assign:
		app := ""
		if e.WL != nil {
			app = e.WL.App
		}
		layer[k] = held{e.Owner, app}
	case event.Release:
		if layer[k].owner == e.Owner {
			delete(layer, k)
		}
	default: // the rest says nothing of who has an address
	}
}

// Name returns the application that is now said to have the address, "" for none.
func (m *LatestValue) Name(scope, ip string) string {
	k := scoped{scope, ip}
	if h, ok := m.upper[k]; ok {
		return h.app
	}
	return m.lower[k].app
}

// Versioned is the join that better pipelines have: a history of owners for each address, asked for the time at which the flow
// began. A release ends the tenure of the owner that it names and of nobody else. It knows no guard, no watermark and no
// heartbeat, and takes the owner that came last.
type Versioned struct {
	upper, lower map[scoped][]version
}

type version struct {
	owner, app string
	from, to   int64
}

// NewVersioned returns an empty history.
func NewVersioned() *Versioned {
	return &Versioned{upper: map[scoped][]version{}, lower: map[scoped][]version{}}
}

// Apply takes an event as it arrives.
func (m *Versioned) Apply(e *event.Event) {
	if e.IP == "" {
		return
	}
	layer := m.upper
	if strings.HasPrefix(e.Owner, "eni:") {
		layer = m.lower
	}
	k := scoped{e.Scope, e.IP}
	vs := layer[k]
	switch e.Op {
	case event.Assign:
		v := version{owner: e.Owner, from: e.From, to: forever}
		if e.To != 0 {
			v.to = e.To
		}
		if e.WL != nil {
			v.app = e.WL.App
		}
		i := len(vs)
		for i > 0 && vs[i-1].from > v.from {
			i--
		}
		layer[k] = slices.Insert(vs, i, v)
	case event.Release:
		for i := range vs {
			if vs[i].owner == e.Owner && vs[i].from <= e.To {
				vs[i].to = min(vs[i].to, e.To)
			}
		}
	default: // the rest says nothing of who has an address
	}
}

// Name returns the application that is said to have had the address at a time (Unix milliseconds), "" for none.
func (m *Versioned) Name(scope, ip string, at int64) string {
	k := scoped{scope, ip}
	for _, layer := range [...]map[scoped][]version{m.upper, m.lower} {
		for _, v := range slices.Backward(layer[k]) {
			if v.from <= at && at < v.to {
				return v.app
			}
		}
	}
	return ""
}

// BaselineResult is how a latest-value join did, asked at the time each line arrived and told the true scope of both ends.
type BaselineResult struct {
	// Lines is the number of lines with data; WrongLines had a wrong name at either end.
	Lines, WrongLines int64
	// Ends is the number of ends whose owner had an application; Wrong is the number of wrong names (also for ends without
	// an owner), Unnamed of owned ends without a name.
	Ends, Wrong, Unnamed int64
}

type baseline struct {
	latest *LatestValue
	result BaselineResult
}

func (b *baseline) ask(truth []Expected) {
	for i := range truth {
		e := &truth[i]
		if e.Status != "OK" {
			continue
		}
		b.result.Lines++
		src := b.end(e.SrcScope, e.Src.String(), e.SrcApp, e.SrcOwned)
		dst := b.end(e.DstScope, e.Dst.String(), e.DstApp, e.DstOwned)
		if src || dst {
			b.result.WrongLines++
		}
	}
}

func (b *baseline) end(scope, ip, app string, owned bool) (wrong bool) {
	if owned && app != "" {
		b.result.Ends++
	}
	name := b.latest.Name(scope, ip)
	switch {
	case name != "" && (!owned || name != app):
		b.result.Wrong++
		return true
	case name == "" && owned && app != "":
		b.result.Unnamed++
	}
	return false
}
