package store

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"dredge/metadata"
	"dredge/metadata/event"
)

// oracle answers by scanning a list of everything that was told. It is written from the rules of docs/design.md (identity over
// time), shares no code with the store, and judges every instant by itself instead of deriving tenures by cutting intervals.
type oracle struct {
	events []event.Event
	beats  []Sighting
	skew   int64
	bridge int64

	held map[string]map[string][]run // memo by address and owner
}

// run is a longest time in which one owner is believed to hold an address without a break, and how far its edges are open.
type run struct {
	from, to         int64
	accFrom, accTo   int64
	byTraffic, above bool
}

type verdict struct {
	grade, reason      string
	endpoint, workload string
	candidates         string // owner=workload
	others             int
}

const never = int64(-1)

func isENI(owner string) bool { return strings.HasPrefix(owner, "eni:") }

// isGlobal6 says whether ip is a global IPv6 address: that is one address in the whole world, whichever VPC it was told of.
func isGlobal6(ip string) bool { return strings.HasPrefix(ip, "2") && strings.Contains(ip, ":") }

// among says whether what was told of ip in a scope is told of it in another.
func among(told, scope, ip string) bool { return told == scope || isGlobal6(ip) }

// told is evidence of one address in one layer.
type told struct {
	owner    string
	begin    int64 // never when it is none
	end      int64
	seenFrom int64
	seenTo   int64
	acc      int64
}

func (o *oracle) told(scope, ip string, above bool) []told {
	var out []told
	for _, e := range o.events {
		if !among(e.Scope, scope, ip) || e.IP != ip || isENI(e.Owner) == above {
			continue
		}
		t := told{owner: e.Owner, begin: never, end: never, seenFrom: never, seenTo: never, acc: e.Acc}
		switch e.Op {
		case event.Assign:
			b := t
			b.begin = e.From
			out = append(out, b)
			if e.To != 0 {
				t.end = e.To
				out = append(out, t)
			}
		case event.Release:
			t.end = e.To
			out = append(out, t)
		case event.Observe:
			t.seenFrom, t.seenTo = e.From, e.To+1
			out = append(out, t)
		default: // tells nothing of an owner
		}
	}
	return out
}

