package enrich

import (
	"dredge/row"
)

// The protocols and flags that the join asks for.
const (
	protocolTCP  = 6
	protocolUDP  = 17
	protocolSCTP = 132

	flagSYN    = 2
	flagACK    = 16
	flagSYNACK = flagSYN | flagACK
)

// ephemeralFrom is where Linux begins to take client ports; Windows and IANA begin later.
const ephemeralFrom = 32768

// privileged is the first port that needs no privilege to listen on: below it there are hardly any clients.
const privileged = 1024

// client says which end opened the connection: the handshake in the record proves it; a listener known at that time makes it
// very likely; of two ports only one of which can be a service's, it is the other one. The method is said with the answer.
func (j *join) client(f *flow, out *row.Row) {
	r := f.r
	if out.HasTCPFlags && r.Protocol == protocolTCP && r.TCPFlags&flagSYN != 0 {
		switch {
		case r.TCPFlags&flagACK == 0:
			out.Client, out.ClientBy = row.EndSrc, row.ClientByTCPFlags
			return
		case !j.traits.transit:
			// In VPC logs ACK stands only together with SYN. A transit gateway records it for every segment, so that SYN and
			// ACK of one interval may have been the client's own.
			out.Client, out.ClientBy = row.EndDst, row.ClientByTCPFlags
			return
		}
	}
	if r.Protocol != protocolTCP && r.Protocol != protocolUDP && r.Protocol != protocolSCTP ||
		out.Missing&(row.MissingSrcPort|row.MissingDstPort) != 0 {
		return
	}
	src := j.listens(f, &f.src, r.SrcPort)
	dst := j.listens(f, &f.dst, r.DstPort)
	switch {
	case dst && !src:
		out.Client, out.ClientBy = row.EndSrc, row.ClientByListen
	case src && !dst:
		out.Client, out.ClientBy = row.EndDst, row.ClientByListen
	default:
		out.Client = clientByPort(r.SrcPort, r.DstPort)
		if out.Client != row.EndUnknown {
			out.ClientBy = row.ClientByPort
		}
	}
}

func (j *join) listens(f *flow, e *end, port uint16) bool {
	return e.scope != 0 && j.view.Listens(e.scope, e.addr, f.r.Protocol, port, f.w)
}

func clientByPort(src, dst uint16) row.End {
	for _, border := range [...]uint16{privileged, ephemeralFrom} {
		switch {
		case dst < border && src >= border:
			return row.EndSrc
		case src < border && dst >= border:
			return row.EndDst
		}
	}
	return row.EndUnknown
}
