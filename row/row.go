// Package row is the domain as dredge writes it: the catalogue of output columns, and Row, one enriched observation.
//
// The catalogue (catalogue.go) describes every column once; encoders, the JSON schema, the Druid dimension lists and the
// reference page are made from it. A new column takes one catalogue entry, one assignment in enrich and a golden update.
package row

import (
	"net/netip"
	"time"
)

// Origin says where the lines of one payload came from. It is shared by all rows made from that payload.
type Origin struct {
	// Position is the payload's position as text (sequence number, or sequence:sub-sequence).
	Position string
	Arrived  time.Time
	LogGroup string

	// hash is the payload's part of its rows' ids, once hashed.
	hash   [originBytes]byte
	hashed bool
}

// Side is one end of a flow.
type Side struct {
	// Addr is the packet's address at this end.
	Addr netip.Addr
	// App is what stands in src_app/dst_app: a name escaped by EscapeApp, or a reserved token. It is Identity.App unless
	// a rule put another name in its place.
	App string
	// Grade and Reason say why the end is named, or why not; they are the text forms of metadata.Grade and metadata.Reason.
	Grade, Reason string
	// Identity is shared and immutable; nil when nothing at all is known of the address.
	Identity *Identity
	// Instance, ENI and Name are the endpoint's own ids: EC2 instance, interface, and the name of a pod, task or load
	// balancer. "" when unknown.
	Instance, ENI, Name string
	// Candidates could have been meant, when Grade does not name: applications, or owner ids where no application is known.
	Candidates []string
	Port       uint16
	// Place is one more than the index in Batch.Places of where the public address is; 0 is not known.
	Place uint32
	// Named is true when App is the name of an application, not a reserved token.
	Named bool
}

// Place is where a public address is, as databases of countries and autonomous systems say. Its strings are shared.
type Place struct {
	// Country is the ISO 3166-1 code, ASN the number of the autonomous system and ASOrg who runs it; "" and 0 are not known.
	Country, ASOrg string
	ASN            uint32
}

// Tags are the tag values that the record itself carries (version 11), percent-decoded. Interned and shared.
type Tags struct {
	Instance, Instance2, Interface, Interface2, ASG, ASG2 string
}

// Row is one enriched observation of a flow by one interface. It owns no bytes: strings are interned or belong to the
// identity tables, so a Row may outlive the flowlog.Batch that it was made from. Candidates live until the Batch's Reset.
type Row struct {
	// Origin indexes Batch.Origins; Index is the line's place in that payload. Together with the partition they are the row id.
	Origin uint32
	Index  uint32

	// Start and End are Unix milliseconds as the record says.
	Start, End     int64
	Bytes, Packets int64

	Src, Dst Side

	// InterfaceID is the interface that recorded, AccountID its owner.
	InterfaceID, AccountID string
	// ViaKind and ViaID name the forwarder that recorded; "" when an end did.
	ViaKind, ViaID string
	// RejectReason is the record's reject-reason.
	RejectReason string
	// RecordSrc and RecordDst are the record's srcaddr and dstaddr where they differ from the packet's addresses.
	RecordSrc, RecordDst netip.Addr
	// Tags is nil when the record carries none.
	Tags *Tags

	Missing     Missing
	Protocol    uint8
	TCPFlags    uint8
	HasTCPFlags bool
	TrafficPath uint8 // 0 = absent

	Action      Action
	Direction   Direction
	DirectionBy DirectionBy
	Client      End // EndSrc, EndDst or EndUnknown
	ClientBy    ClientBy
	ObservedAt  End
	Counted     bool
	CountedHow  CountedHow
	Path        Path

	// Weight is how many records the row stands for: more than 1 where a rule kept one of so many, and 0 is 1. Bytes and Packets are
	// multiplied by it already.
	Weight uint32
	// RuleTags are the tags that rules put on the row, with commas between them.
	RuleTags string
	// Segmentation is what the declared edges say of the flow; absent when none are declared.
	Segmentation Segmentation

	// Late says that the flow began longer before its line arrived than the configured bound: a sink that has a place of its own
	// for such rows writes it there.
	Late bool
}

// Flows is how many flow-log records r stands for.
func (r *Row) Flows() int64 { return max(int64(r.Weight), 1) }

// ServicePort is the port of the side that did not open the connection; false when it is not known which that was.
func (r *Row) ServicePort() (uint16, bool) {
	switch {
	case r.Client == EndSrc && r.Missing&MissingDstPort == 0:
		return r.Dst.Port, true
	case r.Client == EndDst && r.Missing&MissingSrcPort == 0:
		return r.Src.Port, true
	default:
		return 0, false
	}
}

// Dropped is how many rows of a batch one rule took out of it.
type Dropped struct {
	Rule string
	Rows int64
}

// Batch is a reusable list of rows of one partition. Not safe for concurrent writing.
type Batch struct {
	Partition string
	Origins   []Origin
	Rows      []Row
	// Places are where public addresses are; sides point to them.
	Places []Place
	// Dropped are the rows that rules took out of the batch.
	Dropped []Dropped

	candidates []string
}

// Reset empties b and keeps its memory.
func (b *Batch) Reset() {
	b.Partition = ""
	clear(b.Origins)
	b.Origins = b.Origins[:0]
	clear(b.Rows)
	b.Rows = b.Rows[:0]
	clear(b.Places)
	b.Places = b.Places[:0]
	b.Dropped = b.Dropped[:0]
	clear(b.candidates)
	b.candidates = b.candidates[:0]
}

// Drop counts a row that the named rule takes out; taking it out is the caller's.
func (b *Batch) Drop(rule string) {
	for i := range b.Dropped {
		if b.Dropped[i].Rule == rule {
			b.Dropped[i].Rows++
			return
		}
	}
	b.Dropped = append(b.Dropped, Dropped{Rule: rule, Rows: 1})
}

// Add appends an empty row and returns it. The pointer is good until the next Add or Reset.
func (b *Batch) Add() *Row {
	if len(b.Rows) < cap(b.Rows) {
		b.Rows = b.Rows[:len(b.Rows)+1] // Reset left it empty
	} else {
		b.Rows = append(b.Rows, Row{})
	}
	return &b.Rows[len(b.Rows)-1]
}

// AddPlace adds p to the batch's places and returns what Side.Place holds for it. Neighbours that are equal share one.
func (b *Batch) AddPlace(p Place) uint32 {
	if n := len(b.Places); n > 0 && b.Places[n-1] == p {
		return uint32(n)
	}
	b.Places = append(b.Places, p)
	return uint32(len(b.Places))
}

// AddCandidate appends name to list, a Candidates list of the newest row that nothing else was added to meanwhile, and returns
// the new list. Its memory is the batch's.
func (b *Batch) AddCandidate(list []string, name string) []string {
	start := len(b.candidates) - len(list)
	b.candidates = append(b.candidates, name)
	return b.candidates[start:len(b.candidates):len(b.candidates)]
}
