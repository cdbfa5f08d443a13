package store

import (
	"cmp"
	"slices"
)

// deriver turns evidence into tenures. Its slices are scratch space of one shard's writer.
type deriver struct {
	out, layer []interval
	ev         []evidence
	// name orders owners where times tie, so that the order of interning shows nowhere.
	name func(uint32) string
	// bridge is the longest silence of a secondary or IPv6 address in milliseconds.
	bridge int64
	// slack is how long after a begin the predecessor may still be seen without contradicting it: flow logs have whole seconds,
	// and clocks differ.
	slack int64
}

// derive returns the tenures that ev stands for, sorted by from; they are valid until the next call. v4 says that the address
// is IPv4, where a primary address stays with its interface for the interface's life.
func (d *deriver) derive(ev []evidence, v4 bool) []interval {
	d.out = d.out[:0]
	for _, layer := range [...]uint8{0, claim} {
		d.ev = d.ev[:0]
		for _, e := range ev {
			if e.flags&claim == layer {
				d.ev = append(d.ev, e)
			}
		}
		if len(d.ev) == 0 {
			continue
		}
		d.sharpen()
		d.layer = d.layer[:0]
		d.told()
		d.beats(v4)
		d.out = append(d.out, d.layer...)
	}
	slices.SortFunc(d.out, d.compare)
	return d.out
}

// second is what flow logs leave open of a time: a record's first packet passed in the second of its start, its last in the second
// of its end.
const second = 1000

// sharpen takes from the traffic sightings what they do not prove: where the owner's own told begin or end may lie inside a
// sighting's first or last second, only one instant of that second is known to be its own. Another flow of the same second may
// have met nobody, or somebody else.
func (d *deriver) sharpen() {
	for i := range d.ev {
		b := &d.ev[i]
		if b.kind != beatSight {
			continue
		}
		first, last := b.from+second-1, b.to-second+1
		for _, e := range d.ev {
			if e.owner != b.owner {
				continue
			}
			acc := int64(e.acc)
			switch {
			case e.kind == begin && e.from > b.from && e.from-acc <= first:
				b.from = max(b.from, min(e.from, first))
			case e.kind == end && e.from < b.to && e.from+acc >= last:
				b.to = min(b.to, max(e.from, last))
			default:
			}
		}
	}
}

func (d *deriver) compare(a, b interval) int {
	c := cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.flags&(claim|beat), b.flags&(claim|beat)))
	if c != 0 || a.owner == b.owner {
		return c
	}
	return cmp.Compare(d.name(a.owner), d.name(b.owner))
}

// told appends the tenures that sources told: one for each begin, one for each sighting, those of one owner that touch united.
func (d *deriver) told() {
	var prim uint32
	for _, e := range d.ev {
		switch e.kind {
		case begin:
			to, acc := d.endOf(e)
			d.layer = append(d.layer, interval{from: e.from, to: to, owner: e.owner, accFrom: e.acc, accTo: acc, flags: uint32(e.flags)})
		case sight:
			d.layer = append(d.layer, interval{from: e.from, to: e.to, owner: e.owner, accFrom: e.acc, accTo: e.acc, flags: uint32(e.flags)})
		default:
		}
		prim |= uint32(e.flags)
	}
	if len(d.layer) > 1 {
		d.unite()
	}
	if prim&primary != 0 {
		for i := range d.layer {
			if d.isPrimary(d.layer[i].owner) {
				d.layer[i].flags |= primary
			}
		}
	}
}

// endOf returns where the tenure that b begins ends: at the owner's own next end, at the next begin of another owner, or at
// another owner's first sighting after this owner was last seen (a begin counts as seen for slack). An owner that was seen after another one began held on at
// least that long: both then hold the overlap, which makes it ambiguous.
func (d *deriver) endOf(b evidence) (to int64, acc uint32) {
	own, next, rival := int64(forever), int64(forever), int64(forever)
	for _, e := range d.ev {
		switch {
		case e.from <= b.from:
		case e.owner != b.owner:
			if e.kind == begin {
				rival = min(rival, e.from)
			}
		case e.kind == end:
			if e.from < own {
				own, acc = e.from, e.acc
			} else if e.from == own {
				acc = max(acc, e.acc)
			}
		case e.kind == begin:
			next = min(next, e.from)
		}
	}
	// A sighting after the owner's next begin belongs to that one: A, B, A gives A two tenures.
	limit, seen := min(own, next), int64(0)
	for _, e := range d.ev {
		if e.owner == b.owner && e.kind >= sight && e.from < limit && e.to > b.from {
			seen = max(seen, min(e.to, limit))
		}
	}
	after := max(b.from+d.slack+1, seen)
	for _, e := range d.ev {
		if e.owner != b.owner && e.kind >= sight && e.to > after {
			rival = min(rival, max(e.from, after))
		}
	}
	to = max(min(own, rival), seen)
	if to != own {
		return to, 0
	}
	return to, d.until(to, acc, b.owner)
}

