package ec2

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"dredge/metadata/event"
)

// part is one kind of listing; absence counts only within a complete listing of the same part.
type part string

// The parts. The first two have to be complete before the source vouches for anything.
const (
	interfaces  part = "interfaces"
	networks    part = "networks"
	peerings    part = "peerings"
	transit     part = "transit-gateways"
	prefixLists part = "prefix-lists"
)

// key is what a claim is known by: one owner of one address, or one route of one carrier.
type key struct {
	part               part
	scope, addr, owner string
	to                 string
}

// claim is what a listing says of one address.
type claim struct {
	key
	op      event.Op
	primary *bool
	sdc     *bool
	ep      *event.Endpoint
	wl      *event.Workload
	via     string
	// since is when the address is known to have become the owner's, 0 where only listings can tell.
	since int64
	// vague says that the workload was not known to its end: an instance was missing.
	vague bool
}

// look is one look at EC2. Times are Unix milliseconds.
type look struct {
	// begin and end are when the first call was made and the last answer came.
	begin, end int64
	// before is when the complete listing before this one began, 0 when there was none.
	before int64
	// changed is when an event said that something happened to exactly the addresses that it names; 0 without an event.
	changed int64
	named   map[string]bool
}

// entry is a claim that was told and not released.
type entry struct {
	claim
	// from is when it was told to begin, at when it was told.
	from, at int64
	// lastSeen is the begin of the last look that had it.
	lastSeen int64
	// missed counts the looks in a row that lacked it, goneAt is the end of the first of them.
	missed int
	goneAt int64
}

// ledger remembers what was told, so that absence can be turned into releases of what was there, after a second look.
type ledger struct {
	// stale is how old an answer may be, share the share of claims beyond which absence is doubted.
	stale int64
	share float64

	told   map[key]*entry
	byAddr map[addr][]*entry
	owners map[string]described
}

type addr struct{ scope, addr string }

// described is what was last told of an owner.
type described struct {
	ep    *event.Endpoint
	wl    *event.Workload
	sdc   *bool
	from  int64
	vague bool
}

func newLedger(stale int64, share float64) *ledger {
	return &ledger{stale: stale, share: share, told: map[key]*entry{}, byAddr: map[addr][]*entry{}, owners: map[string]described{}}
}

// clockSlack is how far AWS's times of changes, which have whole seconds, may be off.
const clockSlack = 1000

// see takes in one claim that a look has shown and appends what is to be told.
func (l *ledger) see(c *claim, v look, out []event.Event) []event.Event {
	e := l.told[c.key]
	if e == nil {
		e = &entry{claim: *c, at: v.end}
		begin := l.begin(c, v)
		e.from = begin.From
		l.add(e)
		out = append(out, begin)
		if d := l.owners[c.owner]; d.ep == nil || c.since != 0 {
			l.owners[c.owner] = described{c.ep, c.wl, c.sdc, begin.From, c.vague}
		}
	} else if e.lastSeen < v.begin && l.rivalSince(e) {
		// Somebody else was told to have the address meanwhile, which ended this tenure: A, B, A. It needs a second beginning.
		again := *c
		again.since = 0
		begin := l.begin(&again, look{begin: v.begin, end: v.end, before: e.lastSeen, changed: v.changed, named: v.named})
		e.from, e.at = begin.From, v.end
		out = append(out, begin)
	}
	e.missed, e.goneAt = 0, 0
	e.lastSeen = max(e.lastSeen, v.begin)
	return l.describe(c, v, out)
}

// begin is the event that opens a tenure. A listing proves an address from the time of its answer on; before that it may have
// been the owner's since the complete listing before, less the age that its answers may have had.
func (l *ledger) begin(c *claim, v look) event.Event {
	e := c.event()
	switch {
	case c.since != 0 && c.since+clockSlack <= v.end:
		e.From, e.Acc = c.since+clockSlack, 2*clockSlack
	case v.changed != 0 && v.changed+clockSlack <= v.end && v.named[c.addr]:
		e.From, e.Acc = v.changed+clockSlack, 2*clockSlack
	case v.before != 0:
		e.From = v.end
		e.Acc = v.end - v.before + l.stale
	default:
		e.From, e.Acc = v.end, event.MaxAcc
	}
	e.Acc = min(e.Acc, event.MaxAcc)
	return e
}

// event is the claim as an event without times.
func (c *claim) event() event.Event {
	e := event.Event{Op: c.op, Scope: c.scope, Owner: c.owner, Primary: c.primary, SDC: c.sdc, EP: c.ep, WL: c.wl, Via: c.via, ToScope: c.to}
	if strings.Contains(c.addr, "/") {
		e.CIDR = c.addr
	} else {
		e.IP = c.addr
	}
	return e
}

// describe tells what has changed about an owner.
func (l *ledger) describe(c *claim, v look, out []event.Event) []event.Event {
	if c.part != interfaces {
		return out
	}
	d := l.owners[c.owner]
	if reflect.DeepEqual(d.ep, c.ep) && reflect.DeepEqual(d.wl, c.wl) && reflect.DeepEqual(d.sdc, c.sdc) {
		return out
	}
	from := v.end
	if d.vague {
		from = d.from // it was so all the time, only not known
	}
	l.owners[c.owner] = described{c.ep, c.wl, c.sdc, from, c.vague}
	return append(out, event.Event{Op: event.Describe, Owner: c.owner, EP: c.ep, WL: c.wl, SDC: c.sdc, From: from})
}

