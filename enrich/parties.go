package enrich

import "dredge/metadata"

// parties remembers which party belongs to a workload in a place and scope: that is all that a named party is made from, and
// an estate has some thousands of such triples however many endpoints it has. What the three handles stand for never changes,
// so neither does an entry, except that another one may take its place. Each triple has two entries that it may be in.
type parties [1 << partyBits][2]placed

const partyBits = 13

type triple struct {
	workload metadata.WorkloadID
	place    metadata.PlaceID
	scope    metadata.Scope
}

type placed struct {
	triple
	who *party
}

// maxTriples bounds what a scratch remembers beside its parties: what finds no place there need not be put together from a
// dozen texts again.
const maxTriples = 1 << 17

func (p *placed) is(wl metadata.WorkloadID, place metadata.PlaceID, scope metadata.Scope) bool {
	return p.workload == wl && p.place == place && p.scope == scope && p.who != nil
}

// of returns the two entries that a triple may be in.
func (p *parties) of(wl metadata.WorkloadID, place metadata.PlaceID, scope metadata.Scope) *[2]placed {
	hash := (uint64(wl)<<32 | uint64(place)) * 0x9e3779b97f4a7c15
	hash = (hash ^ hash>>29 ^ uint64(scope)) * 0xbf58476d1ce4e5b9
	return &p[hash>>(64-partyBits)]
}

// named returns the party that e's answer names.
func (j *join) named(e *end) *party {
	wl, scope := e.ans.Workload, e.scope
	if j.placer == nil || e.ans.Endpoint == 0 {
		return j.e.identities.named(j.view, e.ans.Endpoint, wl, scope)
	}
	place := j.placer.PlaceOf(e.ans.Endpoint)
	pair := j.scratch.parties.of(wl, place, scope)
	switch {
	case pair[0].is(wl, place, scope):
		return pair[0].who
	case pair[1].is(wl, place, scope):
		pair[0], pair[1] = pair[1], pair[0]
		return pair[0].who
	}
	key := triple{wl, place, scope}
	who := j.scratch.triples[key]
	if who == nil {
		// From the place's handle, not from the endpoint: that one may have moved on since.
		who = j.e.identities.placed(j.view, j.placer.Place(place), wl, scope)
		if len(j.scratch.triples) >= maxTriples {
			clear(j.scratch.triples)
		}
		j.scratch.triples[key] = who
	}
	pair[1] = pair[0]
	pair[0] = placed{key, who}
	return who
}
