package flowlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits on what ParseFormat takes. AWS's own largest layout has 54 fields.
const (
	maxFormatText = 64 << 10
	maxFields     = 256
	maxNameLen    = 128
)

// Format is the layout of a line: an ordered list of fields. Immutable and safe for concurrent use; a nil Format has no
// fields.
type Format struct {
	names   []string
	fields  []Field
	columns []column
	set     FieldSet
	// usual says that this is the default layout, for which the decoder has a faster way.
	usual bool
	// place is the column of a known field plus one, 0 when the layout does not have it.
	place [fieldCount]uint16
	// others is the column of every name that the catalogue does not have, by its hyphenated spelling.
	others map[string]int
	// keys are the JSON keys with what stands before them: `{"version":`, `,"account_id":`, …
	keys []string
}

// column is what the decoder needs of one field.
type column struct {
	field Field
	kind  kind
	limit uint64
	// bit is the field's place in Record.Present, empty for FieldOther.
	bit FieldSet
}

// ParseFormat reads a layout written as "${a} ${b}" (as the EC2 API returns it), as bare names, with underscores, or as
// the header line of an S3 file; names are separated by spaces or commas. The words `default` and `transit-gateway` stand
// for DefaultFormat and TransitGatewayFormat. A name that the catalogue does not have is
// carried as text, so that a new AWS field needs no new release. An empty layout and a field named twice are errors.
func ParseFormat(s string) (*Format, error) {
	if len(s) > maxFormatText {
		return nil, fmt.Errorf("parse log format: %d bytes are more than %d", len(s), maxFormatText)
	}
	switch strings.TrimSpace(s) {
	case "default":
		return defaultFormat, nil
	case "transit-gateway":
		return transitGatewayFormat, nil
	}
	names, err := splitFormat(s)
	if err != nil {
		return nil, fmt.Errorf("parse log format: %w", err)
	}
	f, err := newFormat(names)
	if err != nil {
		return nil, fmt.Errorf("parse log format: %w", err)
	}
	return f, nil
}

// splitFormat cuts s into names, without ${ and }.
func splitFormat(s string) ([]string, error) {
	var names []string
	for {
		s = strings.TrimLeft(s, " \t\r\n,")
		if s == "" {
			break
		}
		if len(names) == maxFields {
			return nil, fmt.Errorf("more than %d fields", maxFields)
		}
		var name string
		if rest, ok := strings.CutPrefix(s, "${"); ok {
			inner, after, closed := strings.Cut(rest, "}")
			if !closed {
				return nil, fmt.Errorf("%q: %q has no closing brace; write ${field-name}", clip(s), "${")
			}
			name, s = strings.TrimSpace(inner), after
		} else {
			end := strings.IndexAny(s, " \t\r\n,$")
			if end < 0 {
				end = len(s)
			}
			if end == 0 {
				return nil, fmt.Errorf("%q: a dollar sign must begin ${field-name}", clip(s))
			}
			name, s = s[:end], s[end:]
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, errors.New(`empty; name at least one field, for example "${interface-id} ${srcaddr} ${dstaddr}"`)
	}
	return names, nil
}

func checkName(name string) error {
	if name == "" {
		return errors.New("an empty field name; write ${field-name}")
	}
	if len(name) > maxNameLen {
		return fmt.Errorf("field name %q is longer than %d bytes", clip(name), maxNameLen)
	}
	letters := false
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			letters = true
		case '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '@', c == ':':
		default:
			return fmt.Errorf("field name %q: character %q is not allowed; names have letters, digits and hyphens", name, c)
		}
	}
	if !letters {
		return fmt.Errorf("field name %q has no letter", name)
	}
	if _, ok := LookupField(name); ok {
		return nil
	}
	if f, ok := LookupField(strings.ToLower(name)); ok {
		return fmt.Errorf("field name %q: AWS writes it %q", name, f)
	}
	return nil
}

func newFormat(names []string) (*Format, error) {
	f := &Format{
		names:   make([]string, len(names)),
		fields:  make([]Field, len(names)),
		columns: make([]column, len(names)),
		keys:    make([]string, len(names)),
	}
	for i, name := range names {
		hyphenated := strings.ReplaceAll(name, "_", "-")
		field, ok := byName[hyphenated]
		if ok {
			if f.place[field] != 0 {
				return nil, fmt.Errorf("field %q stands twice, as number %d and %d", hyphenated, f.place[field], i+1)
			}
			name = hyphenated
			f.place[field] = uint16(i + 1)
			f.set.add(field)
		} else {
			if f.others == nil {
				f.others = make(map[string]int)
			}
			if j, twice := f.others[hyphenated]; twice {
				return nil, fmt.Errorf("field %q stands twice, as number %d and %d", name, j+1, i+1)
			}
			f.others[hyphenated] = i
		}
		f.names[i], f.fields[i] = name, field
		f.columns[i] = column{field: field, kind: catalogue[field].kind, limit: field.limit()}
		if ok {
			f.columns[i].bit.add(field)
		}
		before := `,"`
		if i == 0 {
			before = `{"`
		}
		f.keys[i] = before + strings.ReplaceAll(name, "-", "_") + `":`
	}
	f.usual = slices.Equal(f.fields, defaultFields())
	return f, nil
}

