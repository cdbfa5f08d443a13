package enrich

import (
	"net/netip"
	"strings"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// traits is what a layout lets records say beyond the fields that the Decoder parses.
type traits struct {
	ecs, tags, nextHop, service, reject, resource, interfaceType, transit bool
}

func traitsOf(f *flowlog.Format) traits {
	if f == nil {
		f = flowlog.DefaultFormat()
	}
	return traits{
		ecs: f.Has(flowlog.FieldECSServiceName) || f.Has(flowlog.FieldECSTaskDefinitionARN),
		tags: f.Has(flowlog.FieldInstanceTag) || f.Has(flowlog.FieldInstanceTag2) || f.Has(flowlog.FieldInterfaceTag) ||
			f.Has(flowlog.FieldInterfaceTag2) || f.Has(flowlog.FieldASGTag) || f.Has(flowlog.FieldASGTag2),
		nextHop:       f.Has(flowlog.FieldNextHopInterfaceID) || f.Has(flowlog.FieldNextHopVPCID),
		service:       f.Has(flowlog.FieldPktSrcAWSService) || f.Has(flowlog.FieldPktDstAWSService),
		reject:        f.Has(flowlog.FieldRejectReason),
		resource:      f.Has(flowlog.FieldResourceID),
		interfaceType: f.Has(flowlog.FieldInterfaceType),
		transit:       f.Has(flowlog.FieldTransitGatewayID) || f.Has(flowlog.FieldTransitGatewaySrcVPCID),
	}
}

// Kinds of forwarders that the record itself names.
const (
	kindRegionalNAT = "regional_nat_gateway"
	kindTransit     = "transit_gateway"
)

// forwards says whether interfaces of this type (interface-type) pass other people's packets on. A network load balancer isn't
// among them: it ends connections unless it preserves client addresses, which the type doesn't tell.
func forwards(interfaceType []byte) bool {
	switch string(interfaceType) {
	case "nat_gateway", kindRegionalNAT, kindTransit, "gateway_load_balancer", "gateway_load_balancer_endpoint":
		return true
	default:
		return false
	}
}

// mayForward says whether a next hop of this type (next-hop-interface-type) could be a mere stage on the way.
func mayForward(interfaceType []byte) bool {
	return forwards(interfaceType) || string(interfaceType) == "network_load_balancer"
}

// recorder is the interface that recorded a flow.
type recorder struct {
	// id is the interface's id, "" when the record names none.
	id string
	// facts is what identity knows of it; known says whether it knows anything.
	facts metadata.Interface
	known bool
	scope metadata.Scope
	// forwarder says that it passes other people's packets on; viaKind and viaID name it then.
	forwarder      bool
	viaKind, viaID string
}

// recorder finds out who recorded f. A regional NAT gateway has no interface: its resource-id stands for it. Of a layout
// without interface-id the log stream's name tells, as each interface has a stream of its own.
func (j *join) recorder(f *flow) {
	r, c := f.r, &f.by
	c.id = r.InterfaceID
	if c.id == "" {
		c.id = j.streamInterface(r)
	}
	switch {
	case j.traits.transit:
		c.id, c.forwarder, c.viaKind = "", true, kindTransit // tgw-*-eni are attachments: they say nothing of the ends
		c.viaID = j.scratch.text.String(r.Text(flowlog.FieldTransitGatewayID))
		return
	case c.id == "" && j.traits.resource:
		if id := r.Text(flowlog.FieldResourceID); id != nil {
			c.forwarder, c.viaKind, c.viaID = true, kindRegionalNAT, j.scratch.text.String(id)
		}
	case c.id != "":
		if known := j.lookupInterface(c.id, f.w); known != nil {
			c.facts, c.known = *known, true
		}
		if c.facts.Forwarder {
			c.forwarder, c.viaKind, c.viaID = true, c.facts.Kind, c.id
			if name := j.view.Endpoint(c.facts.Endpoint).Name; name != "" {
				c.viaID = name
			}
		}
	}
	if !c.forwarder && j.traits.interfaceType {
		if t := r.Text(flowlog.FieldInterfaceType); forwards(t) {
			c.forwarder, c.viaKind, c.viaID = true, j.scratch.text.String(t), c.id
		}
	}
	c.scope = c.facts.Scope
	if c.scope == metadata.NoScope && r.VPCID != "" {
		c.scope = j.scopeOf(r.VPCID)
	}
}

// lookupInterface returns what is known of an interface, nil when nothing is. It is good until the next call.
func (j *join) lookupInterface(eni string, w metadata.Window) *metadata.Interface {
	if eni != j.eni || w != j.eniWindow {
		j.eni, j.eniWindow = eni, w
		if j.handles == nil {
			j.eniFacts, j.eniKnown = j.view.LookupInterface(eni, w)
		} else if id := j.findInterface(eni); id != 0 {
			j.eniFacts, j.eniKnown = j.handles.InterfaceAt(id, w), true
		} else {
			j.eniKnown = false
		}
	}
	if !j.eniKnown {
		return nil
	}
	return &j.eniFacts
}

// findInterface returns the handle of an interface, 0 when nothing is known of it.
func (j *join) findInterface(eni string) metadata.EndpointID {
	if eni != j.handleOf || j.handle == 0 { // what was unknown may have been seen since
		j.handleOf, j.handle = eni, j.handles.FindInterface(eni)
	}
	return j.handle
}

// interfaceHas says whether ip was one of the interface's own addresses in w, and whether it was its primary one.
func (j *join) interfaceHas(eni string, ip netip.Addr, w metadata.Window) (own, primary bool) {
	if j.handles == nil {
		return j.view.InterfaceHas(eni, ip, w)
	}
	return j.handles.InterfaceHolds(j.findInterface(eni), ip, w)
}

// streamInterface returns the interface that the record's log stream belongs to, "" when its name tells none.
func (j *join) streamInterface(r *flowlog.Record) string {
	if int(r.Origin) >= len(j.in.Origins) {
		return ""
	}
	if r.Origin != j.origin || j.originENI == "" {
		j.origin, j.originENI = r.Origin, ""
		name := j.in.Origins[r.Origin].LogStream
		if rest, ok := strings.CutPrefix(name, "eni-"); ok {
			end := strings.IndexByte(rest, '-')
			if end < 0 {
				end = len(rest)
			}
			j.originENI = name[:len("eni-")+end]
		}
	}
	return j.originENI
}

func (j *join) scopeOf(vpc string) metadata.Scope {
	if vpc != j.vpc {
		j.vpc, j.vpcScope = vpc, j.view.Scope(vpc)
	}
	return j.vpcScope
}

// locate finds the direction, and with it the end on the interface's side.
func (j *join) locate(f *flow) (row.Direction, row.DirectionBy) {
	direction, by := j.direction(f)
	switch {
	case f.by.forwarder:
		f.local = row.EndMiddle
	case direction == row.Egress:
		f.local = row.EndSrc
		f.src.own = j.isOwn(f, &f.src, by)
	case direction == row.Ingress:
		f.local = row.EndDst
		f.dst.own = j.isOwn(f, &f.dst, by)
	default:
	}
	return direction, by
}

// direction returns the record's own word, else what the interface's own addresses tell.
func (j *join) direction(f *flow) (row.Direction, row.DirectionBy) {
	switch f.r.Direction {
	case flowlog.Ingress:
		return row.Ingress, row.DirectionByRecord
	case flowlog.Egress:
		return row.Egress, row.DirectionByRecord
	default:
	}
	if f.by.id == "" {
		return row.DirectionUnknown, row.DirectionByNone
	}
	src, dst := j.has(f, &f.src), j.has(f, &f.dst)
	switch {
	case src && !dst:
		return row.Egress, row.DirectionByInterface
	case dst && !src:
		return row.Ingress, row.DirectionByInterface
	default:
		return row.DirectionUnknown, row.DirectionByNone
	}
}

// has says whether the address that the record shows at e is the interface's own. On the interface's side the record shows
// the primary address, whatever address the packet had.
func (j *join) has(f *flow, e *end) bool {
	shown := e.plain
	if !shown.IsValid() {
		shown = e.addr
	}
	h := &j.held
	again := h.eni == f.by.id && h.ip == shown
	if again && f.w.Start >= h.w.Start && f.w.End <= h.w.End {
		return true
	}
	own, primary := j.interfaceHas(f.by.id, shown, f.w)
	if !own || !primary {
		return own
	}
	h.eni, h.ip, h.w = f.by.id, shown, f.w
	if again {
		// A run of records of one interface: if it held the address all around this one, the others need not be looked up.
		wide := metadata.Window{Start: f.w.Start - around, End: f.w.End + around}
		if own, primary := j.interfaceHas(f.by.id, shown, wide); own && primary {
			h.w = wide
		}
	}
	return true
}

// around is how far about a record it is looked whether an interface had its primary address all the time; in milliseconds.
const around = 120_000

// holding says that an interface had a primary address all through a window, and so in every part of it.
type holding struct {
	eni string
	ip  netip.Addr
	w   metadata.Window
}

// isOwn says whether the packet's address at the local end is proven to be the interface's own.
func (j *join) isOwn(f *flow, e *end, by row.DirectionBy) bool {
	switch {
	case f.by.id == "" || f.by.forwarder:
		return false
	case e.plain == e.addr && by != row.DirectionByNone:
		// The address that a record shows on the interface's own side is the interface's, by AWS's definition.
		return true
	case !f.by.known:
		return false
	case f.by.facts.SourceDestCheck:
		// AWS drops packets whose address on this side is not the interface's.
		return true
	default:
		own, _ := j.interfaceHas(f.by.id, e.addr, f.w)
		return own
	}
}
