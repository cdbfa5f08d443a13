package flowgen

import (
	"cmp"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Expected is the truth of one line. Addresses are the packet's when the layout has pkt-* fields, else the plain ones; the
// owners are those of the addresses that the line shows.
type Expected struct {
	// Flow numbers connections; the two legs of a NAT gateway are two.
	Flow              uint64
	Interface, Status string
	Src, Dst          netip.Addr
	SrcPort, DstPort  uint16
	Protocol          uint8
	Reject, Egress    bool
	// Forward is the direction from client to server.
	Forward bool
	// Counted marks the one observation of each direction that a sum of bytes takes.
	Counted bool
	// Start and End are what the line says, First and Last the true times of its packets (Unix milliseconds).
	Start, End, First, Last int64
	Packets, Bytes          int64
	// Scope, owner and application of both ends; Owned is false for addresses outside the estate and for those that
	// nobody had. The application of an outside end is internet or aws:SERVICE, that of a node or gateway is empty.
	SrcScope, SrcOwner, SrcApp string
	DstScope, DstOwner, DstApp string
	SrcOwned, DstOwned         bool
}

// Owner is who had an address.
type Owner struct{ ID, App, Kind string }

// PairKey is what Totals are kept by.
type PairKey struct {
	Src, Dst string
	Reject   bool
}

// Sum is what flowed.
type Sum struct{ Bytes, Packets, Lines int64 }

// Totals is everything that lines were written for.
type Totals struct {
	OK, NoData, SkipData int64
	// Skipped is the number of records that AWS lost with SKIPDATA.
	Skipped int64
	// Changes is the number of owners that came or went since the start.
	Changes int64
	// Pairs sums the counted observations by application; an unowned end is "".
	Pairs map[PairKey]Sum
}

// Edge is who talked to whom: client and server.
type Edge struct {
	Src, Dst    string
	Declared    bool
	Connections int64
}

// Truth knows everything. Its methods may be called while the simulation runs in another goroutine.
type Truth struct {
	mu     sync.Mutex
	keep   int64
	check  bool
	seed   maphash.Seed
	scopes map[string]map[netip.Addr]*address
	order  []string          // of scopes
	vpcOf  map[string]string // interface id to scope
	totals Totals
	edges  map[[2]string]*Edge

	names map[string]uint32
	texts []string
	now   []indexed
	heads map[uint64]int32
	old   []indexed
	oldBy map[uint64]int32
	since int64
}

// indexed is the truth of one line, small: there are many. Lines of one key are chained by next.
type indexed struct {
	next               int32
	src, dst           uint32
	srcPort, dstPort   uint16
	srcOwned, dstOwned bool
}

func newTruth(keep int64, check bool) *Truth {
	return &Truth{
		keep: keep, check: check, seed: maphash.MakeSeed(), scopes: map[string]map[netip.Addr]*address{}, vpcOf: map[string]string{},
		totals: Totals{Pairs: map[PairKey]Sum{}}, edges: map[[2]string]*Edge{}, names: map[string]uint32{}, heads: map[uint64]int32{},
	}
}

func (t *Truth) add(a *address) {
	m := t.scopes[a.scope]
	if m == nil {
		m = map[netip.Addr]*address{}
		t.scopes[a.scope] = m
		t.order = append(t.order, a.scope)
	}
	m[a.ip] = a
}

// Lookup returns who had the address at a time (Unix milliseconds). Scope is a VPC id or PublicScope.
func (t *Truth) Lookup(scope string, ip netip.Addr, at int64) (Owner, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.scopes[scope][ip]
	if a == nil {
		return Owner{}, false
	}
	for i := len(a.past) - 1; i >= 0; i-- {
		if p := &a.past[i]; p.from <= at {
			if at >= p.to {
				return Owner{}, false
			}
			return Owner{ID: p.owner.id, App: p.owner.appName(), Kind: p.owner.kind.String()}, true
		}
	}
	return Owner{}, false
}

// Claim is what a row says of one record.
type Claim struct {
	// Src and Dst are the packet's addresses, or the plain ones where the layout has no others.
	Src, Dst string
	// Interface is the recording interface; Scope (a VPC id) serves where a row does not have it.
	Interface, Scope string
	// SrcPort and DstPort are 0 when the row does not have them.
	SrcPort, DstPort uint16
	// Start and End are the record's own, in Unix milliseconds.
	Start, End     int64
	SrcApp, DstApp string
}

// EndVerdict judges the name of one end.
type EndVerdict struct {
	// Owned says that somebody had the address, App who: empty for nodes and gateways, a label outside the estate.
	Owned bool
	App   string
	// Named says that the claim names an application; Wrong that it is not the true one, or that there was none.
	Named, Wrong bool
}

// Verdict judges a claim.
type Verdict struct {
	// Matched says that the record itself was found, and the answer is exact; else the owners around its time decide, and
	// only a name that none of them had is wrong.
	Matched  bool
	Src, Dst EndVerdict
}

// Check judges the names that a row gives. It needs Config.Check.
func (t *Truth) Check(c Claim) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	src, srcErr := netip.ParseAddr(c.Src)
	dst, dstErr := netip.ParseAddr(c.Dst)
	if srcErr != nil || dstErr != nil {
		return Verdict{}
	}
	var v Verdict
	key := t.key(c.Interface, src, dst, c.Start)
	match := func(list []indexed, heads map[uint64]int32) {
		i, ok := heads[key]
		for ok && i >= 0 {
			e := &list[i]
			if (c.SrcPort == 0 || c.SrcPort == e.srcPort) && (c.DstPort == 0 || c.DstPort == e.dstPort) {
				v.Src.judge(c.SrcApp, t.texts[e.src], e.srcOwned, !v.Matched)
				v.Dst.judge(c.DstApp, t.texts[e.dst], e.dstOwned, !v.Matched)
				v.Matched = true
			}
			i = e.next
		}
	}
	match(t.now, t.heads)
	match(t.old, t.oldBy)
	if !v.Matched {
		scope := c.Scope
		if scope == "" {
			scope = t.vpcOf[c.Interface]
		}
		v.Src = t.around(scope, src, c, c.SrcApp)
		v.Dst = t.around(scope, dst, c, c.DstApp)
	}
	return v
}

