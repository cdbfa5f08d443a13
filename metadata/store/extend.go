package store

import "sync/atomic"

// extend takes in a heartbeat that only continues the last one of its interface, as nearly all do, without deriving the tenures
// again, and says whether it could. The shard's lock is held.
//
// It may when nothing else that was told of the address reaches beyond the begin of the interface's last sighting, apart from
// a tenure of that same interface that is open anyway. Then the sighting moves no other tenure's end, and no told begin or
// end lies where it could sharpen the sighting: the derivation would change the end of one interval and nothing else. That end
// is one word in the arena, which readers see before or after; both are true.
func (t *table[K]) extend(i int, e *evidence, bridge int64, v4 bool) bool {
	told := t.evidence(i)
	if e.kind != beatSight || len(told) == 0 || len(told) >= maxEvidence {
		return false
	}
	last := len(told) - 1
	b := told[last].evidence()
	if b.kind != beatSight || b.owner != e.owner || b.flags&claim != 0 || e.from < b.from || e.to <= b.to || e.flags|b.flags != b.flags {
		return false
	}
	for k := range told[:last] {
		x := told[k].evidence()
		if x.flags&claim != 0 {
			continue // another layer
		}
		if x.owner == 0 || max(x.from, x.to)+int64(x.acc) > b.from {
			return false
		}
	}
	list := t.tenures(i)
	grows := -1
	for k := range list {
		switch v := list.at(k); {
		case v.flags&claim != 0: // another layer
		case v.flags&beat != 0 && v.owner == b.owner && v.to == b.to:
			grows = k
		case v.to > b.from && (v.owner != b.owner || v.to != forever || v.flags&beat != 0):
			return false
		}
	}
	if grows < 0 {
		return false
	}
	silent := e.from > b.to+heartbeatAcc
	if silent {
		if e.from-b.to > bridge && (!v4 || list.at(grows).flags&primary == 0) || !t.append(i, e) {
			return false
		}
		// Before the end: who sees the longer tenure must also see that it spans a silence.
		atomic.StoreUint64(&list[grows][0], list[grows][0]|bridged<<extraShift)
	} else {
		told[last][1] = told[last][1]&^timeMask | packTime(e.to)
	}
	atomic.StoreUint64(&list[grows][1], list[grows][1]&^timeMask|packTime(e.to))
	if !t.ports(i) {
		t.slots[i].now.set(list)
	}
	return true
}

// within takes in a heartbeat that lies inside a tenure of its interface which traffic showed before and after, or before its begin, as those of
// flows do that are reported late or in no order, without deriving the tenures again, and says whether it could. The shard's lock is held.
//
// It may when nothing else that was told of the address reaches beyond the begin of what the tenure is then, apart from a tenure of the same
// interface that is open anyway: all that it spans is this interface's traffic and silences between it. As long as one of these is left, the
// derivation would change nothing but the begin, which is one word in the arena, as the end is for extend.
func (t *table[K]) within(i int, e *evidence, bridge int64, v4 bool) bool {
	told, list, at := t.evidence(i), t.tenures(i), -1
	if e.kind != beatSight || len(told) >= maxEvidence {
		return false
	}
	for k := range list {
		if v := list.at(k); v.owner == e.owner && v.flags&(claim|beat) == beat && v.to >= e.to {
			at = k
		}
	}
	if at < 0 {
		return false
	}
	tenure := list.at(at)
	earlier := e.from < tenure.from
	if earlier && (tenure.from-e.to > bridge && (!v4 || tenure.flags&primary == 0) || e.flags&primary != 0 && tenure.flags&primary == 0) {
		return false
	}
	from := min(tenure.from, e.from)
	for k := range list {
		v := list.at(k)
		open := v.owner == e.owner && v.to == forever && v.flags&beat == 0
		if k != at && v.flags&claim == 0 && !open && v.to > from || earlier && k < at && v.from >= from { // the order is that of from
			return false
		}
	}
	u, ok := unionOf(told, e, from, earlier)
	if !ok || u.others == 0 || !earlier && u.merged.flags&primary != 0 && tenure.flags&beatPrimary == 0 {
		return false
	}
	if !t.replace(i, u) {
		return false
	}
	if !earlier {
		return true
	}
	tenure.from, tenure.accFrom = from, u.accFrom
	tenure.flags = tenure.flags&^beatPrimary | bridged
	if u.merged.flags&primary != 0 {
		tenure.flags |= beatPrimary
	}
	atomic.StoreUint64(&list[at][0], packInterval(&tenure)[0])
	if !t.ports(i) {
		t.slots[i].now.set(list)
	}
	return true
}

