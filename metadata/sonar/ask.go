package sonar

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/store"
)

// Bounds of answers.
const (
	// maxScopes is how many routing domains one question without a scope is answered for.
	maxScopes = 100
	// maxEvidence is how much evidence one answer shows, maxTenures and maxChanges how long lists are.
	maxEvidence = 200
	maxTenures  = 5000
	maxChanges  = 5000
	// nearby is how far from the time in question evidence still bears on it.
	nearby = 10 * time.Minute
	// maxText is the longest scope or application that is looked for.
	maxText = 1024
)

// Asker answers questions about identity from a store, which judges, and a fold, which knows the evidence. Both were told the
// same. It is safe for concurrent use.
type Asker struct {
	Store *store.Store
	// Fold is nil in a worker: then answers come without evidence, and Workload and Diff are not to be asked.
	Fold *idlog.Fold
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (a *Asker) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

// IP answers who had ip at a time (Unix milliseconds; 0 is now) in a scope, or in every scope that knows it when scope is empty.
func (a *Asker) IP(ctx context.Context, ip netip.Addr, at int64, scope string) (Answers, error) {
	if at == 0 {
		at = a.now().UnixMilli()
	}
	scopes, err := a.scopes(ip, at, scope)
	if err != nil {
		return Answers{}, err
	}
	out := Answers{Answers: []Answer{}}
	for _, sc := range scopes {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		out.Answers = append(out.Answers, a.answer(ip, at, sc))
	}
	for _, s := range a.Store.Sources() {
		out.Sources = append(out.Sources, SourceState{s.Name, Time(s.Progress), Time(s.Heard.UnixMilli()), s.Idle})
	}
	return out, nil
}

// scopes returns the routing domains to ask: "" is none, for a network that belongs to no domain.
func (a *Asker) scopes(ip netip.Addr, at int64, scope string) ([]string, error) {
	if !ip.IsValid() || ip.Zone() != "" {
		return nil, badQuestion("%q is no address that can have an owner", ip)
	}
	if len(scope) > maxText {
		return nil, badQuestion("scope of %d bytes", len(scope))
	}
	if scope != "" {
		return []string{scope}, nil
	}
	if a.Fold == nil {
		return a.scopesByStore(ip, at), nil
	}
	var out []string
	for _, sc := range a.Fold.Scopes() {
		if _, ok := a.Fold.Address(sc, ip); ok || a.Store.ClaimsPorts(a.Store.Scope(sc), ip) {
			if out = append(out, sc); len(out) == maxScopes {
				return out, nil
			}
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return a.scopesByStore(ip, at), nil // nobody owned it, but perhaps a network is around it
}

const publicScope = "public"

func (a *Asker) answer(ip netip.Addr, at int64, scope string) Answer {
	sc := a.Store.Scope(scope)
	w := metadata.Window{Start: at, End: at}
	got := a.Store.Lookup(sc, ip, w)
	network, inNetwork := a.Store.Prefix(sc, ip, w)
	if scope == "" && inNetwork {
		got = metadata.Answer{Grade: metadata.Prefix, Reason: metadata.CIDR}
	}
	out := Answer{
		IP: ip.String(), Scope: scope, At: Time(at), Grade: got.Grade.String(), Reason: got.Reason.String(), Why: why(got.Grade, got.Reason),
		Named: got.Grade.Names(), Endpoint: a.endpoint(got.Endpoint), Workload: a.workload(got.Workload),
	}
	for i, c := range got.Candidates {
		if e := a.endpoint(c); e != nil {
			out.Candidates = append(out.Candidates, Candidate{*e, a.workload(got.CandidateWorkloads[i])})
		}
	}
	if inNetwork {
		out.Network = network.CIDR.String()
		if network.Name != "" {
			out.Network += " " + network.Name
		}
	}
	if a.Fold == nil {
		for _, t := range a.tenuresByStore(ip, scope) {
			if out.Endpoint != nil && t.Owner == out.Endpoint.Owner && int64(t.From) <= at && at < int64(t.To) && (out.From == 0 || t.Kind == "told") {
				out.From, out.To = t.From, t.To
			}
		}
		return out
	}
	known := a.known(scope, ip)
	if out.Endpoint != nil {
		for _, t := range tenuresOf(&known) {
			if t.owner == out.Endpoint.Owner && t.holds(at) && (out.From == 0 || !t.seen) {
				out.From, out.To = Time(t.from), Time(t.to)
			}
		}
	}
	out.Evidence, out.Truncated = a.evidence(&known, at)
	return out
}

// known returns what is known of an address. Global IPv6 is one address whichever scope it was told in.
func (a *Asker) known(scope string, ip netip.Addr) idlog.Address {
	out, _ := a.Fold.Address(scope, ip)
	if !ip.Is6() || ip.Is4In6() || !metadata.IsPublic(ip) {
		return out
	}
	for _, sc := range a.Fold.Scopes() {
		if more, ok := a.Fold.Address(sc, ip); ok && sc != scope {
			out.Events, out.Sightings = append(out.Events, more.Events...), append(out.Sightings, more.Sightings...)
		}
	}
	return out
}

// ports returns what is known of the claimed ports of an address.
func (a *Asker) ports(scope string, ip netip.Addr) []idlog.Address {
	if !a.Store.ClaimsPorts(a.Store.Scope(scope), ip) {
		return nil
	}
	return a.Fold.Ports(scope, ip)
}

func (a *Asker) endpoint(id metadata.EndpointID) *Endpoint {
	if id == 0 {
		return nil
	}
	e := a.Store.Endpoint(id)
	return &Endpoint{Owner: e.Owner, Kind: e.Kind, ENI: e.ENI, Instance: e.Instance, Name: e.Name, Subnet: e.Subnet, AZ: e.AZ}
}

func (a *Asker) workload(id metadata.WorkloadID) *Workload {
	if id == 0 {
		return nil
	}
	w := a.Store.Workload(id)
	return &Workload{App: w.App, AppSource: w.AppSource, Cluster: w.Cluster, Account: w.Account, VPC: w.VPC, Region: w.Region, Team: w.Team}
}

// evidence returns what bears on who had the address at t: every claim whose tenure is near, the releases, the sightings near,
// and what describes the owners.
func (a *Asker) evidence(known *idlog.Address, at int64) (out []Evidence, truncated bool) {
	low, high := at-nearby.Milliseconds(), at+nearby.Milliseconds()
	owners := map[string]struct{}{}
	near := func(known *idlog.Address) {
		for _, t := range tenuresOf(known) {
			if t.from-t.accFrom <= high && (t.to == forever || t.to+t.accTo >= low) {
				owners[t.owner] = struct{}{}
			}
		}
	}
	ports := a.ports(known.Scope, known.IP)
	near(known)
	for i := range ports {
		near(&ports[i])
	}
	if len(owners) == 0 { // the last one before, and the first one after
		var before, after string
		for _, t := range tenuresOf(known) {
			if t.to <= at {
				before = t.owner
			} else if after == "" {
				after = t.owner
			}
		}
		owners[before], owners[after] = struct{}{}, struct{}{}
	}
	for _, events := range append([]idlog.Address{*known}, ports...) {
		for i := range events.Events {
			e := &events.Events[i]
			if _, ok := owners[e.Owner]; ok && (e.Op != event.Observe || e.End() >= low && e.Start() <= high) {
				out = append(out, told("told", e))
			}
		}
	}
	for _, s := range known.Sightings {
		if s.Start <= high && s.End >= low {
			out = append(out, Evidence{Kind: "seen", Source: "traffic", Owner: eniPrefix + s.ENI, From: Time(s.Start), To: Time(s.End)})
		}
	}
	for o := range owners {
		for _, e := range a.Fold.Describes(o) {
			out = append(out, told("described", &e))
		}
	}
	slices.SortFunc(out, func(a, b Evidence) int { // nothing is left to the order of telling
		return cmp.Or(cmp.Compare(max(a.From, a.To*bit(a.From == 0)), max(b.From, b.To*bit(b.From == 0))), strings.Compare(a.Kind, b.Kind),
			strings.Compare(a.Owner, b.Owner), strings.Compare(a.Op, b.Op), strings.Compare(a.Source, b.Source), cmp.Compare(a.To, b.To),
			cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Observed, b.Observed),
			cmp.Compare(a.AccuracyMillis, b.AccuracyMillis), strings.Compare(a.App, b.App))
	})
	if len(out) > maxEvidence {
		return out[len(out)-maxEvidence:], true
	}
	return out, false
}

func bit(b bool) Time {
	if b {
		return 1
	}
	return 0
}

func told(kind string, e *event.Event) Evidence {
	ev := Evidence{
		Kind: kind, Op: string(e.Op), Source: e.Src, Owner: e.Owner, From: Time(e.Start()), To: Time(e.To), AccuracyMillis: e.Acc, Observed: Time(e.Obs),
		Proto: e.Proto, Port: e.Port,
	}
	if e.Op == event.Release {
		ev.From, ev.To = 0, Time(e.End())
	}
	if e.WL != nil {
		ev.App = e.WL.App
	}
	return ev
}

// History returns who ever had ip, as far as it is kept, in order of time.
func (a *Asker) History(ctx context.Context, ip netip.Addr, scope string) (History, error) {
	scopes, err := a.scopes(ip, a.now().UnixMilli(), scope)
	if err != nil {
		return History{}, err
	}
	out := History{Tenures: []Tenure{}}
	for _, sc := range scopes {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if a.Fold == nil {
			out.Tenures = append(out.Tenures, a.tenuresByStore(ip, sc)...)
			continue
		}
		known, _ := a.Fold.Address(sc, ip)
		if scope != "" {
			known = a.known(scope, ip)
		}
		for _, known := range append([]idlog.Address{known}, a.ports(sc, ip)...) {
			for _, t := range tenuresOf(&known) {
				if len(out.Tenures) == maxTenures {
					out.Truncated = true
					return out, nil
				}
				row := tenureOf(&known, &t)
				row.Workload = a.ran(&known, &t)
				out.Tenures = append(out.Tenures, row)
			}
		}
	}
	return out, nil
}

func tenureOf(known *idlog.Address, t *tenure) Tenure {
	row := Tenure{
		IP: known.IP.String(), Scope: known.Scope, Proto: known.Proto, Port: known.Port, Owner: t.owner, From: Time(t.from), To: Time(t.to),
		AccuracyFromMillis: t.accFrom, AccuracyToMillis: t.accTo, Kind: "told", Sources: t.sources,
	}
	if t.seen {
		row.Kind = "seen"
	}
	return row
}

// ran returns what ran behind the owner of t when the tenure began, or first after that.
func (a *Asker) ran(known *idlog.Address, t *tenure) *Workload {
	mid := t.from
	if t.to != forever {
		mid += (t.to - t.from) / 2
	}
	got := a.Store.Lookup(a.Store.Scope(known.Scope), known.IP, metadata.Window{Start: mid, End: mid})
	if got.Workload != 0 && got.Endpoint != 0 && a.Store.Endpoint(got.Endpoint).Owner == t.owner {
		return a.workload(got.Workload)
	}
	vs := versionsOf(append(a.Fold.Describes(t.owner), known.Events...), t.owner)
	if wl := workloadAt(vs, mid); wl != nil || len(vs) == 0 {
		return workload(wl)
	}
	return nil
}

// Workload returns which addresses belonged to an application at any time in [from, to), in Unix milliseconds.
func (a *Asker) Workload(ctx context.Context, app string, from, to int64) (History, error) {
	switch {
	case app == "" || len(app) > maxText:
		return History{}, badQuestion("app: write the name of an application")
	case to <= from:
		return History{}, badQuestion("to: is not after from")
	}
	versions := map[string][]version{}
	for owner, events := range a.Fold.Owners(app) {
		versions[owner] = versionsOf(events, owner)
	}
	out := History{Tenures: []Tenure{}}
	var err error
	a.Fold.EachAddress("", func(owner string, _, _ int64) bool { _, ok := versions[owner]; return ok }, func(known idlog.Address) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		for _, t := range tenuresOf(&known) {
			for _, part := range runs(versions[t.owner], app, max(t.from, from), min(t.to, to)) {
				if len(out.Tenures) == maxTenures {
					out.Truncated = true
					return false
				}
				row := tenureOf(&known, &t)
				row.From, row.To, row.Workload = Time(max(part.from, t.from)), Time(t.to), workload(part.wl)
				if part.to < t.to && part.to < to {
					row.To = Time(part.to)
				}
				out.Tenures = append(out.Tenures, row)
			}
		}
		return true
	})
	slices.SortFunc(out.Tenures, func(a, b Tenure) int {
		return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.IP, b.IP), cmp.Compare(a.From, b.From), strings.Compare(a.Owner, b.Owner),
			cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port), strings.Compare(a.Kind, b.Kind), cmp.Compare(a.To, b.To))
	})
	return out, err
}

