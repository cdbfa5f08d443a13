package store

import (
	"net/netip"
	"slices"

	"dredge/metadata"
)

var (
	_ metadata.View     = (*Store)(nil)
	_ metadata.Resolver = (*Store)(nil)
	_ metadata.Placer   = (*Store)(nil)
	_ metadata.Warmer   = (*Store)(nil)
	_ metadata.Handles  = (*Store)(nil)
)

// Scope implements metadata.View.
func (s *Store) Scope(name string) metadata.Scope {
	return metadata.Scope(s.scopeNames.get("", name))
}

// ScopeName implements metadata.View.
func (s *Store) ScopeName(sc metadata.Scope) string { return s.scopeNames.name(uint32(sc)) }

// ScopeOfInterface returns the routing domain of an interface, NoScope when it is not known. Records without a vpc-id get theirs so.
func (s *Store) ScopeOfInterface(eni string) metadata.Scope {
	owner := s.owners.names.get(eniPrefix, eni)
	if owner == 0 {
		return metadata.NoScope
	}
	return metadata.Scope(s.owners.list.at(owner).scope.Load())
}

// FindInterface implements metadata.Handles.
func (s *Store) FindInterface(eni string) metadata.EndpointID {
	return metadata.EndpointID(s.owners.names.get(eniPrefix, eni))
}

// LookupInterface implements metadata.View. It answers whenever anything at all was told or seen of the interface.
func (s *Store) LookupInterface(eni string, w metadata.Window) (metadata.Interface, bool) {
	id := s.FindInterface(eni)
	if id == 0 {
		return metadata.Interface{}, false
	}
	return s.InterfaceAt(id, w), true
}

// InterfaceAt implements metadata.Handles.
func (s *Store) InterfaceAt(of metadata.EndpointID, w metadata.Window) metadata.Interface {
	owner := uint32(of)
	ow, win := s.owners.list.at(owner), s.span(w)
	id, state := s.workloadIn(party{owner: owner, from: win.lo, to: win.hi}, win) // before the rest: see owner.set
	has := ow.has.Load()
	where := s.owners.places.at(has >> placeAt)
	out := metadata.Interface{Scope: metadata.Scope(ow.scope.Load()), Endpoint: metadata.EndpointID(owner), Kind: where.Kind}
	if has&hasTraits != 0 {
		f := ow.facts.Load()
		out.Forwarder, out.Shared, out.SourceDestCheck = f.forwards(win.start), f.shared(win.start), f.sdc(win.start) == toldYes
	} else {
		sdc := has >> sdcAt & traitMask
		out.Forwarder, out.Shared, out.SourceDestCheck = where.forwarder || sdc == toldNo, where.shared, sdc == toldYes
		if said := has >> forwarderAt & traitMask; said != 0 {
			out.Forwarder = said == toldYes
		}
		if said := has >> sharedAt & traitMask; said != 0 {
			out.Shared = said == toldYes
		}
	}
	switch {
	case win.start < s.floor.Load():
		out.Reason = metadata.BeforeRetention
		return out
	case out.Shared:
		out.Reason = metadata.SharedInterface
	case state == workloadInside:
		out.Grade, out.Reason = metadata.Ambiguous, metadata.WorkloadChanged
		out.Ran = s.ranAt(owner, win)
		return out
	case state == workloadNear:
		out.Grade, out.Reason = metadata.Border, metadata.WorkloadChanged
		out.Ran = s.ranAt(owner, win)
		return out
	case id == 0:
		out.Grade, out.Reason = metadata.Confirmed, metadata.NoWorkload
	default:
		out.Grade, out.Reason = metadata.Confirmed, metadata.RecordInterface
	}
	out.Workload = id
	return out
}

// ranAt returns up to four of the workloads that ran behind an owner in the whole window.
func (s *Store) ranAt(owner uint32, w span) [4]metadata.WorkloadID {
	var a metadata.Answer
	s.ran(&a, 0, party{owner: owner, from: w.lo, to: w.hi}, w, 0)
	return a.CandidateWorkloads
}

