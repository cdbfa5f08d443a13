package store

import (
	"slices"
	"sync/atomic"
)

// packed is an interval or a piece of evidence in 16 bytes without pointers: millions of them cost the garbage collector
// nothing, and four share a cache line.
//
//	interval  word 0: from 42, owner's high bits 11, accFrom 6, flags 5
//	          word 1: to 42, owner's low bits 16, accTo 6
//	evidence  word 0: from 42, owner's high bits 11, acc 6, kind 2, claim 1, primary 1
//	          word 1: to 42, owner's low bits 16
//
// Times are Unix milliseconds up to the year 2109, all bits set being forever; events of later times are refused. There is room
// for 134 million owners. Uncertainties are kept in steps.
type packed [2]uint64

const (
	timeBits     = 42
	timeMask     = 1<<timeBits - 1
	ownerHigh    = 11
	ownerLow     = 16
	ownerShift   = timeBits
	accShift0    = timeBits + ownerHigh
	accShift1    = timeBits + ownerLow
	accBits      = 6
	accMask      = 1<<accBits - 1
	extraShift   = accShift0 + accBits
	kindMask     = 3
	claimShift   = extraShift + 2
	primaryShift = extraShift + 3
)

// accSteps are the uncertainties that can be kept, in milliseconds; others are rounded up, which makes an edge wider and so
// names less, never more.
//
//nolint:gochecknoglobals // read-only table
var accSteps = [1 << accBits]uint32{
	0, 1, 2, 5, 10, 20, 50, 100, 200, 500,
	1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000, 15_000, 20_000, 25_000, 30_000, 35_000, 40_000, 45_000, 50_000, 60_000,
	75_000, 90_000, 105_000, 120_000, 150_000, 180_000, 210_000, 240_000, 300_000, 360_000, 420_000, 480_000, 600_000, 720_000, 900_000,
	1_200_000, 1_500_000, 1_800_000, 2_700_000, 3_600_000, 5_400_000, 7_200_000, 10_800_000, 14_400_000, 21_600_000, 28_800_000,
	43_200_000, 64_800_000, 86_400_000, 129_600_000, 172_800_000, 259_200_000, 345_600_000, 432_000_000, 604_800_000,
}

// accCode is the place of the first step that is at least acc.
func accCode(acc uint32) uint64 {
	if acc == 0 {
		return 0
	}
	i, _ := slices.BinarySearch(accSteps[:], acc)
	return uint64(min(i, len(accSteps)-1))
}

// roundAcc is acc as it is kept.
func roundAcc(acc int64) uint32 { return accSteps[accCode(uint32(acc))] }

func packTime(t int64) uint64 {
	if t >= timeMask {
		return timeMask
	}
	return uint64(max(t, 0))
}

func unpackTime(w uint64) int64 {
	if w &= timeMask; w != timeMask {
		return int64(w)
	}
	return forever
}

func unpackOwner(w0, w1 uint64) uint32 {
	return uint32(w0>>ownerShift&(1<<ownerHigh-1))<<ownerLow | uint32(w1>>ownerShift&(1<<ownerLow-1))
}

func packOwner(owner uint32) (w0, w1 uint64) {
	return uint64(owner>>ownerLow) << ownerShift, uint64(owner&(1<<ownerLow-1)) << ownerShift
}

func packInterval(v *interval) packed {
	o0, o1 := packOwner(v.owner)
	return packed{
		packTime(v.from) | o0 | accCode(v.accFrom)<<accShift0 | uint64(v.flags)<<extraShift,
		packTime(v.to) | o1 | accCode(v.accTo)<<accShift1,
	}
}

func packEvidence(e *evidence) packed {
	o0, o1 := packOwner(e.owner)
	w0 := packTime(e.from) | o0 | accCode(e.acc)<<accShift0 | uint64(e.kind)<<extraShift
	if e.flags&claim != 0 {
		w0 |= 1 << claimShift
	}
	if e.flags&primary != 0 {
		w0 |= 1 << primaryShift
	}
	return packed{w0, packTime(e.to) | o1}
}

func (p *packed) evidence() evidence {
	e := evidence{
		from: unpackTime(p[0]), to: unpackTime(p[1]), owner: unpackOwner(p[0], p[1]),
		acc: accSteps[p[0]>>accShift0&accMask], kind: kind(p[0] >> extraShift & kindMask),
	}
	if p[0]>>claimShift&1 != 0 {
		e.flags |= claim
	}
	if p[0]>>primaryShift&1 != 0 {
		e.flags |= primary
	}
	return e
}

// tenures are the intervals of one address as they lie in the arena, sorted by from. The end of a heartbeat interval may grow
// under a reader's eyes (table.extend); apart from that they never change.
type tenures []packed

// at returns the interval at place i.
func (t tenures) at(i int) interval {
	w0, w1 := atomic.LoadUint64(&t[i][0]), atomic.LoadUint64(&t[i][1])
	return interval{
		from: unpackTime(w0), to: unpackTime(w1), owner: unpackOwner(w0, w1),
		accFrom: accSteps[w0>>accShift0&accMask], accTo: accSteps[w1>>accShift1&accMask], flags: uint32(w0 >> extraShift),
	}
}

// appendTo appends all intervals to list.
func (t tenures) appendTo(list []interval) []interval {
	for i := range t {
		list = append(list, t.at(i))
	}
	return list
}

// forgotten says whether the first of t is no tenure but marks the time before which its address has forgotten.
func (t tenures) forgotten() bool {
	return unpackOwner(atomic.LoadUint64(&t[0][0]), atomic.LoadUint64(&t[0][1])) == 0
}

// meets says whether the interval at place i may meet [lo, hi), and whether it is a claim, without unpacking it.
func (t tenures) meets(i int, lo, hi int64) (meets, isClaim bool) {
	w0, w1 := atomic.LoadUint64(&t[i][0]), atomic.LoadUint64(&t[i][1])
	from, to := int64(w0&timeMask), int64(w1&timeMask)
	meets = from-int64(accSteps[w0>>accShift0&accMask]) < hi && (to == timeMask || to+int64(accSteps[w1>>accShift1&accMask]) > lo)
	if meets && unpackOwner(w0, w1) == 0 {
		meets = false
	}
	return meets, w0>>extraShift&claim != 0
}

// hold says whether the intervals of owner among the interfaces' hold [start, end) whole, and whether the address is owner's
// primary one.
func (t tenures) hold(owner uint32, start, end int64) (whole, isPrimary bool) {
	at := start
	for i := range t { // sorted by from
		w0, w1 := atomic.LoadUint64(&t[i][0]), atomic.LoadUint64(&t[i][1])
		if unpackOwner(w0, w1) != owner || w0>>extraShift&claim != 0 {
			continue
		}
		isPrimary = isPrimary || w0>>extraShift&primary != 0
		if to := unpackTime(w1); int64(w0&timeMask) <= at && to > at {
			at = to
		}
	}
	return at >= end, isPrimary
}
