// Package store keeps who owned which address over time. Sources tell it events, traffic tells it sightings, and the join asks
// it through metadata.View.
//
// Knowledge is a set of evidence per address and layer (interfaces below, pods and tasks above); tenures are derived from the
// set, so events may come in any order and any number of times. Writers lock one shard of addresses; readers lock nothing and
// allocate nothing. The store asks no network and infers no release from absence: that is the sources' work.
//
// A look-up's time is the waiting for memory, so the layout counts lines of the processor's cache (table.go, packed.go). A shard
// is an open-addressing table of keys; a slot points to the address's tenures in an append-only arena, 16 bytes each, and the
// evidence that they were derived from lies packed in a second arena, which is the writer's. Slots and arenas are one object that
// is replaced as a whole when it is full, and hold no pointers, so the garbage collector has nothing to walk there. What recent
// flows ask of an address stands beside its key (current.go). What nearly
// every look-up asks of an owner lies beside its handle (owner.go); the text of an interface id is compared in its index entry
// (index.go). Warm reads ahead for a block of records, so that the waits overlap (warm.go). A heartbeat that only continues
// the last one grows one word of one tenure (extend.go). A snapshot holds what was told, not what was derived (snapshot.go).
package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
)

// Dependencies are what a Store needs from outside.
type Dependencies struct {
	// Registerer takes the store's metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Now is the clock that judges future times, idle sources and retention; nil is time.Now.
	Now func() time.Time
}

// Store is identity over time. It is safe for concurrent use and implements metadata.Resolver and metadata.View.
type Store struct {
	cfg     metadata.Config
	now     func() time.Time
	parser  event.Parser
	metrics *metrics

	scopeNames *index
	scopes     paged[scope] // handle 0 holds the networks of no scope
	owners     *owners
	v4         addresses[key4]
	wide       addresses[key16]
	watermarks *watermarks
	sweeper    sweeper

	// guard is how far before a flow an owner must be unique, skew what is added on both sides, in milliseconds.
	guard, skew int64
	// listening says that somebody was ever told to listen on a port, or claimed one.
	listening atomic.Bool
	// covers says that somebody ever told which flows are logged.
	covers atomic.Bool
	// floor is the time before which history is forgotten.
	floor atomic.Int64
	// hugeBytes is what HugePages returned last.
	hugeBytes atomic.Int64
}

const publicScope = "public"

// New returns an empty Store. It starts nothing.
func New(cfg metadata.Config, deps Dependencies) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making identity store: %w", err)
	}
	s := &Store{
		cfg: cfg, now: deps.Now, scopeNames: newIndex(), owners: newOwners(), sweeper: sweeper{dead: map[uint32][]uint32{}},
		guard: 60_000, skew: cfg.ClockSkew.Milliseconds(),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.parser = event.Parser{Now: s.now, MaxFuture: cfg.MaxFuture}
	s.scopes.add()
	s.watermarks = newWatermarks(func(sc metadata.Scope, t int64) { s.scopes.at(uint32(sc)).watermark.Store(t) })
	if s.internScope(publicScope) != metadata.Public {
		return nil, errors.New("BUG: the public scope is not the first one")
	}
	s.v4.init()
	s.wide.init()
	s.metrics = newMetrics(s, deps.Registerer)
	return s, nil
}

// Run forgets what is older than the retention, keeps the tables in huge pages and watches for idle sources until ctx ends. It returns nil.
func (s *Store) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for trim := 0; ; trim++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		s.watermarks.tick(s.now(), s.cfg.IdleAfter)
		if trim%60 == 0 {
			s.Trim(s.now())
			s.HugePages()
		}
	}
}

// View returns the store itself: knowledge only grows under a batch, and a look-up reads the watermark before the tenures, so no
// answer claims what it did not see.
func (s *Store) View() metadata.View { return s }

// Expect says that a source of this name is configured. Until it makes its first progress, or idle_after has passed, Complete
// holds everything back.
func (s *Store) Expect(src string) { s.watermarks.expect(src, s.now()) }