// InterfaceHas implements metadata.View. What the interface's own traffic showed counts like what was told; a delegated prefix
// of the interface holds its addresses.
func (s *Store) InterfaceHas(eni string, ip netip.Addr, w metadata.Window) (own, isPrimary bool) {
	return s.InterfaceHolds(s.FindInterface(eni), ip, w)
}

// InterfaceHolds implements metadata.Handles.
func (s *Store) InterfaceHolds(of metadata.EndpointID, ip netip.Addr, w metadata.Window) (own, isPrimary bool) {
	owner := uint32(of)
	if owner == 0 || !ip.IsValid() {
		return false, false
	}
	ip = ip.Unmap()
	win := s.span(w)
	ow := s.owners.list.at(owner)
	sc := metadata.Scope(ow.scope.Load())
	for _, key := range [...]metadata.Scope{keyScope(sc, ip), metadata.Public} {
		if !ow.mayHold(ip) { // nearly always the other end of the flow
			break
		}
		if key == metadata.Public && !metadata.IsPublic(ip) {
			continue
		}
		now := s.current(key, ip)
		if now == nil {
			continue
		}
		if whole, prim := now.holds(owner, &win); whole {
			return true, prim
		}
		list, _ := s.intervals(key, ip, 0)
		whole, prim := list.hold(owner, win.start, win.end)
		if isPrimary = isPrimary || prim; whole {
			return true, prim
		}
	}
	if rec := s.scope(sc); sc != metadata.NoScope && rec.delegates.Load() {
		if n := rec.declared(ip, win.start, true); n != nil && n.owner == s.owners.names.name(owner) {
			return true, false
		}
	}
	return false, isPrimary
}

// ScopeCovers implements metadata.View.
func (s *Store) ScopeCovers(local metadata.Scope, ip netip.Addr, w metadata.Window) (metadata.Scope, metadata.Reason) {
	if !ip.IsValid() {
		return metadata.NoScope, metadata.NoAddress
	}
	ip = ip.Unmap()
	t := s.span(w).start
	rec := s.scope(local)
	if local != metadata.NoScope && rec != nil {
		if rec.declared(ip, t, false) != nil || rec.delegates.Load() && rec.declared(ip, t, true) != nil {
			return local, metadata.LocalCIDR
		}
		if s.hasAddress(local, ip) {
			return local, metadata.LocalAddress
		}
		switch to, disagree := rec.routed(ip, t); {
		case disagree:
			return metadata.NoScope, metadata.ScopeOverlap
		case to != metadata.NoScope:
			return to, metadata.Topology
		}
	}
	if metadata.IsPublic(ip) {
		return metadata.Public, metadata.PublicAddress
	}
	if s.cfg.AddressSpace == metadata.Unique {
		return s.onlyScope(ip, t)
	}
	return metadata.NoScope, metadata.ScopeUnknown
}

// hasAddress says whether sc ever had an owner of ip. Global IPv6 is kept under Public, so it proves nothing about sc.
func (s *Store) hasAddress(sc metadata.Scope, ip netip.Addr) bool {
	if globalV6(ip) {
		return false
	}
	list, ports := s.intervals(sc, ip, 0)
	return len(list) > 0 || ports
}

// onlyScope returns the one scope that has ip, for organisations whose address space is unique.
func (s *Store) onlyScope(ip netip.Addr, t int64) (metadata.Scope, metadata.Reason) {
	found := metadata.NoScope
	for sc := metadata.Public + 1; s.scopeNames.name(uint32(sc)) != ""; sc++ {
		rec := s.scope(sc)
		if rec.declared(ip, t, false) == nil && rec.declared(ip, t, true) == nil && !s.hasAddress(sc, ip) {
			continue
		}
		if found != metadata.NoScope {
			return metadata.NoScope, metadata.ScopeOverlap
		}
		found = sc
	}
	if found == metadata.NoScope {
		return found, metadata.ScopeUnknown
	}
	return found, metadata.UniqueSpace
}

