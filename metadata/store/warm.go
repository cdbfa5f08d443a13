package store

import (
	"net/netip"
	"sync/atomic"

	"dredge/metadata"
)

// warmBlock is how many records are read ahead together: their slots, tenures and owners fit the processor's first cache.
const warmBlock = 64

// Warm implements metadata.Warmer. A look-up waits for memory about four times, each time for what the step before found: a
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
	var places [2 * warmBlock]place4
	for i := range asks {
		if a := &asks[i]; !a.Own { // else nearly always the owner itself has the answer: see Sighted
			places[2*i], places[2*i+1] = s.approach(scopes[i], a.Src), s.approach(scopes[i], a.Dst)
		}
	}
	var last [2 * warmBlock]uint32
	var lists [2 * warmBlock]tenures
	for i := range places[:2*len(asks)] {
		if p := &places[i]; p.t != nil {
			last[i], lists[i] = p.peek()
		}
	}
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

// place4 is where an IPv4 address is in the table, or near.
type place4 struct {
	t    *table[key4]
	key  key4
	home int
}

// approach finds where an address should be and begins to read it, without waiting for what stands there: a branch on that would
// wait, and hold up the reading of the next one when it was guessed wrong. IPv6 is rare enough to wait for.
func (s *Store) approach(sc metadata.Scope, ip netip.Addr) place4 {
	if !ip.Is4() {
		return place4{}
	}
	if !ip.IsPrivate() && metadata.IsPublic(ip) {
		sc = metadata.Public
	}
	k, hash := makeKey4(sc, ip)
	t := s.v4.shard(hash).tab.Load()
	home := t.home(hash)
	t.slots[home].now.state.Load()
	return place4{t, k, home}
}

// peek returns the newest owner of an address, or its tenures, without reading them, when only these can tell.
func (p *place4) peek() (owner uint32, list tenures) {
	i, found := seek4(p.t, p.key, p.home)
	if !found {
		return 0, nil
	}
	if owner = p.t.slots[i].now.owner(); owner == 0 {
		list = p.t.tenures(i)
	}
	return owner, list
}