// Complete says whether every source that matters for scopes has told everything up to t (Unix milliseconds). Sources that have
// been silent for idle_after no longer count, and a scope of which no source tells progress is always complete: its answers
// are provisional. When ok is false, changed is closed at the next progress of any source, or when one becomes idle while Run
// runs; ask again then.
func (s *Store) Complete(scopes []metadata.Scope, t int64) (ok bool, changed <-chan struct{}) {
	return s.watermarks.complete(scopes, t, s.now(), s.cfg.IdleAfter)
}

// CompleteEverywhere says that Complete would be true whatever the scopes. It costs little, and false means nothing.
func (s *Store) CompleteEverywhere(t int64) bool {
	return s.watermarks.completeEverywhere(t, s.now(), s.cfg.IdleAfter)
}

// MarkComplete says that everything that src will ever tell has been told: a file that was read whole for a replay.
func (s *Store) MarkComplete(src string) { s.watermarks.tell(src, metadata.NoScope, forever, s.now()) }

// MarkProgress says that src has told everything up to t (Unix milliseconds), as a progress event of no scope does.
func (s *Store) MarkProgress(src string, t int64) {
	s.watermarks.tell(src, metadata.NoScope, t, s.now())
}

// Sources says how far each source has told, by name.
func (s *Store) Sources() []SourceStatus { return s.watermarks.status(s.now(), s.cfg.IdleAfter) }

// InternScope returns the handle of a scope and makes one when nothing was told of it yet. Observers use it: traffic may be the
// first thing that is known of a VPC. An empty name is NoScope.
func (s *Store) InternScope(name string) metadata.Scope {
	if name == "" {
		return metadata.NoScope
	}
	return s.internScope(name)
}

func (s *Store) internScope(name string) metadata.Scope {
	return metadata.Scope(s.scopeNames.intern(name, func(uint32, string) { s.scopes.add() }))
}

func (s *Store) scope(sc metadata.Scope) *scope { return s.scopes.find(uint32(sc)) }

// globalV6 says whether ip is IPv6 global unicast: it is kept under Public whatever scope it was told in.
func globalV6(ip netip.Addr) bool { return ip.Is6() && metadata.IsPublic(ip) }

// keyScope is the scope under which an address is kept.
func keyScope(sc metadata.Scope, ip netip.Addr) metadata.Scope {
	if globalV6(ip) {
		return metadata.Public
	}
	return sc
}

// Apply takes one event in. The error is an *event.Error: the event was refused and counted, nothing else is lost. Nothing of e
// but its texts is kept.
func (s *Store) Apply(e *event.Event) error {
	if err := s.parser.Validate(e); err != nil {
		if refused, ok := errors.AsType[*event.Error](err); ok {
			s.metrics.rejected(refused.Reason)
		}
		return err
	}
	s.metrics.applied(e.Op)
	s.sweeper.writers.RLock()
	defer s.sweeper.writers.RUnlock()
	told := *e
	scope := s.InternScope(e.Scope)
	now := s.now()
	if (e.Listen != nil || e.Port != 0) && !s.listening.Load() {
		s.listening.Store(true)
	}
	if e.Op == event.Progress {
		s.watermarks.tell(e.Src, scope, e.To, now)
		return nil
	}
	told.Src = s.watermarks.hear(e.Src, scope, now)
	switch e.Op {
	case event.Assign, event.Release, event.Observe:
		if e.IP != "" {
			s.tellAddress(&told, scope)
			return nil
		}
		s.tellNetwork(&told, scope)
	case event.Describe:
		s.owners.describe(s.owners.intern(e.Owner), &told, metadata.NoScope, nil)
	case event.Topology:
		s.tellNetwork(&told, scope)
	case event.Coverage:
		p, _ := netip.ParsePrefix(e.Prefix)
		if !s.covers.Load() {
			s.covers.Store(true)
		}
		s.scope(scope).tellCoverage(&told, p, s.owners.sources)
	default: // snap_begin and snap_end only show that the source lives
	}
	return nil
}

