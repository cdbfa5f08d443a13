package flowgen

import "time"

// view is how one interface sees one direction of a connection.
type view struct {
	forward, egress bool
	src, dst        *address // as in the packet
	// plainSrc and plainDst replace the packet's address on the own side of an interface that only passes packets on.
	plainSrc, plainDst *address
	path               uint8
	next               *iface
	counts             bool // the one observation of this direction that a sum should take
}

// observation is a view while its connection lasts.
type observation struct {
	view
	conn               *conn
	srcOwner, dstOwner *owner // of the addresses that the line shows
}

// see registers a view of c at f, to be cut by f's aggregation intervals.
func (s *Sim) see(c *conn, f *iface, v view) {
	if !f.logged {
		return
	}
	// On the own side a record has the interface's primary address, whichever one the packet had.
	if v.plainSrc == nil {
		v.plainSrc = v.src
		if v.egress && v.src.ip.Is4() {
			v.plainSrc = f.primary
		}
	}
	if v.plainDst == nil {
		v.plainDst = v.dst
		if !v.egress && v.dst.ip.Is4() {
			v.plainDst = f.primary
		}
	}
	o := observation{view: v, conn: c}
	if f.subnet.vpc.layout.pkt {
		o.srcOwner, o.dstOwner = v.src.holder, v.dst.holder
	} else {
		o.srcOwner, o.dstOwner = v.plainSrc.holder, v.plainDst.holder
	}
	f.flows = append(f.flows, o)
}

// scheduleFlush plans the end of f's next aggregation interval.
func (s *Sim) scheduleFlush(f *iface) {
	step := f.subnet.vpc.interval
	n := (s.now - f.phase) / step
	end := f.phase + (n+1)*step
	s.world.push(end, func() {
		s.flush(f, end-step, end)
		if f.dies >= end {
			s.scheduleFlush(f)
		}
	})
}

// flush writes the records of f for the interval [from, to).
func (s *Sim) flush(f *iface, from, to int64) {
	from = max(from, f.born, s.start0)
	out := s.lines[:0]
	truths := s.truths[:0]
	kept := f.flows[:0]
	skip := s.delivery.chance(s.cfg.Logs.SkipShare)
	for i := range f.flows {
		o := &f.flows[i]
		if o.conn.end >= to {
			kept = append(kept, *o)
		}
		l, truth, ok := s.record(f, o, from, to)
		if !ok {
			continue
		}
		if skip && i%2 == 0 {
			s.truth.totals.Skipped++
			continue
		}
		out, truths = append(out, l), append(truths, truth)
	}
	clear(f.flows[len(kept):])
	f.flows = kept
	empty := line{at: f, start: from / 1000, end: max(from, min(to-1, f.dies)) / 1000}
	switch {
	case skip:
		empty.status = statusSkipData
	case len(out) == 0:
		empty.status = statusNoData
	}
	if empty.status != statusOK {
		out = append(out, empty)
		truths = append(truths, Expected{
			Interface: f.id, Status: statusNames[empty.status], Start: empty.start * 1000, End: empty.end * 1000,
			First: from, Last: to - 1,
		})
	}
	for i := range truths {
		s.truth.emit(&truths[i], to)
	}
	s.lines, s.truths = out, truths
	s.deliver(f, from, to, out, truths)
}

// record cuts the part of o that falls into [from, to).
func (s *Sim) record(f *iface, o *observation, from, to int64) (line, Expected, bool) {
	c := o.conn
	n, syn := c.reverse, uint8(flagSYNACK)
	if o.forward {
		n, syn = c.forward, flagSYN
	}
	if n.packets == 0 {
		return line{}, Expected{}, false
	}
	a, b := c.sentBefore(n, from), c.sentBefore(n, to)
	if a == b {
		return line{}, Expected{}, false
	}
	first, last := c.sentAt(n, a), c.sentAt(n, b-1)
	l := line{
		at: f, next: o.next, src: o.plainSrc, dst: o.plainDst, pktSrc: o.src, pktDst: o.dst,
		packets: b - a, bytes: n.bytesOf(b) - n.bytesOf(a), proto: c.proto, path: o.path, egress: o.egress,
		reject: c.reject && !o.egress && (!f.kind.passes() || o.dst == f.primary), srcPort: c.cport, dstPort: c.sport,
	}
	if !o.forward {
		l.srcPort, l.dstPort = c.sport, c.cport
	}
	l.start, l.end = s.stamps(first, last)
	if c.proto == protoTCP {
		if a == 0 {
			l.flags |= syn
		}
		if b == n.packets {
			l.flags |= c.fin
		}
	}
	src, dst := o.plainSrc, o.plainDst
	if f.subnet.vpc.layout.pkt {
		src, dst = o.src, o.dst
	}
	e := Expected{
		Flow: c.id, Interface: f.id, Status: "OK", Src: src.ip, Dst: dst.ip, SrcPort: l.srcPort, DstPort: l.dstPort, Protocol: l.proto,
		Reject: l.reject, Egress: l.egress, Forward: o.forward, Counted: o.counts,
		Start: l.start * 1000, End: l.end * 1000, First: first, Last: last, Packets: l.packets, Bytes: l.bytes,
	}
	e.SrcScope, e.SrcOwner, e.SrcApp, e.SrcOwned = truthOf(src, o.srcOwner)
	e.DstScope, e.DstOwner, e.DstApp, e.DstOwned = truthOf(dst, o.dstOwner)
	return l, e, true
}

// truthOf names an end: owner and application of an address in the estate, the label of one outside.
func truthOf(a *address, o *owner) (scope, ownerID, app string, owned bool) {
	if a.label != "" {
		return a.scope, "", a.label, false
	}
	if o == nil {
		return a.scope, "", "", false
	}
	return a.scope, o.id, o.appName(), true
}

// stamps are the seconds that a record gives for packets seen from first to last (milliseconds).
func (s *Sim) stamps(first, last int64) (start, end int64) {
	start, end = first/1000, last/1000
	var q [5]int64
	switch s.cfg.Logs.Offset {
	case StartEarly:
		q = [5]int64{-60, -53, -29, -5, 1}
	case StartEither:
		q = [5]int64{-58, -32, 1, 34, 61}
	default:
		return start, end
	}
	start += quantile(q, s.delivery.Float64())
	return start, max(start, end)
}

// quantile reads a distribution given by its minimum, p10, median, p90 and maximum.
func quantile(q [5]int64, u float64) int64 {
	at := [5]float64{0, 0.1, 0.5, 0.9, 1}
	for i := 1; i < len(at); i++ {
		if u <= at[i] {
			return q[i-1] + int64(float64(q[i]-q[i-1])*(u-at[i-1])/(at[i]-at[i-1]))
		}
	}
	return q[4]
}

// arrival is when what an interface logged over [from, to) reaches the stream.
func (s *Sim) arrival(from, to int64) int64 {
	d := s.cfg.Logs.Delay
	ms := quantile([5]int64{
		d.Min.Milliseconds(), d.Min.Milliseconds() + (d.Median-d.Min).Milliseconds()/4, d.Median.Milliseconds(),
		d.P90.Milliseconds(), d.Max.Milliseconds(),
	}, s.delivery.Float64())
	if d.FromStart {
		return max(to+time.Second.Milliseconds(), from+ms)
	}
	return to + ms
}
