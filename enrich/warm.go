package enrich

import (
	"net/netip"

	"dredge/flowlog"
	"dredge/metadata"
)

// warmBlock is how many records are joined after what they ask for was read ahead together.
const warmBlock = 32

// ahead is what a block of records is going to ask.
type ahead [warmBlock]metadata.Ask

// addresses says which of a record's addresses will be asked for.
type addresses uint8

const (
	noAddresses addresses = iota
	ownAddress
	allAddresses
)

// warm lets the view read ahead what the next records will ask of their interface, and of their addresses where the caller wants
// those too.
func (j *join) warm(a *ahead, records []flowlog.Record, which addresses) {
	if j.warmer == nil {
		return
	}
	n := min(len(records), warmBlock)
	for i := range records[:n] {
		r, ask := &records[i], &a[i]
		*ask = metadata.Ask{ENI: r.InterfaceID}
		if r.VPCID != "" {
			ask.Scope = j.scopeOf(r.VPCID)
		}
		if which != noAddresses {
			ask.Own = which == ownAddress
			ask.Src, ask.Dst = packetAddr(r.PktSrcAddr, r.SrcAddr), packetAddr(r.PktDstAddr, r.DstAddr)
		}
	}
	j.warmer.Warm(a[:n])
}

func packetAddr(packet, plain netip.Addr) netip.Addr {
	if packet.IsValid() {
		return packet
	}
	return plain
}
