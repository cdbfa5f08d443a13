package store

import (
	"math"
	"net/netip"
	"strings"

	"dredge/metadata"
)

// Tenure is one time in which one owner held an address, for people to look at.
type Tenure struct {
	Owner metadata.EndpointID
	// Workload is what ran there at the tenure's begin, or the first that was told after it.
	Workload metadata.WorkloadID
	// From and To are Unix milliseconds, To exclusive; Open ones have no end, and To is then the largest int64.
	From, To int64
	Open     bool
	// AccFrom and AccTo are how much earlier it may have begun, and how much later ended, in milliseconds.
	AccFrom, AccTo uint32
	// Claim is a pod's or task's; without it the tenure is an interface's.
	Claim bool
	// Seen in traffic; without it a source told it. Bridged ones span silences.
	Seen, Bridged bool
	Primary       bool
}

// Tenures returns everybody who held ip in sc as far as it is remembered, in order of their begin; proto and port other than 0
// ask for claims of that port alone. It allocates: it is for explaining, not for the join.
func (s *Store) Tenures(sc metadata.Scope, ip netip.Addr, proto uint8, port uint16) []Tenure {
	if !ip.IsValid() || sc == metadata.NoScope {
		return nil
	}
	ip = ip.Unmap()
	key := uint32(0)
	if port != 0 {
		key = portKey(int(proto), int(port))
	}
	list, _ := s.intervals(keyScope(sc, ip), ip, key)
	var out []Tenure
	for i := range list {
		v := list.at(i)
		if v.owner == 0 { // the mark of forgotten times
			continue
		}
		t := Tenure{
			Owner: metadata.EndpointID(v.owner), From: v.from, To: v.to, Open: v.to == forever, AccFrom: v.accFrom, AccTo: v.accTo,
			Claim: v.flags&claim != 0, Seen: v.flags&beat != 0, Bridged: v.flags&bridged != 0, Primary: v.flags&primary != 0,
		}
		end := v.to
		if end == math.MaxInt64 {
			end = maxTime
		}
		if t.Workload = s.workloadAt(v.owner, v.from); t.Workload == 0 {
			t.Workload = s.workloadAt(v.owner, end-1)
		}
		out = append(out, t)
	}
	return out
}

// ClaimsPorts says whether single ports of an address were ever claimed.
func (s *Store) ClaimsPorts(sc metadata.Scope, ip netip.Addr) bool {
	ip = ip.Unmap()
	_, ports := s.intervals(keyScope(sc, ip), ip, 0)
	return ports
}

// ScopesOf returns the routing domains that know anything of ip, an owner or at least a network that was declared at t (Unix
// milliseconds), at most limit of them. It looks at every domain: it is for people's questions, not for the join.
func (s *Store) ScopesOf(ip netip.Addr, t int64, limit int) []metadata.Scope {
	ip = ip.Unmap()
	var owned, covered []metadata.Scope
	if list, ports := s.intervals(metadata.Public, ip, 0); len(list) > 0 || ports {
		owned = append(owned, metadata.Public)
	}
	for sc := metadata.Public + 1; s.scopeNames.name(uint32(sc)) != "" && len(owned) < limit; sc++ {
		rec := s.scope(sc)
		switch {
		case s.hasAddress(sc, ip):
			owned = append(owned, sc)
		case len(covered) < limit && (rec.declared(ip, t, false) != nil || rec.declared(ip, t, true) != nil):
			covered = append(covered, sc)
		}
	}
	if len(owned) == 0 {
		return covered
	}
	return owned
}

// HeldInterface is an interface that holds an IPv4 address now, as a source told.
type HeldInterface struct {
	Owner metadata.EndpointID
	Scope metadata.Scope
	IP    netip.Addr
	// Workload is what runs there now; 0 is not known.
	Workload metadata.WorkloadID
	// Since is when it got the address, Seen when the last second ended in which a flow showed it; 0 is never. Unix milliseconds.
	Since, Seen int64
}

// HeldInterfaces calls yield for every interface that ever had a single IPv4 address and holds it at t, until yield returns false. It looks
// at every owner: it is for people's questions, not for the join.
func (s *Store) HeldInterfaces(t int64, yield func(HeldInterface) bool) {
	for h := uint32(1); h <= uint32(s.owners.names.len()); h++ {
		ow := s.owners.list.at(h)
		sole := ow.sole.Load()
		if sole == 0 || sole == soleNone || !strings.HasPrefix(s.owners.facts(h).ep.Owner, eniPrefix) {
			continue
		}
		sc := metadata.Scope(ow.scope.Load())
		held := HeldInterface{Owner: metadata.EndpointID(h), Scope: sc, IP: netip.AddrFrom4([4]byte{byte(sole >> 24), byte(sole >> 16), byte(sole >> 8), byte(sole)})}
		list, _ := s.intervals(keyScope(sc, held.IP), held.IP, 0)
		told := false
		for i := range list {
			v := list.at(i)
			switch {
			case v.owner != h:
			case v.flags&beat != 0:
				held.Seen = max(held.Seen, v.to)
			case v.from <= t && t < v.to:
				told, held.Since = true, v.from
			}
		}
		if !told {
			continue
		}
		held.Workload = s.workloadAt(h, t)
		if !yield(held) {
			return
		}
	}
}
