package segment

import (
	"math"

	"dredge/row"
	"dredge/row/condition"
)

// policy is a file of declared edges, compiled. It is immutable.
//
// Edges are asked in the order of the file and the first that matches decides. So that not every row is compared with every edge, edges are
// kept by the applications that they name on either side: a row is compared with four short lists, each in the order of the file.
type policy struct {
	allowDefault, allowSameApp bool
	edges                      []*compiled

	byBoth       map[pair][]*compiled
	byFrom, byTo map[string][]*compiled
	others       []*compiled
}

type pair struct{ from, to string }

// compiled is an edge.
type compiled struct {
	name     string
	order    int
	allow    bool
	expires  int64 // Unix milliseconds; 0 is never
	from, to selector
	// flow asks for protocol and the server's port: the first when the source is the server, the second when the destination is.
	flow [2]condition.All
}

// selector chooses one end of a flow.
type selector struct {
	// apps are set when the end is chosen by applications that are written out.
	apps condition.Values
	// ends are the conditions for the source and for the destination.
	ends [2]condition.All
	// tags hold when one of them does; they are known of the end that recorded only.
	tags condition.All
}

func newPolicy(edges int) *policy {
	return &policy{
		edges: make([]*compiled, 0, edges), byBoth: map[pair][]*compiled{}, byFrom: map[string][]*compiled{}, byTo: map[string][]*compiled{},
	}
}

func (p *policy) add(e *compiled) {
	p.edges = append(p.edges, e)
	switch from, to := e.from.apps, e.to.apps; {
	case len(from) > 0 && len(to) > 0 && len(from)*len(to) <= maxPairs:
		seen := map[pair]bool{}
		for _, f := range from {
			for _, t := range to {
				if k := (pair{f, t}); !seen[k] {
					seen[k] = true
					p.byBoth[k] = append(p.byBoth[k], e)
				}
			}
		}
	case len(from) > 0:
		index(p.byFrom, from, e)
	case len(to) > 0:
		index(p.byTo, to, e)
	default:
		p.others = append(p.others, e)
	}
}

// maxPairs bounds how often one edge stands in the index.
const maxPairs = 4096

func index(m map[string][]*compiled, apps condition.Values, e *compiled) {
	seen := map[string]bool{}
	for _, app := range apps {
		if !seen[app] {
			seen[app] = true
			m[app] = append(m[app], e)
		}
	}
}

// verdict is what the edges say of a flow, and which of them decided; nil means the default did.
type verdict struct {
	segmentation row.Segmentation
	by           *compiled
}

// judge says what the edges say of row i of b. An end that is not named is not judged: whoever it is, it may be the one who is allowed.
// Where the client isn't known, both ways round must agree.
func (p *policy) judge(b *row.Batch, i int) verdict {
	r := &b.Rows[i]
	if !known(&r.Src) || !known(&r.Dst) {
		return verdict{segmentation: row.SegmentationUnknown}
	}
	switch r.Client {
	case row.EndSrc:
		return p.between(b, i, row.EndSrc)
	case row.EndDst:
		return p.between(b, i, row.EndDst)
	default:
		there, back := p.between(b, i, row.EndSrc), p.between(b, i, row.EndDst)
		if there.segmentation != back.segmentation {
			return verdict{segmentation: row.SegmentationUnknown}
		}
		return there
	}
}

// known says whether it is beyond doubt who or what e is: an application, an AWS service, the internet, or a network that was declared outside all VPCs.
func known(e *row.Side) bool {
	switch e.Status() {
	case row.Attributed, row.External, row.Service:
		return true
	default:
		return e.Identity != nil && e.Identity.Network != "" && e.Identity.VPC == ""
	}
}

// search is the way through the lists of edges.
type search struct {
	b      *row.Batch
	i      int
	client row.End
	start  int64
	// best is the first edge that matches for certain, expired the first that would have, had it not ended. The others are the order of the first edge that
	// may match, by effect.
	best, expired         *compiled
	maybeAllow, maybeDeny int
	scratch               condition.Scratch
}

// between judges with the client at the given end.
func (p *policy) between(b *row.Batch, i int, client row.End) verdict {
	r := &b.Rows[i]
	from, to := r.Src.App, r.Dst.App
	if client == row.EndDst {
		from, to = to, from
	}
	s := search{b: b, i: i, client: client, start: r.Start, maybeAllow: math.MaxInt, maybeDeny: math.MaxInt}
	if len(p.byBoth) > 0 {
		s.through(p.byBoth[pair{from, to}])
	}
	if len(p.byFrom) > 0 {
		s.through(p.byFrom[from])
	}
	if len(p.byTo) > 0 {
		s.through(p.byTo[to])
	}
	s.through(p.others)

	order, allowed := math.MaxInt, p.allowDefault
	switch {
	case s.best != nil:
		order, allowed = s.best.order, s.best.allow
	case r.Src.Named && from == to:
		allowed = p.allowSameApp
	default:
	}
	switch {
	case allowed && s.maybeDeny < order, !allowed && s.maybeAllow < order:
		return verdict{segmentation: row.SegmentationUnknown}
	case allowed:
		return verdict{row.SegmentationAllowed, s.best}
	case s.expired != nil && s.expired.order < order:
		return verdict{row.SegmentationExpired, s.expired}
	default:
		return verdict{row.SegmentationUnexpected, s.best}
	}
}

// through compares the row with a list of edges, up to the first that matches for certain or comes after one that did.
func (s *search) through(list []*compiled) {
	for _, e := range list {
		if s.best != nil && e.order > s.best.order {
			return
		}
		sure, possible := s.matches(e)
		switch {
		case !possible:
		case e.expires != 0 && s.start >= e.expires:
			if sure && e.allow && (s.expired == nil || e.order < s.expired.order) {
				s.expired = e
			}
		case sure:
			s.best = e
			return
		case e.allow:
			s.maybeAllow = min(s.maybeAllow, e.order)
		default:
			s.maybeDeny = min(s.maybeDeny, e.order)
		}
	}
}

// matches says whether e is for the row for certain, and whether it is possible at all.
func (s *search) matches(e *compiled) (sure, possible bool) {
	from, to := 0, 1
	if s.client == row.EndDst {
		from, to = 1, 0
	}
	if !e.flow[to].Holds(s.b, s.i, &s.scratch) || !e.from.ends[from].Holds(s.b, s.i, &s.scratch) || !e.to.ends[to].Holds(s.b, s.i, &s.scratch) {
		return false, false
	}
	sure = true
	for _, side := range [...]struct {
		of  *selector
		end int
	}{{&e.from, from}, {&e.to, to}} {
		switch {
		case len(side.of.tags) == 0:
		case !s.tagged(side.end):
			sure = false
		case side.of.tags.Any(s.b, s.i, &s.scratch) == nil:
			return false, false
		}
	}
	return sure, true
}

// tagged says whether the tags of an end are known: the record carries those of the interface that recorded, if any.
func (s *search) tagged(end int) bool {
	r := &s.b.Rows[s.i]
	return r.Tags != nil && r.ObservedAt == [...]row.End{row.EndSrc, row.EndDst}[end]
}
