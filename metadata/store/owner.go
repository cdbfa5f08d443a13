package store

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"dredge/metadata"
	"dredge/metadata/event"
)

// owner is one endpoint: an interface, pod or task. It holds what nearly all look-ups need in one cache line, so that they need not
// follow facts.
type owner struct {
	// facts is replaced as a whole whenever something is told of the owner.
	facts atomic.Pointer[facts]
	// onlyWorkload is the one workload that was ever told of an owner that is not shared, onlyFrom since when. onlyFrom is
	// written before onlyWorkload becomes non-zero and stays as long as it is.
	onlyFrom     atomic.Int64
	onlyWorkload atomic.Uint32
	// scope is that of facts; has says which details there are, and holds the place of facts.
	scope, has atomic.Uint32
	// sole is the only IPv4 address that anything was ever told or seen of for this owner, in whatever scope: 0 before the first,
	// soleNone when there are others.
	sole atomic.Uint32
	// seen are ranges of time in which traffic is known to have shown sole in scope: see sighted.go. 0 is none.
	seen [4]atomic.Uint64
}

const soleNone = 1<<32 - 1

// hasNetwork notes that ow was told to have a network.
func (ow *owner) hasNetwork() { ow.sole.Store(soleNone) }

// mayHold says whether anything was ever told or seen of ow and ip.
func (ow *owner) mayHold(ip netip.Addr) bool {
	sole := ow.sole.Load()
	return sole == 0 || sole == soleNone || ip.Is4() && sole == soleOf(ip)
}

func soleOf(ip netip.Addr) uint32 {
	b := ip.As4()
	return binary.BigEndian.Uint32(b[:])
}

// noteKey notes that the owners of ev have the address of k. It comes before ev is published, so that nobody who sees ev is told
// that there is none.
func noteKey[K comparable](o *owners, k K, ev []evidence) {
	ip := uint32(soleNone)
	if k4, ok := any(k).(key4); ok && uint32(k4) != 0 {
		ip = uint32(k4)
	}
	for i := range ev {
		ow := o.list.at(ev[i].owner)
		if !ow.sole.CompareAndSwap(0, ip) && ow.sole.Load() != ip {
			ow.sole.Store(soleNone)
		}
	}
}

// The bits of owner.has: besides two flags, the traits of an owner of which they were told once, two bits each, and the handle
// of its place.
const (
	hasTraits   = 1 << 0 // they were told more than once: ask facts
	hasListen   = 1 << 1
	sdcAt       = 2
	sharedAt    = 4
	forwarderAt = 6
	placeAt     = 8
	traitMask   = 3
	toldNo      = 1
	toldYes     = 2
)

// set publishes f. What says that the owner is shared is stored before its workload, and read after it: so no reader
// takes a new workload for that of an owner which is not known to be shared yet.
func (ow *owner) set(f *facts) {
	has, shared, once := uint32(0), isShared(f.ep.Kind), true
	if f.more != nil {
		if len(f.more.listen) > 0 {
			has |= hasListen
		}
		switch ts := f.more.traits; len(ts) {
		case 0:
		case 1:
			t := &ts[0].val
			has |= uint32(t.sdc)<<sdcAt | uint32(t.shared)<<sharedAt | uint32(t.forwarder)<<forwarderAt
			if t.shared != 0 {
				shared = t.shared == toldYes
			}
		default:
			has |= hasTraits
			once = false
		}
	}
	simple := f.oneWorkload() && once && !shared
	if !simple || f.wl[0].from != ow.onlyFrom.Load() {
		ow.onlyWorkload.Store(0)
	}
	if f.place < 1<<(32-placeAt) {
		has |= f.place << placeAt
	} else { // nothing real has so many places; facts still has it
		has |= hasTraits
	}
	ow.has.Store(has)
	if moved := ow.scope.Swap(uint32(f.scope)); moved != uint32(f.scope) {
		ow.unsee() // what was seen was seen elsewhere
	}
	ow.facts.Store(f)
	if simple {
		ow.onlyFrom.Store(f.wl[0].from)
		ow.onlyWorkload.Store(uint32(f.wl[0].val))
	}
}

// place is what endpoints have in common with many others, and what follows from their kind. An estate has few.
type place struct {
	metadata.Place
	forwarder, shared bool
}

