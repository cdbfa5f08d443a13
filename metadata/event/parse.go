package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"time"
)

// Bounds of what is read. They are wide: they catch broken clocks and runaway writers, not unusual estates.
const (
	// MaxLine is the longest line in bytes, without its line end.
	MaxLine = 256 << 10
	// MaxText is the longest scope, owner, source, name or other single text in bytes.
	MaxText = 1024
	// MaxAcc is the largest border uncertainty in milliseconds: seven days.
	MaxAcc = 7 * 24 * 3600 * 1000
	// MaxListen is the largest number of ports in one event.
	MaxListen = 1024
	// DefaultMaxFuture is how far ahead of the reader's clock a told time may lie.
	DefaultMaxFuture = 10 * time.Minute
	// latest is the last end that is accepted: the year 2100. Ends may be planned, so they may lie ahead.
	latest = 4102444800000
	// From secondsFrom to secondsTo, a number is a time of these decades in seconds; in milliseconds it would lie in January 1970.
	secondsFrom, secondsTo = 1_200_000_000, 2_400_000_000
)

// Reason is why a line was rejected or skipped. Its text is a metric label.
type Reason string

// The reasons.
const (
	BadJSON        Reason = "bad-json"
	TooLong        Reason = "too-long"
	UnknownVersion Reason = "unknown-version"
	UnknownOp      Reason = "unknown-op"
	MissingField   Reason = "missing-field"
	BadAddress     Reason = "bad-address"
	BadTime        Reason = "bad-time"
	FutureTime     Reason = "future-time"
	BadValue       Reason = "bad-value"
)

// Reasons returns every reason, for metrics that exist before their first count. The slice is the caller's.
func Reasons() []Reason {
	return []Reason{BadJSON, TooLong, UnknownVersion, UnknownOp, MissingField, BadAddress, BadTime, FutureTime, BadValue}
}

// Skipped says whether lines of this reason are passed over by design, so that newer writers can talk to older readers.
func (r Reason) Skipped() bool { return r == UnknownOp || r == UnknownVersion }

// Error is why one event was not accepted.
type Error struct {
	Reason Reason
	// Line is the number of the line from 1, 0 when it is not known.
	Line int
	Err  error
}

// Error says where and why.
func (e *Error) Error() string {
	if e.Line == 0 {
		return "reading identity event: " + e.Err.Error()
	}
	return fmt.Sprintf("reading identity event: line %d: %s", e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func reject(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}

// Parser reads single lines. The zero value judges times by the machine's clock and DefaultMaxFuture. Safe for concurrent use.
type Parser struct {
	// Now is the clock that future times are judged by; nil is time.Now.
	Now func() time.Time
	// MaxFuture is how far ahead of Now a told time may lie; 0 is DefaultMaxFuture.
	MaxFuture time.Duration
	// DefaultSource is the src of lines that name none.
	DefaultSource string
}

// Parse reads one line, without its line end, into e and validates it. e owns what it holds: line may be reused at once. The
// error is an *Error; e is then not to be used.
func (p Parser) Parse(line []byte, e *Event) error {
	if len(line) > MaxLine {
		return reject(TooLong, "line of %d bytes; at most %d are read", len(line), MaxLine)
	}
	*e = Event{}
	if err := json.Unmarshal(line, e); err != nil {
		// A newer version or op may change the type of a field; it is skipped, not broken.
		var head struct {
			V  int `json:"v"`
			Op Op  `json:"op"`
		}
		if json.Unmarshal(line, &head) == nil {
			if skip := supported(head.V, head.Op); skip != nil && head.Op != "" {
				return skip
			}
		}
		if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			if mistyped.Field == "" {
				return reject(BadJSON, "the line is a JSON %s; write one event, {…}", mistyped.Value)
			}
			switch mistyped.Field {
			case "from", "to", "obs":
				return reject(BadJSON, "%s: a JSON %s is no time; write Unix milliseconds, such as 1767225600000", mistyped.Field, mistyped.Value)
			default:
				return reject(BadJSON, "%s: a JSON %s stands where %s belongs", mistyped.Field, mistyped.Value, kindOf(mistyped.Type))
			}
		}
		return reject(BadJSON, "%w", err)
	}
	if e.Src == "" {
		e.Src = p.DefaultSource
	}
	return p.Validate(e)
}

// kindOf is what JSON calls a type of Event's fields.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	default:
		return "a string"
	}
}