// part is a time in which an owner ran an application.
type part struct {
	from, to int64
	wl       *event.Workload
}

// runs returns the parts of [from, to) in which an owner ran app.
func runs(vs []version, app string, from, to int64) (out []part) {
	for i, v := range vs {
		until := int64(forever)
		if i+1 < len(vs) {
			until = vs[i+1].from
		}
		if v.wl.App == app && max(v.from, from) < min(until, to) {
			out = append(out, part{v.from, until, v.wl})
		}
	}
	return out
}

// Diff returns the addresses of a scope whose owners at to were others than at from, in Unix milliseconds.
func (a *Asker) Diff(ctx context.Context, scope string, from, to int64) (Diff, error) {
	out := Diff{Scope: scope, From: Time(from), To: Time(to), Changes: []Change{}}
	switch {
	case scope == "" || len(scope) > maxText:
		return out, badQuestion("scope: write a VPC id, or public")
	case to <= from:
		return out, badQuestion("to: is not after from")
	}
	inside := func(t int64) bool { return t > from && t <= to }
	var changed []idlog.Address
	var err error
	a.Fold.EachAddress(scope, func(_ string, start, end int64) bool { return inside(start) || inside(end+1001) || inside(end) }, func(known idlog.Address) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		if list := tenuresOf(&known); !slices.Equal(holders(list, from), holders(list, to)) {
			changed = append(changed, known)
		}
		return len(changed) <= maxChanges
	})
	if err != nil {
		return out, err
	}
	for i := range changed {
		if len(out.Changes) == maxChanges {
			out.Truncated = true
			break
		}
		out.Changes = append(out.Changes, a.change(&changed[i], from, to))
	}
	owners := func(a, b ChangeOwner) int { return strings.Compare(a.Owner, b.Owner) }
	slices.SortFunc(out.Changes, func(a, b Change) int {
		return cmp.Or(strings.Compare(a.IP, b.IP), slices.CompareFunc(a.Before, b.Before, owners), slices.CompareFunc(a.After, b.After, owners))
	})
	return out, nil
}

func (a *Asker) change(known *idlog.Address, from, to int64) Change {
	list := tenuresOf(known)
	c := Change{IP: known.IP.String(), Scope: known.Scope, Kind: "moved"}
	if known.Port != 0 {
		c.IP = netip.AddrPortFrom(known.IP, uint16(known.Port)).String()
	}
	side := func(at int64) (out []ChangeOwner) {
		for _, owner := range holders(list, at) {
			o := ChangeOwner{Owner: owner}
			if w := workloadAt(versionsOf(append(a.Fold.Describes(owner), known.Events...), owner), at); w != nil {
				o.App = w.App
			}
			out = append(out, o)
		}
		return out
	}
	c.Before, c.After = side(from), side(to)
	switch {
	case len(c.Before) == 0:
		c.Kind = "assigned"
	case len(c.After) == 0:
		c.Kind = "released"
	}
	return c
}
