package store

import (
	"math"
	"net/netip"

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
