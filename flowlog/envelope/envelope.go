// Package envelope unfolds one payload into flow-log lines: CloudWatch subscription messages (gzip, multi-member, glued),
// raw lines, {"message":…} lines, and the shapes of Firehose. It streams: a payload is never held inflated as a whole.
package envelope

import "errors"

// Meta is what an envelope says about the lines that follow. Strings are valid until the next Meta.
type Meta struct {
	MessageType, Owner, LogGroup, LogStream string
	// Account and Region are @aws.account and @aws.region when system fields were emitted; they outrank Owner.
	Account, Region string
}

// Kind says what Next returned.
type Kind uint8

// Reader unfolds payloads one after another, reusing its buffers. Not safe for concurrent use.
//
//	r.Reset(payload)
//	for r.Next() {
//		use(r.Line(), r.Meta())
//	}
//	fault := r.Err()
type Reader struct{}

// NewReader returns a Reader that refuses payloads which inflate to more than maxInflated bytes and cuts lines longer
// than maxLine (they come as a fault of that line, not of the payload).
func NewReader(maxInflated int64, maxLine int) *Reader { return &Reader{} }

// Reset starts on payload, which must stay unchanged until the last Next.
func (r *Reader) Reset(payload []byte) {}

// Next moves to the next line.
func (r *Reader) Next() bool { return false }

// Line is the present line without its end, borrowed until the following Next.
func (r *Reader) Line() []byte { return nil }

// Meta describes the envelope of the present line.
func (r *Reader) Meta() *Meta { return nil }

// Err is why the payload ended early, nil at its ordinary end. Lines before the fault were good and count.
func (r *Reader) Err() error { return errors.New("not built yet") }
