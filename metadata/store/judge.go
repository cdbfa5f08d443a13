package store

import (
	"slices"

	"dredge/metadata"
)

// maxOwners is how many owners in one window are told apart; more than that are never one workload.
const maxOwners = 8

// party is one owner that may meet a window.
type party struct {
	owner uint32
	// from and to span its tenures that may meet the window.
	from, to int64
	// inside says that one of them may meet the flow itself.
	inside bool
}

// meeting is who of one layer may meet a window.
type meeting struct {
	parties [maxOwners]party
	n       int
	others  int // tenures of owners beyond maxOwners
}

func (m *meeting) add(v *interval, w span) {
	inside := v.widened(w.start, w.end)
	for i := range m.parties[:m.n] {
		if p := &m.parties[i]; p.owner == v.owner {
			p.from, p.to, p.inside = min(p.from, v.from), max(p.to, v.to), p.inside || inside
			return
		}
	}
	if m.n == maxOwners {
		m.others++
		return
	}
	m.parties[m.n] = party{v.owner, v.from, v.to, inside}
	m.n++
}

// answer judges the tenures of one address.
func (s *Store) answer(list tenures, ports bool, w span, watermark int64) metadata.Answer {
	if list.forgotten() && w.lo < list.at(0).to {
		return metadata.Answer{Reason: metadata.BeforeRetention}
	}
	var met [maxMet]interval
	n, above, claims := 0, false, false
	for i := range list {
		switch meets, isClaim := list.meets(i, w.lo, w.hi); {
		case !meets:
			claims = claims || isClaim
		default:
			claims, above = claims || isClaim, above || isClaim
			if n < maxMet {
				met[n] = list.at(i)
			}
			n++
		}
	}
	if n == 0 {
		return s.past(list, w)
	}
	j := judge{store: s, list: list, w: w, watermark: watermark, shared: !above && (claims || ports)}
	if n <= maxMet {
		j.met = met[:n]
	}
	if above {
		j.layer = claim
	}
	if n == 1 { // nearly always
		return j.one(party{met[0].owner, met[0].from, met[0].to, met[0].widened(w.start, w.end)})
	}
	return j.all()
}

// past answers when nobody may have held the address in the window.
func (s *Store) past(list tenures, w span) metadata.Answer {
	var last interval
	for i := range list {
		if v := list.at(i); v.owner != 0 && v.from < w.start && (last.owner == 0 || v.to >= last.to) {
			last = v
		}
	}
	if last.owner == 0 {
		return metadata.Answer{Reason: metadata.BeforeFirstOwner}
	}
	return s.stale(last.owner, last.to-1)
}

// all answers when more than one tenure may meet the window.
func (j *judge) all() metadata.Answer {
	var m meeting
	for i := range j.len() {
		if v := j.at(i); v.owner != 0 && v.flags&claim == j.layer && v.widened(j.w.lo, j.w.hi) {
			m.add(&v, j.w)
		}
	}
	if m.n == 1 {
		return j.one(m.parties[0])
	}
	return j.several(&m)
}

// stale answers that the last owner had gone; last is the last instant it held the address.
func (s *Store) stale(owner uint32, last int64) metadata.Answer {
	a := metadata.Answer{Grade: metadata.Stale, Reason: metadata.Released, Endpoint: metadata.EndpointID(owner)}
	a.Workload = s.workloadAt(owner, last)
	a.Candidates[0], a.CandidateWorkloads[0] = a.Endpoint, a.Workload
	return a
}

// judge holds what one answer is made from.
type judge struct {
	store *Store
	list  tenures
	// met are those of list that may meet the window, unpacked; nil when they are too many. Only these can hold a part of it.
	met       []interval
	layer     uint32
	w         span
	watermark int64
	// shared: pods, tasks or ports are known on this address, so the interface below names nothing.
	shared bool
}

// maxMet is how many tenures in one window are unpacked at once.
const maxMet = 6

// len and at are the tenures that may meet the window, with others among them when they are many.
func (j *judge) len() int {
	if j.met != nil {
		return len(j.met)
	}
	return len(j.list)
}

func (j *judge) at(i int) interval {
	if j.met != nil {
		return j.met[i]
	}
	return j.list.at(i)
}

