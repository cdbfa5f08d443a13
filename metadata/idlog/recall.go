package idlog

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dredge/metadata/event"
)

func (it *item) event() (event.Event, error) {
	var e event.Event
	err := json.Unmarshal(append([]byte(it.line), '}'), &e)
	e.Obs = it.obs
	return e, err
}

// Scopes returns the routing domains of which something is known, in order.
func (f *Fold) Scopes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Sorted(maps.Keys(f.scopes))
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// Address is everything that is known of one address, or of one port of it.
type Address struct {
	Scope string
	IP    netip.Addr
	// Proto and Port are 0 unless single ports of the address are claimed.
	Proto, Port int
	Events      []event.Event
	Sightings   []Sighting
}

// Address returns what is known of an address, and ok false when nothing is.
func (f *Fold) Address(scope string, ip netip.Addr) (a Address, ok bool) {
	ip = ip.Unmap()
	sh := f.shard(scope, ip.String())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a = Address{Scope: scope, IP: ip, Sightings: slices.Clone(sh.sighted[addressKey{scope, ip}])}
	a.Events = eventsOf(sh.subjects[subjectKey{ofAddress, scope, ip.String()}])
	return a, len(a.Events)+len(a.Sightings) > 0
}

// Ports returns what is known of each claimed port of an address, in order. It looks at everything: it is for people's questions.
func (f *Fold) Ports(scope string, ip netip.Addr) []Address {
	ip = ip.Unmap()
	prefix := ip.String() + "/"
	var out []Address
	for i := range f.shards {
		sh := &f.shards[i]
		sh.mu.Lock()
		for key, list := range sh.subjects {
			if key.kind != ofAddress || key.scope != scope || !strings.HasPrefix(key.name, prefix) {
				continue
			}
			if a, ok := addressOf(key); ok {
				a.Events = eventsOf(list)
				out = append(out, a)
			}
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Address) int { return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port)) })
	return out
}

func eventsOf(list []item) []event.Event {
	out := make([]event.Event, 0, len(list))
	for i := range list {
		if e, err := list[i].event(); err == nil {
			out = append(out, e)
		}
	}
	return out
}

// EachAddress calls do for every address of a scope, all scopes when it is empty, of which pick likes a piece of evidence: an
// owner and the times that the evidence names. do returns false to end it, and must not call the Fold, which is locked in part.
func (f *Fold) EachAddress(scope string, pick func(owner string, from, to int64) bool, do func(Address) bool) {
	for i := range f.shards {
		if !f.shards[i].eachAddress(scope, pick, do) {
			return
		}
	}
}

func (sh *foldShard) eachAddress(scope string, pick func(string, int64, int64) bool, do func(Address) bool) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	picked := func(list []item, seen []Sighting) bool {
		for i := range list {
			if pick(list[i].owner, list[i].from, list[i].to) {
				return true
			}
		}
		for i := range seen {
			if pick(eniPrefix+seen[i].ENI, seen[i].Start, seen[i].End) {
				return true
			}
		}
		return false
	}
	for key, list := range sh.subjects {
		if key.kind != ofAddress || scope != "" && key.scope != scope {
			continue
		}
		a, ok := addressOf(key)
		var seen []Sighting
		if a.Port == 0 && a.Proto == 0 {
			seen = sh.sighted[addressKey{key.scope, a.IP}]
		}
		if !ok || !picked(list, seen) {
			continue
		}
		a.Events, a.Sightings = eventsOf(list), slices.Clone(seen)
		if !do(a) {
			return false
		}
	}
	for key, list := range sh.sighted {
		_, told := sh.subjects[subjectKey{ofAddress, key.scope, key.ip.String()}]
		if told || scope != "" && key.scope != scope || !picked(nil, list) {
			continue
		}
		if !do(Address{Scope: key.scope, IP: key.ip, Sightings: slices.Clone(list)}) {
			return false
		}
	}
	return true
}

func addressOf(key subjectKey) (Address, bool) {
	text, ports, narrow := strings.Cut(key.name, "/")
	ip, err := netip.ParseAddr(text)
	a := Address{Scope: key.scope, IP: ip}
	if narrow {
		proto, port, _ := strings.Cut(ports, "/")
		var perr error
		if a.Proto, perr = strconv.Atoi(proto); perr == nil {
			a.Port, perr = strconv.Atoi(port)
		}
		if perr != nil {
			return a, false
		}
	}
	return a, err == nil
}

// Owners returns everything that describes owners, by owner, of all owners that ever ran app; of all when app is empty.
func (f *Fold) Owners(app string) map[string][]event.Event {
	text, err := json.Marshal(app)
	if err != nil {
		return nil
	}
	needle := `"app":` + string(text)
	wanted := map[string]struct{}{}
	each := func(do func(*item)) {
		for i := range f.shards {
			sh := &f.shards[i]
			sh.mu.Lock()
			for _, list := range sh.subjects {
				for j := range list {
					if list[j].describes {
						do(&list[j])
					}
				}
			}
			sh.mu.Unlock()
		}
	}
	each(func(it *item) {
		if app == "" || strings.Contains(it.line, needle) {
			wanted[it.owner] = struct{}{}
		}
	})
	out := make(map[string][]event.Event, len(wanted))
	each(func(it *item) {
		if _, ok := wanted[it.owner]; !ok {
			return
		}
		if e, err := it.event(); err == nil {
			out[it.owner] = append(out[it.owner], e)
		}
	})
	return out
}

// Describes returns what was told of one owner beside its addresses.
func (f *Fold) Describes(owner string) []event.Event {
	sh := f.shard("", owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return eventsOf(sh.subjects[subjectKey{ofOwner, "", owner}])
}

// Each calls do for every event, progress last, as a snapshot would tell them: a source that begins anew learns from it what it
// told in an earlier life. do must not call the Fold.
func (f *Fold) Each(do func(*event.Event)) {
	for i := range f.shards {
		sh := &f.shards[i]
		sh.mu.Lock()
		for _, list := range sh.subjects {
			for j := range list {
				if e, err := list[j].event(); err == nil {
					do(&e)
				}
			}
		}
		sh.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.marks {
		do(&m)
	}
}
