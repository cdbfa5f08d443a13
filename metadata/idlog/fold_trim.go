package idlog

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"dredge/metadata/event"
)

// trimSlack is how much longer than the retention a Fold keeps what has ended: a look-up's window reaches back a little.
const trimSlack = 10 * time.Minute

// For how many retentions the last known owner of an address is kept, as in the store: IPv4 addresses, IPv6 addresses and ports.
const (
	lastKnown4    = 7
	lastKnownWide = 2
)

// Trim forgets what ended before now less the retention. The last known owner of an address stays for longer.
func (f *Fold) Trim(now time.Time) {
	horizon := now.Add(-f.retention - trimSlack).UnixMilli()
	last := func(ip netip.Addr, whole bool) int64 {
		if whole && ip.Is4() {
			return now.Add(-lastKnown4 * f.retention).UnixMilli()
		}
		return now.Add(-lastKnownWide * f.retention).UnixMilli()
	}
	alive := map[string]struct{}{}
	var told []item // of addresses that are forgotten, about owners that may live on
	for i := range f.shards {
		sh := &f.shards[i]
		sh.mu.Lock()
		for key, list := range sh.subjects {
			if key.kind == ofNetwork {
				kept := trimNetwork(list, horizon)
				sh.set(key, kept)
				for _, it := range kept {
					alive[it.owner] = struct{}{}
				}
			}
			if key.kind != ofAddress {
				continue
			}
			var seen []Sighting
			a, _ := addressOf(key)
			whole := a.Port == 0 && a.Proto == 0
			if whole {
				seen = sh.sighted[addressKey{key.scope, a.IP}]
			}
			kept, dropped, keptSeen := trimAddress(list, seen, horizon, last(a.IP, whole))
			told = append(told, dropped...)
			sh.set(key, kept)
			if whole {
				sh.setSighted(addressKey{key.scope, a.IP}, keptSeen)
			}
			for _, it := range kept {
				alive[it.owner] = struct{}{}
			}
		}
		for key, list := range sh.sighted {
			if _, done := sh.subjects[subjectKey{ofAddress, key.scope, key.ip.String()}]; !done {
				_, _, list = trimAddress(nil, list, horizon, last(key.ip, true))
				sh.setSighted(key, list)
			}
			for _, s := range list {
				alive[eniPrefix+s.ENI] = struct{}{}
			}
		}
		sh.mu.Unlock()
	}
	f.keepDescriptions(told, alive)
	f.forgetOwners(told, alive)
}

func (sh *foldShard) set(key subjectKey, list []item) {
	if len(list) == 0 {
		delete(sh.subjects, key)
		return
	}
	sh.subjects[key] = list
}

func (sh *foldShard) setSighted(key addressKey, list []Sighting) {
	if len(list) == 0 {
		delete(sh.sighted, key)
		return
	}
	sh.sighted[key] = list
}

// keepDescriptions turns forgotten claims of owners that live on into descriptions.
func (f *Fold) keepDescriptions(told []item, alive map[string]struct{}) {
	for _, it := range told {
		if _, ok := alive[it.owner]; !ok || !it.describes {
			continue
		}
		var e event.Event
		if json.Unmarshal(append([]byte(it.line), '}'), &e) != nil {
			continue
		}
		e.Op, e.Scope, e.IP, e.To, e.Obs, e.Primary, e.Port, e.Proto = event.Describe, "", "", 0, it.obs, nil, 0, 0
		_ = f.Apply(&e) // it was written before
	}
}

// forgetOwners forgets what describes the owners of forgotten addresses, unless they are alive. Those that never had an address stay:
// traffic may show one at any time.
func (f *Fold) forgetOwners(told []item, alive map[string]struct{}) {
	for _, it := range told {
		if _, ok := alive[it.owner]; ok {
			continue
		}
		sh := f.shard("", it.owner)
		sh.mu.Lock()
		delete(sh.subjects, subjectKey{ofOwner, "", it.owner})
		sh.mu.Unlock()
	}
}

