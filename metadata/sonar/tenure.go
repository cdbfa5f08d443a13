package sonar

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"dredge/metadata/event"
	"dredge/metadata/idlog"
)

// tenure is one owner of an address over a half-open time, in Unix milliseconds.
type tenure struct {
	owner    string
	from, to int64 // to is forever while it is open
	// accFrom and accTo are the uncertainty of the borders.
	accFrom, accTo int64
	// seen: traffic showed it; else sources told it.
	seen    bool
	sources []string
}

const forever = math.MaxInt64

func (t *tenure) holds(at int64) bool { return t.from <= at && at < t.to }

// isInterface says which of the two layers an owner belongs to: interfaces, or what runs on them.
func isInterface(owner string) bool { return strings.HasPrefix(owner, eniPrefix) }

const eniPrefix = "eni:"

// sight is one piece of evidence that an owner held the address.
type sight struct {
	owner    string
	from, to int64
}

// handoverSlack is how long after a begin a predecessor may still be seen without contradicting it.
const handoverSlack = 2000

// tenuresOf derives who held an address from what is known of it, as the store does: from a start to the earliest of that owner's
// next end, or another owner's next start or sighting. What traffic showed stands beside what was told.
func tenuresOf(a *idlog.Address) []tenure {
	var sights []sight
	for i := range a.Events {
		if e := &a.Events[i]; e.Op == event.Observe {
			from := e.From
			if from == 0 {
				from = e.End()
			}
			sights = append(sights, sight{e.Owner, from, e.End() + 1})
		}
	}
	for _, s := range a.Sightings {
		sights = append(sights, sight{eniPrefix + s.ENI, s.Start, s.End + 1000})
	}
	var out []tenure
	for i := range a.Events {
		e := &a.Events[i]
		switch e.Op {
		case event.Assign:
			to, acc := endOf(e, a.Events, sights)
			out = append(out, tenure{owner: e.Owner, from: e.Start(), to: to, accFrom: e.Acc, accTo: acc, sources: []string{e.Src}})
		case event.Observe:
			from := e.From
			if from == 0 {
				from = e.End()
			}
			out = append(out, tenure{owner: e.Owner, from: from, to: e.End() + 1, accFrom: e.Acc, accTo: e.Acc, sources: []string{e.Src}})
		default:
		}
	}
	out = unite(out)
	for _, s := range a.Sightings {
		out = append(out, tenure{owner: eniPrefix + s.ENI, from: s.Start, to: s.End + 1000, seen: true, sources: []string{"traffic"}})
	}
	slices.SortFunc(out, func(a, b tenure) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), strings.Compare(a.owner, b.owner), cmp.Compare(bit(a.seen), bit(b.seen)))
	})
	return out
}

func endOf(b *event.Event, events []event.Event, sights []sight) (to, acc int64) {
	from := b.Start()
	own, next, rival := int64(forever), int64(forever), int64(forever)
	end := func(at, a int64) {
		if at > from && at < own {
			own, acc = at, a
		} else if at == own {
			acc = max(acc, a)
		}
	}
	for i := range events {
		e := &events[i]
		same := e.Owner == b.Owner
		switch {
		case e.Op == event.Release && same:
			end(e.End(), e.Acc)
		case e.Op == event.Assign && same:
			if e.To != 0 {
				end(e.To, e.Acc)
			}
			if e.Start() > from {
				next = min(next, e.Start())
			}
		case e.Op == event.Assign && e.Start() > from && isInterface(e.Owner) == isInterface(b.Owner):
			rival = min(rival, e.Start())
		}
	}
	limit, seen := min(own, next), int64(0)
	for _, s := range sights {
		if s.owner == b.Owner && s.from < limit && s.to > from {
			seen = max(seen, min(s.to, limit))
		}
	}
	after := max(from+handoverSlack+1, seen)
	for _, s := range sights {
		if s.owner != b.Owner && isInterface(s.owner) == isInterface(b.Owner) && s.to > after {
			rival = min(rival, max(s.from, after))
		}
	}
	if to = max(min(own, rival), seen); to != own {
		return to, 0
	}
	for i := range events { // nobody need fear it where another was told to begin
		e := &events[i]
		if e.Op == event.Assign && e.Owner != b.Owner && isInterface(e.Owner) == isInterface(b.Owner) && e.Start() >= to {
			acc = min(acc, e.Start()-to)
		}
	}
	return to, acc
}

// unite makes one of those of one owner that overlap or touch.
func unite(list []tenure) []tenure {
	slices.SortFunc(list, func(a, b tenure) int {
		return cmp.Or(strings.Compare(a.owner, b.owner), cmp.Compare(a.from, b.from), cmp.Compare(a.accFrom, b.accFrom), cmp.Compare(a.to, b.to))
	})
	n := 0
	for i, t := range list {
		if i == 0 {
			continue
		}
		last := &list[n]
		if t.owner != last.owner || t.from > last.to {
			n++
			list[n] = t
			continue
		}
		if t.to > last.to {
			last.to, last.accTo = t.to, t.accTo
		} else if t.to == last.to {
			last.accTo = max(last.accTo, t.accTo)
		}
		for _, src := range t.sources {
			if !slices.Contains(last.sources, src) {
				last.sources = append(last.sources, src)
			}
		}
		slices.Sort(last.sources)
	}
	return list[:min(n+1, len(list))]
}

// holders returns who held the address at t: pods and tasks where there are any, else interfaces.
func holders(list []tenure, t int64) []string {
	var interfaces, above []string
	for i := range list {
		v := &list[i]
		to := &above
		if isInterface(v.owner) {
			to = &interfaces
		}
		if v.holds(t) && !slices.Contains(*to, v.owner) {
			*to = append(*to, v.owner)
		}
	}
	if len(above) > 0 {
		interfaces = above
	}
	slices.Sort(interfaces)
	return interfaces
}

// version is what ran behind an owner from a time on.
type version struct {
	from, rver, obs int64
	src             string
	wl              *event.Workload
}

// versionsOf returns what was told of an owner's workload, in order of time, one for each time from which it was another one.
func versionsOf(events []event.Event, owner string) []version {
	var out []version
	for i := range events {
		if e := &events[i]; e.WL != nil && e.Owner == owner {
			out = append(out, version{e.Start(), e.Rver, e.Obs, e.Src, e.WL})
		}
	}
	slices.SortFunc(out, func(a, b version) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.rver, b.rver), cmp.Compare(a.obs, b.obs), strings.Compare(a.src, b.src),
			compareWorkloads(a.wl, b.wl))
	})
	n := 0
	for i := range out {
		last := i+1 == len(out) || out[i+1].from != out[i].from // of equal times the last one counts
		if last && (n == 0 || compareWorkloads(out[n-1].wl, out[i].wl) != 0) {
			out[n] = out[i]
			n++
		}
	}
	return out[:n]
}

func compareWorkloads(a, b *event.Workload) int {
	return cmp.Or(strings.Compare(a.App, b.App), strings.Compare(a.AppSource, b.AppSource), strings.Compare(a.Cluster, b.Cluster),
		strings.Compare(a.Account, b.Account), strings.Compare(a.VPC, b.VPC), strings.Compare(a.Region, b.Region), strings.Compare(a.Team, b.Team))
}

// workloadAt returns what ran at t, nil when nothing is known of that time.
func workloadAt(vs []version, t int64) *event.Workload {
	for _, v := range slices.Backward(vs) {
		if v.from <= t {
			return v.wl
		}
	}
	return nil
}