// spans returns the traffic sightings of an address by interface, those at most a minute apart joined.
func (o *oracle) spans(scope, ip string) (out map[string][][2]int64, primary map[string]bool) {
	out, primary = map[string][][2]int64{}, map[string]bool{}
	for _, b := range o.beats {
		if b.IP.String() == ip && among(scopeNames[b.Scope], scope, ip) {
			owner := "eni:" + b.ENI
			out[owner] = append(out[owner], o.certain(scope, ip, owner, b.Start, b.End+1000))
			primary[owner] = primary[owner] || b.Primary
		}
	}
	for _, e := range o.events {
		if among(e.Scope, scope, ip) && e.IP == ip && e.Primary != nil && *e.Primary && e.Op == event.Assign {
			primary[e.Owner] = true
		}
	}
	for owner, list := range out {
		slices.SortFunc(list, func(a, b [2]int64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
		joined := list[:1]
		for _, s := range list[1:] {
			if last := &joined[len(joined)-1]; s[0]-last[1] <= 60_000 {
				last[1] = max(last[1], s[1])
			} else {
				joined = append(joined, s)
			}
		}
		out[owner] = joined
	}
	return out, primary
}

// certain is the part of a sighting that it proves: a record says whole seconds, so where the owner's own begin or end may lie
// inside the first or the last of them, one instant of it is all that is sure.
func (o *oracle) certain(scope, ip, owner string, from, to int64) [2]int64 {
	start, stop := from, to
	for _, e := range o.events {
		if !among(e.Scope, scope, ip) || e.IP != ip || e.Owner != owner {
			continue
		}
		begin, end := e.Start(), e.End()
		if e.Op == event.Assign && begin > from && begin-e.Acc < from+1000 {
			start = max(start, min(begin, from+999))
		}
		closes := e.Op == event.Release || e.Op == event.Assign && e.To != 0
		if closes && end < to && end+e.Acc > to-1000 {
			stop = min(stop, max(end, to-999))
		}
	}
	return [2]int64{start, stop}
}

// holds judges one instant: did owner hold the address at t, going by the begin at s?
func holds(owner string, s, t int64, facts []told, seen func(owner string) [][2]int64, owners []string, skew int64) bool {
	if t < s {
		return false
	}
	nextBegin, nextEnd := int64(forever), int64(forever)
	for _, f := range facts {
		if f.owner == owner && f.begin > s {
			nextBegin = min(nextBegin, f.begin)
		}
		if f.owner == owner && f.end > s {
			nextEnd = min(nextEnd, f.end)
		}
	}
	if t >= nextEnd {
		return false
	}
	lastSeen := s
	for _, r := range seen(owner) {
		lo, hi := max(r[0], s), min(r[1], nextBegin, nextEnd)-1 // the instants of r that belong to this begin
		if lo <= hi {
			lastSeen = max(lastSeen, hi)
		}
	}
	if t <= lastSeen {
		return true
	}
	for _, f := range facts {
		if f.owner != owner && f.begin > s && f.begin <= t {
			return false
		}
	}
	lastSeen = max(lastSeen, s+1000+skew) // clocks differ, and flow logs have whole seconds
	for _, rival := range owners {
		if rival == owner {
			continue
		}
		for _, r := range seen(rival) {
			if max(r[0], lastSeen+1) <= min(r[1]-1, t) {
				return false
			}
		}
	}
	return true
}

// runs returns everything that owners are believed to have held of one address.
func (o *oracle) runs(scope, ip string) map[string][]run {
	key := scope + " " + ip
	if m, ok := o.held[key]; ok {
		return m
	}
	out := map[string][]run{}
	for _, above := range []bool{false, true} {
		o.layer(scope, ip, above, out)
	}
	if o.held == nil {
		o.held = map[string]map[string][]run{}
	}
	o.held[key] = out
	return out
}

func (o *oracle) layer(scope, ip string, above bool, out map[string][]run) {
	facts := o.told(scope, ip, above)
	traffic, primary := map[string][][2]int64{}, map[string]bool{}
	if !above {
		traffic, primary = o.spans(scope, ip)
	}
	var owners []string
	points := []int64{}
	for _, f := range facts {
		owners = append(owners, f.owner)
		points = append(points, f.begin, f.end, f.seenFrom, f.seenTo)
	}
	for owner, list := range traffic {
		owners = append(owners, owner)
		for _, s := range list {
			points = append(points, s[0], s[1])
		}
	}
	slices.Sort(owners)
	owners = slices.Compact(owners)
	for _, t := range points { // where a sighting cuts a begin
		points = append(points, t+1, t+1001+o.skew)
	}
	points = append(slices.DeleteFunc(points, func(t int64) bool { return t <= 1001+o.skew }), forever)
	slices.Sort(points)
	points = slices.Compact(points)
	seen := func(owner string) [][2]int64 {
		list := slices.Clone(traffic[owner])
		for _, f := range facts {
			if f.owner == owner && f.seenFrom != never {
				list = append(list, [2]int64{f.seenFrom, f.seenTo})
			}
		}
		return list
	}
	toldRuns := map[string][]run{}
	for _, owner := range owners {
		// Between two points nothing changes: judging each point judges every instant. A begin may hold on until an instant
		// before the next point only when that is a point itself.
		var cur *run
		for _, t := range points[:max(len(points)-1, 0)] {
			is := false
			for _, f := range facts {
				if f.owner == owner && (f.begin != never && holds(owner, f.begin, t, facts, seen, owners, o.skew) ||
					f.seenFrom != never && f.seenFrom <= t && t < f.seenTo) {
					is = true
				}
			}
			next := points[slices.Index(points, t)+1]
			switch {
			case is && cur == nil:
				toldRuns[owner] = append(toldRuns[owner], run{from: t, to: next, above: above})
				cur = &toldRuns[owner][len(toldRuns[owner])-1]
			case is:
				cur.to = next
			default:
				cur = nil
			}
		}
		for i := range toldRuns[owner] {
			o.edges(&toldRuns[owner][i], owner, facts, seen, owners)
		}
		out[owner] = append(out[owner], toldRuns[owner]...)
	}
	for owner, list := range traffic {
		first := len(out[owner])
		cur := run{from: list[0][0], to: list[0][1], accFrom: 60_000, accTo: 60_000, byTraffic: true}
		for _, s := range list[1:] {
			if o.silent(owner, cur.to, s[0], primary[owner] && !strings.Contains(ip, ":"), facts, traffic, toldRuns) {
				cur.to = s[1]
				continue
			}
			out[owner] = append(out[owner], cur)
			cur.from, cur.to = s[0], s[1]
		}
		out[owner] = append(out[owner], cur)
		for i := range out[owner][first:] {
			r := &out[owner][first+i]
			for _, f := range facts { // before its told begin and after its told end nobody need fear it
				if f.owner == owner && f.begin != never && f.begin-f.acc <= r.from {
					r.accFrom = min(r.accFrom, widened(r.from-(f.begin-f.acc)))
				}
				if f.owner == owner && f.end != never && f.end+f.acc >= r.to {
					r.accTo = min(r.accTo, widened(f.end+f.acc-r.to))
				}
			}
			r.accTo = before(owner, r.to, r.accTo, facts)
		}
	}
}

// before is an uncertainty after to, as far as no other owner was told to begin in it.
func before(owner string, to, acc int64, facts []told) int64 {
	for _, f := range facts {
		if f.owner != owner && f.begin != never && f.begin >= to {
			acc = min(acc, widened(f.begin-to))
		}
	}
	return acc
}

// widened is an uncertainty as it is kept: in steps, rounded up.
func widened(acc int64) int64 {
	for _, step := range accSteps {
		if int64(step) >= acc {
			return int64(step)
		}
	}
	return forever
}

// edges finds how far the edges of a told run are open.
func (o *oracle) edges(r *run, owner string, facts []told, seen func(string) [][2]int64, owners []string) {
	r.accFrom = forever
	for _, f := range facts {
		if f.owner == owner && (f.begin == r.from || f.seenFrom == r.from) {
			r.accFrom = min(r.accFrom, f.acc)
		}
	}
	for _, f := range facts {
		if f.owner != owner {
			continue
		}
		if f.seenFrom != never && f.seenTo == r.to {
			r.accTo = max(r.accTo, f.acc)
		}
		if f.end != r.to || f.end == never {
			continue
		}
		for _, b := range facts { // the end counts when a begin lasted until it
			if b.owner == owner && b.begin != never && b.begin < f.end && holds(owner, b.begin, f.end-1, facts, seen, owners, o.skew) &&
				!slices.ContainsFunc(facts, func(x told) bool { return x.owner == owner && x.end > b.begin && x.end < f.end }) {
				r.accTo = max(r.accTo, before(owner, r.to, f.acc, facts))
			}
		}
	}
}

// silent says whether an interface keeps an address over a silence.
func (o *oracle) silent(owner string, from, to int64, primary bool, facts []told, traffic map[string][][2]int64, toldRuns map[string][]run) bool {
	if !primary && to-from > o.bridge {
		return false
	}
	for _, f := range facts {
		if f.owner == owner && f.end >= from && f.end <= to {
			return false
		}
	}
	for rival, list := range traffic {
		if rival != owner && slices.ContainsFunc(list, func(s [2]int64) bool { return s[0] < to && s[1] > from }) {
			return false
		}
	}
	for rival, list := range toldRuns {
		if rival != owner && slices.ContainsFunc(list, func(r run) bool { return r.from < to && r.to > from }) {
			return false
		}
	}
	return true
}

// workloadAt is what owner was told to run at t.
func (o *oracle) workloadAt(owner string, t int64) string {
	best := -1
	for i, e := range o.events {
		if e.Owner != owner || e.WL == nil || e.From > t {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		b := o.events[best]
		if cmp.Or(cmp.Compare(e.From, b.From), cmp.Compare(e.Rver, b.Rver), cmp.Compare(e.Obs, b.Obs), cmp.Compare(e.Src, b.Src), cmp.Compare(e.WL.App, b.WL.App)) > 0 {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return o.events[best].WL.App
}

// workloads returns owner's workload at the flow's start (or the nearest time that it holds) and how it changes in its part
// [from, to) of the window: "", "near" or "inside".
func (o *oracle) workloads(owner string, from, to int64, w span) (now, change string) {
	lo, hi := max(from, w.lo), min(to, w.hi)
	if lo >= hi {
		if to <= w.lo {
			lo = to - 1
		} else {
			lo = from
		}
		hi = lo + 1
	}
	now = o.workloadAt(owner, min(max(w.start, lo), hi-1))
	if now == "" {
		return "", ""
	}
	times := []int64{lo}
	for _, e := range o.events {
		if e.Owner == owner && e.WL != nil && e.From > lo && e.From < hi {
			times = append(times, e.From)
		}
	}
	slices.Sort(times)
	for i, t := range times {
		until := hi
		if i+1 < len(times) {
			until = times[i+1]
		}
		if at := o.workloadAt(owner, t); at != "" && at != now {
			// The version may reach beyond the part that is held; it counts as inside when it is valid during the flow.
			begin, finish := o.valid(owner, t)
			if begin < w.end && finish > w.start {
				return now, "inside"
			}
			change = "near"
		}
		_ = until
	}
	return now, change
}

// ran lists owner as a candidate, with each workload that it had in its part [from, to) of the window.
func (o *oracle) ran(owner string, from, to int64, w span) string {
	now, change := o.workloads(owner, from, to, w)
	if now == "" || change == "" {
		return owner + "=" + now
	}
	var list []string
	for t := max(from, w.lo); t < min(to, w.hi); t++ { // every change is at a whole second
		if app := o.workloadAt(owner, t); app != "" && !slices.Contains(list, owner+"="+app) {
			list = append(list, owner+"="+app)
		}
		t += 999 - t%1000
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// valid returns the time in which what owner was told to run at t holds.
func (o *oracle) valid(owner string, t int64) (from, to int64) {
	to = forever
	for _, e := range o.events {
		if e.Owner != owner || e.WL == nil {
			continue
		}
		if e.From <= t {
			from = max(from, e.From)
		} else {
			to = min(to, e.From)
		}
	}
	return from, to
}

// watermark is the least progress of the sources that matter in a scope, 0 when there is none.
func (o *oracle) watermark(scope string) int64 {
	progress := map[string]int64{}
	tells := map[string]bool{}
	for _, e := range o.events {
		if (e.Scope == scope || scope == "public" && isGlobal6(e.IP)) && e.Op != event.Progress {
			tells[e.Src] = true
		}
	}
	for _, e := range o.events {
		if e.Op == event.Progress && (e.Scope == scope || e.Scope == "" && tells[e.Src]) {
			progress[e.Src] = max(progress[e.Src], e.To)
		}
	}
	low := int64(0)
	for _, t := range progress {
		if low == 0 || t < low {
			low = t
		}
	}
	return low
}

func (o *oracle) shared(owner string) bool {
	return slices.ContainsFunc(o.events, func(e event.Event) bool { return e.Owner == owner && e.EP != nil && e.EP.Kind == "lambda" })
}

func (o *oracle) node(owner string) string {
	for _, e := range o.events {
		if e.Owner == owner && e.EP != nil && e.EP.ENI != "" {
			return "eni:" + e.EP.ENI
		}
	}
	return ""
}

// lookup answers like Store.Lookup, in words.
func (o *oracle) lookup(scope string, ip netip.Addr, win metadata.Window) verdict {
	w := span{win.Start - 60_000 - o.skew, win.Start, win.End + 1000, win.End + 1000 + o.skew}
	all := o.runs(scope, ip.String())
	type meets struct {
		owner    string
		runs     []run
		inside   bool
		from, to int64
	}
	may := func(r run, lo, hi int64) bool { return r.from-r.accFrom < hi && (r.to == forever || r.to+r.accTo > lo) }
	layers := map[bool][]meets{}
	pods, known := false, false
	for owner, runs := range all {
		m := meets{owner: owner, from: forever}
		for _, r := range runs {
			known = true
			pods = pods || r.above
			if may(r, w.lo, w.hi) {
				m.runs = append(m.runs, r)
				m.inside = m.inside || may(r, w.start, w.end)
				m.from, m.to = min(m.from, r.from), max(m.to, r.to)
			}
		}
		if len(m.runs) > 0 {
			layers[m.runs[0].above] = append(layers[m.runs[0].above], m)
		}
	}
	switch {
	case known:
	case scope == "public":
		return verdict{grade: "public", reason: "public-address"}
	default:
		return verdict{grade: "unknown", reason: "never-seen"}
	}
	above := len(layers[true]) > 0
	who := layers[above]
	if len(who) == 0 {
		best, owner := run{to: never}, ""
		for name, runs := range all {
			for _, r := range runs {
				if r.from >= w.start {
					continue
				}
				// Of those that ended last, the one that stands last in the order of begin, traffic, layer and name.
				if c := cmp.Or(cmp.Compare(r.to, best.to), cmp.Compare(r.from, best.from), cmpFlags(r, best), cmp.Compare(name, owner)); owner == "" || c > 0 {
					best, owner = r, name
				}
			}
		}
		if owner == "" {
			return verdict{grade: "unknown", reason: "before-first-owner"}
		}
		app := o.workloadAt(owner, best.to-1)
		return verdict{"stale", "released", owner, app, owner + "=" + app, 0}
	}
	var names []string
	for _, m := range who {
		names = append(names, o.ran(m.owner, m.from, m.to, w))
	}
	slices.Sort(names)
	list := strings.Join(names, " ")

	full := func(keep func(owner string, r run) bool) bool { // is every instant of the flow held?
		t := w.start
		for again := true; again && t < w.end; {
			again = false
			for owner, runs := range all {
				for _, r := range runs {
					if r.above == above && keep(owner, r) && r.from <= t && t < r.to {
						t, again = r.to, true
					}
				}
			}
		}
		return t >= w.end
	}
	told := func() (string, string) {
		switch mark := o.watermark(scope); {
		case mark == 0:
			return "provisional", "no-watermark"
		case mark < w.hi:
			return "provisional", "watermark-behind"
		}
		return "covered", ""
	}
	hidden := func(owner string) bool { return !above && (pods || o.shared(owner)) }
	moved := func(m meets) string {
		if !above {
			return ""
		}
		node, last := o.node(m.owner), ""
		type held struct {
			run
			owner string
		}
		var below []held
		for owner, runs := range all {
			for _, r := range runs {
				if !r.above && (r.to == forever || r.to+r.accTo > m.from) { // in the pod's life
					below = append(below, held{r, owner})
				}
			}
		}
		slices.SortFunc(below, func(a, b held) int {
			return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmpFlags(a.run, b.run), cmp.Compare(a.owner, b.owner))
		})
		for _, h := range below {
			if last != "" && h.owner != last && h.owner != node && h.from-h.accFrom > m.from+o.skew && h.from < w.end {
				return "address-moved"
			}
			if node != "" && h.owner != node && h.from < w.end && h.to > w.start {
				return "layers-disagree"
			}
			last = h.owner
		}
		return ""
	}

	if len(who) > 1 {
		inside, one, app := 0, full(func(string, run) bool { return true }), ""
		for i, m := range who {
			if m.inside {
				inside++
			}
			now, change := o.workloads(m.owner, m.from, m.to, w)
			if i == 0 {
				app = now
			}
			one = one && now != "" && now == app && change == "" && !hidden(m.owner) && moved(m) == ""
		}
		switch {
		case one:
			grade, reason := told()
			if grade == "covered" {
				reason = "one-workload"
			}
			return verdict{grade, reason, "", app, list, 0}
		case inside > 1:
			return verdict{"ambiguous", "second-owner", "", "", list, 0}
		}
		return verdict{"border", "near-handover", "", "", list, 0}
	}

	m := who[0]
	app, change := o.workloads(m.owner, m.from, m.to, w)
	if !full(func(owner string, _ run) bool { return owner == m.owner }) {
		grade := "border"
		var reason string
		atStart, atEnd, before, after := false, false, false, false
		for _, r := range m.runs {
			atStart = atStart || r.from <= w.start && w.start < r.to
			atEnd = atEnd || r.from <= w.end-1 && w.end-1 < r.to
			before = before || r.to <= w.start
			after = after || r.from >= w.end
		}
		switch {
		case atStart && atEnd:
			reason = "owner-gap"
		case atStart:
			reason = "ends-after-owner"
		case atEnd:
			reason = "starts-before-owner"
		case before && after && m.inside:
			reason = "owner-gap"
		case before && m.inside:
			reason = "ends-after-owner"
		case before:
			grade, reason = "stale", "released"
		case m.inside:
			reason = "starts-before-owner"
		default:
			grade, reason = "unknown", "before-first-owner"
		}
		return verdict{grade, reason, m.owner, app, list, 0}
	}
	if hidden(m.owner) {
		return verdict{"unknown", "shared-interface", m.owner, app, "", 0}
	}
	if r := moved(m); r != "" {
		return verdict{"ambiguous", r, m.owner, app, list, 0}
	}
	switch change {
	case "inside":
		return verdict{"ambiguous", "workload-changed", m.owner, app, list, 0}
	case "near":
		return verdict{"border", "workload-changed", m.owner, app, list, 0}
	}
	grade, reason := told()
	if grade == "covered" {
		reason = "interval"
	}
	if !above && full(func(owner string, r run) bool { return owner == m.owner && r.byTraffic }) {
		grade, reason = "confirmed", "heartbeat"
	}
	if (grade == "covered" || grade == "confirmed") && app == "" {
		reason = "no-workload"
	}
	return verdict{grade, reason, m.owner, app, "", 0}
}

func cmpFlags(a, b run) int {
	rank := func(r run) int {
		n := 0
		if r.above {
			n++
		}
		if r.byTraffic {
			n += 2
		}
		return n
	}
	return cmp.Compare(rank(a), rank(b))
}
