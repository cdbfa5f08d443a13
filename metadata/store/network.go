package store

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"dredge/metadata"
	"dredge/metadata/event"
)

// scope is one routing domain.
type scope struct {
	mu       sync.Mutex // for writers
	nets     prefixes[[]*network]
	coverage prefixes[[]version[logged]]
	// delegates says that an interface was ever told to have a prefix of its own.
	delegates atomic.Bool
	// watermark is the time up to which every source of the scope has told everything, 0 when none ever said.
	watermark atomic.Int64
}

// network is what one owner claims of one prefix. Immutable.
type network struct {
	prefix netip.Prefix
	owner  string
	begins []mark // of the claim itself
	ends   []mark // of everything here
	routes []route
	info   []version[metadata.Endpoint]
}

// mark is an instant and its uncertainty.
type mark struct{ at, acc int64 }

// route leads packets for the prefix into another scope.
type route struct {
	to    metadata.Scope
	begin mark
}

func compareMarks(a, b mark) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.acc, b.acc)) }

// holds says whether something that began at b holds at t, given the ends.
func (n *network) holds(b mark, t int64) bool {
	if b.at-b.acc > t {
		return false
	}
	for _, e := range n.ends {
		if e.at > b.at { // ends are sorted: this one is its own
			return t < e.at+e.acc
		}
	}
	return true
}

// claimed says whether the prefix was declared at t.
func (n *network) claimed(t int64) bool {
	for _, b := range n.begins {
		if n.holds(b, t) {
			return true
		}
	}
	return false
}

// delegated says whether the claim is an interface's (EKS prefix delegation).
func (n *network) delegated() bool { return strings.HasPrefix(n.owner, eniPrefix) }

func insertMark(ms []mark, m mark) []mark {
	i, found := slices.BinarySearchFunc(ms, m, compareMarks)
	if found {
		return ms
	}
	return slices.Insert(slices.Clone(ms), i, m)
}

// tellNetwork takes in an assign, release or topology of a prefix in sc. to is the scope that a topology leads to.
func (sc *scope) tellNetwork(e *event.Event, p netip.Prefix, to metadata.Scope, names sourceNames) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	claims := sc.nets.at(p)
	n := &network{prefix: p, owner: e.Owner}
	i, found := slices.BinarySearchFunc(claims, e.Owner, func(n *network, owner string) int { return cmp.Compare(n.owner, owner) })
	if found {
		*n = *claims[i]
	}
	switch e.Op {
	case event.Release:
		n.ends = insertMark(n.ends, mark{e.End(), e.Acc})
	case event.Topology:
		n.addRoute(route{to, mark{e.Start(), e.Acc}})
	default:
		n.begins = insertMark(n.begins, mark{e.Start(), e.Acc})
		if e.EP != nil {
			n.info, _ = merge(n.info, stamped(names.stamp(e), metadata.Endpoint{
				Kind: e.EP.Kind, Name: e.EP.Name, Subnet: e.EP.Subnet, AZ: e.EP.AZ,
			}), names, compareEndpoints)
		}
	}
	if e.To != 0 && e.Op != event.Release {
		n.ends = insertMark(n.ends, mark{e.To, e.Acc})
	}
	claims = slices.Clone(claims)
	if found {
		claims[i] = n
	} else {
		claims = slices.Insert(claims, i, n)
	}
	if n.delegated() {
		sc.delegates.Store(true)
	}
	sc.nets.set(p, claims)
}

// loadNetwork adds what was told of a network elsewhere. The scope's lock is held.
func (sc *scope) loadNetwork(told *network, names sourceNames) {
	claims := slices.Clone(sc.nets.at(told.prefix))
	i, found := slices.BinarySearchFunc(claims, told.owner, func(n *network, owner string) int { return cmp.Compare(n.owner, owner) })
	n := &network{prefix: told.prefix, owner: told.owner}
	if found {
		*n = *claims[i]
		claims[i] = n
	} else {
		claims = slices.Insert(claims, i, n)
	}
	for _, m := range told.begins {
		n.begins = insertMark(n.begins, m)
	}
	for _, m := range told.ends {
		n.ends = insertMark(n.ends, m)
	}
	for _, r := range told.routes {
		n.addRoute(r)
	}
	for _, v := range told.info {
		n.info, _ = merge(n.info, v, names, compareEndpoints)
	}
	if n.delegated() {
		sc.delegates.Store(true)
	}
	sc.nets.set(told.prefix, claims)
}

