package geo

import "fmt"

// Reason is why a file, or an entry of it, was not taken in. Its text is a metric label.
type Reason string

// The reasons.
const (
	Unreadable Reason = "unreadable"
	TooLarge   Reason = "too-large"
	BadJSON    Reason = "bad-json"
	BadEntry   Reason = "bad-entry"
	NoEntries  Reason = "no-entries"
	Older      Reason = "older"
	Corrupt    Reason = "corrupt"
)

// Reasons returns every reason, for metrics that exist before their first count. The slice is the caller's.
func Reasons() []Reason {
	return []Reason{Unreadable, TooLarge, BadJSON, BadEntry, NoEntries, Older, Corrupt}
}

// Error is why something was not taken in; what was known before stays in force.
type Error struct {
	Reason Reason
	Err    error
}

// Error returns the cause's text.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func refuse(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}