// Prefix implements metadata.View. Networks of the scope come before those of no scope.
func (s *Store) Prefix(sc metadata.Scope, ip netip.Addr, w metadata.Window) (metadata.PrefixInfo, bool) {
	ip = ip.Unmap()
	t := s.span(w).start
	rec := s.scope(sc)
	for _, r := range [...]*scope{rec, s.scopes.at(0)} {
		if r == nil || !ip.IsValid() {
			continue
		}
		n := r.declared(ip, t, false)
		if n == nil {
			continue
		}
		out := metadata.PrefixInfo{CIDR: n.prefix, Name: n.owner, Scope: s.ScopeName(sc)}
		if r != rec {
			out.Scope = ""
		}
		if len(n.info) > 0 {
			ep := &n.info[max(at(n.info, t), 0)].val // the first name holds before it was told, as the network was there
			switch {
			case ep.Name != "":
				out.Name = ep.Name
			case ep.Subnet != "":
				out.Name = ep.Subnet
			}
			if ep.Kind == "site" {
				out.Site = out.Name
			}
		}
		return out, true
	}
	return metadata.PrefixInfo{}, false
}

// Listens implements metadata.View: it says whether anyone who may have held the address during the flow was known to listen
// there when it began.
func (s *Store) Listens(sc metadata.Scope, ip netip.Addr, proto uint8, port uint16, w metadata.Window) bool {
	if sc == metadata.NoScope || !ip.IsValid() {
		return false
	}
	ip = ip.Unmap()
	if !s.listening.Load() {
		return false
	}
	win, key := s.span(w), portKey(int(proto), int(port))
	for _, narrow := range [...]uint32{0, key} {
		list, ports := s.intervals(keyScope(sc, ip), ip, narrow)
		for i := range list {
			v := list.at(i)
			if v.owner == 0 || !v.widened(win.start, win.end) {
				continue
			}
			if narrow != 0 {
				return true // a claim of the port itself
			}
			ow := s.owners.list.at(v.owner)
			if ow.has.Load()&hasListen == 0 {
				continue
			}
			more := ow.facts.Load().more
			if n := at(more.listen, win.start); n >= 0 {
				if _, ok := slices.BinarySearch(more.listen[n].val, key); ok {
					return true
				}
			}
		}
		if !ports {
			break
		}
	}
	return false
}

// Covered implements metadata.View. What is said of the scope's own prefixes comes before what is said of no scope.
func (s *Store) Covered(sc metadata.Scope, ip netip.Addr, reject bool, w metadata.Window) bool {
	if !ip.IsValid() {
		return false
	}
	ip = ip.Unmap()
	t := s.span(w).start
	for _, r := range [...]*scope{s.scope(sc), s.scopes.at(0)} {
		if r == nil {
			continue
		}
		if said, ok := r.covered(ip, t); ok {
			if reject {
				return said.reject
			}
			return said.accept
		}
	}
	return false
}

// CoverageTold says whether anybody ever said which flows are logged into this application: without that, Covered knows of nothing.
func (s *Store) CoverageTold() bool { return s.covers.Load() }

// PlaceOf implements metadata.Placer.
func (s *Store) PlaceOf(id metadata.EndpointID) metadata.PlaceID {
	ow := s.owners.list.find(uint32(id))
	if ow == nil {
		return 0
	}
	return metadata.PlaceID(ow.has.Load() >> placeAt)
}

// Place implements metadata.Placer.
func (s *Store) Place(id metadata.PlaceID) *metadata.Place {
	if p := s.owners.places.find(uint32(id)); p != nil {
		return &p.Place
	}
	return &s.owners.places.at(0).Place
}

// Endpoint implements metadata.View.
func (s *Store) Endpoint(id metadata.EndpointID) *metadata.Endpoint {
	o := s.owners.list.find(uint32(id))
	if o == nil {
		return &s.owners.facts(0).ep
	}
	f := o.facts.Load()
	if f == nil {
		f = s.owners.facts(0)
	}
	return &f.ep
}

// Workload implements metadata.View.
func (s *Store) Workload(id metadata.WorkloadID) *metadata.Workload {
	return s.owners.workloadOf(uint32(id))
}
