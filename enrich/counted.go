package enrich

import (
	"dredge/metadata"
	"dredge/row"
)

// observe says where the flow was recorded and whether this observation is the one that counts.
func (j *join) observe(f *flow, out *row.Row) {
	switch {
	case f.by.forwarder:
		out.ObservedAt = row.EndMiddle
	case f.local == row.EndSrc && j.atEnd(f, &f.src):
		out.ObservedAt = row.EndSrc
	case f.local == row.EndDst && j.atEnd(f, &f.dst):
		out.ObservedAt = row.EndDst
	default:
	}
	out.Counted, out.CountedHow = j.counted(f, out)
}

// atEnd says whether the interface that recorded ends the connection at e: the address is its own, or it is known to carry
// several workloads and to forward nothing.
func (j *join) atEnd(f *flow, e *end) bool {
	return e.own || f.by.facts.Shared
}

// counted decides which of a flow's observations counts. Every observer of a flow comes to the same answer, as it depends only
// on the two addresses, their scopes, the action, and which addresses' flows are logged into this application at that time;
// it never asks for names or for who reports. So a sum over counted rows holds each flow once.
//
//   - A packet is rejected once, so a rejection counts where it happened. Accepted and rejected traffic are summed apart: what
//     one end lets go and the other rejects stands in both sums.
//   - Else the source's observation counts, if flows of the source are logged.
//   - Else the destination's, if its are.
//   - Else the flow is only seen on its way: on the leg that enters the first forwarder.
//
// When that can't be evaluated, because the scope of an end that matters is unknown, it isn't known where the observer
// stands, or what was told of coverage is nothing or contradicts the record, the row is counted and says that it is unsure.
func (j *join) counted(f *flow, out *row.Row) (bool, row.CountedHow) {
	if out.Action == row.Reject {
		return true, row.CountedReject
	}
	if !f.src.placed() || out.ObservedAt == row.EndUnknown {
		return true, row.CountedUnsure
	}
	if j.view.Covered(f.src.scope, f.src.addr, false, f.w) {
		return out.ObservedAt == row.EndSrc, row.CountedSource
	}
	if !f.dst.placed() {
		return true, row.CountedUnsure
	}
	if j.view.Covered(f.dst.scope, f.dst.addr, false, f.w) {
		return out.ObservedAt == row.EndDst, row.CountedDestination
	}
	switch {
	case out.ObservedAt == row.EndMiddle:
		if !j.firstLeg(f, out) {
			return false, row.CountedForwarder
		}
		if !j.coverageTold() { // an end may be logged as well
			return true, row.CountedUnsure
		}
		return true, row.CountedForwarder
	// The coverage table does not know of the flow log that this very record comes from, so it is not to be relied on. A forwarder's
	// record and the destination's do not know that: they count by the table, or say themselves that they are unsure.
	case out.ObservedAt == row.EndSrc:
		if j.coverageTold() {
			return true, row.CountedUnsure
		}
		return true, row.CountedSource
	case !vpcScope(f.src.scope): // nobody logs the source
		return true, row.CountedDestination
	default:
		return true, row.CountedUnsure
	}
}

// coverageTable is implemented by a View that knows whether anybody ever said which flows are logged.
type coverageTable interface {
	CoverageTold() bool
}

// coverageTold says whether there is a coverage table at all. In one that is there, what nobody told of is not logged.
func (j *join) coverageTold() bool {
	table, ok := j.view.(coverageTable)
	return !ok || table.CoverageTold()
}

// placed says whether it is known where e is: in a scope, or in a declared network outside all of them.
func (e *end) placed() bool {
	return e.scope != metadata.NoScope || e.outside || e.ans.Grade == metadata.Prefix
}

// firstLeg says whether a forwarder's record is the leg on which the flow enters its first forwarder. The legs on which the
// forwarder itself is an end of the packet (the outside of a NAT gateway) belong to another flow. A flow that comes from
// outside all VPCs is first seen where it leaves the forwarder towards its destination.
func (j *join) firstLeg(f *flow, out *row.Row) bool {
	if j.traits.transit {
		return out.Direction != row.Egress
	}
	if f.by.id != "" {
		if own, _ := j.interfaceHas(f.by.id, f.src.addr, f.w); own {
			return false
		}
		if own, _ := j.interfaceHas(f.by.id, f.dst.addr, f.w); own {
			return false
		}
	}
	switch {
	case f.src.scope == f.by.scope:
		return out.Direction == row.Ingress
	case !vpcScope(f.src.scope) && f.dst.scope == f.by.scope:
		return out.Direction == row.Egress
	default:
		return false
	}
}
