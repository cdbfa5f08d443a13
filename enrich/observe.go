package enrich

import (
	"errors"
	"net/netip"
	"sync"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// Sighting is a heartbeat: a record showed that an interface held an address. It proves address → interface, never address →
// workload.
type Sighting struct {
	// Scope is the VPC that the record names; NoScope leaves it to what is known of the interface.
	Scope metadata.Scope
	// ENI is the interface's id. It may be kept.
	ENI string
	IP  netip.Addr
	// Start and End are the record's, in Unix milliseconds.
	Start, End int64
	// Primary says that IP is the interface's primary address, which it keeps as long as it lives.
	Primary bool
}

// Heartbeats takes sightings. It does not block, and is called by many goroutines at once.
type Heartbeats interface {
	// InternScope returns the handle of a VPC, also of one that nothing was told of yet.
	InternScope(vpc string) metadata.Scope
	Observe(s Sighting)
}

// Sightings takes heartbeats from decoded records; it is the pipeline's Observer. Safe for concurrent use.
type Sightings struct {
	resolver metadata.Resolver
	to       Heartbeats

	mu   sync.Mutex
	idle []*ahead
}

// NewSightings returns Sightings that reports to to. The resolver answers for layouts without flow-direction.
func NewSightings(r metadata.Resolver, to Heartbeats) (*Sightings, error) {
	if r == nil || to == nil {
		return nil, errors.New("taking heartbeats: resolver and heartbeats are both needed")
	}
	return &Sightings{resolver: r, to: to}, nil
}

// Observe reports what the records of in prove. Rejected traffic proves as much as accepted: the packet was at the interface.
// A record proves nothing when its status is not OK, when it names no interface or no direction can be found, or when it comes
// from a transit gateway, whose tgw-*-eni are attachments. The packet's own address (pkt-*) counts only where source/dest
// check is known to be on: elsewhere it may be anybody's.
func (s *Sightings) Observe(in *flowlog.Batch) {
	j := join{view: s.resolver.View(), in: in} // without scratch: nothing here needs interned text
	j.warmer, _ = j.view.(metadata.Warmer)
	j.handles, _ = j.view.(metadata.Handles)
	sighted, _ := s.to.(sighted)
	run := run{to: s.to}
	a := s.take()
	defer s.give(a)
	for i := range in.Records {
		if i%warmBlock == 0 {
			j.warm(a, in.Records[i:], ownAddress)
		}
		r := &in.Records[i]
		if !Flow(r) || r.Start <= 0 || r.End < r.Start {
			continue
		}
		j.layout(r)
		id := r.InterfaceID
		if id == "" {
			id = j.streamInterface(r)
		} else if j.warmer != nil {
			j.handleOf, j.handle = id, a[i%warmBlock].Interface
		}
		if id == "" || j.traits.transit {
			continue
		}
		if sighted != nil && j.warmer != nil && id == j.handleOf && j.handle != 0 && j.again(sighted, r) {
			continue
		}
		f := flow{r: r, w: metadata.Window{Start: r.Start, End: r.End}, by: recorder{id: id}}
		f.ends()
		direction, _ := j.direction(&f)
		own := &f.src
		switch direction {
		case row.Egress:
		case row.Ingress:
			own = &f.dst
		default:
			continue
		}
		if r.VPCID != run.vpc {
			run.vpc, run.scope = r.VPCID, metadata.NoScope
			if r.VPCID != "" {
				run.scope = s.to.InternScope(r.VPCID)
			}
		}
		if own.plain.IsValid() {
			run.see(Sighting{Scope: run.scope, ENI: id, IP: own.plain, Start: r.Start, End: r.End, Primary: own.plain.Is4()})
		}
		if own.exact && own.addr != own.plain && j.checked(id, f.w) {
			run.see(Sighting{Scope: run.scope, ENI: id, IP: own.addr, Start: r.Start, End: r.End})
		}
	}
	run.flush()
}

// sighted is implemented by Heartbeats that can say at little cost that a record would tell them nothing new.
type sighted interface {
	// Sighted says that a record of interface id in scope (NoScope: where id is) with these addresses proves nothing that is not
	// known, whichever of them is the interface's own; an invalid address is none. False means nothing.
	Sighted(id metadata.EndpointID, scope metadata.Scope, src, dst netip.Addr, w metadata.Window) bool
}

// again says that r, whose interface is that of j.handle, proves nothing new.
func (j *join) again(s sighted, r *flowlog.Record) bool {
	src, dst := r.SrcAddr, r.DstAddr
	if r.PktSrcAddr.IsValid() && r.PktSrcAddr != src || r.PktDstAddr.IsValid() && r.PktDstAddr != dst {
		return false
	}
	switch r.Direction {
	case flowlog.Egress:
		dst = netip.Addr{}
	case flowlog.Ingress:
		src = netip.Addr{}
	default:
	}
	scope := metadata.NoScope
	if r.VPCID != "" {
		if scope = j.scopeOf(r.VPCID); scope == metadata.NoScope {
			return false
		}
	}
	return s.Sighted(j.handle, scope, src, dst, metadata.Window{Start: r.Start, End: r.End})
}

func (s *Sightings) take() *ahead {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return new(ahead)
	}
	a := s.idle[n-1]
	s.idle = s.idle[:n-1]
	return a
}

func (s *Sightings) give(a *ahead) {
	clear(a[:]) // the records' texts are the caller's
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, a)
}

// checked says whether the interface's source/dest check is known to be on.
func (j *join) checked(eni string, w metadata.Window) bool {
	c := j.lookupInterface(eni, w)
	return c != nil && c.SourceDestCheck && !c.Forwarder
}

// run unites sightings of one interface and address that overlap or touch: the lines of one log stream come together.
type run struct {
	to    Heartbeats
	vpc   string
	scope metadata.Scope
	open  [2]Sighting // primary, other
}

// touching is the greatest distance in milliseconds of two seconds that follow each other.
const touching = 1000

func (u *run) see(s Sighting) {
	last := &u.open[0]
	if !s.Primary {
		last = &u.open[1]
	}
	if last.ENI == s.ENI && last.IP == s.IP && last.Scope == s.Scope && s.Start <= last.End+touching && s.End >= last.Start-touching {
		last.Start, last.End = min(last.Start, s.Start), max(last.End, s.End)
		return
	}
	if last.ENI != "" {
		u.to.Observe(*last)
	}
	*last = s
}

func (u *run) flush() {
	for i := range u.open {
		if u.open[i].ENI != "" {
			u.to.Observe(u.open[i])
		}
		u.open[i] = Sighting{}
	}
}
