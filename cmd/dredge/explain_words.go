package main

import (
	"fmt"
	"strings"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/metadata"
	"dredge/metadata/store"
	"dredge/row"
)

// reasonWords says a reason in a sentence.
func reasonWords(reason string) string {
	for _, r := range metadata.Reasons() {
		if r.String() == reason {
			return reasonSentences[r]
		}
	}
	return reason
}

var reasonSentences = map[metadata.Reason]string{ //nolint:gochecknoglobals // read-only table
	metadata.NoReason:          "nothing was asked",
	metadata.Heartbeat:         "the owner's interface was seen in traffic with this address all through the flow",
	metadata.RecordIdentity:    "the record itself carries the identity (ECS fields)",
	metadata.RecordInterface:   "the interface that recorded the flow owns the address",
	metadata.Interval:          "one owner was told for the whole flow, and every source has told everything up to its end",
	metadata.OneWorkload:       "several owners could be meant, and all of them belong to one workload",
	metadata.NoWorkload:        "the owner is certain, but nobody told what ran there at that time",
	metadata.WatermarkBehind:   "a source has not told everything up to the flow's end: a change may be on its way",
	metadata.NoWatermark:       "no source ever said how far it has told this scope (progress events)",
	metadata.SecondOwner:       "two owners held the address during the flow",
	metadata.NearHandover:      "another owner held the address close to the flow, within the minute that flow logs leave open",
	metadata.StartsBeforeOwner: "the flow began before the owner is known to have had the address",
	metadata.EndsAfterOwner:    "the flow ended after the owner had given the address back",
	metadata.OwnerGap:          "the owner was away during a part of the flow",
	metadata.WorkloadChanged:   "the owner stayed, but what ran there changed about then",
	metadata.LayersDisagree:    "a pod or task claims the address on one interface, and another interface holds it",
	metadata.AddressMoved:      "the address went to another interface after the pod or task had claimed it",
	metadata.SharedInterface:   "the interface carries several workloads, and no claim of a pod or task covers the flow",
	metadata.Released:          "the last known owner had given the address back",
	metadata.BeforeFirstOwner:  "the flow is older than the first known owner",
	metadata.BeforeRetention:   "the flow is older than the history that is kept",
	metadata.NeverSeen:         "nothing was ever told of this address",
	metadata.ScopeUnknown:      "nothing tells which VPC the address belongs to: the record does not say it, and no peering or transit route covers it",
	metadata.ScopeOverlap:      "several VPCs could be meant",
	metadata.LocalCIDR:         "a CIDR of the recording interface's VPC covers the address",
	metadata.LocalAddress:      "the recording interface's VPC has an owner of the address",
	metadata.Topology:          "a peering or transit route leads to it",
	metadata.UniqueSpace:       "it is the only VPC that has the address, and address_space is configured to be unique",
	metadata.RecordScope:       "the record itself says it",
	metadata.CIDR:              "only a declared network covers the address",
	metadata.PublicAddress:     "the address is public, and nobody of ours owned it",
	metadata.NoAddress:         "the record holds no address for this end",
}

// gradeWords says what a grade means for the name, and why it is that.
func gradeWords(grade, reason string) string {
	why := reasonWords(reason)
	g, ok := metadata.ParseGrade(grade)
	switch {
	case ok && g.Names():
		return "may be named: " + why
	case grade == row.GradePublic:
		return "a public end: " + why
	case g == metadata.Prefix:
		return "the network is known, the owner is not: " + why
	case g == metadata.Ambiguous, g == metadata.Border:
		return "not named, as a neighbour could be meant: " + why
	default:
		return "not named: " + why
	}
}

// chosen says which of the record's addresses is the packet's.
func chosen(e *enrich.ExplainedEnd, field string) string {
	switch {
	case !e.FromPacket:
		return "from " + field + ": the record has no pkt-" + field
	case e.Addr == e.Recorded || !e.Recorded.IsValid():
		return "from pkt-" + field
	default:
		return fmt.Sprintf("from pkt-%s; %s %s is the interface or next stage that the record was made at", field, field, e.Recorded)
	}
}

func evidenceWords(t *store.Tenure) string {
	words := "told by a source"
	switch {
	case t.Seen && t.Bridged:
		words = "seen in traffic, silences bridged"
	case t.Seen:
		words = "seen in traffic"
	}
	if t.Claim {
		words = "claim of a pod or task, " + words
	}
	if t.Primary {
		words += ", primary address"
	}
	if t.AccFrom > 0 || t.AccTo > 0 {
		words += fmt.Sprintf(", edges ±%ds", max(t.AccFrom, t.AccTo)/1000)
	}
	return words
}

func recorderOf(r *flowlog.Record, x *enrich.Explanation, made *row.Row) *recorderStep {
	c := &x.Recorder
	out := &recorderStep{
		Interface: c.ID, Known: c.Known, Kind: c.Kind, Scope: c.Scope, Forwarder: c.Forwarder, ViaKind: made.ViaKind, ViaID: made.ViaID,
	}
	var words []string
	switch {
	case r.Format.Has(flowlog.FieldTransitGatewayID):
		words = append(words, "a transit gateway recorded; tgw-*-eni are attachments and say nothing of the ends")
	case c.ID == "" && c.Forwarder:
		words = append(words, "no interface; the resource "+made.ViaID+" recorded")
	case c.ID == "":
		words = append(words, "neither the record nor its log stream names an interface")
	case c.FromStream:
		words = append(words, "named by the log stream")
	}
	if c.ID != "" && !c.Known {
		words = append(words, "identity never heard of this interface")
	}
	if c.Forwarder {
		words = append(words, "it passes other people's packets on, so it names no end")
	}
	if c.Shared {
		words = append(words, "it is shared, so only a pod's or task's claim names anybody behind it")
	}
	if c.SourceDestCheck {
		words = append(words, "source/dest check is on, so the packet's address on its side is its own")
	}
	if len(words) == 0 {
		words = append(words, "it ends connections")
	}
	out.Why = strings.Join(words, "; ")
	return out
}

