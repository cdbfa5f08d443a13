package sonar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dredge/metadata/event"
)

// Time is a time as the API writes it: RFC 3339 in UTC with milliseconds, absent when it is not known or still open.
type Time int64

// MarshalJSON writes null for 0 and for times that are open.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 || t == forever {
		return []byte("null"), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Time) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		*t = 0
		return nil
	}
	ms, err := ParseTime(text)
	*t = Time(ms)
	return err
}

// String is the time, or - when there is none.
func (t Time) String() string {
	if t == 0 || t == forever {
		return "-"
	}
	return time.UnixMilli(int64(t)).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// latest is the last time that is understood: the year 2100 in Unix milliseconds.
const latest = 4102444800000

// ParseTime understands RFC 3339, and Unix seconds or milliseconds: numbers below a hundred thousand million are seconds.
func ParseTime(text string) (ms int64, err error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n > 0 && n < 100_000_000_000 {
			n *= 1000
		}
		if n <= 0 || n > latest {
			return 0, fmt.Errorf("%q is no time of this century", text)
		}
		return n, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			if ms := t.UnixMilli(); ms > 0 && ms <= latest {
				return ms, nil
			}
			return 0, fmt.Errorf("%q is no time of this century", text)
		}
	}
	return 0, fmt.Errorf("%q is no time; write 2026-01-02T15:04:05Z, or Unix seconds or milliseconds", text)
}

// Endpoint is one owner of addresses.
type Endpoint struct {
	Owner    string `json:"owner"`
	Kind     string `json:"kind,omitempty"`
	ENI      string `json:"eni,omitempty"`
	Instance string `json:"instance,omitempty"`
	Name     string `json:"name,omitempty"`
	Subnet   string `json:"subnet,omitempty"`
	AZ       string `json:"az,omitempty"`
}

// Workload is what runs behind an owner.
type Workload struct {
	App       string `json:"app,omitempty"`
	AppSource string `json:"app_source,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
	Account   string `json:"account,omitempty"`
	VPC       string `json:"vpc,omitempty"`
	Region    string `json:"region,omitempty"`
	Team      string `json:"team,omitempty"`
}

// Candidate is one who could have been meant.
type Candidate struct {
	Endpoint Endpoint  `json:"endpoint"`
	Workload *Workload `json:"workload,omitempty"`
}

// Evidence is one thing that was told or seen, as far as it bears on an answer.
type Evidence struct {
	// Kind is told, seen (by traffic), or described.
	Kind   string `json:"kind"`
	Op     string `json:"op,omitempty"`
	Source string `json:"source"`
	Owner  string `json:"owner"`
	// Proto and Port narrow a claim to one port.
	Proto int  `json:"proto,omitempty"`
	Port  int  `json:"port,omitempty"`
	From  Time `json:"from"`
	To    Time `json:"to"`
	// AccuracyMillis is the uncertainty of the borders.
	AccuracyMillis int64 `json:"accuracy_ms,omitempty"`
	// Observed is when the source saw it.
	Observed Time   `json:"observed"`
	App      string `json:"app,omitempty"`
}

// Answer is who had an address at one time, in one routing domain.
type Answer struct {
	IP    string `json:"ip"`
	Scope string `json:"scope"`
	At    Time   `json:"at"`
	// Grade says why the answer is believed, or why there is none; Reason what led to it; Why says it in words.
	Grade  string `json:"grade"`
	Reason string `json:"reason"`
	Why    string `json:"why"`
	// Named says that a row of that time would carry the name.
	Named    bool      `json:"named"`
	Endpoint *Endpoint `json:"endpoint,omitempty"`
	Workload *Workload `json:"workload,omitempty"`
	// From and To are the tenure of the endpoint around At.
	From       Time        `json:"from"`
	To         Time        `json:"to"`
	Candidates []Candidate `json:"candidates,omitempty"`
	// Network is the most specific declared network around the address.
	Network  string     `json:"network,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`
	// Truncated says that there is more evidence than is shown.
	Truncated bool `json:"truncated,omitempty"`
}

// Answers is the answer of GET /v1/ip/{addr}: one for each routing domain that knows the address.
type Answers struct {
	Answers []Answer `json:"answers"`
	// Sources says how far each source of these domains has told everything.
	Sources []SourceState `json:"sources,omitempty"`
}

// SourceState is how far one source has told everything.
type SourceState struct {
	Source   string `json:"source"`
	Progress Time   `json:"progress"`
	Heard    Time   `json:"heard"`
	Idle     bool   `json:"idle"`
}

// Tenure is one owner of an address over a time.
type Tenure struct {
	IP    string `json:"ip"`
	Scope string `json:"scope"`
	Proto int    `json:"proto,omitempty"`
	Port  int    `json:"port,omitempty"`
	Owner string `json:"owner"`
	From  Time   `json:"from"`
	To    Time   `json:"to"`
	// AccuracyFromMillis and AccuracyToMillis are the uncertainty of the borders.
	AccuracyFromMillis int64 `json:"accuracy_from_ms,omitempty"`
	AccuracyToMillis   int64 `json:"accuracy_to_ms,omitempty"`
	// Kind is told, or seen when traffic showed it.
	Kind     string    `json:"kind"`
	Sources  []string  `json:"sources"`
	Workload *Workload `json:"workload,omitempty"`
}

// History is the answer of GET /v1/ip/{addr}/history, and of GET /v1/workload/{app}.
type History struct {
	Tenures []Tenure `json:"tenures"`
	// Truncated says that there are more than are shown.
	Truncated bool `json:"truncated,omitempty"`
}

// Change is an address whose owners were others at the end of a time than at its start.
type Change struct {
	IP    string `json:"ip"`
	Scope string `json:"scope"`
	// Kind is assigned, released or moved.
	Kind   string        `json:"kind"`
	Before []ChangeOwner `json:"before,omitempty"`
	After  []ChangeOwner `json:"after,omitempty"`
}

// ChangeOwner is one owner before or after.
type ChangeOwner struct {
	Owner string `json:"owner"`
	App   string `json:"app,omitempty"`
}

// Diff is the answer of GET /v1/diff.
type Diff struct {
	Scope     string   `json:"scope"`
	From      Time     `json:"from"`
	To        Time     `json:"to"`
	Changes   []Change `json:"changes"`
	Truncated bool     `json:"truncated,omitempty"`
}

// ErrBadQuestion is wrapped by every error that the asker can mend.
var ErrBadQuestion = errors.New("bad question")

func badQuestion(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadQuestion}, args...)...)
}

func workload(w *event.Workload) *Workload {
	if w == nil {
		return nil
	}
	return &Workload{App: w.App, AppSource: w.AppSource, Cluster: w.Cluster, Account: w.Account, VPC: w.VPC, Region: w.Region, Team: w.Team}
}
