package flowlog

import (
	"net/netip"
	"strings"
	"time"
	"unsafe"
)

// Record is one decoded line. It is fixed-size: the fields that the join needs are parsed; all other fields stay text and
// are read with Text. Strings are interned by the Decoder and may be kept; byte slices are borrowed from the Batch and live
// until its Reset. A Record may be copied; the copy borrows the same bytes.
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

	// span is where the spans of this record's fields begin in batch.spans. An index, not a slice: spans may move.
	batch *Batch
	span  uint32
}

// span is where a field's text stands in its line. A line has at most MaxLine bytes, so 16 bits are enough.
type span struct{ off, len uint16 }

// Text returns the text of field f, nil when it is absent or not in the layout (FieldOther: see TextByName). Borrowed
// from the batch.
func (r *Record) Text(f Field) []byte {
	if r.Format == nil || f >= fieldCount {
		return nil
	}
	place := r.Format.place[f]
	if place == 0 || f == FieldOther {
		return nil
	}
	return r.column(int(place - 1))
}

// TextByName returns the text of the field called name, with hyphens or underscores, whether the catalogue has it or not;
// nil when it is absent or not in the layout. Borrowed from the batch.
func (r *Record) TextByName(name string) []byte {
	if f, ok := LookupField(name); ok {
		return r.Text(f)
	}
	if r.Format == nil {
		return nil
	}
	if strings.IndexByte(name, '_') >= 0 {
		name = strings.ReplaceAll(name, "_", "-")
	}
	if i, ok := r.Format.others[name]; ok {
		return r.column(i)
	}
	return nil
}

// column returns the text of the i-th field of the layout, nil for "-".
func (r *Record) column(i int) []byte {
	s := r.batch.spans[int(r.span)+i]
	text := r.Line[s.off : uint32(s.off)+uint32(s.len) : uint32(s.off)+uint32(s.len)]
	if len(text) == 1 && text[0] == '-' {
		return nil
	}
	return text
}

// Int returns the value of integer field f exactly as the line has it (start and end are not scaled); false when the
// field is absent, not in the layout, or not an integer field.
func (r *Record) Int(f Field) (int64, bool) {
	if k := f.Info().kind; k != kindInt && k != kindTime {
		return 0, false
	}
	text := r.Text(f)
	if text == nil {
		return 0, false
	}
	v, ok := parseUint(text)
	return int64(v), ok
}

// Origin says where the lines of one payload came from.
type Origin struct {
	// Position is the payload's position as text.
	Position string
	Arrived  time.Time
	// Owner, LogGroup and LogStream are the CloudWatch envelope's, "" outside one.
	Owner, LogGroup, LogStream string
}

// Batch is a reusable list of Records together with the bytes that they borrow. The zero value is ready.
//
// Ownership: the pipeline owns a Batch from its pool until it has encoded the rows; Reset ends the life of every borrowed
// slice. Appending never moves the bytes of earlier records. Not safe for concurrent writing.
type Batch struct {
	Partition string
	Origins   []Origin
	Records   []Record

	bytes arena
	spans []span
}

// Reset empties b, keeps its memory, and ends the life of everything borrowed from it. Built with the tag "invariants" it
// overwrites the bytes, so that a test catches whoever kept a slice.
func (b *Batch) Reset() {
	b.Partition = ""
	clear(b.Origins)
	b.Origins = b.Origins[:0]
	// Records are not cleared: Append overwrites them whole, and what they point at is interned or the batch's own.
	b.Records = b.Records[:0]
	b.bytes.reset()
	b.spans = b.spans[:0]
}

// Size is the memory in bytes that the records of b take, their lines included: what a byte budget should count.
func (b *Batch) Size() int {
	return b.bytes.used + len(b.Records)*int(unsafe.Sizeof(Record{})) + len(b.spans)*int(unsafe.Sizeof(span{}))
}

// arena holds lines in chunks that never move, so a record's Line stays right while the batch grows.
type arena struct {
	chunks [][]byte
	at     int // the chunk being filled
	used   int
}

// chunkSize is a compromise: small batches stay small, and the unused end of a chunk (at most one line) is a small part.
const chunkSize = 256 << 10

func (a *arena) copy(line []byte) []byte {
	for ; a.at < len(a.chunks); a.at++ {
		if c := a.chunks[a.at]; cap(c)-len(c) >= len(line) {
			break
		}
	}
	if a.at == len(a.chunks) {
		a.chunks = append(a.chunks, make([]byte, 0, max(chunkSize, len(line))))
	}
	c := a.chunks[a.at]
	n := len(c)
	c = append(c, line...)
	a.chunks[a.at] = c
	a.used += len(line)
	return c[n:len(c):len(c)]
}

func (a *arena) reset() {
	for i, c := range a.chunks {
		if poison {
			for j := range c {
				c[j] = 0xdb
			}
		}
		a.chunks[i] = c[:0]
	}
	a.at, a.used = 0, 0
}