func directionStep(x *enrich.Explanation, made *row.Row) *step {
	s := &step{Value: made.Direction.String(), By: made.DirectionBy.String()}
	switch made.DirectionBy {
	case row.DirectionByRecord:
		s.Why = "flow-direction says it"
	case row.DirectionByInterface:
		own, field := x.Src.Recorded, "srcaddr"
		if made.Direction == row.Ingress {
			own, field = x.Dst.Recorded, "dstaddr"
		}
		s.Why = fmt.Sprintf("the record has no flow-direction; %s %s was the interface's own address", field, own)
	default:
		s.Why = "the record has no flow-direction, and not exactly one of its addresses is known as the interface's own"
	}
	return s
}

func clientStep(r *flowlog.Record, x *enrich.Explanation, made *row.Row) *step {
	s := &step{Value: made.Client.String(), By: made.ClientBy.String()}
	server, port := "destination", r.DstPort
	if made.Client == row.EndDst {
		server, port = "source", r.SrcPort
	}
	switch made.ClientBy {
	case row.ClientByTCPFlags:
		s.Why = fmt.Sprintf("tcp-flags %d hold the SYN of the client", made.TCPFlags)
		if made.Client == row.EndDst {
			s.Why = fmt.Sprintf("tcp-flags %d hold the SYN-ACK of the server, which is the source", made.TCPFlags)
		}
	case row.ClientByListen:
		s.Why = fmt.Sprintf("the %s was known to listen on port %d at that time, and the other end was not", server, port)
	case row.ClientByPort:
		s.Why = fmt.Sprintf("no handshake in the record and no known listener; of both ports only %d (%s) looks like a service's", port, server)
	default:
		s.Why = "no handshake in the record, no known listener, and the ports don't tell"
		if x.Src.Listens && x.Dst.Listens {
			s.Why = "both ends were known to listen on their ports"
		}
	}
	return s
}

func observedStep(x *enrich.Explanation, made *row.Row) *step {
	s := &step{Value: made.ObservedAt.String()}
	switch made.ObservedAt {
	case row.EndSrc, row.EndDst:
		which := "source"
		if made.ObservedAt == row.EndDst {
			which = "destination"
		}
		s.Why = fmt.Sprintf("%s traffic, and the %s's address is the recording interface's own", made.Direction, which)
		if e := x.Src; made.ObservedAt == row.EndSrc && !e.Own || made.ObservedAt == row.EndDst && !x.Dst.Own {
			s.Why = fmt.Sprintf("%s traffic of a shared interface that forwards nothing", made.Direction)
		}
	case row.EndMiddle:
		s.Why = "a forwarder recorded it"
	default:
		s.Why = "the direction is not known, or the address on the interface's side is not proven to be its own"
	}
	return s
}

func countedOf(x *enrich.Explanation, made *row.Row) *countedStep {
	c := &countedStep{
		Counted: made.Counted, SourceLogged: x.Src.Covered, DestinationLogged: x.Dst.Covered,
		step: step{Value: "counted", By: made.CountedHow.String()},
	}
	if !made.Counted {
		c.Value = "not counted"
	}
	switch made.CountedHow {
	case row.CountedReject:
		c.Why = "a packet is rejected once, so a rejection counts where it happened"
	case row.CountedSource:
		c.Why = "flows of the source are logged, so its observation is the one that counts"
		if !x.Src.Covered {
			c.Why = "this is the source's own observation, and no other one is known of"
		}
	case row.CountedDestination:
		c.Why = "flows of the source are not logged, so the destination's observation is the one that counts"
	case row.CountedForwarder:
		c.Why = "flows of neither end are logged, so the leg that enters the first forwarder counts"
	default:
		c.Why = "who else observes this flow can't be known, so it is counted, perhaps twice"
	}
	if !made.Counted {
		c.Why += "; this one was recorded elsewhere"
	}
	return c
}

func pathWords(made *row.Row, src, dst string) string {
	a, b := identityOf(&made.Src), identityOf(&made.Dst)
	switch made.Path {
	case row.PathAWSService:
		return "one end is a service of AWS (" + src + ", " + dst + "), or traffic-path is 7, a gateway endpoint"
	case row.PathInternet:
		return "one end is on the internet"
	case row.PathOnPremises:
		return "one end is in a declared network outside AWS, or traffic-path leads out of AWS"
	case row.PathCrossRegion:
		return fmt.Sprintf("regions %s and %s, or traffic-path 5", known(a.Region), known(b.Region))
	case row.PathCrossAZ, row.PathSameAZ:
		return fmt.Sprintf("zone ids %s and %s", known(a.AZ), known(b.AZ))
	case row.PathCrossAccount:
		return fmt.Sprintf("zones are not both known; accounts %s and %s", known(a.Account), known(b.Account))
	case row.PathSameVPC, row.PathCrossVPC:
		return fmt.Sprintf("zones are not both known; VPCs %s and %s", known(a.VPC), known(b.VPC))
	default:
		return "too little is known of where both ends are"
	}
}

func identityOf(s *row.Side) *row.Identity {
	if s.Identity == nil {
		return &row.Identity{}
	}
	return s.Identity
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