func (s *Store) tellNetwork(e *event.Event, sc metadata.Scope) {
	p, _ := netip.ParsePrefix(e.CIDR)
	to := metadata.NoScope
	if e.Op == event.Topology {
		to = s.internScope(e.ToScope)
	}
	s.scope(sc).tellNetwork(e, p, to, s.owners.sources)
	if e.Owner != "" && e.Op == event.Assign {
		owner := s.owners.intern(e.Owner)
		s.owners.list.at(owner).hasNetwork()
		s.owners.describe(owner, e, s.interfaceScope(e, sc), s.ScopeName)
	}
}

// interfaceScope is the scope that e proves its owner to be in, NoScope when it proves none.
func (s *Store) interfaceScope(e *event.Event, sc metadata.Scope) metadata.Scope {
	if sc == metadata.Public || len(e.Owner) < len(eniPrefix) || e.Owner[:len(eniPrefix)] != eniPrefix {
		return metadata.NoScope
	}
	return sc
}

func (s *Store) tellAddress(e *event.Event, sc metadata.Scope) {
	ip, _ := netip.ParseAddr(e.IP)
	ip = ip.Unmap()
	owner := s.owners.intern(e.Owner)
	base := evidence{owner: owner, acc: roundAcc(e.Acc)}
	if len(e.Owner) < len(eniPrefix) || e.Owner[:len(eniPrefix)] != eniPrefix {
		base.flags |= claim
	}
	if e.Primary != nil && *e.Primary {
		base.flags |= primary
	}
	var told [2]evidence
	n := 1
	told[0] = base
	switch e.Op {
	case event.Assign:
		told[0].kind, told[0].from = begin, e.Start()
		if e.To != 0 {
			told[1] = base
			told[1].kind, told[1].from = end, e.To
			n = 2
		}
		s.owners.describe(owner, e, s.interfaceScope(e, sc), s.ScopeName)
	case event.Release:
		told[0].kind, told[0].from = end, e.End()
	default:
		told[0].kind, told[0].from, told[0].to = sight, e.From, e.End()+1
		if e.From == 0 {
			told[0].from = e.End()
		}
	}
	key, port := keyScope(sc, ip), portKey(e.Proto, e.Port)
	if key != sc { // so e's source tells that scope too, and its progress counts there
		s.watermarks.hear(e.Src, key, s.now())
	}
	s.tell(key, ip, port, told[:n])
	if port != 0 {
		s.tell(key, ip, 0, nil)
	}
}

// tell adds evidence to an address, or to one port of it. No evidence marks the address as one whose ports are claimed.
func (s *Store) tell(sc metadata.Scope, ip netip.Addr, port uint32, ev []evidence) {
	if ip.Is4() && port == 0 {
		k, hash := makeKey4(sc, ip)
		write(s, &s.v4, k, hash, hashKey4, true, ev)
		return
	}
	k, hash := makeKey16(sc, ip, port)
	write(s, &s.wide, k, hash, hashKey16, ip.Is4(), ev)
}

func hashKey4(k key4) uint64 { return mix(uint64(k)) }

func hashKey16(k key16) uint64 {
	_, hash := makeKey16(metadata.Scope(k.scope), netip.AddrFrom16(k.addr), k.port)
	return hash
}

