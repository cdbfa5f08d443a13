package enrich

import (
	"net/netip"
	"strings"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// flow fills out, the row of f.r, and leaves in f what it was made from.
func (j *join) flow(f *flow, out *row.Row) {
	j.locateAndFind(f, out)
	j.conclude(f, len(j.out.Rows)-1) // out is the newest row
}

// locateAndFind takes over what the record says and finds out who both ends were.
func (j *join) locateAndFind(f *flow, out *row.Row) {
	j.layout(f.r)
	f.ends()
	timed := j.copy(f, out)
	j.recorder(f)
	out.InterfaceID, out.ViaKind, out.ViaID = f.by.id, f.by.viaKind, f.by.viaID
	out.Direction, out.DirectionBy = j.locate(f)

	if timed {
		j.find(f, &f.src, row.EndSrc)
		j.find(f, &f.dst, row.EndDst)
	}
}

// conclude names both ends of f, whose row is row i, and says what follows from all that was found.
func (j *join) conclude(f *flow, i int) {
	out := &j.out.Rows[i]
	j.layout(f.r)
	j.name(f, &f.src, row.EndSrc, &out.Src)
	j.name(f, &f.dst, row.EndDst, &out.Dst)

	j.client(f, out)
	j.observe(f, out)
	out.Path = j.path(f, out)
	if j.e.segments != nil {
		out.Segmentation = j.e.segments.Judge(j.out, i)
	}
	j.counts.row(out)
}

// layout notes what r's layout lets it say. Batches mix layouts, but in runs.
func (j *join) layout(r *flowlog.Record) {
	if r.Format != j.format || j.format == nil {
		j.format, j.traits = r.Format, traitsOf(r.Format)
	}
}

// ends takes over both ends as the record has them.
func (f *flow) ends() {
	r := f.r
	f.src.plain, f.src.addr, f.src.exact = r.SrcAddr, r.PktSrcAddr, true
	if !r.PktSrcAddr.IsValid() {
		f.src.addr, f.src.exact = r.SrcAddr, false
	}
	f.dst.plain, f.dst.addr, f.dst.exact = r.DstAddr, r.PktDstAddr, true
	if !r.PktDstAddr.IsValid() {
		f.dst.addr, f.dst.exact = r.DstAddr, false
	}
}

// sides are the ends of a flow in the order in which they are looked at.
var sides = [...]row.End{row.EndSrc, row.EndDst} //nolint:gochecknoglobals // read-only table

// copy takes over what the row holds as the record has it. It says whether the record has a time, without which no end can
// be looked up.
func (j *join) copy(f *flow, out *row.Row) (timed bool) {
	r := f.r
	out.Origin, out.Index = r.Origin, r.Index
	out.AccountID = r.AccountID
	out.Bytes, out.Packets = r.Bytes, r.Packets
	out.Protocol = r.Protocol
	out.TCPFlags, out.HasTCPFlags = r.TCPFlags, r.Present.Has(flowlog.FieldTCPFlags)
	out.TrafficPath = r.TrafficPath
	switch r.Action {
	case flowlog.Accept:
		out.Action = row.Accept
	case flowlog.Reject:
		out.Action = row.Reject
	default:
	}
	out.Missing = missing(&r.Present)
	out.Src.Port, out.Dst.Port = r.SrcPort, r.DstPort

	out.Src.Addr, out.Dst.Addr = f.src.addr, f.dst.addr
	if f.src.plain != f.src.addr {
		out.RecordSrc = f.src.plain
	}
	if f.dst.plain != f.dst.addr {
		out.RecordDst = f.dst.plain
	}

	if j.traits.reject {
		if text := r.Text(flowlog.FieldRejectReason); text != nil {
			out.RejectReason = j.scratch.text.String(text)
		}
	}
	if j.traits.tags && j.e.tags {
		out.Tags = j.recordTags(r)
	}

	hasStart, hasEnd := r.Present.Has(flowlog.FieldStart), r.Present.Has(flowlog.FieldEnd)
	switch {
	case hasStart && hasEnd:
	case hasStart:
		out.Missing |= row.MissingEnd
		f.w.End = f.w.Start
	case hasEnd:
		out.Missing |= row.MissingStart
		f.w.Start = f.w.End
	default:
		// The row needs a time all the same. When it arrived is the best that is known, and said to be no flow time.
		out.Missing |= row.MissingTime
		if int(r.Origin) < len(j.in.Origins) {
			arrived := j.in.Origins[r.Origin].Arrived.UnixMilli()
			f.w = metadata.Window{Start: arrived, End: arrived}
		}
	}
	out.Start, out.End = f.w.Start, f.w.End
	out.Late = j.late(out)
	return out.Missing&row.MissingTime == 0
}

// late says whether the line of out came too long after its flow began. A line of which the arrival is not known is in time.
func (j *join) late(out *row.Row) bool {
	if j.e.lateAfter == 0 || int(out.Origin) >= len(j.in.Origins) {
		return false
	}
	if out.Origin != j.arrivedOf || j.arrived == 0 {
		j.arrivedOf, j.arrived = out.Origin, j.in.Origins[out.Origin].Arrived.UnixMilli()
	}
	return j.arrived > 0 && j.arrived-out.Start > j.e.lateAfter
}

func missing(present *flowlog.FieldSet) row.Missing {
	var m row.Missing
	if !present.Has(flowlog.FieldBytes) {
		m |= row.MissingBytes
	}
	if !present.Has(flowlog.FieldPackets) {
		m |= row.MissingPackets
	}
	if !present.Has(flowlog.FieldSrcPort) {
		m |= row.MissingSrcPort
	}
	if !present.Has(flowlog.FieldDstPort) {
		m |= row.MissingDstPort
	}
	if !present.Has(flowlog.FieldProtocol) {
		m |= row.MissingProtocol
	}
	return m
}

// find answers who e was. The interface that recorded proves its own end; any other end is found by its address, in the
// scope that evidence leads to.
func (j *join) find(f *flow, e *end, which row.End) {
	if f.local == which && e.own {
		e.scope, e.how = f.by.scope, metadata.RecordInterface
		if metadata.IsPublic(e.addr) {
			// IPv6 and public IPv4 inside a VPC: whether the VPC or the world is its domain is for metadata to say.
			if s, why := j.view.ScopeCovers(f.by.scope, e.addr, f.w); s != metadata.NoScope {
				e.scope, e.how = s, why
			}
		}
		if f.by.known {
			j.byInterface(f, e)
			return
		}
		j.byAddress(f, e, metadata.RecordInterface)
		return
	}
	e.scope, e.how = j.scope(f, e, which)
	if j.traits.nextHop && f.local != row.EndUnknown && f.local != which && j.byNextHop(f, e) {
		return
	}
	j.byAddress(f, e, e.how)
}

// byInterface answers for an end whose address is the recording interface's own. A pod's or task's claim of the address names
// it from wherever the flow is seen, so it goes before what runs behind the interface; and where several workloads share the
// interface, nothing but such a claim names one of them. Without pkt-* fields the record doesn't even say which of a shared
// interface's addresses was used.
func (j *join) byInterface(f *flow, e *end) {
	c := &f.by.facts
	var a metadata.Answer
	if e.exact || !c.Shared {
		a = j.lookup(f, e)
	}
	named := j.e.naming.Has(a.Grade)
	reason := metadata.SharedInterface
	switch {
	case a.Endpoint == c.Endpoint:
		// The address leads to this interface too.
	case named && (a.Endpoint == 0 || j.claimOn(a.Endpoint, f.by.id)):
		e.ans = a
		return
	case named && !j.isInterface(a.Endpoint):
		reason = metadata.LayersDisagree // a claim on another interface; that one did not send this packet
	case a.Grade != metadata.Unknown && a.Candidates[0] != 0 && !j.isInterface(a.Candidates[0]):
		e.ans = a // it isn't certain which of several claims holds
		return
	}
	switch {
	case c.Shared || reason == metadata.LayersDisagree:
		e.ans = metadata.Answer{Reason: reason, Endpoint: c.Endpoint, Workload: c.Workload}
	case j.e.naming.Has(c.Grade):
		e.ans = metadata.Answer{Grade: c.Grade, Reason: metadata.RecordInterface, Endpoint: c.Endpoint, Workload: c.Workload}
	case named:
		e.ans = a
	default:
		e.ans = metadata.Answer{Grade: c.Grade, Reason: c.Reason, Endpoint: c.Endpoint, Workload: c.Workload, CandidateWorkloads: c.Ran}
		for i, id := range c.Ran {
			if id != 0 {
				e.ans.Candidates[i] = c.Endpoint
			}
		}
	}
}

// claimOn says whether id is a pod or task that claims addresses of interface eni, or doesn't say of which.
func (j *join) claimOn(id metadata.EndpointID, eni string) bool {
	ep := j.view.Endpoint(id)
	return !strings.HasPrefix(ep.Owner, interfaceOwner) && (ep.ENI == "" || ep.ENI == eni)
}

func (j *join) isInterface(id metadata.EndpointID) bool {
	return strings.HasPrefix(j.view.Endpoint(id).Owner, interfaceOwner)
}

// interfaceOwner begins the owner ids of interfaces (docs/events.md).
const interfaceOwner = "eni:"

// scope finds the routing domain of an end that is not proven to be the interface's own.
func (j *join) scope(f *flow, e *end, which row.End) (metadata.Scope, metadata.Reason) {
	r := f.r
	if j.traits.transit {
		field := flowlog.FieldTransitGatewaySrcVPCID
		if which == row.EndDst {
			field = flowlog.FieldTransitGatewayDstVPCID
		}
		if vpc := r.Text(field); vpc != nil {
			return j.view.Scope(j.scratch.text.String(vpc)), metadata.RecordScope
		}
		if metadata.IsPublic(e.addr) {
			return metadata.Public, metadata.PublicAddress
		}
		return metadata.NoScope, metadata.ScopeUnknown // a VPN or Direct Connect attachment
	}
	s, why := j.view.ScopeCovers(f.by.scope, e.addr, f.w)
	if s == f.by.scope && s != metadata.NoScope {
		return s, why // an address inside the local CIDRs is answered by that VPC or not at all
	}
	// traffic-path 1 says that the next hop is in the VPC, not that the destination is: it may be a NAT gateway. 4 and 5 say that
	// it is a peer, but not which: that takes the topology.
	if which == row.EndDst && r.TrafficPath == pathVirtualPrivateGateway && s != metadata.Public {
		e.outside = true // left for another site, so it is in no VPC of ours
		return metadata.NoScope, metadata.ScopeUnknown
	}
	if j.traits.nextHop && s != metadata.Public && f.local != row.EndUnknown && f.local != which {
		if vpc := r.Text(flowlog.FieldNextHopVPCID); vpc != nil && !mayForward(r.Text(flowlog.FieldNextHopInterfaceType)) {
			if hop := j.view.Scope(j.scratch.text.String(vpc)); hop != metadata.NoScope {
				return hop, metadata.RecordScope
			}
		}
	}
	return s, why
}

// byNextHop answers from the next hop's interface, when the remote packet address is that interface's own.
func (j *join) byNextHop(f *flow, e *end) bool {
	text := f.r.Text(flowlog.FieldNextHopInterfaceID)
	if text == nil || mayForward(f.r.Text(flowlog.FieldNextHopInterfaceType)) {
		return false
	}
	eni := j.scratch.text.String(text)
	// The record itself says that the interface was there, and so was its primary address.
	if own, primary := j.view.InterfaceHas(eni, e.addr, f.w); !own && !primary {
		return false
	}
	c, known := j.view.LookupInterface(eni, f.w)
	if !known || c.Forwarder || c.Shared || !j.e.naming.Has(c.Grade) {
		return false
	}
	if c.Scope != metadata.NoScope {
		e.scope, e.how = c.Scope, metadata.RecordScope
	}
	e.ans = metadata.Answer{Grade: c.Grade, Reason: c.Reason, Endpoint: c.Endpoint, Workload: c.Workload}
	return true
}

// byAddress answers from the address's owners in e.scope. how is what led to the scope, for the case that it is not known.
func (j *join) byAddress(f *flow, e *end, how metadata.Reason) {
	if e.scope == metadata.NoScope {
		if how != metadata.ScopeOverlap {
			how = metadata.ScopeUnknown
		}
		e.ans = metadata.Answer{Reason: how}
		return
	}
	e.ans = j.lookup(f, e)
	if e.scope == metadata.Public && e.ans.Grade == metadata.Unknown && e.ans.Reason == metadata.NeverSeen {
		e.ans.Grade, e.ans.Reason = metadata.PublicEnd, metadata.PublicAddress
	}
}

// ports is implemented by a View that knows claims of single ports (tasks on a host's own address).
type ports interface {
	LookupPort(s metadata.Scope, ip netip.Addr, proto uint8, port uint16, w metadata.Window) metadata.Answer
}

// lookup asks who e's address was.
func (j *join) lookup(f *flow, e *end) metadata.Answer {
	if j.ports != nil {
		port := f.r.DstPort
		if e == &f.src {
			port = f.r.SrcPort
		}
		return j.ports.LookupPort(e.scope, e.addr, f.r.Protocol, port, f.w)
	}
	return j.view.Lookup(e.scope, e.addr, f.w)
}
