package enrich

import (
	"net/netip"
	"strings"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// Explanation is what a row was made from: the answers of identity that the join asked for, and what it concluded. The row
// itself says the rest. It is for people, one record at a time.
type Explanation struct {
	// Window is the time that was asked for, in Unix milliseconds; Timed says that it is the record's.
	Window metadata.Window
	Timed  bool
	// Recorder is the interface that recorded, Local the end on its side: EndMiddle for a forwarder.
	Recorder Recorder
	Local    row.End
	Src, Dst ExplainedEnd
}

// Recorder is what is known of the interface that recorded a flow.
type Recorder struct {
	// ID is the interface's id, "" when neither the record nor its log stream names one; FromStream says that the stream did.
	ID         string
	FromStream bool
	// Known says that identity has heard of the interface; the fields below are then its word, at the flow's time.
	Known           bool
	Kind            string
	Shared          bool
	SourceDestCheck bool
	// Scope is the VPC that the interface is in, by identity or by the record's vpc-id; "" when not known.
	Scope string
	// Forwarder says that it passes other people's packets on.
	Forwarder bool
}

// ExplainedEnd is what is known of one end of a flow.
type ExplainedEnd struct {
	// Addr is the packet's address, Recorded the one that the record's srcaddr or dstaddr holds. FromPacket says that the layout
	// has a field for the packet's.
	Addr, Recorded netip.Addr
	FromPacket     bool
	// Own says that Addr is proven to be the recording interface's own.
	Own bool
	// Scope is the routing domain that Addr was looked for in, and ScopeReason what led to it. Handle is the domain's.
	Scope       string
	ScopeReason metadata.Reason
	Handle      metadata.Scope
	// Answer is identity's; the side of the row says what was made of it.
	Answer metadata.Answer
	// Listens says that the end was known to listen on its port, Covered that its accepted flows are logged.
	Listens, Covered bool
}

// Explain appends the row of record i of in to out, as Enrich would for a batch of that record alone, and tells what it was made from. It counts
// nothing. The record must be a flow.
func (e *Enricher) Explain(in *flowlog.Batch, i int, out *row.Batch) Explanation {
	out.Partition = in.Partition
	for k := len(out.Origins); k < len(in.Origins); k++ {
		o := &in.Origins[k]
		out.Origins = append(out.Origins, row.Origin{Position: o.Position, Arrived: o.Arrived, LogGroup: o.LogGroup})
	}
	s := e.take()
	defer e.give(s)
	j := s.start(e, in, out)
	r := &in.Records[i]
	made := out.Add()
	f := flow{r: r, w: metadata.Window{Start: r.Start, End: r.End}}
	j.flow(&f, made)
	x := Explanation{
		Window: metadata.Window{Start: made.Start, End: made.End}, Timed: made.Missing&row.MissingTime == 0, Local: f.local,
		Recorder: Recorder{
			ID: f.by.id, FromStream: f.by.id != "" && r.InterfaceID == "", Known: f.by.known, Forwarder: f.by.forwarder,
			Scope: j.view.ScopeName(f.by.scope),
		},
	}
	if c := &f.by.facts; f.by.known {
		x.Recorder.Kind, x.Recorder.Shared, x.Recorder.SourceDestCheck = strings.Clone(c.Kind), c.Shared, c.SourceDestCheck
	}
	x.Src, x.Dst = j.explained(&f, &f.src, r.SrcPort), j.explained(&f, &f.dst, r.DstPort)
	return x
}

func (j *join) explained(f *flow, e *end, port uint16) ExplainedEnd {
	return ExplainedEnd{
		Addr: e.addr, Recorded: e.plain, FromPacket: e.exact, Own: e.own,
		Scope: j.view.ScopeName(e.scope), ScopeReason: e.how, Handle: e.scope, Answer: e.ans,
		Listens: j.listens(f, e, port), Covered: e.scope != metadata.NoScope && j.view.Covered(e.scope, e.addr, false, f.w),
	}
}