func write[K comparable](s *Store, a *addresses[K], k K, hash uint64, rehash func(K) uint64, v4 bool, ev []evidence) {
	sh := a.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t, i := sh.slot(k, hash, rehash)
	bridge := s.cfg.HeartbeatBridge.Milliseconds()
	if len(ev) == 1 && (t.known(i, &ev[0]) || t.extend(i, &ev[0], bridge, v4) || t.within(i, &ev[0], bridge, v4)) {
		noteSeen(s, k, &ev[0], t.evidence(i), (*packed).evidence)
		return
	}
	st := sh.load(t, i)
	changed := len(ev) == 0 && !st.ports
	st.ports = st.ports || len(ev) == 0
	for _, e := range ev {
		changed = st.add(e) || changed
	}
	if !changed {
		return
	}
	if len(st.ev) > maxEvidence {
		unsee(s.owners, st.ev)
		s.metrics.forgotten.Add(float64(st.forget()))
	}
	noteKey(s.owners, k, st.ev)
	sh.publish(i, sh.derive(s, st, v4), st, rehash)
	if len(ev) == 1 {
		noteSeen(s, k, &ev[0], st.ev, func(e *evidence) evidence { return *e })
	}
}

// derive returns the tenures of one address in the shard's scratch space.
func (sh *shard[K]) derive(s *Store, st *keyState, v4 bool) []interval {
	if sh.scratch.name == nil {
		sh.scratch = deriver{name: s.owners.names.name, bridge: s.cfg.HeartbeatBridge.Milliseconds(), slack: 1000 + s.skew}
	}
	list := sh.scratch.derive(st.ev, v4)
	if st.since != 0 {
		list = append([]interval{{to: st.since}}, list...)
	}
	return list
}

// Sighting is a heartbeat: traffic showed that an interface held an address.
type Sighting struct {
	// Scope is the interface's routing domain; NoScope means the one that is known of the interface.
	Scope metadata.Scope
	// ENI is the bare id, as in a record's interface-id.
	ENI string
	IP  netip.Addr
	// Start and End are the record's, in Unix milliseconds.
	Start, End int64
	// Primary says that the address is the interface's primary one: the record's plain own-side address is.
	Primary bool
}

// Observe takes a heartbeat in and says whether it could. It proves address → interface, never address → workload. What lies
// within what is already known costs a look-up and no lock. ENI is copied when it is new.
func (s *Store) Observe(x Sighting) bool {
	if x.ENI == "" || !x.IP.IsValid() || x.IP.IsUnspecified() || x.Start <= 0 || x.End < x.Start || x.End > maxTime {
		s.metrics.sightingsInvalid.Inc()
		return false
	}
	ip := x.IP.Unmap().WithZone("")
	owner := s.owners.names.get(eniPrefix, x.ENI)
	sc := x.Scope
	if sc == metadata.NoScope && owner != 0 {
		sc = metadata.Scope(s.owners.list.at(owner).scope.Load())
	}
	if sc == metadata.NoScope {
		s.metrics.sightingsScopeless.Inc()
		return false
	}
	key := keyScope(sc, ip)
	list, _ := s.intervals(key, ip, 0)
	for i := len(list) - 1; owner != 0 && i >= 0; i-- {
		v := list.at(i)
		if v.owner == owner && v.flags&(beat|bridged) == beat && v.from <= x.Start && v.to >= x.End+1000 && (!x.Primary || v.flags&beatPrimary != 0) {
			return true
		}
	}
	if x.End > s.now().Add(s.cfg.MaxFuture).UnixMilli() {
		s.metrics.sightingsFuture.Inc()
		return false
	}
	s.sweeper.writers.RLock()
	defer s.sweeper.writers.RUnlock()
	if owner = s.owners.names.get(eniPrefix, x.ENI); owner == 0 {
		owner = s.owners.intern(eniPrefix + x.ENI)
	}
	s.owners.note(owner)
	if metadata.Scope(s.owners.list.at(owner).scope.Load()) != sc && sc != metadata.Public {
		s.owners.describe(owner, &event.Event{}, sc, s.ScopeName)
	}
	for i := range list {
		v := list.at(i)
		if v.owner != owner && v.owner != 0 && v.flags&(claim|beat) == 0 && v.from < x.Start && v.to > x.Start {
			s.metrics.disagreements.Inc() // traffic ends a tenure that nobody told the end of
			break
		}
	}
	e := evidence{from: x.Start, to: x.End + 1000, owner: owner, kind: beatSight}
	if x.Primary {
		e.flags = primary
	}
	s.tell(key, ip, 0, []evidence{e})
	s.metrics.sightings.Inc()
	return true
}

