package row

import "strings"

// Reserved tokens stand in src_app and dst_app where no application may be named. An AWS service stands there as ServicePrefix
// and the service's name in ip-ranges.json, like aws:S3.
const (
	AppUnknown    = "unknown"
	AppAmbiguous  = "ambiguous"
	AppInternet   = "internet"
	ServicePrefix = "aws:"
)

// Kinds of ends that are no endpoint of ours.
const (
	KindUnknown  = "unknown"
	KindInternet = "internet"
	KindService  = "aws-service"
	KindNetwork  = "network"
)

// escape is put before a name that could be taken for a reserved token.
const escape = "="

// EscapeApp returns name as it stands in src_app and dst_app. A name that equals a reserved token, begins with "aws:" or begins
// with "=" gets one "=" put before it, so that no tag can pretend to be a token and every name can be got back; all other
// names stay as they are. The empty name is AppUnknown.
func EscapeApp(name string) string {
	switch {
	case name == "":
		return AppUnknown
	case name == AppUnknown, name == AppAmbiguous, name == AppInternet,
		strings.HasPrefix(name, ServicePrefix), strings.HasPrefix(name, escape):
		return escape + name
	default:
		return name
	}
}

// UnescapeApp returns the name that EscapeApp was given, and whether app is a name at all: a reserved token is none.
func UnescapeApp(app string) (name string, ok bool) {
	if rest, found := strings.CutPrefix(app, escape); found {
		return rest, true
	}
	if app == AppUnknown || app == AppAmbiguous || app == AppInternet || strings.HasPrefix(app, ServicePrefix) {
		return "", false
	}
	return app, true
}

// Status is the short answer to "is this end named": five cases, of which exactly one holds for every end of every row.
type Status uint8

// The statuses.
const (
	// Unattributed ends are ours to know, but nothing names them beyond doubt.
	Unattributed Status = iota
	// Attributed ends carry the name of an application.
	Attributed
	// AmbiguousEnd means that several workloads could have been meant; the candidates stand in the row.
	AmbiguousEnd
	// External ends are public addresses of other people.
	External
	// Service ends are public addresses of an AWS service.
	Service
)

// Statuses is how many there are.
const Statuses = 5

var statusTexts = [Statuses]string{ //nolint:gochecknoglobals // read-only table
	"unattributed", "attributed", "ambiguous", "external", "service",
}

// String returns the text that stands in src_status and dst_status.
func (s Status) String() string { return textOf(statusTexts[:], s) }

// Status tells which of the five cases the end is.
func (s *Side) Status() Status {
	switch {
	case s.Named:
		return Attributed
	case s.App == AppAmbiguous:
		return AmbiguousEnd
	case s.App == AppInternet:
		return External
	case strings.HasPrefix(s.App, ServicePrefix):
		return Service
	default:
		return Unattributed
	}
}
