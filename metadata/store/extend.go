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