// one answers when a single owner may meet the window.
func (j *judge) one(p party) metadata.Answer {
	s, w := j.store, j.w
	a := metadata.Answer{Endpoint: metadata.EndpointID(p.owner)}
	id, state := s.workloadIn(p, w)
	a.Workload = id
	if !j.holds(p.owner, 0) {
		a.Grade, a.Reason = j.edge(p.owner)
		s.meant(&a, p, w, state)
		return a
	}
	if j.sharedBy(p.owner) {
		a.Reason = metadata.SharedInterface
		return a
	}
	if r := j.contradiction(p); r != metadata.NoReason {
		a.Grade, a.Reason = metadata.Ambiguous, r
		s.meant(&a, p, w, state)
		return a
	}
	switch state {
	case workloadInside, workloadNear:
		a.Grade, a.Reason = metadata.Ambiguous, metadata.WorkloadChanged
		if state == workloadNear {
			a.Grade = metadata.Border
		}
		s.meant(&a, p, w, state)
		return a
	default:
	}
	a.Grade, a.Reason = j.told(metadata.Interval)
	if j.layer == 0 && j.holds(p.owner, beat) {
		a.Grade, a.Reason = metadata.Confirmed, metadata.Heartbeat
	}
	if a.Grade.Names() && a.Workload == 0 {
		a.Reason = metadata.NoWorkload
	}
	return a
}

// told grades a tenure by how far the sources have told.
func (j *judge) told(r metadata.Reason) (metadata.Grade, metadata.Reason) {
	switch {
	case j.watermark == 0:
		return metadata.Provisional, metadata.NoWatermark
	case j.watermark < j.w.hi:
		return metadata.Provisional, metadata.WatermarkBehind
	default:
		return metadata.Covered, r
	}
}

// several answers when more than one owner may meet the window.
func (j *judge) several(m *meeting) metadata.Answer {
	var a metadata.Answer
	inside, changed := 0, false
	one := m.others == 0 && j.holds(0, 0)
	for i, p := range m.parties[:m.n] {
		id, state := j.store.workloadIn(p, j.w)
		if i < len(a.Candidates) {
			a.Candidates[i], a.CandidateWorkloads[i] = metadata.EndpointID(p.owner), id
		} else {
			a.Others++
		}
		if p.inside {
			inside++
		}
		if i == 0 {
			a.Workload = id
		}
		changed = changed || state != workloadSame
		one = one && id != 0 && id == a.Workload && state == workloadSame && !j.sharedBy(p.owner) && j.contradiction(p) == metadata.NoReason
	}
	a.Others = uint8(min(int(a.Others)+m.others, 255))
	if one {
		a.Grade, a.Reason = j.told(metadata.OneWorkload)
		return a
	}
	if changed { // behind the owners, as there is room for four
		n := min(m.n, len(a.Candidates))
		for i, p := range m.parties[:n] {
			if id := a.CandidateWorkloads[i]; id != 0 {
				n = j.store.ran(&a, n, p, j.w, id)
			}
		}
	}
	a.Workload = 0
	a.Grade, a.Reason = metadata.Border, metadata.NearHandover
	if inside > 1 {
		a.Grade, a.Reason = metadata.Ambiguous, metadata.SecondOwner
	}
	return a
}

// holds says whether the tenures of owner (0: of anyone) in the judged layer hold the whole flow; only those with flag count.
func (j *judge) holds(owner, flag uint32) bool {
	at := j.w.start
	for i := range j.len() { // sorted by from
		v := j.at(i)
		if v.owner != 0 && v.flags&claim == j.layer && (owner == 0 || v.owner == owner) && v.flags&flag == flag && v.from <= at && v.to > at {
			if at = v.to; at >= j.w.end {
				return true
			}
		}
	}
	return false
}

// edge says how the only owner that may meet the window fails to hold the flow.
func (j *judge) edge(owner uint32) (metadata.Grade, metadata.Reason) {
	w := j.w
	before, after, first, last := false, false, false, false
	inside := false // may hold a part of the flow
	for i := range j.len() {
		v := j.at(i)
		if v.owner != owner || v.flags&claim != j.layer || !v.widened(w.lo, w.hi) {
			continue
		}
		before = before || v.to <= w.start
		after = after || v.from >= w.end
		first = first || v.from <= w.start && v.to > w.start
		last = last || v.from < w.end && v.to >= w.end
		inside = inside || v.widened(w.start, w.end)
	}
	switch {
	case first && last:
		return metadata.Border, metadata.OwnerGap
	case first:
		return metadata.Border, metadata.EndsAfterOwner
	case last:
		return metadata.Border, metadata.StartsBeforeOwner
	case before && after && inside:
		return metadata.Border, metadata.OwnerGap
	case before && inside:
		return metadata.Border, metadata.EndsAfterOwner
	case before:
		return metadata.Stale, metadata.Released
	case inside:
		return metadata.Border, metadata.StartsBeforeOwner
	default:
		return metadata.Unknown, metadata.BeforeFirstOwner
	}
}

