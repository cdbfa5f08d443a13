package flowlog

import (
	"math"
	"net/netip"
	"slices"
)

// MaxLine is the length in bytes from which on a line is too long. The longest that AWS writes (all of version 11 with
// ECS ARNs) has about 1,200.
const MaxLine = 65535

// Decoder appends records to batches. Not safe for concurrent use: one per worker, for its table of interned ids.
type Decoder struct {
	ids Interner
	// last is the value that each id field had in the record before. Lines of one log stream come from one interface, so
	// this comparison nearly always saves the look-up.
	last [fieldCount]string
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder { return &Decoder{} }

// Append copies line into b's bytes and appends its Record. A faulty line appends nothing and returns its Reason; the error
// text that a person needs comes from Explain. A nil f is the default format. A line end is cut off; spaces around the
// line are ignored, and a run of them between two fields is one separator.
//
// NODATA and SKIPDATA lines are records with that Status; when they carry counters, those are kept. A port, protocol or code
// that no flow can have does not make them faulty, as they are no flows: it is absent from Present and stays in the text.
func (d *Decoder) Append(b *Batch, f *Format, line []byte, origin, index uint32) Reason {
	if f == nil {
		f = defaultFormat
	}
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	if len(line) > MaxLine {
		return ReasonTooLong
	}
	firstSpan, n := len(b.spans), len(b.Records)
	b.spans = slices.Grow(b.spans, len(f.columns))[:firstSpan+len(f.columns)]
	if n < cap(b.Records) {
		b.Records = b.Records[:n+1]
	} else {
		b.Records = append(b.Records, Record{})
	}
	r := &b.Records[n]
	*r = Record{} // then field by field: a composite literal would be built beside and copied, 330 bytes of it
	r.Format, r.Origin, r.Index = f, origin, index
	r.batch, r.span = b, uint32(firstSpan)
	if !d.fields(r, f, line, b.spans[firstSpan:]) {
		*r = Record{}
		b.Records = b.Records[:n]
		b.spans = b.spans[:firstSpan]
		reason, _, _ := diagnose(f, line)
		if reason == ReasonNone {
			// The two disagree, which FuzzDecode rules out. A line must not stop a shard even so.
			reason = ReasonFieldCount
		}
		return reason
	}
	r.Line = b.bytes.copy(line)
	return ReasonNone
}

// fields fills r and spans from line. It is the hot loop of the whole program. It first finds all the spaces, so that the
// fields can then be parsed independently of each other: the processor overlaps them, which it can't when the end of one
// number has to be found before the next one begins. It only says that something is wrong; diagnose finds out what.
func (d *Decoder) fields(r *Record, f *Format, line []byte, spans []span) bool {
	columns := f.columns
	if split(line, spans) != len(columns) {
		return false
	}
	if f.usual && d.usual(r, line, (*[14]span)(spans)) {
		r.Present = f.set
		return true
	}
	spans = spans[:len(columns)]
	var present FieldSet
	unreal := false // a number that its type can hold and no flow can have
	for k := range columns {
		c := &columns[k]
		at := int(spans[k].off)
		end := at + int(spans[k].len)
		text := line[at:end]
		if len(text) == 1 && text[0] == '-' {
			continue
		}
		switch c.kind {
		case kindText: // not kept
		case kindInt, kindTime:
			v, ok := scanUint(line, at, end)
			if !ok {
				return false
			}
			if v > c.limit {
				if v > c.field.widest() {
					return false
				}
				unreal = true
				continue
			}
			if !r.setInt(c.field, v) {
				return false
			}
		case kindAddr:
			v4, ok := scanIPv4(line, at, end)
			addr := netip.AddrFrom4(v4)
			if !ok {
				if addr, ok = parseAddr(text); !ok {
					return false
				}
			}
			switch c.field {
			case FieldSrcAddr:
				r.SrcAddr = addr
			case FieldDstAddr:
				r.DstAddr = addr
			case FieldPktSrcAddr:
				r.PktSrcAddr = addr
			case FieldPktDstAddr:
				r.PktDstAddr = addr
			}
		case kindID:
			d.setID(r, c.field, text)
		case kindAction:
			if r.Action = parseAction(text); r.Action == ActionNone {
				return false
			}
		case kindStatus:
			if r.Status = parseStatus(text); r.Status == StatusNone {
				return false
			}
		case kindDirection:
			if r.Direction = parseDirection(text); r.Direction == DirectionNone {
				return false
			}
		}
		present[0] |= c.bit[0]
		present[1] |= c.bit[1]
	}
	r.Present = present
	if unreal && !r.Status.idle() {
		return false
	}
	return r.End >= r.Start || !present.Has(FieldStart) || !present.Has(FieldEnd)
}

// usual is fields for a line of the default layout that has a value in every field and nothing remarkable in any: nearly
// every line there is. It does the same without looking up what each column is. False means that it has left r alone, and
// says nothing about the line.
func (d *Decoder) usual(r *Record, line []byte, s *[14]span) bool {
	// Every field that is read below then has eight bytes to read, and an address sixteen, which scanIPv4 sees to by itself.
	if int(s[11].off)+16 > len(line) || s[0].len != 1 || line[s[0].off]-'0' > 9 || s[10].len != 10 || s[11].len != 10 {
		return false
	}
	src, srcOK := scanIPv4(line, int(s[3].off), int(s[3].off)+int(s[3].len))
	dst, dstOK := scanIPv4(line, int(s[4].off), int(s[4].off)+int(s[4].len))
	srcPort, ok5 := s[5].number(line)
	dstPort, ok6 := s[6].number(line)
	protocol, ok7 := s[7].number(line)
	packets, ok8 := s[8].number(line)
	bytes, ok9 := s[9].number(line)
	start, ok10 := tenDigits(line[s[10].off:])
	end, ok11 := tenDigits(line[s[11].off:])
	if !srcOK || !dstOK || !ok5 || !ok6 || !ok7 || !ok8 || !ok9 || !ok10 || !ok11 ||
		srcPort > math.MaxUint16 || dstPort > math.MaxUint16 || protocol > math.MaxUint8 || end < start {
		return false
	}
	action := parseAction(s[12].of(line))
	account, eni := s[1].of(line), s[2].of(line)
	if action == ActionNone || string(s[13].of(line)) != "OK" || string(account) == "-" || string(eni) == "-" {
		return false
	}
	r.SrcAddr, r.DstAddr = netip.AddrFrom4(src), netip.AddrFrom4(dst)
	r.SrcPort, r.DstPort, r.Protocol = uint16(srcPort), uint16(dstPort), uint8(protocol)
	r.Packets, r.Bytes = int64(packets), int64(bytes)
	r.Start, r.End = int64(start)*1000, int64(end)*1000
	r.Action, r.Status = action, StatusOK
	d.setID(r, FieldAccountID, account)
	d.setID(r, FieldInterfaceID, eni)
	return true
}

// setInt stores the value of an integer field that has a place in Record. False is a time that is none.
func (r *Record) setInt(f Field, v uint64) bool {
	switch f {
	case FieldSrcPort:
		r.SrcPort = uint16(v)
	case FieldDstPort:
		r.DstPort = uint16(v)
	case FieldProtocol:
		r.Protocol = uint8(v)
	case FieldPackets:
		r.Packets = int64(v)
	case FieldBytes:
		r.Bytes = int64(v)
	case FieldTCPFlags:
		r.TCPFlags = uint8(v)
	case FieldTrafficPath:
		r.TrafficPath = uint8(v)
	case FieldStart:
		t, ok := millis(v)
		r.Start = t
		return ok
	case FieldEnd:
		t, ok := millis(v)
		r.End = t
		return ok
	}
	return true
}

func (d *Decoder) setID(r *Record, f Field, text []byte) {
	s := d.last[f]
	if s != string(text) {
		s = d.ids.String(text)
		d.last[f] = s
	}
	switch f {
	case FieldAccountID:
		r.AccountID = s
	case FieldInterfaceID:
		r.InterfaceID = s
	case FieldVPCID:
		r.VPCID = s
	case FieldSubnetID:
		r.SubnetID = s
	case FieldInstanceID:
		r.InstanceID = s
	case FieldRegion:
		r.Region = s
	case FieldAZID:
		r.AZID = s
	}
}

// parseUint reads digits only; false when there are none, other bytes, or more than an int64 holds.
func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	v := uint64(0)
	for _, c := range b {
		digit := uint64(c) - '0'
		if digit > 9 || v > (math.MaxInt64-digit)/10 {
			return 0, false
		}
		v = v*10 + digit
	}
	return v, true
}

func parseTime(b []byte) (int64, bool) {
	v, ok := parseUint(b)
	if !ok {
		return 0, false
	}
	return millis(v)
}

// millis takes a number of up to ten digits as Unix seconds and one of thirteen as milliseconds. What lies between would
// be seconds after the year 2286 or milliseconds before 2001: neither is the time of a flow.
func millis(v uint64) (int64, bool) {
	switch {
	case v < 1e10:
		return int64(v) * 1000, true
	case v >= 1e12 && v < 1e13:
		return int64(v), true
	}
	return 0, false
}

func parseAction(b []byte) Action {
	switch string(b) {
	case "ACCEPT":
		return Accept
	case "REJECT":
		return Reject
	}
	return ActionNone
}

func parseStatus(b []byte) Status {
	switch string(b) {
	case "OK":
		return StatusOK
	case "NODATA":
		return StatusNoData
	case "SKIPDATA":
		return StatusSkipData
	}
	return StatusNone
}

func parseDirection(b []byte) Direction {
	switch string(b) {
	case "ingress":
		return Ingress
	case "egress":
		return Egress
	}
	return DirectionNone
}
