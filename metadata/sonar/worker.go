package sonar

import (
	"net/netip"
	"slices"

	"dredge/metadata"
	"dredge/metadata/store"
)

// What an Asker without a fold says: a worker keeps no evidence, only what follows from it.

// scopesByStore returns the routing domains that know ip, or know at least a network around it at a time; "" is none, for a network
// of no domain.
func (a *Asker) scopesByStore(ip netip.Addr, at int64) []string {
	var out []string
	for _, sc := range a.Store.ScopesOf(ip, at, maxScopes) {
		out = append(out, a.Store.ScopeName(sc))
	}
	slices.Sort(out) // handles are in the order of telling
	if len(out) > 0 {
		return out
	}
	if metadata.IsPublic(ip) {
		return []string{publicScope}
	}
	if _, ok := a.Store.Prefix(metadata.NoScope, ip, metadata.Window{Start: at, End: at}); ok {
		return []string{""}
	}
	return nil
}

// tenuresByStore returns who had ip in a scope, as far as the store remembers.
func (a *Asker) tenuresByStore(ip netip.Addr, scope string) []Tenure {
	var out []Tenure
	for _, t := range a.Store.Tenures(a.Store.Scope(scope), ip, 0, 0) {
		out = append(out, a.tenureByStore(ip, scope, &t))
	}
	return out
}

func (a *Asker) tenureByStore(ip netip.Addr, scope string, t *store.Tenure) Tenure {
	out := Tenure{
		IP: ip.String(), Scope: scope, Owner: a.Store.Endpoint(t.Owner).Owner, From: Time(t.From), To: Time(t.To),
		AccuracyFromMillis: int64(t.AccFrom), AccuracyToMillis: int64(t.AccTo), Kind: "told", Workload: a.workload(t.Workload), Sources: []string{},
	}
	if t.Open {
		out.To = forever
	}
	if t.Seen {
		out.Kind, out.Sources = "seen", []string{"traffic"}
	}
	return out
}
