// Package metadata answers "who was this address then": the only thing of identity that the join sees.
//
// A View is the state of knowledge. Its look-ups are wait-free, allocation-free and touch no network. They answer with
// handles and a Grade that says why a name is believed; only Grade.Names grades put a name into a row (docs/design.md,
// identity over time). A scope's, workload's or place's handle never stands for anything else; what lies behind the retention is
// forgotten, and a forgotten endpoint's handle is given to another a while later, so nobody keeps those. Knowledge only grows under a View: a later look-up may
// see more events than an earlier one, and an answer never claims a watermark whose events it did not see.
package metadata

import "net/netip"

// Scope is a handle of a routing domain in which an address is unique: a VPC, or Public. Handles come from View.Scope.
type Scope uint32

const (
	// NoScope means that the domain is not known.
	NoScope Scope = iota
	// Public is the one domain of public IPv4 addresses and IPv6 global unicast.
	Public
)

// EndpointID is the handle of an endpoint; 0 is none.
type EndpointID uint32

// WorkloadID is the handle of a workload; 0 is none.
type WorkloadID uint32

// Window is the time of a flow in Unix milliseconds, as the record says it. The look-up widens it: an owner must be unique
// in [Start − 60 s − g, End + 1 s + g) and hold the address in [Start, End + 1 s).
type Window struct{ Start, End int64 }

// Answer is what is known of one address in one window.
type Answer struct {
	Grade  Grade
	Reason Reason
	// Endpoint and Workload are set when Grade names, and as the best guess for diagnosis when it does not; a caller that
	// fills src_app/dst_app asks Grade.Names first. Endpoint is 0 while Workload is set when every owner that meets the
	// window belongs to one workload. Workload is 0 while Grade names and Reason is NoWorkload when the owner is certain but
	// nobody told what runs there. With Reason SharedInterface they are the node's.
	Endpoint EndpointID
	Workload WorkloadID
	// Candidates are up to four endpoints that could have been meant; Others counts the rest. One of which the workload changed in
	// the window stands there once for each.
	Candidates [4]EndpointID
	// CandidateWorkloads are the workloads of Candidates at that time, place by place; 0 where none is known.
	CandidateWorkloads [4]WorkloadID
	Others             uint8
}

// Interface is what is known of one network interface.
type Interface struct {
	Scope    Scope
	Endpoint EndpointID
	// Workload is what ran behind Endpoint in the window, and Grade says whether it may be named, as in Answer: an
	// interface can change hands too.
	Workload WorkloadID
	Grade    Grade
	Reason   Reason
	// Ran are up to four workloads that ran there in the window, in order of time, when Reason is WorkloadChanged.
	Ran [4]WorkloadID
	// Forwarder interfaces pass other people's packets on (NAT, TGW, GWLB, firewall, source/dest check off): they name no end.
	Forwarder bool
	// Shared interfaces carry several workloads (EKS node, ECS bridge or host, Lambda): the name comes from a pod or task claim only.
	Shared bool
	// SourceDestCheck is known to be on.
	SourceDestCheck bool
	// Kind is what the interface belongs to (instance, nat_gateway, load_balancer, …).
	Kind string
}

// Endpoint is one owner of addresses: an interface, pod or task.
type Endpoint struct {
	Owner, Kind, ENI, Instance, Name, Subnet, AZ string
}

// Workload is what runs behind an endpoint.
type Workload struct {
	App, AppSource, Cluster, Account, VPC, Region, Team string
}

// View is the state of knowledge, loaded once per batch. It is safe for concurrent use.
type View interface {
	// Scope returns the handle of a VPC id or domain, NoScope when nothing is known of it.
	Scope(name string) Scope
	ScopeName(s Scope) string
	// Lookup answers for one address. It neither blocks nor allocates.
	Lookup(s Scope, ip netip.Addr, w Window) Answer
	// LookupInterface answers for an interface id at the time of w.
	LookupInterface(eni string, w Window) (Interface, bool)
	// InterfaceHas says whether ip was one of the interface's own addresses all through w, and whether it is its primary one, which
	// an interface keeps as long as it lives: that may be known although its life is not known to cover w.
	InterfaceHas(eni string, ip netip.Addr, w Window) (own, primary bool)
	// ScopeCovers returns the scope that ip belongs to, seen from a flow recorded in local: local itself when one of its
	// CIDRs covers ip, else a scope that evidence (peering, transit topology) leads to, else Public for public addresses,
	// else NoScope.
	ScopeCovers(local Scope, ip netip.Addr, w Window) (Scope, Reason)
	// Prefix returns the most specific prefix around ip that was declared when w began.
	Prefix(s Scope, ip netip.Addr, w Window) (PrefixInfo, bool)
	// Listens says whether an owner of (s, ip) was known to listen on proto/port in w.
	Listens(s Scope, ip netip.Addr, proto uint8, port uint16, w Window) bool
	// Covered says whether flows of (s, ip) were logged into this application in w, for the given action.
	Covered(s Scope, ip netip.Addr, reject bool, w Window) bool
	// Endpoint returns what is known of an owner; an empty one for handle 0, never nil. It is shared: do not change it.
	Endpoint(id EndpointID) *Endpoint
	// Workload returns the workload data of id that was valid at the time the handle stands for; an empty one for handle 0,
	// never nil. It is shared: do not change it.
	Workload(id WorkloadID) *Workload
}

// PrefixInfo is a declared network (static CIDR, site, managed prefix list).
type PrefixInfo struct {
	CIDR              netip.Prefix
	Name, Site, Scope string
}

// Place is what many endpoints have in common. It says nothing of who they are.
type Place struct{ Kind, Subnet, AZ string }

// PlaceID is the handle of a Place.
type PlaceID uint32

// Placer is a View that knows which endpoints share a place, so that what is made from it need not be made, or be found again,
// for each endpoint.
type Placer interface {
	// PlaceOf returns the handle of an endpoint's place. It may be another one when more was told of the endpoint.
	PlaceOf(id EndpointID) PlaceID
	// Place returns what a handle stands for, which never changes; an empty one for handle 0, never nil. It is shared: do not
	// change it.
	Place(id PlaceID) *Place
}

// Ask is what one record is going to ask of a View: its interface, and both its addresses.
type Ask struct {
	// ENI is the bare interface id, "" when there is none.
	ENI string
	// Scope is where the addresses will be looked for; NoScope means where ENI is.
	Scope    Scope
	Src, Dst netip.Addr
	// Own says that only that of the addresses which is ENI's own will be looked for.
	Own bool
	// Interface is filled by Warm: the handle of ENI for Handles, 0 when nothing is known of it.
	Interface EndpointID
}

// Handles is a View that finds an interface once for all that is asked of it: its id is a text, and finding that costs more than
// most questions.
type Handles interface {
	// FindInterface returns the handle of an interface id, 0 when nothing is known of it.
	FindInterface(eni string) EndpointID
	// InterfaceAt is LookupInterface by a handle that is not 0.
	InterfaceAt(id EndpointID, w Window) Interface
	// InterfaceHolds is InterfaceHas by handle; for 0 it says no.
	InterfaceHolds(id EndpointID, ip netip.Addr, w Window) (own, primary bool)
}

// Warmer is a View whose tables are larger than the processor's caches. Warm reads what the look-ups of several dozen records
// will need, step by step for all of them, so that the waits for memory overlap; the look-ups themselves then find it at hand. It
// changes nothing, and answers nothing but Ask.Interface: leaving it out costs time only. asks is borrowed until it returns.
type Warmer interface {
	Warm(asks []Ask)
}

// Resolver hands out views.
type Resolver interface{ View() View }