// facts is what is known of an owner apart from its addresses. Immutable.
type facts struct {
	ep metadata.Endpoint
	wl []version[metadata.WorkloadID]
	// scope is the routing domain of an interface.
	scope metadata.Scope
	// place is the handle of ep's kind, subnet and zone.
	place uint32
	// node is the interface that ep.ENI names, for an owner that is none.
	node uint32
	more *details
}

// details is the part of facts that few owners have.
type details struct {
	// eps is what each source told last, in order of stamp.
	eps    []version[metadata.Endpoint]
	traits []version[traits]
	listen []version[[]uint32]
}

// traits are yes/no facts of an interface; 0 is untold, 1 no, 2 yes.
type traits struct{ sdc, shared, forwarder uint8 }

// oneWorkload says whether one workload is all that was ever told of the owner. Sources repeat it with each address.
func (f *facts) oneWorkload() bool {
	for i := range f.wl {
		if f.wl[i].val != f.wl[0].val {
			return false
		}
	}
	return len(f.wl) > 0
}

// isForwarder says whether interfaces of this kind pass other people's packets on.
func isForwarder(kind string) bool {
	switch kind {
	case "nat_gateway", "natGateway", "transit_gateway", "gateway_load_balancer", "gateway_load_balancer_endpoint", "network_firewall",
		"vpn", "appliance":
		return true
	}
	return false
}

// isShared says whether interfaces of this kind carry several workloads.
func isShared(kind string) bool {
	switch kind {
	case "lambda", "node", "eks_node", "ecs_instance", "trunk":
		return true
	}
	return false
}

// owners holds all endpoints and workloads.
type owners struct {
	names *index
	list  paged[owner]
	// sources are the names of those who told.
	sources sourceNames
	locks   [64]sync.Mutex // by handle, for writers

	placeMu sync.Mutex
	placeID map[metadata.Place]uint32
	places  paged[place]

	workloadMu  sync.Mutex
	workloadID  map[metadata.Workload]uint32
	workloads   paged[atomic.Pointer[metadata.Workload]]
	noWorkloads *[pageSize]atomic.Pointer[metadata.Workload] // stands for the pages of which nothing is left
	noWorkload  metadata.Workload

	// marks is set while a sweep is going on.
	marks atomic.Pointer[marks]
}

func newOwners() *owners {
	o := &owners{
		names: newIndex(), sources: sourceNames{newIndex()}, workloadID: map[metadata.Workload]uint32{}, placeID: map[metadata.Place]uint32{{}: 0},
		noWorkloads: new([pageSize]atomic.Pointer[metadata.Workload]),
	}
	_, none := o.list.add()
	none.set(&facts{})
	o.workloads.add()
	o.places.add()
	return o
}

// intern returns the handle of an owner. sweeper.writers, or sweeper.snapshots, is held as long as nothing refers to it.
func (o *owners) intern(name string) uint32 {
	h := o.names.intern(name, func(h uint32, name string) {
		if h == o.list.n {
			o.list.add()
		}
		ow := o.list.at(h)
		f := &facts{ep: metadata.Endpoint{Owner: name}}
		if eni, ok := strings.CutPrefix(name, eniPrefix); ok {
			f.ep.ENI = eni
		}
		ow.set(f)
	})
	o.note(h)
	return h
}

func (o *owners) facts(h uint32) *facts { return o.list.at(h).facts.Load() }

// placeOf returns the handle of an endpoint's place; equal ones share it.
func (o *owners) placeOf(ep *metadata.Endpoint) uint32 {
	o.placeMu.Lock()
	defer o.placeMu.Unlock()
	p := metadata.Place{Kind: ep.Kind, Subnet: ep.Subnet, AZ: ep.AZ}
	h, ok := o.placeID[p]
	if !ok {
		var made *place
		h, made = o.places.add()
		*made = place{p, isForwarder(p.Kind), isShared(p.Kind)}
		o.placeID[p] = h
	}
	return h
}

func (o *owners) workloadCount() int {
	o.workloadMu.Lock()
	defer o.workloadMu.Unlock()
	return len(o.workloadID)
}

