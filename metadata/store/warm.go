package store

import (
	"net/netip"
	"sync/atomic"

	"dredge/metadata"
)

// warmBlock is how many records are read ahead together: their slots, tenures and owners fit the processor's first cache.
const warmBlock = 64

// Warm implements metadata.Warmer. A look-up waits for memory about five times, each time for what the step before found: a
// processor that is asked for one step of many look-ups at once waits for them together.
func (s *Store) Warm(asks []metadata.Ask) {
	for len(asks) > 0 {
		n := min(len(asks), warmBlock)
		s.warm(asks[:n])
		asks = asks[n:]
	}
}

func (s *Store) warm(asks []metadata.Ask) {
	var enis [warmBlock]uint32
	for i := range asks {
		switch a := &asks[i]; {
		case i > 0 && a.ENI == asks[i-1].ENI:
			enis[i] = enis[i-1]
		case a.ENI != "":
			enis[i] = s.owners.names.guess(a.ENI)
		}
	}
	var scopes [warmBlock]metadata.Scope
	for i := range asks {
		switch a := &asks[i]; {
		case i > 0 && a.ENI == asks[i-1].ENI:
			enis[i] = enis[i-1]
		case enis[i] != 0 && !s.owners.names.names.at(enis[i]).is(a.ENI, len(eniPrefix)+len(a.ENI)):
			enis[i] = s.owners.names.get(eniPrefix, a.ENI)
		}
		asks[i].Interface = metadata.EndpointID(enis[i])
		scopes[i] = asks[i].Scope
		if own := metadata.Scope(s.owners.list.at(enis[i]).scope.Load()); scopes[i] == metadata.NoScope {
			scopes[i] = own
		}
	}
	var lists [2 * warmBlock]tenures
	for i := range asks {
		a := &asks[i]
		if a.Own {
			continue // nearly always the owner itself has the answer: see Sighted
		}
		lists[2*i] = s.peek(scopes[i], a.Src)
		lists[2*i+1] = s.peek(scopes[i], a.Dst)
	}
	var last [2 * warmBlock]uint32
	for i, list := range lists[:2*len(asks)] {
		if k := len(list) - 1; k >= 0 {
			atomic.LoadUint64(&list[0][0])
			last[i] = unpackOwner(atomic.LoadUint64(&list[k][0]), atomic.LoadUint64(&list[k][1]))
		}
	}
	for _, h := range last[:2*len(asks)] {
		s.owners.list.at(h).onlyWorkload.Load()
	}
}

// peek returns the tenures of an IPv4 address without reading them. Others are rare enough to wait for.
func (s *Store) peek(sc metadata.Scope, ip netip.Addr) tenures {
	if !ip.Is4() {
		return nil
	}
	if !ip.IsPrivate() && metadata.IsPublic(ip) {
		sc = metadata.Public
	}
	list, _ := s.v4.get(makeKey4(sc, ip))
	return list
}
