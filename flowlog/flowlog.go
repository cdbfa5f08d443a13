// Package flowlog is the domain as AWS writes it: the catalogue of flow-log fields (VPC versions 2 to 11, transit gateway
// version 6), layouts of lines (Format), and a Decoder that turns lines into Records without allocating.
//
//	f, err := flowlog.ParseFormat("${version} ${account-id} …")
//	d, b := flowlog.NewDecoder(), &flowlog.Batch{}
//	if reason := d.Append(b, f, line, origin, index); reason != flowlog.ReasonNone {
//		// nothing was appended; flowlog.Explain(f, line) says what was wrong, for a person
//	}
//
// Nothing in a line says which layout it has, and layouts with the same number of fields are common, so a layout is never
// guessed: it comes from a header line, or from configuration (Rules, Chooser).
//
// What AWS writes for "not applicable" is "-". It can stand for any field and is neither zero nor the empty string: the
// field is absent from Record.Present, and its parsed value is the zero value.
package flowlog

// Action is what was done with the traffic.
type Action uint8

// The actions; ActionNone is an absent one.
const (
	ActionNone Action = iota
	Accept
	Reject
)

// String returns AWS's word, "" for ActionNone.
func (a Action) String() string {
	switch a {
	case Accept:
		return "ACCEPT"
	case Reject:
		return "REJECT"
	default:
		return ""
	}
}

// Status is the log-status of a record. A layout without log-status gives StatusNone, which is to be treated like
// StatusOK.
type Status uint8

// The statuses. NODATA says that nothing crossed the interface; SKIPDATA that AWS lost any number of flows.
const (
	StatusNone Status = iota
	StatusOK
	StatusNoData
	StatusSkipData
)

// String returns AWS's word, "" for StatusNone.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "OK"
	case StatusNoData:
		return "NODATA"
	case StatusSkipData:
		return "SKIPDATA"
	default:
		return ""
	}
}

// idle says that a record of this status is no flow, whatever else stands in it.
func (s Status) idle() bool { return s == StatusNoData || s == StatusSkipData }

// Direction is the flow-direction, relative to the recording interface.
type Direction uint8

// The directions.
const (
	DirectionNone Direction = iota
	Ingress
	Egress
)

// String returns AWS's word, "" for DirectionNone.
func (d Direction) String() string {
	switch d {
	case Ingress:
		return "ingress"
	case Egress:
		return "egress"
	default:
		return ""
	}
}