// workloadEnd is one more than the largest handle of a workload.
func (o *owners) workloadEnd() uint32 {
	o.workloadMu.Lock()
	defer o.workloadMu.Unlock()
	return o.workloads.n
}

// workloadOf returns what a handle stands for: an empty one for handle 0 and for what was swept.
func (o *owners) workloadOf(h uint32) *metadata.Workload {
	if p := o.workloads.find(h); p != nil {
		if w := p.Load(); w != nil {
			return w
		}
	}
	return &o.noWorkload
}

// workload returns the handle of a workload; equal ones share it.
func (o *owners) workload(w metadata.Workload) metadata.WorkloadID {
	o.workloadMu.Lock()
	defer o.workloadMu.Unlock()
	h, ok := o.workloadID[w]
	if !ok {
		var p *atomic.Pointer[metadata.Workload]
		h, p = o.workloads.add()
		p.Store(&w)
		o.workloadID[w] = h
	}
	if m := o.marks.Load(); m != nil {
		mark1(m.workloads, h)
	}
	return metadata.WorkloadID(h)
}

func (o *owners) compareWorkloads(a, b metadata.WorkloadID) int {
	if a == b {
		return 0
	}
	x, y := o.workloadOf(uint32(a)), o.workloadOf(uint32(b))
	return cmp.Or(strings.Compare(x.App, y.App), strings.Compare(x.AppSource, y.AppSource), strings.Compare(x.Cluster, y.Cluster),
		strings.Compare(x.Account, y.Account), strings.Compare(x.VPC, y.VPC), strings.Compare(x.Region, y.Region), strings.Compare(x.Team, y.Team))
}

// describe takes in what e tells of its owner beside addresses.
func (o *owners) describe(h uint32, e *event.Event, scope metadata.Scope, scopeName func(metadata.Scope) string) {
	if e.EP == nil && e.WL == nil && e.Listen == nil && e.SDC == nil && e.Shared == nil && e.Forwarder == nil && scope == metadata.NoScope {
		return
	}
	mu := &o.locks[h%uint32(len(o.locks))]
	mu.Lock()
	defer mu.Unlock()
	ow := o.list.at(h)
	old := ow.facts.Load()
	f := *old
	changed := false
	st := o.sources.stamp(e)

	if scope != metadata.NoScope && scope != f.scope && (f.scope == metadata.NoScope || scopeName(scope) < scopeName(f.scope)) {
		f.scope, changed = scope, true
	}
	if e.WL != nil {
		id := o.workload(metadata.Workload{
			App: e.WL.App, AppSource: e.WL.AppSource, Cluster: e.WL.Cluster, Account: e.WL.Account, VPC: e.WL.VPC, Region: e.WL.Region,
			Team: e.WL.Team,
		})
		var c bool
		f.wl, c = merge(f.wl, stamped(st, id), o.sources, o.compareWorkloads)
		changed = changed || c
	}
	if o.detail(&f, e, st) {
		changed = true
	}
	if changed {
		published := f // the copy is made only now: most events tell nothing new
		ow.set(&published)
	}
}

// detail updates f.more, on a copy, and what follows from it.
func (o *owners) detail(f *facts, e *event.Event, st stamp) bool {
	if e.EP == nil && e.Listen == nil && e.SDC == nil && e.Shared == nil && e.Forwarder == nil {
		return false
	}
	var m details
	if f.more != nil {
		m = *f.more
	}
	changed := false
	if e.EP != nil && m.tellEndpoint(stamped(st, metadata.Endpoint{
		Kind: e.EP.Kind, ENI: e.EP.ENI, Instance: e.EP.Instance, Name: e.EP.Name, Subnet: e.EP.Subnet, AZ: e.EP.AZ,
	}), o.sources) {
		changed = true
		o.settle(f, &m)
	}
	if e.SDC != nil || e.Shared != nil || e.Forwarder != nil {
		var c bool
		m.traits, c = merge(m.traits, stamped(st, traits{tell(e.SDC), tell(e.Shared), tell(e.Forwarder)}), o.sources, compareTraits)
		changed = changed || c
	}
	if e.Listen != nil {
		ports := make([]uint32, 0, len(e.Listen))
		for _, l := range e.Listen {
			ports = append(ports, portKey(l.Proto, l.Port))
		}
		slices.Sort(ports)
		var c bool
		m.listen, c = merge(m.listen, stamped(st, slices.Compact(ports)), o.sources, slices.Compare[[]uint32])
		changed = changed || c
	}
	if changed {
		f.more = &m
	}
	return changed
}