// current returns what the newest tenures of an address come to, nil when nothing was ever told of it.
func (s *Store) current(sc metadata.Scope, ip netip.Addr) *current {
	if ip.Is4() {
		k, hash := makeKey4(sc, ip)
		t := s.v4.shard(hash).tab.Load()
		if i, found := seek4(t, k, t.home(hash)); found {
			return &t.slots[i].now
		}
		return nil
	}
	k, hash := makeKey16(sc, ip, 0)
	t := s.wide.shard(hash).tab.Load()
	if i, found := t.seek(k, hash); found {
		return &t.slots[i].now
	}
	return nil
}

// intervals returns the tenures of an address, or of one port of it.
func (s *Store) intervals(sc metadata.Scope, ip netip.Addr, port uint32) (list tenures, ports bool) {
	if ip.Is4() && port == 0 {
		return s.v4.get(makeKey4(sc, ip))
	}
	return s.wide.get(makeKey16(sc, ip, port))
}

// For how many retentions the last known owner of an address is remembered. There are only so many IPv4 addresses; IPv6 addresses and
// single ports may be a pod's, or a task's, and never another's.
const (
	lastKnown4    = 7
	lastKnownWide = 2
)

// Trim forgets what ended before now less the retention, and the owners and workloads of which nothing is left then. The newest
// closed tenure of an address is kept for longer.
func (s *Store) Trim(now time.Time) {
	floor := now.Add(-s.cfg.Retention).UnixMilli()
	if floor <= s.floor.Load() {
		return
	}
	s.floor.Store(floor)
	horizon := floor - s.guard - s.skew - 1000
	last := func(retentions int64) int64 { return now.UnixMilli() - retentions*s.cfg.Retention.Milliseconds() }
	trim(s, &s.v4, hashKey4, func(key4) bool { return true }, horizon, last(lastKnown4))
	trim(s, &s.wide, hashKey16, func(k key16) bool { return netip.AddrFrom16(k.addr).Is4In6() }, horizon, last(lastKnownWide))
	for sc := metadata.NoScope; sc == metadata.NoScope || s.ScopeName(sc) != ""; sc++ {
		s.scope(sc).trim(horizon)
	}
	s.sweepOwners(now)
}

func trim[K comparable](s *Store, a *addresses[K], rehash func(K) uint64, v4 func(K) bool, horizon, last int64) {
	for n := range a.shards {
		sh := &a.shards[n]
		sh.mu.Lock()
		if !trimShard(s, sh, v4, horizon, last) { // no room for the shorter lists: make some
			sh.rebuild(sh.tab.Load().live, 0, rehash)
			trimShard(s, sh, v4, horizon, last)
		}
		t := sh.tab.Load()
		if t.used > 4 && (t.live*2 < len(t.arena) || t.liveTold*2 < len(t.told)) {
			sh.rebuild(0, 0, rehash)
		}
		sh.mu.Unlock()
	}
}

// trimShard says whether there was room for everything. The shard's lock is held.
func trimShard[K comparable](s *Store, sh *shard[K], v4 func(K) bool, horizon, last int64) bool {
	t := sh.tab.Load()
	for i := range t.slots {
		if told := t.evidence(i); len(told) == 0 || told[0].evidence().from > horizon {
			continue // nothing is old enough
		}
		st := sh.load(t, i)
		sh.list = t.tenures(i).appendTo(sh.list[:0])
		if !st.trim(sh.list, horizon, last) {
			continue
		}
		if len(st.ev) == 0 && !st.ports {
			st.since = 0 // nothing is left of it
		}
		if !sh.publishShorter(i, sh.derive(s, st, v4(t.slots[i].key)), st) {
			return false
		}
	}
	return true
}