func supported(v int, op Op) error {
	if v != 0 && v != Version {
		return reject(UnknownVersion, "v: version %d is not known; this reader knows %d", v, Version)
	}
	switch op {
	case Assign, Release, Observe, Describe, Progress, SnapBegin, SnapEnd, Coverage, Topology:
		return nil
	case "":
		return reject(MissingField, "op: missing; write assign, release, observe, describe, progress, coverage or topology")
	default:
		return reject(UnknownOp, "op: %q is not known", op)
	}
}

// Validate checks what Parse checks, for events that were not read from text. The error is an *Error.
func (p Parser) Validate(e *Event) error {
	if err := supported(e.V, e.Op); err != nil {
		return err
	}
	if err := e.checkTexts(); err != nil {
		return err
	}
	if err := p.checkTimes(e); err != nil {
		return err
	}
	if err := e.checkAddresses(); err != nil {
		return err
	}
	return e.checkOp()
}

func (e *Event) checkTexts() error {
	t := texts{}
	t.check("src", e.Src)
	t.check("scope", e.Scope)
	t.check("owner", e.Owner)
	t.check("to_scope", e.ToScope)
	t.check("via", e.Via)
	if ep := e.EP; ep != nil {
		t.check("ep.kind", ep.Kind)
		t.check("ep.eni", ep.ENI)
		t.check("ep.instance", ep.Instance)
		t.check("ep.name", ep.Name)
		t.check("ep.subnet", ep.Subnet)
		t.check("ep.az", ep.AZ)
	}
	if wl := e.WL; wl != nil {
		t.check("wl.app", wl.App)
		t.check("wl.app_source", wl.AppSource)
		t.check("wl.cluster", wl.Cluster)
		t.check("wl.account", wl.Account)
		t.check("wl.vpc", wl.VPC)
		t.check("wl.region", wl.Region)
		t.check("wl.team", wl.Team)
	}
	if t.field != "" {
		return reject(BadValue, "%s: text of %d bytes; at most %d are read", t.field, t.size, MaxText)
	}
	if len(e.Listen) > MaxListen {
		return reject(BadValue, "listen: %d ports; at most %d are read", len(e.Listen), MaxListen)
	}
	if err := checkPort("port", e.Proto, e.Port); err != nil {
		return err
	}
	for _, l := range e.Listen {
		if err := checkPort("listen", l.Proto, l.Port); err != nil {
			return err
		}
	}
	return nil
}

// texts finds the first text that is too long.
type texts struct {
	field string
	size  int
}

func (t *texts) check(field, s string) {
	if len(s) > MaxText && t.field == "" {
		t.field, t.size = field, len(s)
	}
}

func checkPort(field string, proto, port int) error {
	if proto < 0 || proto > 255 || port < 0 || port > 65535 {
		return reject(BadValue, "%s: proto %d port %d; write a protocol number to 255 and a port to 65535", field, proto, port)
	}
	return nil
}