// sharedBy says whether owner carries several workloads, so that its own name says nothing about them.
func (j *judge) sharedBy(owner uint32) bool {
	if j.shared || j.layer == claim {
		return j.shared
	}
	ow := j.store.owners.list.at(owner)
	return ow.onlyWorkload.Load() == 0 && ow.facts.Load().shared(j.w.start)
}

// contradiction checks a pod or task against the interfaces that held its address: its claim ends when the address goes to
// another interface, even if nobody told.
func (j *judge) contradiction(p party) metadata.Reason {
	if j.layer != claim {
		return metadata.NoReason
	}
	node := j.store.owners.facts(p.owner).node
	before := uint32(0)
	for i := range j.list {
		v := j.list.at(i)
		if v.flags&claim != 0 || v.owner == 0 || v.to != forever && v.to+int64(v.accTo) <= p.from {
			continue
		}
		other := node == 0 || v.owner != node
		if before != 0 && v.owner != before && other && v.from-int64(v.accFrom) > p.from+j.store.skew && v.from < j.w.end {
			return metadata.AddressMoved
		}
		if node != 0 && other && v.from < j.w.end && v.to > j.w.start {
			return metadata.LayersDisagree
		}
		before = v.owner
	}
	return metadata.NoReason
}

// workloadState is how an owner's workload went during its part of a window.
type workloadState uint8

const (
	// workloadSame: one workload, or none known.
	workloadSame workloadState = iota
	// workloadNear: another one in the window, outside the flow.
	workloadNear
	// workloadInside: another one in the flow.
	workloadInside
)

// workloadIn returns the workload of p at the flow's start, or at the nearest time at which p held the address, and whether
// there was another one in the part of the window that p holds.
func (s *Store) workloadIn(p party, w span) (metadata.WorkloadID, workloadState) {
	from, to := p.part(w)
	t := min(max(w.start, from), to-1)
	ow := s.owners.list.at(p.owner)
	if id := ow.onlyWorkload.Load(); id != 0 {
		if ow.onlyFrom.Load() > t {
			return 0, workloadSame
		}
		return metadata.WorkloadID(id), workloadSame
	}
	vs := ow.facts.Load().wl
	now := at(vs, t)
	if now < 0 {
		return 0, workloadSame
	}
	state := workloadSame
	for i := range vs {
		until := int64(forever)
		if i+1 < len(vs) {
			until = vs[i+1].from
		}
		if vs[i].val == vs[now].val || vs[i].from >= to || until <= from {
			continue
		}
		if vs[i].from < w.end && until > w.start {
			return vs[now].val, workloadInside
		}
		state = workloadNear
	}
	return vs[now].val, state
}

// part is the part of w that p holds: never empty, as of one that only its uncertainty brings into w it is the instant next to w.
func (p party) part(w span) (from, to int64) {
	if from, to = max(w.lo, p.from), min(w.hi, p.to); from < to {
		return from, to
	}
	if from = p.from; p.to <= w.lo {
		from = p.to - 1
	}
	return from, from + 1
}

// meant lists p in a as the one that could have been meant: with each workload that ran there in its part of the window, in order
// of time, when that changed.
func (s *Store) meant(a *metadata.Answer, p party, w span, state workloadState) {
	if state == workloadSame {
		a.Candidates[0], a.CandidateWorkloads[0] = metadata.EndpointID(p.owner), a.Workload
		return
	}
	s.ran(a, 0, p, w, 0)
}

// ran lists p in a from place n on, once for each workload that ran there in p's part of the window, but not for the workload but,
// which stands there already. What finds no room is counted. It returns the first place that is still free.
func (s *Store) ran(a *metadata.Answer, n int, p party, w span, but metadata.WorkloadID) int {
	from, to := p.part(w)
	vs := s.owners.facts(p.owner).wl
	first := max(at(vs, from), 0)
	for i := first; i < len(vs) && vs[i].from < to; i++ {
		id := vs[i].val
		switch {
		case id == but || slices.ContainsFunc(vs[first:i], func(v version[metadata.WorkloadID]) bool { return v.val == id }):
		case n == len(a.Candidates):
			a.Others += min(1, 255-a.Others)
		default:
			a.Candidates[n], a.CandidateWorkloads[n] = metadata.EndpointID(p.owner), id
			n++
		}
	}
	return n
}

// workloadAt returns the workload of owner at t.
func (s *Store) workloadAt(owner uint32, t int64) metadata.WorkloadID {
	vs := s.owners.facts(owner).wl
	if i := at(vs, t); i >= 0 {
		return vs[i].val
	}
	return 0
}
