package stream

import (
	"errors"
	"fmt"
)

// ErrFenced says that another worker owns the partition now. The source stops it, evicts its lease conditionally and backs off.
var ErrFenced = errors.New("partition fenced by another owner")

// RewindError says that what was in flight is lost to the sink, which stands at To: the source discards it and reads on from
// To, keeping its lease.
type RewindError struct {
	To  Position
	Err error
}

func (e *RewindError) Error() string { return fmt.Sprintf("rewind to %q: %v", string(e.To), e.Err) }

// Unwrap returns what made the rewind necessary.
func (e *RewindError) Unwrap() error { return e.Err }

// PermanentError is a refusal that no retry mends (an ACL, a missing topic). The partition is stopped loudly; nothing is
// dead-lettered and nothing is checkpointed past it.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return "permanent: " + e.Err.Error() }

// Unwrap returns the refusal itself.
func (e *PermanentError) Unwrap() error { return e.Err }