// rivalSince says whether another owner of the same layer was told to have the address since e was last seen.
func (l *ledger) rivalSince(e *entry) bool {
	if e.op != event.Assign || e.part != interfaces {
		return false
	}
	for _, r := range l.byAddr[addr{e.scope, e.addr}] {
		if r != e && r.part == e.part && r.owner != e.owner && r.from > e.from && r.at >= e.lastSeen {
			return true
		}
	}
	return false
}

func (l *ledger) add(e *entry) {
	l.told[e.key] = e
	a := addr{e.scope, e.addr}
	l.byAddr[a] = append(l.byAddr[a], e)
}

func (l *ledger) remove(e *entry) {
	delete(l.told, e.key)
	a := addr{e.scope, e.addr}
	rest := slices.DeleteFunc(l.byAddr[a], func(o *entry) bool { return o == e })
	if len(rest) == 0 {
		delete(l.byAddr, a)
	} else {
		l.byAddr[a] = rest
	}
}

// missing counts the absence of all that a complete look at part lacked, and returns it. doubtful says that so much is gone that
// EC2 has to be asked twice more: a listing that is suddenly empty releases nobody.
func (l *ledger) missing(p part, seen map[key]bool, v look) (gone []*entry, doubtful bool) {
	all := 0
	for k, e := range l.told {
		if k.part != p {
			continue
		}
		all++
		if !seen[k] {
			gone = append(gone, e)
		}
	}
	for _, e := range gone {
		e.miss(v)
	}
	slices.SortFunc(gone, func(a, b *entry) int {
		return strings.Compare(a.scope+a.addr+a.owner+a.to, b.scope+b.addr+b.owner+b.to)
	})
	few := len(gone) <= 10 && len(seen) > 0
	return gone, !few && len(gone) > 0 && (len(seen) == 0 || float64(len(gone)) > l.share*float64(all))
}

func (e *entry) miss(v look) {
	if e.missed++; e.missed == 1 {
		e.goneAt = v.end
	}
}

// release appends the releases of what looks have missed: twice, or three times when so much is gone that it is doubted. What was
// told so lately that a look may not know of it yet waits.
func (l *ledger) release(gone []*entry, doubtful bool, v look, out []event.Event) []event.Event {
	need := 2
	if doubtful {
		need = 3
	}
	for _, e := range gone {
		if e.missed < need || v.begin < e.at+l.stale && !v.named[e.addr] {
			continue
		}
		out = append(out, l.close(e, v))
	}
	return out
}

// close is the release of e: certain until it was last seen, uncertain from there until it was first missed.
func (l *ledger) close(e *entry, v look) event.Event {
	l.remove(e)
	if e.primary != nil && *e.primary {
		delete(l.owners, e.owner)
	}
	to := e.lastSeen - l.stale
	if v.changed != 0 && (v.named[e.addr] || e.primary != nil && *e.primary) {
		to = max(to, v.changed-clockSlack)
	}
	to = max(to, e.from+1) // it has to come after the beginning, or it would close nothing
	r := event.Event{Op: event.Release, Scope: e.scope, Owner: e.owner, To: to, Acc: min(max(0, e.goneAt-to), event.MaxAcc)}
	if strings.Contains(e.addr, "/") {
		r.CIDR = e.addr
	} else {
		r.IP = e.addr
	}
	return r
}

// recall takes in what was told in an earlier life, so that what has vanished since is released.
func (l *ledger) recall(ev *event.Event) {
	k := key{scope: ev.Scope, owner: ev.Owner, addr: ev.IP, to: ev.ToScope, part: partOf(ev)}
	if ev.CIDR != "" {
		k.addr = ev.CIDR
	}
	switch ev.Op {
	case event.Assign, event.Topology:
		if e := l.told[k]; e != nil {
			e.lastSeen = max(e.lastSeen, ev.Obs)
			return
		}
		c := claim{key: k, op: ev.Op, primary: ev.Primary, sdc: ev.SDC, ep: ev.EP, wl: ev.WL, via: ev.Via}
		l.add(&entry{claim: c, from: ev.Start(), at: ev.Obs, lastSeen: ev.Obs})
		if k.part == interfaces {
			l.owners[k.owner] = described{ep: ev.EP, wl: ev.WL, sdc: ev.SDC, from: ev.Start()}
		}
	case event.Release:
		for _, e := range slices.Clone(l.byAddr[addr{k.scope, k.addr}]) {
			if e.owner == k.owner && e.from < ev.End() {
				l.remove(e)
			}
		}
	case event.Describe:
		if d, ok := l.owners[ev.Owner]; ok {
			if ev.EP != nil {
				d.ep = ev.EP
			}
			if ev.WL != nil {
				d.wl = ev.WL
			}
			if ev.SDC != nil {
				d.sdc = ev.SDC
			}
			l.owners[ev.Owner] = d
		}
	default:
	}
}

func partOf(e *event.Event) part {
	switch {
	case strings.HasPrefix(e.Owner, "eni:"):
		return interfaces
	case strings.HasPrefix(e.Owner, "pcx-"):
		return peerings
	case strings.HasPrefix(e.Owner, "tgw-"):
		return transit
	case strings.HasPrefix(e.Owner, "pl-"):
		return prefixLists
	}
	return networks
}

// of returns what was told of owners.
func (l *ledger) of(owners map[string]bool) []*entry {
	var out []*entry
	for _, k := range slices.SortedFunc(maps.Keys(l.told), compareKeys) {
		if k.part == interfaces && owners[k.owner] {
			out = append(out, l.told[k])
		}
	}
	return out
}

func compareKeys(a, b key) int {
	return strings.Compare(a.owner+" "+a.scope+" "+a.addr, b.owner+" "+b.scope+" "+b.addr)
}