// trimNetwork returns what of one network must stay: what each owner told from its first claim, route or coverage on that had not
// ended at horizon.
func trimNetwork(list []item, horizon int64) []item {
	over := func(b *item) bool {
		if b.op == event.Release {
			return false
		}
		end := int64(maxTime)
		if b.to != 0 {
			end = b.to + b.acc
		}
		for i := range list {
			o := &list[i]
			if o.owner != b.owner || o.from <= b.from {
				continue
			}
			switch {
			case b.op != event.Coverage && o.op == event.Release:
				end = min(end, o.to+o.acc)
			case b.op == event.Coverage && o.op == event.Coverage: // the later word
				end = min(end, o.from)
			default:
			}
		}
		return end <= horizon
	}
	var kept []item
	for i := range list {
		if list[i].op != event.Release && !over(&list[i]) {
			kept = append(kept, list[i])
		}
	}
	begins := kept
	for i := range list {
		r := &list[i]
		if r.op == event.Release && (r.to+r.acc > horizon || slices.ContainsFunc(begins, func(b item) bool { return b.owner == r.owner && b.from < r.to })) {
			kept = append(kept, *r)
		}
	}
	return kept
}

// trimAddress returns what of one address must stay and what goes: everything from the first tenure on that may reach beyond
// horizon, since what was told and seen after it says how long it lasted,
// and of each layer the one before that, unless it ended before last.
func trimAddress(list []item, seen []Sighting, horizon, last int64) (kept, dropped []item, keptSeen []Sighting) {
	interfaces, above := firstKept{maxTime, maxTime, last}, firstKept{maxTime, maxTime, last}
	for _, b := range list {
		if b.op == event.Release {
			continue
		}
		layer := &above
		if isInterface(b.owner) {
			layer = &interfaces
		}
		layer.note(b.from, endOf(b, list, seen), horizon)
	}
	for _, s := range seen {
		interfaces.note(s.Start, s.End+1000+heartbeatGap, horizon)
	}
	keepFrom := min(interfaces.from(), above.from())
	for _, it := range list {
		if at := max(it.from, it.to); it.from >= keepFrom || at+it.acc >= min(horizon, keepFrom) {
			kept = append(kept, it)
		} else {
			dropped = append(dropped, it)
		}
	}
	for _, s := range seen {
		if s.End+1000+heartbeatGap >= min(horizon, keepFrom) {
			keptSeen = append(keptSeen, s)
		}
	}
	return kept, dropped, keptSeen
}

// firstKept finds where the first tenure of one layer begins that must be kept.
type firstKept struct {
	reaching          int64 // beyond the horizon
	newest, newestEnd int64 // of those that do not
}

func (k *firstKept) note(from, end, horizon int64) {
	switch {
	case end >= horizon:
		k.reaching = min(k.reaching, from)
	case end > k.newestEnd || end == k.newestEnd && from < k.newest:
		k.newest, k.newestEnd = from, end
	}
}

// from keeps the newest that has ended as well: until the next one begins it is the last known owner.
func (k *firstKept) from() int64 { return min(k.reaching, k.newest) }

// endOf returns until when the owner of b may have held the address because of b; maxTime is open.
func endOf(b item, list []item, seen []Sighting) int64 {
	if b.op == event.Observe {
		return b.to + b.acc
	}
	end := int64(maxTime)
	if b.to != 0 {
		end = b.to + b.acc
	}
	for _, o := range list {
		switch {
		case o.op == event.Release && o.owner == b.owner && o.to > b.from:
			end = min(end, o.to+o.acc)
		case o.op == event.Assign && o.owner != b.owner && o.from > b.from && isInterface(o.owner) == isInterface(b.owner):
			end = min(end, o.from+o.acc)
		}
	}
	for _, o := range list { // it was seen after that
		if o.op == event.Observe && o.owner == b.owner && o.to >= b.from {
			end = max(end, o.to+o.acc)
		}
	}
	for _, s := range seen {
		if eniPrefix+s.ENI == b.owner && s.End+1000 >= b.from {
			end = max(end, s.End+1000+heartbeatGap)
		}
	}
	return end
}
