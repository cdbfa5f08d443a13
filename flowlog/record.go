package flowlog

import (
	"net/netip"
	"time"
)

// Record is one decoded line. It is fixed-size: the fields that the join needs are parsed; all other fields stay text and
// are read with Text. Strings are interned by the Decoder and may be kept; byte slices are borrowed from the Batch and live
// until its Reset.
type Record struct {
	// Format is the layout that the line was read with.
	Format *Format
	// Line is the whole line without its line end. Borrowed.
	Line []byte
	// Present has a bit for every known field that holds a value; '-' is absent.
	Present FieldSet

	// SrcAddr and DstAddr are the record's srcaddr and dstaddr: on the interface's own side its primary address.
	// PktSrcAddr and PktDstAddr are the packet's. IPv4-mapped IPv6 is unmapped; an absent address is the zero Addr.
	SrcAddr, DstAddr, PktSrcAddr, PktDstAddr netip.Addr
	// Start and End are Unix milliseconds (a value of 13 digits is taken as milliseconds already).
	Start, End     int64
	Packets, Bytes int64
	SrcPort        uint16
	DstPort        uint16
	Protocol       uint8
	TCPFlags       uint8
	TrafficPath    uint8
	Action         Action
	Status         Status
	Direction      Direction

	AccountID, InterfaceID, VPCID, SubnetID, InstanceID, Region, AZID string

	// Origin indexes Batch.Origins; Index is the line's place in its payload, from 0, counting every line.
	Origin uint32
	Index  uint32

	// fields locates the text of every field of Format in Line: its place in Batch.spans.
	batch *Batch
	span  uint32
}

// Origin says where the lines of one payload came from.
type Origin struct {
	// Position is the payload's position as text.
	Position string
	Arrived  time.Time
	// Owner, LogGroup and LogStream are the CloudWatch envelope's, "" outside one.
	Owner, LogGroup, LogStream string
}

// Batch is a reusable list of Records together with the bytes that they borrow.
//
// Ownership: the pipeline owns a Batch from its pool until it has encoded the rows; Reset ends the life of every borrowed
// slice. Not safe for concurrent writing.
type Batch struct {
	Partition string
	Origins   []Origin
	Records   []Record

	bytes []byte
	spans []span
}