func (p Parser) checkTimes(e *Event) error {
	now, ahead := time.Now, p.MaxFuture
	if p.Now != nil {
		now = p.Now
	}
	if ahead == 0 {
		ahead = DefaultMaxFuture
	}
	bound := now().Add(ahead).UnixMilli()
	told := [...]struct {
		field string
		ms    int64
		ahead bool // a planned time, which may lie ahead
	}{
		{"from", e.From, e.Op == Topology || e.Op == Coverage},
		{"obs", e.Obs, false},
		{"to", e.To, e.Op != Progress && e.Op != Observe && e.Op != Release},
	}
	for _, t := range told {
		switch {
		case t.ms < 0 || t.ms > latest:
			return reject(BadTime, "%s: %d is no time of this century; write Unix milliseconds", t.field, t.ms)
		case t.ms >= secondsFrom && t.ms < secondsTo:
			return reject(BadTime, "%s: %d is a time in seconds; write Unix milliseconds, %d000", t.field, t.ms, t.ms)
		case !t.ahead && t.ms > bound:
			return reject(FutureTime, "%s: %s is in the future; the writer's clock is wrong, or %d is not in milliseconds",
				t.field, time.UnixMilli(t.ms).UTC().Format(time.RFC3339), t.ms)
		}
	}
	if e.Acc < 0 || e.Acc > MaxAcc {
		return reject(BadTime, "acc: %d ms; write 0 to %d", e.Acc, int64(MaxAcc))
	}
	if e.To != 0 && e.Op != Release && e.Op != Progress {
		start := e.Start()
		if e.Op == Observe {
			start = e.From // without one it is an instant
		}
		if e.To < start || e.To == start && e.Op != Observe {
			return reject(BadTime, "to: %d is not after from %d", e.To, start)
		}
	}
	return nil
}

func (e *Event) checkAddresses() error {
	if e.IP != "" && e.CIDR != "" {
		return reject(BadValue, "cidr: %q stands beside ip %q; write one of them", e.CIDR, e.IP)
	}
	if e.IP != "" {
		ip, err := netip.ParseAddr(e.IP)
		if err != nil {
			return reject(BadAddress, "ip: %q is no address", e.IP)
		}
		if ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			return reject(BadAddress, "ip: %q can have no owner", e.IP)
		}
	}
	for _, c := range [...]struct{ field, s string }{{"cidr", e.CIDR}, {"prefix", e.Prefix}} {
		if c.s == "" {
			continue
		}
		pfx, err := netip.ParsePrefix(c.s)
		if err != nil {
			return reject(BadAddress, "%s: %q is no CIDR", c.field, c.s)
		}
		if pfx.Masked() != pfx {
			return reject(BadAddress, "%s: %q has bits behind its mask; write %s", c.field, c.s, pfx.Masked())
		}
	}
	return nil
}

func (e *Event) checkOp() error {
	missing := func(field, write string) error {
		return reject(MissingField, "%s: missing in %s; write %s", field, e.Op, write)
	}
	switch e.Op {
	case Assign:
		if e.IP == "" && e.CIDR == "" {
			return missing("ip", "the address or a cidr")
		}
		if e.IP != "" && e.Scope == "" {
			return missing("scope", "the VPC id, or public")
		}
		if e.IP != "" && e.Owner == "" {
			return missing("owner", "the stable id of the endpoint")
		}
	case Release, Observe:
		if e.Owner == "" {
			return missing("owner", "whose tenure is meant: an address alone may already be another's")
		}
		if e.IP == "" && e.CIDR == "" {
			return missing("ip", "the address or a cidr")
		}
		if e.Op == Observe && e.CIDR != "" {
			return reject(BadValue, "cidr: an observe is of one address; write ip")
		}
		if e.IP != "" && e.Scope == "" {
			return missing("scope", "the VPC id, or public")
		}
		if e.End() == 0 {
			return missing("to", "when it was, in Unix milliseconds")
		}
	case Describe:
		if e.Owner == "" {
			return missing("owner", "the stable id of the endpoint")
		}
	case Progress:
		if e.Src == "" {
			return missing("src", "the source's id")
		}
		if e.To == 0 {
			return missing("to", "the time up to which everything was told")
		}
	case SnapBegin, SnapEnd:
		if e.Src == "" {
			return missing("src", "the source's id")
		}
	case Coverage:
		if e.Prefix == "" {
			return missing("prefix", "the CIDR whose flows are logged")
		}
		switch e.Actions {
		case "", "ALL", "ACCEPT", "REJECT":
		default:
			return reject(BadValue, "actions: %q; write ALL, ACCEPT or REJECT", e.Actions)
		}
	case Topology:
		if e.Scope == "" || e.ToScope == "" {
			return missing("to_scope", "scope and to_scope, the two routing domains")
		}
		if e.CIDR == "" {
			return missing("cidr", "the destination of the route")
		}
		if e.Owner == "" {
			return missing("owner", "the id of the peering or attachment")
		}
	}
	return nil
}
