package envelope

import (
	"bytes"
	"strings"

	"dredge/flowlog"
)

// record collects the fields of a JSON object and makes a line and its header of them.
type record struct {
	header, line   []byte
	seen           [4]uint64
	known, typical int
	inner          window
	scratch        []byte
	// name is the present key when the catalogue does not have it and it can be the name of a field; others is how many such fields
	// there are.
	name   []byte
	others int
}

// Bounds of what is carried of fields that the catalogue does not have: their number, and how long they may make a line, which must
// stay shorter than flowlog.MaxLine.
const (
	maxOthers    = 64
	maxOtherLine = 16 << 10
)

func (r *record) reset() {
	r.header, r.line = r.header[:0], r.line[:0]
	r.seen = [4]uint64{}
	r.known, r.typical, r.others = 0, 0, 0
}

// complete says whether enough fields were found to take the object for a record.
func (r *record) complete() bool { return r.known >= 2 && r.typical > 0 }

// parse reads text as a JSON object with the fields of a record.
func (r *record) parse(text []byte) bool {
	r.reset()
	r.inner.over(text)
	if err := r.object(&r.inner); err != nil {
		return false
	}
	if _, more := r.inner.space(); more {
		return false
	}
	return r.complete()
}

// object reads an object whose first byte is present. Fields that the catalogue does not have are carried as text, as those of a
// header line are; nested values, keys that can be no field's name, and long texts are passed over.
func (r *record) object(w *window) error {
	w.pos++
	for first := true; ; first = false {
		c, done, err := w.next(first, '}')
		if err != nil || done {
			return err
		}
		if c != '"' {
			return errString
		}
		name, err := w.key(r.scratch)
		if err != nil {
			return err
		}
		field := r.field(name)
		if c, err = w.colon(); err != nil {
			return err
		}
		if err = r.member(w, field, c); err != nil {
			return err
		}
	}
}

// field finds the field that a key means, and remembers the key when it is none.
func (r *record) field(key []byte) flowlog.Field {
	field := fieldOf(key)
	if field == flowlog.FieldOther {
		r.name = append(r.name[:0], key...)
	}
	return field
}

// member reads the value, which begins with c, of the key that field was last asked about.
func (r *record) member(w *window, field flowlog.Field, c byte) error {
	switch {
	case c == '{' || c == '[':
		return w.skip(c)
	case field != flowlog.FieldOther:
		return r.add(w, field, c)
	case r.others < maxOthers && isName(r.name) && !r.has(r.name):
		return r.addOther(w, c)
	default:
		return w.skip(c)
	}
}

// isName says whether key can be the name of a field that AWS has not thought of yet.
func isName(key []byte) bool {
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(key) > 0 && (key[0]|0x20) >= 'a' && (key[0]|0x20) <= 'z'
}

// has says whether the header has a field called name; hyphens and underscores are alike.
func (r *record) has(name []byte) bool {
	for rest := r.header; len(rest) > 0; {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte(" "))
		if len(one) != len(name) {
			continue
		}
		same := true
		for i, c := range one {
			same = same && (c == name[i] || (c == '-' || c == '_') && (name[i] == '-' || name[i] == '_'))
		}
		if same {
			return true
		}
	}
	return false
}

// addOther reads a scalar value as that of a field of which only the name is known.
func (r *record) addOther(w *window, c byte) (err error) {
	size := 0
	if c == '"' {
		r.scratch, size, err = w.str(r.scratch[:0], maxOtherLine)
	} else {
		r.scratch, err = w.scalar(r.scratch[:0])
	}
	if size = max(size, len(r.scratch)); err != nil || len(r.line)+3*size > maxOtherLine {
		return err
	}
	r.others++
	r.column(r.name)
	r.value(r.scratch, c)
	return nil
}

// column appends the name of a field to the header and what parts it from the one before to the line.
func (r *record) column(name []byte) {
	if len(r.header) > 0 {
		r.header = append(r.header, ' ')
		r.line = append(r.line, ' ')
	}
	r.header = append(r.header, name...)
}

// value appends the text of a value, which began with c, to the line.
func (r *record) value(text []byte, c byte) {
	if len(text) == 0 || (c != '"' && string(text) == "null") {
		r.line = append(r.line, '-')
		return
	}
	for _, b := range text {
		switch b {
		case ' ':
			r.line = append(r.line, "%20"...) // as AWS writes the values of tags
		case '\r', '\n':
		default:
			r.line = append(r.line, b)
		}
	}
}