// union is a sighting together with the pieces of evidence at places first up to end that it unites.
type union struct {
	merged     evidence
	first, end int
	// others is how many sightings of the tenure it leaves as they are.
	others int
	// accFrom is the uncertainty of a tenure that begins with it.
	accFrom uint32
}

// unionOf unites e with what was told. It is not for within when anything but sightings of the same interface reaches beyond from, or, if the
// tenure is to begin earlier, was seen of the interface before.
func unionOf(told []packed, e *evidence, from int64, earlier bool) (u union, ok bool) {
	u = union{merged: *e, first: -1, accFrom: heartbeatAcc}
	for k := range told {
		switch x := told[k].evidence(); {
		case x.flags&claim != 0: // another layer
		case x.kind != beatSight || x.owner != e.owner:
			if max(x.from, x.to)+int64(x.acc) > from || u.end > 0 {
				return u, false
			}
			if x.kind == begin && x.owner == e.owner {
				u.accFrom = min(u.accFrom, roundAcc(min(from-x.from+int64(x.acc), heartbeatAcc)))
			}
		case x.to <= from:
			if earlier || u.merged.from <= x.to+heartbeatAcc {
				return u, false
			}
		case x.from > u.merged.to+heartbeatAcc || u.merged.from > x.to+heartbeatAcc:
			u.others++
		case u.end > 0 && u.end != k: // something of another layer between them
			return u, false
		default: // sightings of one interface are further apart than that, so those that e unites follow each other
			u.merged.from, u.merged.to = min(u.merged.from, x.from), max(u.merged.to, x.to)
			u.merged.flags |= x.flags
			if u.end == 0 {
				u.first = k
			}
			u.end = k + 1
		}
	}
	return u, true
}

// replace puts u in the place of what it unites, in the order of compareEvidence, and says whether there was room.
func (t *table[K]) replace(i int, u union) bool {
	if u.end == 0 {
		if !t.append(i, &u.merged) {
			return false
		}
		u.end = len(t.evidence(i))
		u.first = u.end - 1
	}
	told := t.evidence(i)
	gone, k := u.end-u.first-1, u.first
	copy(told[u.first+1:], told[u.end:])
	t.refs[i].Add(-uint64(gone) << toldShift)
	t.liveTold -= gone
	told = told[:len(told)-gone]
	for ; k > 0 && compareEvidence(told[k-1].evidence(), u.merged) > 0; k-- {
		told[k] = told[k-1]
	}
	for ; k+1 < len(told) && compareEvidence(told[k+1].evidence(), u.merged) < 0; k++ {
		told[k] = told[k+1]
	}
	told[k] = packEvidence(&u.merged)
	return true
}

// append adds e behind the evidence of the key at place i, and says whether there was room.
func (t *table[K]) append(i int, e *evidence) bool {
	told := t.evidence(i)
	if int(t.toldAt[i])+len(told) != t.nextTold { // something lies behind it: move
		if t.nextTold+len(told)+1 > len(t.told) {
			return false
		}
		copy(t.told[t.nextTold:], told)
		t.toldAt[i] = uint32(t.nextTold)
		t.nextTold += len(told)
	} else if t.nextTold == len(t.told) {
		return false
	}
	t.told[t.nextTold] = packEvidence(e)
	t.nextTold++
	t.liveTold++
	t.refs[i].Add(1 << toldShift)
	return true
}