// judge compares one name with one truth; several records under one key make a name right that any of them allows.
func (v *EndVerdict) judge(named, app string, owned, first bool) {
	wrong := IsName(named) && (named != app || !owned)
	if first {
		*v = EndVerdict{Owned: owned, App: app, Named: IsName(named), Wrong: wrong}
		return
	}
	if v.Wrong && !wrong {
		*v = EndVerdict{Owned: owned, App: app, Named: true}
	}
}

// around judges by whoever had the address near the record's time: in the record's own network when it has the address,
// else in any other.
func (t *Truth) around(scope string, ip netip.Addr, c Claim, named string) EndVerdict {
	v := EndVerdict{Named: IsName(named)}
	v.Wrong = v.Named
	scopes := t.order
	if t.scopes[scope][ip] != nil {
		scopes = []string{scope}
	}
	for _, s := range scopes {
		a := t.scopes[s][ip]
		if a == nil {
			continue
		}
		for i := range a.past {
			p := &a.past[i]
			if p.from < c.End+1000 && p.to > c.Start-61_000 {
				v.Owned, v.App = true, p.owner.appName()
				v.Wrong = v.Wrong && v.App != named
				if v.App == named {
					return v
				}
			}
		}
	}
	return v
}

// IsName says whether a row's application is a name, and none of the reserved tokens.
func IsName(app string) bool {
	switch app {
	case "", "unknown", "ambiguous", "internet":
		return false
	}
	return !strings.HasPrefix(app, "aws:")
}

func (t *Truth) key(eni string, src, dst netip.Addr, start int64) uint64 {
	type key struct {
		eni      string
		src, dst netip.Addr
		start    int64
	}
	return maphash.Comparable(t.seed, key{eni, src, dst, start})
}

func (t *Truth) name(s string) uint32 {
	if i, ok := t.names[s]; ok {
		return i
	}
	i := uint32(len(t.texts))
	t.texts = append(t.texts, s)
	t.names[s] = i
	return i
}

// emit books one line that was written at a time.
func (t *Truth) emit(e *Expected, at int64) {
	switch e.Status {
	case "NODATA":
		t.totals.NoData++
		return
	case "SKIPDATA":
		t.totals.SkipData++
		return
	}
	t.totals.OK++
	if e.Counted {
		k := PairKey{Src: e.SrcApp, Dst: e.DstApp, Reject: e.Reject}
		sum := t.totals.Pairs[k]
		sum.Bytes += e.Bytes
		sum.Packets += e.Packets
		sum.Lines++
		t.totals.Pairs[k] = sum
	}
	if !t.check {
		return
	}
	// Two generations, each as long as truth is kept: forgetting costs nothing per line.
	if t.keep > 0 && at > t.since+t.keep {
		t.old, t.oldBy, t.now, t.heads, t.since = t.now, t.heads, nil, map[uint64]int32{}, at
	}
	k := t.key(e.Interface, e.Src, e.Dst, e.Start)
	next, ok := t.heads[k]
	if !ok {
		next = -1
	}
	t.heads[k] = int32(len(t.now))
	t.now = append(t.now, indexed{
		next: next, src: t.name(e.SrcApp), dst: t.name(e.DstApp), srcPort: e.SrcPort, dstPort: e.DstPort,
		srcOwned: e.SrcOwned, dstOwned: e.DstOwned,
	})
}

// count books one connection in the graph.
func (s *Sim) count(c *conn, declared bool) {
	name := func(a *address, o *owner) string {
		if a.label != "" {
			return a.label
		}
		return o.appName()
	}
	k := [2]string{name(c.client, c.clientOwner), name(c.server, c.serverOwner)}
	e := s.truth.edges[k]
	if e == nil {
		e = &Edge{Src: k[0], Dst: k[1]}
		s.truth.edges[k] = e
	}
	e.Declared = e.Declared || declared
	e.Connections++
}

// Totals returns a copy of the books.
func (t *Truth) Totals() Totals {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.totals
	c.Pairs = maps.Clone(t.totals.Pairs)
	return c
}

// Edges returns who talked to whom, sorted. Undeclared edges are probes, pings and attempts to reach dead addresses; an end
// without an application is "".
func (t *Truth) Edges() []Edge {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Edge, 0, len(t.edges))
	for _, e := range t.edges {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.Src, b.Src), strings.Compare(a.Dst, b.Dst))
	})
	return list
}

// HasEdge says whether a and b ever talked, whoever was the client. A reported pair without one is a phantom.
func (t *Truth) HasEdge(a, b string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.edges[[2]string{a, b}] != nil || t.edges[[2]string{b, a}] != nil
}
