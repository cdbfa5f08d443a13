// Package row is the domain as dredge writes it: the catalogue of output columns, and Row, one enriched observation.
//
// The catalogue (catalogue.go) describes every column once; encoders, the JSON schema, the Druid dimension lists and the
// reference page are made from it. A new column takes one catalogue line, one assignment in enrich and a golden update.
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
}

// Side is one end of a flow.
type Side struct {
	Addr netip.Addr
	Port uint16
	// Grade and Reason say why the end is named, or why not; their text forms are metadata.Grade and metadata.Reason.
	Grade, Reason string
	// Identity is shared and immutable; nil when nothing at all is known of the address.
	Identity *Identity
	// Named is true when Identity's workload may stand in src_app/dst_app; otherwise the reserved token in App does.
	Named bool
	// App is what stands in src_app/dst_app: a name (escaped when it equals a reserved token), or a reserved token.
	App string
	// Candidates are the workloads that could have been meant when Grade is ambiguous or border; nil otherwise.
	Candidates []string
}

// Row is one enriched observation of a flow by one interface. It owns no bytes: strings are interned or belong to the
// identity tables, so a Row may outlive the flowlog.Batch that it was made from.
type Row struct {
	// Origin indexes Batch.Origins; Index is the line's place in that payload. Together with the partition they are the row id.
	Origin uint32
	Index  uint32

	Src, Dst Side

	// Start and End are Unix milliseconds as the record says.
	Start, End     int64
	Bytes, Packets int64
	Protocol       uint8
	TCPFlags       uint8
	HasTCPFlags    bool
	TrafficPath    uint8 // 0 = absent

	Action      string // ACCEPT, REJECT, "" = absent
	InterfaceID string
	AccountID   string // of the interface that recorded
	Direction   string // ingress, egress, unknown
	DirectionBy string // record, interface, unknown
	Client      string // src, dst, unknown
	ClientBy    string // tcp-flags, listen, port, none
	ObservedAt  string // src, dst, middle, unknown
	Counted     bool
	CountedHow  string
	ViaKind     string
	ViaID       string
	Path        string
	Reject      string // reject-reason
}

// Batch is a reusable list of rows of one partition.
type Batch struct {
	Partition string
	Origins   []Origin
	Rows      []Row
}

// Reset empties b and keeps its memory.
func (b *Batch) Reset() {
	b.Partition = ""
	clear(b.Origins)
	b.Origins = b.Origins[:0]
	clear(b.Rows)
	b.Rows = b.Rows[:0]
}