// settle works out what the sources' words on f's endpoint come to.
func (o *owners) settle(f *facts, m *details) {
	f.ep = m.endpoint(f.ep.Owner)
	f.place = o.placeOf(&f.ep)
	f.node = 0
	if !strings.HasPrefix(f.ep.Owner, eniPrefix) && f.ep.ENI != "" {
		f.node = o.intern(eniPrefix + f.ep.ENI)
	}
}

// tellEndpoint keeps the latest word of each source.
func (m *details) tellEndpoint(v version[metadata.Endpoint], names sourceNames) bool {
	eps := slices.Clone(m.eps)
	if i := slices.IndexFunc(eps, func(w version[metadata.Endpoint]) bool { return w.src == v.src }); i >= 0 {
		if c := cmp.Or(cmp.Compare(v.from, eps[i].from), cmp.Compare(v.rver, eps[i].rver), cmp.Compare(v.obs, eps[i].obs),
			compareEndpoints(v.val, eps[i].val)); c <= 0 {
			return false
		}
		eps = slices.Delete(eps, i, i+1)
	}
	eps = append(eps, v)
	slices.SortFunc(eps, func(a, b version[metadata.Endpoint]) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.rver, b.rver), cmp.Compare(a.obs, b.obs), names.compare(a.src, b.src))
	})
	m.eps = eps
	return true
}

// endpoint unites what the sources told: the latest word on each field counts.
func (m *details) endpoint(name string) metadata.Endpoint {
	ep := metadata.Endpoint{Owner: name}
	for _, v := range m.eps {
		for _, f := range [...]struct {
			to   *string
			from string
		}{
			{&ep.Kind, v.val.Kind}, {&ep.ENI, v.val.ENI}, {&ep.Instance, v.val.Instance}, {&ep.Name, v.val.Name}, {&ep.Subnet, v.val.Subnet}, {&ep.AZ, v.val.AZ},
		} {
			if f.from != "" {
				*f.to = f.from
			}
		}
	}
	if eni, ok := strings.CutPrefix(name, eniPrefix); ok {
		ep.ENI = eni
	}
	return ep
}

func compareEndpoints(a, b metadata.Endpoint) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.ENI, b.ENI), strings.Compare(a.Instance, b.Instance),
		strings.Compare(a.Name, b.Name), strings.Compare(a.Subnet, b.Subnet), strings.Compare(a.AZ, b.AZ))
}

func compareTraits(a, b traits) int {
	return cmp.Or(cmp.Compare(a.sdc, b.sdc), cmp.Compare(a.shared, b.shared), cmp.Compare(a.forwarder, b.forwarder))
}

func tell(b *bool) uint8 {
	switch {
	case b == nil:
		return 0
	case *b:
		return 2
	default:
		return 1
	}
}

// trait returns what was last told of one trait at t; when it was only told later, the first word on it. 0 is never.
func (f *facts) trait(t int64, which func(*traits) uint8) uint8 {
	if f.more == nil {
		return 0
	}
	var said uint8
	for i := range f.more.traits {
		v := &f.more.traits[i]
		if said != 0 && v.from > t {
			break
		}
		if w := which(&v.val); w != 0 {
			said = w
		}
	}
	return said
}

func (f *facts) sdc(t int64) uint8 { return f.trait(t, func(x *traits) uint8 { return x.sdc }) }

// forwards says whether the interface passes other people's packets on.
func (f *facts) forwards(t int64) bool {
	if said := f.trait(t, func(x *traits) uint8 { return x.forwarder }); said != 0 {
		return said == 2
	}
	return isForwarder(f.ep.Kind) || f.sdc(t) == 1
}

// shared says whether several workloads use the interface.
func (f *facts) shared(t int64) bool {
	if said := f.trait(t, func(x *traits) uint8 { return x.shared }); said != 0 {
		return said == 2
	}
	return isShared(f.ep.Kind)
}

func portKey(proto, port int) uint32 { return uint32(proto)<<16 | uint32(port) }
