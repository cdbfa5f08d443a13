package flowlog

import (
	"bytes"
	"fmt"
	"strconv"
)

// Reason is why a line was rejected; 0 is none. Its String is a metric label.
type Reason uint8

// The reasons.
const (
	ReasonNone Reason = iota
	// ReasonEmpty is a line without any field.
	ReasonEmpty
	// ReasonTooLong is a line of more than MaxLine bytes.
	ReasonTooLong
	// ReasonFieldCount is a line with more or fewer fields than its layout: most often the wrong layout.
	ReasonFieldCount
	// ReasonBadInteger is an integer field that holds something else.
	ReasonBadInteger
	// ReasonIntegerRange is an integer too large or too small for its field.
	ReasonIntegerRange
	// ReasonBadAddress is an address field that holds no IPv4 or IPv6 address, or one with a zone id.
	ReasonBadAddress
	// ReasonBadTime is a start or end that is no time in seconds or milliseconds, or an end before its start.
	ReasonBadTime
	// ReasonBadAction is an action other than ACCEPT and REJECT.
	ReasonBadAction
	// ReasonBadStatus is a log-status other than OK, NODATA and SKIPDATA.
	ReasonBadStatus
	// ReasonBadDirection is a flow-direction other than ingress and egress.
	ReasonBadDirection
	reasonCount
)

// Reasons returns every reason but ReasonNone, for fetching metric children ahead of time.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := ReasonNone + 1; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// String returns the metric label, "" for ReasonNone.
func (r Reason) String() string {
	switch r {
	case ReasonEmpty:
		return "empty"
	case ReasonTooLong:
		return "too_long"
	case ReasonFieldCount:
		return "field_count"
	case ReasonBadInteger:
		return "bad_integer"
	case ReasonIntegerRange:
		return "integer_range"
	case ReasonBadAddress:
		return "bad_address"
	case ReasonBadTime:
		return "bad_time"
	case ReasonBadAction:
		return "bad_action"
	case ReasonBadStatus:
		return "bad_status"
	case ReasonBadDirection:
		return "bad_direction"
	default:
		return ""
	}
}

// LineError says for a person why a line was rejected.
type LineError struct {
	Reason Reason
	// Column is the number of the field at fault, from 1; 0 when the line as a whole is.
	Column int
	// Name and Value are the field's; Value is shortened.
	Name, Value string
	// Want is what would have been right.
	Want string
}

// Error returns for example `integer_range: field 6, srcport: "70000", want an integer from 0 to 65535`.
func (e *LineError) Error() string {
	if e.Column == 0 {
		return fmt.Sprintf("%s: %s", e.Reason, e.Want)
	}
	return fmt.Sprintf("%s: field %d, %s: %q, want %s", e.Reason, e.Column, e.Name, e.Value, e.Want)
}