// add reads a scalar value as the value of field.
func (r *record) add(w *window, field flowlog.Field, c byte) (err error) {
	if c == '"' {
		r.scratch, _, err = w.str(r.scratch[:0], flowlog.MaxLine)
	} else {
		r.scratch, err = w.scalar(r.scratch[:0])
	}
	if err != nil || r.seen[field>>6]&(1<<(field&63)) != 0 {
		return err // of a doubled key the first value counts
	}
	r.seen[field>>6] |= 1 << (field & 63)
	r.known++
	switch field {
	case flowlog.FieldSrcAddr, flowlog.FieldDstAddr, flowlog.FieldPktSrcAddr, flowlog.FieldPktDstAddr, flowlog.FieldInterfaceID,
		flowlog.FieldLogStatus, flowlog.FieldTransitGatewayID:
		r.typical++
	}
	r.column([]byte(field.String()))
	value := r.scratch
	if c != '"' {
		value = wholeNumber(value)
		// An account written as a number has lost the zeros before it.
		for lacks := accountDigits - len(value); isAccount(field) && digits(value) && lacks > 0; lacks-- {
			r.line = append(r.line, '0')
		}
	}
	r.value(value, c)
	return nil
}

// accountDigits is the length of an account's id.
const accountDigits = 12

func isAccount(f flowlog.Field) bool {
	return f == flowlog.FieldAccountID || f == flowlog.FieldTransitGatewaySrcVPCAccountID || f == flowlog.FieldTransitGatewayDstVPCAccountID
}

func digits(text []byte) bool {
	return len(text) > 0 && len(bytes.Trim(text, "0123456789")) == 0
}

// wholeNumber writes a JSON number that is written as a float and is none as the integer that it is: tables of mixed types write
// 443.0, and Java writes a large one as 1.41853001E9. The text may be overwritten behind its end.
func wholeNumber(text []byte) []byte {
	mantissa, power, scaled := text, 0, false
	if i := bytes.IndexAny(text, "eE"); i > 0 {
		exponent := bytes.TrimPrefix(text[i+1:], []byte("+"))
		if !digits(exponent) || len(exponent) > 2 {
			return text
		}
		for _, c := range exponent {
			power = power*10 + int(c-'0')
		}
		mantissa, scaled = text[:i], true
	}
	whole, fraction, cut := bytes.Cut(mantissa, []byte("."))
	if !cut && !scaled || !digits(whole) || cut && !digits(fraction) {
		return text
	}
	fraction = bytes.TrimRight(fraction, "0")
	if len(fraction) > power || len(whole)+power > maxDigits {
		return text
	}
	if power == 0 {
		return whole
	}
	number := text[len(text):]
	number = append(number, whole...)
	number = append(number, fraction...)
	for range power - len(fraction) {
		number = append(number, '0')
	}
	return number
}

// maxDigits is the length of the largest counter.
const maxDigits = 19

// fieldOf finds the field that a JSON key means, FieldOther for none: AWS's name with hyphens, underscores or in camel
// case (CloudWatch's parseVPC), or the name in Athena's older table definitions.
func fieldOf(name []byte) flowlog.Field {
	var buf [40]byte
	n := 0
	for _, c := range name {
		switch {
		case c == '-' || c == '_':
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if n == len(buf) {
			return flowlog.FieldOther
		}
		buf[n] = c
		n++
	}
	return fieldNames[string(buf[:n])]
}

//nolint:gochecknoglobals // read-only table
var fieldNames = func() map[string]flowlog.Field {
	m := map[string]flowlog.Field{
		"account":            flowlog.FieldAccountID,
		"sourceaddress":      flowlog.FieldSrcAddr,
		"destinationaddress": flowlog.FieldDstAddr,
		"sourceport":         flowlog.FieldSrcPort,
		"destinationport":    flowlog.FieldDstPort,
		"numpackets":         flowlog.FieldPackets,
		"numbytes":           flowlog.FieldBytes,
		"starttime":          flowlog.FieldStart,
		"endtime":            flowlog.FieldEnd,
	}
	for _, info := range flowlog.Fields() {
		m[strings.ReplaceAll(info.Name, "-", "")] = info.Field
	}
	return m
}()
