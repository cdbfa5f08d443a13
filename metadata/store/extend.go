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

// within takes in a heartbeat that lies inside a tenure of its interface which traffic showed before and after, as those of flows do that are
// reported late or in no order, without deriving the tenures again, and says whether it could. The shard's lock is held.
//
// It may when nothing else that was told of the address reaches beyond the begin of that tenure, apart from one of the same interface that is
// open anyway: then all that the tenure spans is this interface's traffic and silences between it, and another sighting only makes a
// silence shorter. As long as one is left, the derivation would change nothing at all.
func (t *table[K]) within(i int, e *evidence) bool {
	told := t.evidence(i)
	if e.kind != beatSight || len(told) >= maxEvidence {
		return false
	}
	list, from, to, flags := t.tenures(i), int64(0), int64(0), uint32(0)
	for k := range list {
		v := list.at(k)
		if v.owner == e.owner && v.flags&(claim|beat|bridged) == beat|bridged && v.from <= e.from && v.to >= e.to {
			from, to, flags = v.from, v.to, v.flags
		}
	}
	if to == 0 {
		return false
	}
	for k := range list {
		v := list.at(k)
		same := v.owner == e.owner && (v.to == forever && v.flags&beat == 0 || v.from == from && v.to == to && v.flags&beat != 0)
		if v.flags&claim == 0 && !same && v.to > from {
			return false
		}
	}
	merged, first, last, pieces := *e, -1, -1, 0
	for k := range told {
		x := told[k].evidence()
		switch {
		case x.flags&claim != 0: // another layer
		case x.kind != beatSight || x.owner != e.owner:
			if max(x.from, x.to)+int64(x.acc) > from {
				return false
			}
		case x.from > merged.to+heartbeatAcc || merged.from > x.to+heartbeatAcc:
			if x.to > from {
				pieces++
			}
		case x.to <= from: // of an earlier tenure
			return false
		default: // pieces of one interface are further apart than that, so those that e unites follow each other
			merged.from, merged.to = min(merged.from, x.from), max(merged.to, x.to)
			merged.flags |= x.flags
			if first < 0 {
				first = k
			}
			last = k
		}
	}
	switch {
	case pieces == 0: // no silence is left
		return false
	case merged.flags&primary != 0 && flags&beatPrimary == 0: // would be noted of the whole tenure
		return false
	case first < 0:
		if !t.append(i, &merged) {
			return false
		}
		told = t.evidence(i)
		first = len(told) - 1
	default:
		for k := first; k <= last; k++ {
			if x := told[k].evidence(); x.kind != beatSight || x.owner != e.owner {
				return false // something old between them
			}
		}
		copy(told[first+1:], told[last+1:])
		t.refs[i].Add(-uint64(last-first) << toldShift)
		t.liveTold -= last - first
		told = told[:len(told)-(last-first)]
	}
	for ; first > 0 && compareEvidence(told[first-1].evidence(), merged) > 0; first-- {
		told[first] = told[first-1]
	}
	for ; first+1 < len(told) && compareEvidence(told[first+1].evidence(), merged) < 0; first++ {
		told[first] = told[first+1]
	}
	told[first] = packEvidence(&merged)
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