// Explain says why Append rejected line: a *LineError with the same Reason, or nil when Append takes it.
func Explain(f *Format, line []byte) error {
	if f == nil {
		f = defaultFormat
	}
	line = trimEnd(line)
	reason, i, value := diagnose(f, line)
	e := &LineError{Reason: reason}
	switch reason {
	case ReasonNone:
		return nil
	case ReasonEmpty:
		e.Want = "want " + plural(f.Len(), "field")
		return e
	case ReasonTooLong:
		e.Want = fmt.Sprintf("%d bytes, want at most %d", len(line), MaxLine)
		return e
	case ReasonFieldCount:
		e.Want = fmt.Sprintf("%s, want %d for the layout %s", plural(countFields(line), "field"), f.Len(), clip(f.String()))
		return e
	default: // the others are of one field
	}
	field := f.fields[i]
	e.Column, e.Name, e.Value = i+1, f.names[i], clip(string(value))
	switch reason {
	case ReasonBadInteger, ReasonIntegerRange:
		e.Want = "an integer from 0 to " + strconv.FormatUint(field.limit(), 10)
	case ReasonBadAddress:
		e.Want = "an IPv4 or IPv6 address without a zone"
	case ReasonBadTime:
		e.Want = "Unix seconds (10 digits) or milliseconds (13 digits)"
		if _, ok := parseTime(value); ok {
			e.Want = "no time before start"
		}
	case ReasonBadAction:
		e.Want = "ACCEPT or REJECT"
	case ReasonBadStatus:
		e.Want = "OK, NODATA or SKIPDATA"
	case ReasonBadDirection:
		e.Want = "ingress or egress"
	default: // those of the whole line have returned
	}
	return e
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// diagnose names the first fault of a line (without its line end), the column and its text. It is the slow twin of
// Append and the only place that decides the reason: Append asks it after it has met any fault. A wrong number of fields
// goes before everything else, because it says more: the layout is the wrong one.
func diagnose(f *Format, line []byte) (reason Reason, at int, value []byte) {
	if len(line) > MaxLine {
		return ReasonTooLong, 0, nil
	}
	switch n := countFields(line); n {
	case 0:
		return ReasonEmpty, 0, nil
	case f.Len():
	default:
		return ReasonFieldCount, 0, nil
	}
	start, end, endAt := int64(-1), int64(-1), 0
	var endText []byte
	rest := line
	for i, c := range f.columns {
		var text []byte
		text, rest = cutField(rest)
		if len(text) == 1 && text[0] == '-' {
			continue
		}
		reason, t := checkField(c, text)
		if reason == ReasonIntegerRange && checkInt(text, c.field.widest()) == ReasonNone && statusOf(f, line).idle() {
			continue
		}
		if reason != ReasonNone {
			return reason, i, text
		}
		switch c.field {
		case FieldStart:
			start = t
		case FieldEnd:
			end, endAt, endText = t, i, text
		}
	}
	if start >= 0 && end >= 0 && end < start {
		return ReasonBadTime, endAt, endText
	}
	return ReasonNone, 0, nil
}

// statusOf reads the log-status of a line that has as many fields as f.
func statusOf(f *Format, line []byte) Status {
	for _, c := range f.columns {
		var text []byte
		text, line = cutField(line)
		if c.field == FieldLogStatus {
			return parseStatus(text)
		}
	}
	return StatusNone
}

// checkField judges the text of one present field; t is the time of a time field.
func checkField(c column, text []byte) (reason Reason, t int64) {
	var ok bool
	switch c.kind {
	case kindText, kindID:
	case kindInt:
		return checkInt(text, c.limit), 0
	case kindTime:
		if reason = checkInt(text, c.limit); reason == ReasonBadInteger {
			return reason, 0
		}
		if t, ok = parseTime(text); !ok {
			return ReasonBadTime, 0
		}
		return ReasonNone, t
	case kindAddr:
		if _, ok = parseAddr(text); !ok {
			return ReasonBadAddress, 0
		}
	case kindAction:
		if parseAction(text) == ActionNone {
			return ReasonBadAction, 0
		}
	case kindStatus:
		if parseStatus(text) == StatusNone {
			return ReasonBadStatus, 0
		}
	case kindDirection:
		if parseDirection(text) == DirectionNone {
			return ReasonBadDirection, 0
		}
	}
	return ReasonNone, 0
}

func checkInt(text []byte, limit uint64) Reason {
	digits := text
	if text[0] == '-' {
		digits = text[1:] // a negative number is a number, out of range
	}
	if len(digits) == 0 {
		return ReasonBadInteger
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return ReasonBadInteger
		}
	}
	if v, ok := parseUint(text); !ok || v > limit {
		return ReasonIntegerRange
	}
	return ReasonNone
}

// countFields counts the runs of bytes that are not spaces.
func countFields(line []byte) int {
	n := 0
	for {
		var text []byte
		if text, line = cutField(line); text == nil {
			return n
		}
		n++
	}
}

// cutField cuts the first field off line; nil when there is none.
func cutField(line []byte) (text, rest []byte) {
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	if len(line) == 0 {
		return nil, nil
	}
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}
