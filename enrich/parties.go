package enrich

import "dredge/metadata"

// parties remembers which party belongs to a workload in a place and scope: that is all that a named party is made from, and
// an estate has some thousands of such triples however many endpoints it has. What the three handles stand for never changes,
// so neither does an entry, except that another one may take its place.
type parties [1 << partyBits]struct {
	workload metadata.WorkloadID
	place    metadata.PlaceID
	scope    metadata.Scope
	who      *party
}

const partyBits = 14

// named returns the party that e's answer names.
func (j *join) named(e *end) *party {
	wl, scope := e.ans.Workload, e.scope
	if j.placer == nil || e.ans.Endpoint == 0 {
		return j.e.identities.named(j.view, e.ans.Endpoint, wl, scope)
	}
	place := j.placer.PlaceOf(e.ans.Endpoint)
	hash := (uint64(wl)<<32 | uint64(place)) * 0x9e3779b97f4a7c15
	hash = (hash ^ hash>>29 ^ uint64(scope)) * 0xbf58476d1ce4e5b9
	p := &j.scratch.parties[hash>>(64-partyBits)]
	if p.who == nil || p.workload != wl || p.place != place || p.scope != scope {
		p.workload, p.place, p.scope = wl, place, scope
		// From the place's handle, not from the endpoint: that one may have moved on since.
		p.who = j.e.identities.placed(j.view, j.placer.Place(place), wl, scope)
	}
	return p.who
}
