package store

import (
	"net/netip"
	"sync/atomic"

	"dredge/metadata"
)

// maxTime bounds flow times, so that widening never overflows: the year 10000.
const maxTime = 253402300800000

// span is a flow's window: [lo, hi) is where an owner must be unique, [start, end) where it must hold the address.
type span struct{ lo, start, end, hi int64 }

func (s *Store) span(w metadata.Window) span {
	start := min(max(w.Start, 0), maxTime)
	end := min(max(w.End, start), maxTime) + 1000
	return span{start - s.guard - s.skew, start, end, end + s.skew}
}

// Lookup implements metadata.View.
func (s *Store) Lookup(sc metadata.Scope, ip netip.Addr, w metadata.Window) metadata.Answer {
	return s.LookupPort(sc, ip, 0, 0, w)
}

// LookupPort is Lookup for an end whose port is known: a claim of that port alone outranks the claims of the whole address.
func (s *Store) LookupPort(sc metadata.Scope, ip netip.Addr, proto uint8, port uint16, w metadata.Window) metadata.Answer {
	rec := s.scope(sc)
	if sc == metadata.NoScope || rec == nil || !ip.IsValid() {
		return metadata.Answer{Reason: metadata.ScopeUnknown}
	}
	ip = ip.Unmap()
	win := s.span(w)
	if win.start < s.floor.Load() {
		return metadata.Answer{Reason: metadata.BeforeRetention}
	}
	// The watermark comes first: whatever was told before it was published is then visible in the tenures.
	watermark := rec.watermark.Load()
	key := keyScope(sc, ip)
	if now := s.current(key, ip); now != nil {
		if owner, shown := now.at(&win); owner != 0 {
			if a, ok := s.heldBy(owner, shown, &win, watermark); ok {
				return a
			}
		}
	}
	list, ports := s.intervals(key, ip, 0)
	if ports && port != 0 {
		if narrow, _ := s.intervals(key, ip, portKey(int(proto), int(port))); len(narrow) > 0 {
			if a := s.answer(narrow, false, win, watermark); a.Reason != metadata.BeforeFirstOwner && a.Reason != metadata.Released {
				return a
			}
		}
	}
	if len(list) == 0 {
		return s.unowned(rec, sc, ip, win, ports)
	}
	if !ports {
		if a, ok := s.plainly(list, &win, watermark); ok {
			return a
		}
	}
	return s.answer(list, ports, win, watermark)
}

// plainly is answer for what nearly all look-ups of older flows meet: in the whole window only one interface, which holds the flow
// whole and of which one workload is known. It comes to the same answer without unpacking anything; TestPlainly holds the two
// together. False leaves the question to answer.
func (s *Store) plainly(list tenures, w *span, watermark int64) (a metadata.Answer, ok bool) {
	owner, held, beaten := uint32(0), w.start, w.start
	for i := range list {
		w0, w1 := atomic.LoadUint64(&list[i][0]), atomic.LoadUint64(&list[i][1])
		flags := w0 >> extraShift
		if flags&claim != 0 {
			return a, false
		}
		from, to := int64(w0&timeMask), int64(w1&timeMask)
		if from-int64(accSteps[w0>>accShift0&accMask]) >= w.hi || to != timeMask && to+int64(accSteps[w1>>accShift1&accMask]) <= w.lo {
			continue // also the mark of times that were forgotten, if they lie before the window
		}
		switch h := unpackOwner(w0, w1); {
		case h == 0 || owner != 0 && h != owner:
			return a, false
		default:
			owner = h
		}
		if to == timeMask {
			to = forever
		}
		if from <= held && to > held { // sorted by from
			held = to
		}
		if flags&beat != 0 && from <= beaten && to > beaten {
			beaten = to
		}
	}
	if owner == 0 || held < w.end {
		return a, false
	}
	return s.heldBy(owner, beaten, w, watermark)
}

// heldBy is answer for an address that only owner may have had in the whole window and that owner held from begin to end of the flow,
// which traffic showed up to shown. False: owner has not, or not always had, one workload.
func (s *Store) heldBy(owner uint32, shown int64, w *span, watermark int64) (a metadata.Answer, ok bool) {
	ow := s.owners.list.at(owner)
	only := ow.onlyWorkload.Load()
	if only == 0 {
		return a, false
	}
	a.Endpoint = metadata.EndpointID(owner)
	if ow.onlyFrom.Load() <= w.start {
		a.Workload = metadata.WorkloadID(only)
	}
	switch {
	case shown >= w.end:
		a.Grade, a.Reason = metadata.Confirmed, metadata.Heartbeat
	case watermark == 0:
		a.Grade, a.Reason = metadata.Provisional, metadata.NoWatermark
	case watermark < w.hi:
		a.Grade, a.Reason = metadata.Provisional, metadata.WatermarkBehind
	default:
		a.Grade, a.Reason = metadata.Covered, metadata.Interval
	}
	if a.Workload == 0 && a.Grade.Names() {
		a.Reason = metadata.NoWorkload
	}
	return a, true
}

// unowned answers for an address that nobody ever held.
func (s *Store) unowned(rec *scope, sc metadata.Scope, ip netip.Addr, w span, ports bool) metadata.Answer {
	if ports {
		return metadata.Answer{Reason: metadata.SharedInterface}
	}
	if n := rec.declared(ip, w.start, true); n != nil {
		owner := s.owners.names.get("", n.owner)
		a := metadata.Answer{Reason: metadata.SharedInterface, Endpoint: metadata.EndpointID(owner)}
		a.Workload, _ = s.workloadIn(party{owner: owner, from: w.lo, to: w.hi}, w)
		return a
	}
	if rec.declared(ip, w.start, false) != nil || s.scopes.at(0).declared(ip, w.start, false) != nil {
		return metadata.Answer{Grade: metadata.Prefix, Reason: metadata.CIDR}
	}
	if sc == metadata.Public {
		return metadata.Answer{Grade: metadata.PublicEnd, Reason: metadata.PublicAddress}
	}
	return metadata.Answer{Reason: metadata.NeverSeen}
}
