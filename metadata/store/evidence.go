package store

import (
	"cmp"
	"slices"
)

// kind is what a piece of evidence says.
type kind uint8

const (
	// begin: the owner took the address at from.
	begin kind = iota
	// end: the owner gave the address back at from.
	end
	// sight: a source saw the owner hold the address in [from, to).
	sight
	// beatSight: traffic showed that the owner held the address in [from, to).
	beatSight
)

// evidence is one thing that was told of one address. Knowledge is a set of these, so the order of telling cannot matter.
type evidence struct {
	from, to int64
	owner    uint32
	acc      uint32
	kind     kind
	flags    uint8
}

// keyState is what was told of one address, unpacked for the writer.
type keyState struct {
	// ev is sorted by compareEvidence and holds nothing twice.
	ev []evidence
	// since is the time before which evidence was forgotten because there was too much; 0 is never.
	since int64
	// ports: single ports of the address are claimed.
	ports bool
}

// size is how many pieces st is kept in: the evidence and the mark of forgotten times.
func (st *keyState) size() int {
	if st.since != 0 {
		return len(st.ev) + 1
	}
	return len(st.ev)
}

const (
	// maxEvidence is how much is kept for one address. A flapping one forgets its oldest evidence, and forgotten times answer as
	// older than the history.
	maxEvidence = 512
	// heartbeatAcc is the uncertainty at the edges of what traffic showed, in milliseconds, and the silence within which two
	// sightings of one interface are one.
	heartbeatAcc = 60_000
)

func compareEvidence(a, b evidence) int {
	return cmp.Or(
		cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.owner, b.owner), cmp.Compare(a.acc, b.acc), cmp.Compare(a.flags, b.flags),
	)
}

// add takes e in and says whether that changed anything.
func (st *keyState) add(e evidence) bool {
	if e.kind == beatSight {
		return st.addBeat(e)
	}
	i, found := slices.BinarySearchFunc(st.ev, e, compareEvidence)
	if found {
		return false
	}
	st.ev = slices.Insert(st.ev, i, e)
	return true
}

// addBeat unites e with every sighting of the same interface that is at most heartbeatAcc away: the parts of that union are the
// same for every order of telling.
func (st *keyState) addBeat(e evidence) bool {
	merged := e
	for again := true; again; {
		again = false
		for i := range st.ev {
			b := &st.ev[i]
			if b.kind != beatSight || b.owner != e.owner || b.from > merged.to+heartbeatAcc || merged.from > b.to+heartbeatAcc {
				continue
			}
			if b.from <= merged.from && b.to >= merged.to && b.flags|merged.flags == b.flags {
				return false
			}
			merged.from, merged.to = min(merged.from, b.from), max(merged.to, b.to)
			merged.flags |= b.flags
			st.ev = slices.Delete(st.ev, i, i+1)
			again = true
			break
		}
	}
	i, _ := slices.BinarySearchFunc(st.ev, merged, compareEvidence)
	st.ev = slices.Insert(st.ev, i, merged)
	return true
}

// forget makes room when there is too much evidence and returns how many pieces went. Sightings between two others of the same
// owner go first, since they say nothing new; then the oldest quarter of everything.
func (st *keyState) forget() int {
	before := len(st.ev)
	n := 0
	for i, e := range st.ev {
		between := e.kind == sight && i > 0 && i+1 < len(st.ev) && n > 0
		if between {
			last, next := st.ev[n-1], st.ev[i+1]
			between = last.kind == sight && next.kind == sight && last.owner == e.owner && next.owner == e.owner && last.to <= e.from && e.to <= next.from
		}
		if !between {
			st.ev[n] = e
			n++
		}
	}
	st.ev = st.ev[:n]
	if n > maxEvidence*3/4 {
		cut := n - maxEvidence*3/4
		for _, e := range st.ev[:cut] {
			st.since = max(st.since, e.from+1, e.to)
		}
		st.ev = slices.Delete(st.ev, 0, cut)
	}
	return before - len(st.ev)
}

// trim drops what only tells of times up to horizon, given the tenures that are derived from it, and says whether it did. Of
// each layer the tenure that ended last before that stays, as the last known owner, until it ended before last. Interfaces stay
// as long as a claim that they may contradict.
func (st *keyState) trim(list []interval, horizon, last int64) bool {
	pods := firstKept(list, claim, horizon, last)
	below := min(horizon, pods)
	interfaces := firstKept(list, 0, below, last)
	before := len(st.ev)
	st.ev = slices.DeleteFunc(st.ev, func(e evidence) bool {
		if e.flags&claim != 0 {
			return e.from < pods && max(e.from, e.to) <= horizon
		}
		return e.from < interfaces && max(e.from, e.to) <= below
	})
	return len(st.ev) != before
}

// firstKept returns where the first tenure of a layer begins that trim must keep, forever when there is none.
func firstKept(list []interval, layer uint32, horizon, last int64) int64 {
	keep := int64(forever)
	newest := interval{from: forever, to: last} // of those that have ended
	for _, v := range list {
		switch {
		case v.owner == 0 || v.flags&claim != layer:
		case v.to == forever || v.to+int64(v.accTo) > horizon:
			keep = min(keep, v.from)
		case v.to > newest.to:
			newest = v
		case v.to == newest.to:
			newest.from = min(newest.from, v.from)
		}
	}
	return min(keep, newest.from)
}