// until is acc, the uncertainty after owner's end at to, as far as nobody else was told to begin within it.
func (d *deriver) until(to int64, acc uint32, owner uint32) uint32 {
	for _, e := range d.ev {
		if e.kind == begin && e.owner != owner && e.from >= to && e.from < to+int64(acc) {
			acc = min(acc, roundAcc(e.from-to))
		}
	}
	return acc
}

// unite makes one interval of those of one owner that overlap or touch. The earliest keeps its uncertainty at the front, the
// latest at the back.
func (d *deriver) unite() {
	slices.SortFunc(d.layer, func(a, b interval) int {
		return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.from, b.from), cmp.Compare(a.accFrom, b.accFrom), cmp.Compare(a.to, b.to))
	})
	n := 0
	for _, v := range d.layer[1:] {
		last := &d.layer[n]
		if v.owner != last.owner || v.from > last.to {
			n++
			d.layer[n] = v
			continue
		}
		last.flags |= v.flags
		if v.to > last.to {
			last.to, last.accTo = v.to, v.accTo
		} else if v.to == last.to {
			last.accTo = max(last.accTo, v.accTo)
		}
	}
	d.layer = d.layer[:n+1]
}

// isPrimary says whether anything told that the address is owner's primary one: that holds for an interface's whole life.
func (d *deriver) isPrimary(owner uint32) bool {
	for _, e := range d.ev {
		if e.owner == owner && e.flags&primary != 0 {
			return true
		}
	}
	return false
}

// beats appends what traffic showed, over the silences that may be bridged.
func (d *deriver) beats(v4 bool) {
	told := len(d.layer)
	for i, e := range d.ev {
		if e.kind != beatSight || d.bridgedInto(i, told, v4) {
			continue
		}
		v := interval{from: e.from, to: e.to, owner: e.owner, accFrom: heartbeatAcc, accTo: heartbeatAcc, flags: uint32(e.flags) | beat}
		if e.flags&primary != 0 {
			v.flags |= beatPrimary
		}
		if d.isPrimary(e.owner) {
			v.flags |= primary
		}
		for j := i + 1; j < len(d.ev); j++ {
			next := d.ev[j]
			if next.kind == beatSight && next.owner == e.owner {
				if !d.bridges(v.to, next.from, e.owner, told, v4) {
					break
				}
				v.to = next.to
				v.flags |= bridged
			}
		}
		d.clip(&v)
		d.layer = append(d.layer, v)
	}
}

// clip takes the width of v's edges back to where the owner's own told begin and end lie, and to where somebody else was told to begin:
// what traffic leaves open, a source knew. A begin or end that traffic contradicts is no bound.
func (d *deriver) clip(v *interval) {
	for _, e := range d.ev {
		if e.owner != v.owner {
			continue
		}
		switch earliest, latest := e.from-int64(e.acc), e.from+int64(e.acc); {
		case e.kind == begin && earliest <= v.from:
			v.accFrom = min(v.accFrom, roundAcc(min(v.from-earliest, heartbeatAcc)))
		case e.kind == end && latest >= v.to:
			v.accTo = min(v.accTo, roundAcc(min(latest-v.to, heartbeatAcc)))
		default:
		}
	}
	v.accTo = d.until(v.to, v.accTo, v.owner)
}

// bridgedInto says whether the beat at place i continues an earlier one of the same interface.
func (d *deriver) bridgedInto(i, told int, v4 bool) bool {
	for j := i - 1; j >= 0; j-- {
		if b := d.ev[j]; b.kind == beatSight && b.owner == d.ev[i].owner {
			return d.bridges(b.to, d.ev[i].from, b.owner, told, v4)
		}
	}
	return false
}

// bridges says whether owner is believed to have held the address in the silence [from, to).
func (d *deriver) bridges(from, to int64, owner uint32, told int, v4 bool) bool {
	if to-from > d.bridge && (!v4 || !d.isPrimary(owner)) {
		return false
	}
	for _, e := range d.ev {
		switch {
		case e.owner == owner:
			if e.kind == end && e.from >= from && e.from <= to {
				return false
			}
		case e.kind == beatSight && e.from < to && e.to > from:
			return false
		}
	}
	for _, v := range d.layer[:told] {
		if v.owner != owner && v.from < to && v.to > from {
			return false
		}
	}
	return true
}
