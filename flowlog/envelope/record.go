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
}

func (r *record) reset() {
	r.header, r.line = r.header[:0], r.line[:0]
	r.seen = [4]uint64{}
	r.known, r.typical = 0, 0
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

// object reads an object whose first byte is present. Fields that the catalogue does not have, and nested values, are
// passed over.
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
		field := fieldOf(name)
		if c, err = w.colon(); err != nil {
			return err
		}
		if field != flowlog.FieldOther && c != '{' && c != '[' {
			err = r.add(w, field, c)
		} else {
			err = w.skip(c)
		}
		if err != nil {
			return err
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
	if len(r.header) > 0 {
		r.header = append(r.header, ' ')
		r.line = append(r.line, ' ')
	}
	r.header = append(r.header, field.String()...)
	value := r.scratch
	if c != '"' {
		value = wholeNumber(value)
		// An account written as a number has lost the zeros before it.
		for lacks := accountDigits - len(value); isAccount(field) && digits(value) && lacks > 0; lacks-- {
			r.line = append(r.line, '0')
		}
	}
	if len(value) == 0 || (c != '"' && string(value) == "null") {
		r.line = append(r.line, '-')
		return nil
	}
	for _, b := range value {
		switch b {
		case ' ':
			r.line = append(r.line, "%20"...) // as AWS writes the values of tags
		case '\r', '\n':
		default:
			r.line = append(r.line, b)
		}
	}
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

// wholeNumber cuts the fraction off a JSON number that is written as a float and is none: tables of mixed types write 443.0.
func wholeNumber(text []byte) []byte {
	whole, fraction, cut := bytes.Cut(text, []byte("."))
	if !cut || len(whole) == 0 || len(fraction) == 0 || len(bytes.Trim(fraction, "0")) > 0 {
		return text
	}
	return whole
}

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