func (n *network) addRoute(r route) {
	if !slices.Contains(n.routes, r) {
		n.routes = append(slices.Clone(n.routes), r)
		slices.SortFunc(n.routes, func(a, b route) int { return cmp.Or(compareMarks(a.begin, b.begin), cmp.Compare(a.to, b.to)) })
	}
}

// declared returns the most specific network that covers ip at t, leaving interfaces' own prefixes out unless delegated.
func (sc *scope) declared(ip netip.Addr, t int64, delegated bool) *network {
	for _, bits := range sc.nets.lens(ip) {
		for _, n := range sc.nets.get(ip, bits) {
			if n.delegated() == delegated && n.claimed(t) {
				return n
			}
		}
	}
	return nil
}

// routed returns where the most specific routes for ip lead at t; ok is false when they disagree or there is none.
func (sc *scope) routed(ip netip.Addr, t int64) (to metadata.Scope, disagree bool) {
	for _, bits := range sc.nets.lens(ip) {
		for _, n := range sc.nets.get(ip, bits) {
			for _, r := range n.routes {
				if !n.holds(r.begin, t) {
					continue
				}
				if to != metadata.NoScope && to != r.to {
					return metadata.NoScope, true
				}
				to = r.to
			}
		}
		if to != metadata.NoScope {
			return to, false
		}
	}
	return metadata.NoScope, false
}

// logged is whether flows of a prefix come into this application, and of which action.
type logged struct {
	to             int64
	accept, reject bool
}

func compareLogged(a, b logged) int {
	bit := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(bit(a.accept), bit(b.accept)), cmp.Compare(bit(a.reject), bit(b.reject)))
}

func (sc *scope) tellCoverage(e *event.Event, p netip.Prefix, names sourceNames) {
	on := e.Logged == nil || *e.Logged
	val := logged{to: forever, accept: on && e.Actions != "REJECT", reject: on && e.Actions != "ACCEPT"}
	if e.To != 0 {
		val.to = e.To
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	vs, changed := merge(sc.coverage.at(p), stamped(names.stamp(e), val), names, compareLogged)
	if changed {
		sc.coverage.set(p, vs)
	}
}

// covered answers from the most specific prefix that says something about t.
func (sc *scope) covered(ip netip.Addr, t int64) (said logged, ok bool) {
	for _, bits := range sc.coverage.lens(ip) {
		vs := sc.coverage.get(ip, bits)
		if i := at(vs, t); i >= 0 && vs[i].val.to > t {
			return vs[i].val, true
		}
	}
	return logged{}, false
}

// trim forgets the networks and the coverage that ended before horizon.
func (sc *scope) trim(horizon int64) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.nets.each(func(p netip.Prefix, claims []*network) {
		kept := claims[:0:0]
		changed := false
		for _, n := range claims {
			k := n.trim(horizon)
			changed = changed || k != n
			if k != nil {
				kept = append(kept, k)
			}
		}
		switch {
		case changed && len(kept) == 0:
			sc.nets.remove(p)
		case changed:
			sc.nets.set(p, kept)
		}
	})
	sc.coverage.each(func(p netip.Prefix, vs []version[logged]) {
		n := 0
		for n < len(vs) && (vs[n].val.to <= horizon || n+1 < len(vs) && vs[n+1].from <= horizon) {
			n++
		}
		switch {
		case n == len(vs):
			sc.coverage.remove(p)
		case n > 0:
			sc.coverage.set(p, slices.Clone(vs[n:]))
		}
	})
}

// trim returns n without what ended before horizon: nil when nothing is left, n itself when nothing ended.
func (n *network) trim(horizon int64) *network {
	over := func(b mark) bool {
		for _, e := range n.ends {
			if e.at > b.at {
				return e.at+e.acc <= horizon
			}
		}
		return false
	}
	k := *n
	k.begins = slices.DeleteFunc(slices.Clone(n.begins), over)
	k.routes = slices.DeleteFunc(slices.Clone(n.routes), func(r route) bool { return over(r.begin) })
	k.ends = slices.DeleteFunc(slices.Clone(n.ends), func(e mark) bool {
		before := func(b mark) bool { return b.at < e.at }
		return e.at+e.acc <= horizon && !slices.ContainsFunc(k.begins, before) && !slices.ContainsFunc(k.routes, func(r route) bool { return before(r.begin) })
	})
	switch {
	case len(k.begins)+len(k.routes)+len(k.ends) == 0:
		return nil
	case len(k.begins) == len(n.begins) && len(k.routes) == len(n.routes) && len(k.ends) == len(n.ends):
		return n
	}
	return &k
}