func mustFormat(fields []Field) *Format {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.String()
	}
	f, err := newFormat(names)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return f
}

//nolint:gochecknoglobals // read-only: the two layouts that AWS gives when none is asked for
var (
	defaultFormat        = mustFormat(defaultFields())
	transitGatewayFormat = mustFormat([]Field{
		FieldVersion, FieldResourceType, FieldAccountID, FieldTransitGatewayID, FieldTransitGatewayAttachmentID,
		FieldTransitGatewaySrcVPCAccountID, FieldTransitGatewayDstVPCAccountID, FieldTransitGatewaySrcVPCID,
		FieldTransitGatewayDstVPCID, FieldTransitGatewaySrcSubnetID, FieldTransitGatewayDstSubnetID,
		FieldTransitGatewaySrcENI, FieldTransitGatewayDstENI, FieldTransitGatewaySrcAZID, FieldTransitGatewayDstAZID,
		FieldTransitGatewayPairAttachmentID, FieldSrcAddr, FieldDstAddr, FieldSrcPort, FieldDstPort, FieldProtocol,
		FieldPackets, FieldBytes, FieldStart, FieldEnd, FieldLogStatus, FieldType, FieldPacketsLostNoRoute,
		FieldPacketsLostBlackhole, FieldPacketsLostMTUExceeded, FieldPacketsLostTTLExpired, FieldTCPFlags, FieldRegion,
		FieldFlowDirection, FieldPktSrcAWSService, FieldPktDstAWSService,
	})
)

// defaultFields is the layout that AWS uses when nobody asks for another.
func defaultFields() []Field {
	return []Field{
		FieldVersion, FieldAccountID, FieldInterfaceID, FieldSrcAddr, FieldDstAddr, FieldSrcPort, FieldDstPort,
		FieldProtocol, FieldPackets, FieldBytes, FieldStart, FieldEnd, FieldAction, FieldLogStatus,
	}
}

// DefaultFormat is the fourteen fields of version 2. It is always the same pointer.
func DefaultFormat() *Format { return defaultFormat }

// TransitGatewayFormat is the 36 fields that a transit gateway flow log has when no format was asked for. It is always
// the same pointer.
func TransitGatewayFormat() *Format { return transitGatewayFormat }

// Len is the number of fields.
func (f *Format) Len() int {
	if f == nil {
		return 0
	}
	return len(f.names)
}

// Names returns the fields' names in order: AWS's, with hyphens, for known fields; others as they were written. Read-only.
func (f *Format) Names() []string {
	if f == nil {
		return nil
	}
	return f.names
}

// Fields returns the fields in order, FieldOther for names that the catalogue does not have. Read-only.
func (f *Format) Fields() []Field {
	if f == nil {
		return nil
	}
	return f.fields
}

// Has says whether the layout has field.
func (f *Format) Has(field Field) bool { return f != nil && f.set.Has(field) }

// Unknown returns the names that the catalogue does not have: newer than this release, or misspelled.
func (f *Format) Unknown() []string {
	var names []string
	for i, field := range f.Fields() {
		if field == FieldOther {
			names = append(names, f.names[i])
		}
	}
	return names
}

// String returns the layout as the EC2 API writes it, "${version} ${account-id} …".
func (f *Format) String() string {
	if f.Len() == 0 {
		return ""
	}
	return "${" + strings.Join(f.names, "} ${") + "}"
}

// IsHeader says whether line is a header: names of fields, not values. Every token must look like a name, more than half
// of them must be in the catalogue, and one of those must be a usual one. So the header of a flow log with fields newer
// than this release is still seen as one, and no record is: its addresses, numbers and "-" are not names.
func IsHeader(line []byte) bool {
	total, known, usual := 0, 0, false
	for i := 0; i < len(line); {
		if isSpace(line[i]) {
			i++
			continue
		}
		if line[i] < 'a' || line[i] > 'z' {
			return false
		}
		j := i + 1
		for ; j < len(line) && !isSpace(line[j]); j++ {
			c := line[j]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
		if j-i > maxNameLen || total == maxFields {
			return false
		}
		total++
		if field, ok := lookupBytes(line[i:j]); ok {
			known++
			switch field {
			case FieldVersion, FieldAccountID, FieldInterfaceID, FieldSrcAddr, FieldDstAddr, FieldStart, FieldEnd,
				FieldAction, FieldLogStatus, FieldPktSrcAddr, FieldPktDstAddr, FieldBytes, FieldPackets, FieldResourceType,
				FieldTransitGatewayID:
				usual = true
			}
		}
		i = j
	}
	return usual && total >= 2 && 2*known > total
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// trimEnd cuts the line end off.
func trimEnd(line []byte) []byte { return bytes.TrimRight(line, "\r\n") }

// clip shortens s for an error text.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
