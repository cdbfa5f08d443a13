package envelope

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Fault is why a payload was not read whole. Its String is a metric label.
type Fault uint8

// The faults of payloads.
const (
	_ Fault = iota
	// FaultTruncatedGzip is a gzip stream that ends in its middle.
	FaultTruncatedGzip
	// FaultBadGzip is a gzip stream with a wrong header, code or checksum, or with something else behind it.
	FaultBadGzip
	// FaultNestedGzip is more than two layers of gzip.
	FaultNestedGzip
	// FaultBomb is a payload that inflates to more than the limit.
	FaultBomb
	// FaultBadBase64 is a payload that looks like base64 of gzip and is not.
	FaultBadBase64
	// FaultBadJSON is an envelope that is not JSON, or ends in its middle.
	FaultBadJSON
	// FaultUnknownMessageType is an envelope that is neither a DATA_MESSAGE nor a CONTROL_MESSAGE.
	FaultUnknownMessageType
	// FaultUnorderedEnvelope is an envelope whose logEvents come before what they belong to, too large to look ahead.
	FaultUnorderedEnvelope
	// FaultKPLAggregated is a KPL aggregate, which the consumer should have taken apart.
	FaultKPLAggregated
	// FaultRead is an error of the source given to ResetReader.
	FaultRead
	faultCount
)

// Faults returns every fault, for fetching metric children ahead of time.
func Faults() []Fault {
	all := make([]Fault, 0, faultCount-1)
	for f := Fault(1); f < faultCount; f++ {
		all = append(all, f)
	}
	return all
}

// String returns the metric label.
func (f Fault) String() string {
	switch f {
	case FaultTruncatedGzip:
		return "truncated_gzip"
	case FaultBadGzip:
		return "bad_gzip"
	case FaultNestedGzip:
		return "nested_gzip"
	case FaultBomb:
		return "bomb"
	case FaultBadBase64:
		return "bad_base64"
	case FaultBadJSON:
		return "bad_json"
	case FaultUnknownMessageType:
		return "unknown_message_type"
	case FaultUnorderedEnvelope:
		return "unordered_envelope"
	case FaultKPLAggregated:
		return "kpl_aggregated"
	case FaultRead:
		return "read"
	default:
		return ""
	}
}

// FaultError says why and where a payload was not read whole.
type FaultError struct {
	Fault Fault
	// Offset is the place in the text: in the inflated bytes of a compressed payload.
	Offset int64
	Detail string
	// More is how many further faults were passed over.
	More int
	// Err is the cause, nil when there is none below.
	Err error
}

// Error returns for example `bad_json at byte 1024: logEvents: want "," or "]", have "x"`.
func (e *FaultError) Error() string {
	more := ""
	if e.More > 0 {
		more = fmt.Sprintf(", and %d more", e.More)
	}
	if e.Err != nil {
		return fmt.Sprintf("%s at byte %d: %s: %v%s", e.Fault, e.Offset, e.Detail, e.Err, more)
	}
	return fmt.Sprintf("%s at byte %d: %s%s", e.Fault, e.Offset, e.Detail, more)
}

// Unwrap returns the cause.
func (e *FaultError) Unwrap() error { return e.Err }

var (
	errBomb       = errors.New("inflates beyond the limit")
	errNestedGzip = errors.New("gzip within gzip within gzip")
)

// readFault classes an error that came from the source or its decompression.
func readFault(err error, offset int64, layers int) *FaultError {
	e := &FaultError{Offset: offset, Err: err, Detail: "read"}
	if layers > 0 {
		e.Detail = "inflate"
	}
	if _, corrupt := errors.AsType[base64.CorruptInputError](err); corrupt {
		e.Fault = FaultBadBase64
		return e
	}
	switch {
	case errors.Is(err, errBomb):
		e.Fault = FaultBomb
	case errors.Is(err, errNestedGzip):
		e.Fault = FaultNestedGzip
	case layers > 0 && errors.Is(err, io.ErrUnexpectedEOF):
		e.Fault = FaultTruncatedGzip
	case layers > 0 && isGzipError(err):
		e.Fault = FaultBadGzip
	default:
		e.Fault = FaultRead
	}
	return e
}

func isGzipError(err error) bool {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return true
	}
	return isFlateError(err)
}
