// Package envelope unfolds one payload into flow-log lines: CloudWatch subscription messages (gzip, multi-member, glued),
// raw lines, {"message":…} lines, and the shapes of Firehose. It streams: a payload that inflates to more than 2 MiB is never
// held inflated as a whole.
//
// Around the text there may be gzip (several members, at most two layers), or base64 of it. The text is a sequence of
// values; each is looked at by itself:
//
//   - a JSON object with messageType is a CloudWatch envelope: every event's message is a line. Keys may come in any
//     order. When logEvents comes before the keys that describe it, the reader looks ahead as far as 16 MiB.
//   - a JSON object with a string called message (Firehose, log forwarders) is that line
//   - a JSON object with a flow log's fields (CloudWatch's parseVPC transformer, Athena) becomes a line of those fields in
//     the object's order, and Header names them; "" and null become "-", spaces inside a value "%20"
//   - a JSON object with records[].data (Firehose's HTTP form) is unfolded payload by payload
//   - anything else is a raw line; a header line is not returned but stays in force for the rest of the payload
//
// A message or record that is faulty in itself is still returned, for the decoder to reject: one bad line never costs its
// neighbours. A faulty envelope costs what is left of it, and reading goes on with the next one; Err tells at the end. A fault
// of the bytes around the text ends the payload. The lines before a fault were good and count.
package envelope

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"dredge/flowlog"
	"dredge/flowlog/envelope/internal/inflate"
)

// Meta is what an envelope says about the lines that follow. It is overwritten by the following Next; the strings in it
// may be kept.
type Meta struct {
	MessageType, Owner, LogGroup, LogStream string
	// Account and Region are @aws.account and @aws.region when system fields were emitted; they outrank Owner.
	Account, Region string
}

// Kind says what Next returned.
type Kind uint8

// The kinds.
const (
	// KindLine is a line as its producer wrote it.
	KindLine Kind = iota
	// KindRecord is a line made of a JSON object; Header names its fields.
	KindRecord
	// KindMalformed is the text of a JSON object that is neither an envelope nor a line nor a record. It is one rejected
	// line.
	KindMalformed
)

// DefaultMaxInflated is the limit of a Reader made with none.
const DefaultMaxInflated = 256 << 20

// Sizes of the buffers.
const (
	inputSize     = 64 << 10
	windowSize    = 128 << 10
	lookAhead     = 16 << 20
	maxWhole      = 2 << 20  // bytes that a payload may inflate to at once
	maxShort      = 512      // bytes kept of an owner, a log group, an event id
	maxRecordData = 16 << 20 // bytes of one Firehose record
)

// Reader unfolds payloads one after another, reusing its buffers. Not safe for concurrent use.
//
//	r.Reset(payload)
//	for r.Next() {
//		use(r.Line(), r.Meta())
//	}
//	fault := r.Err()
type Reader struct {
	maxInflated int64
	maxLine     int
	windowSize  int

	input        *bufio.Reader // only for ResetReader
	bytes        bytes.Reader
	outer, inner inflater
	between      prefixed
	head         []byte
	inflater     inflate.Decoder
	whole        []byte // what it made of the present payload
	left         int64  // of maxInflated
	layers       int

	window  window
	names   flowlog.Interner
	scratch []byte

	state  state
	first  bool // the next element is the first of its object or array
	object object

	meta      Meta
	kind      Kind
	line      []byte
	lineBuf   []byte
	size      int
	id        []byte
	time      int64
	hasHeader bool
	header    []byte
	record    record

	lines    int64 // returned by Next
	newlines int64 // passed between values
	number   int64
	controls int

	data  []byte
	child *Reader
	// fault ended the payload; passed is the first one that did not.
	fault, passed *FaultError
}

// state is where Next goes on.
type state uint8

const (
	stateText    state = iota // between values
	stateMembers              // inside an object, between its members
	stateEvents               // inside logEvents
	stateRecords              // inside records
	stateChild                // in the data of one record
	stateDone
)

// NewReader returns a Reader that refuses payloads which inflate to more than maxInflated bytes (DefaultMaxInflated if that
// is not positive) and cuts lines longer than maxLine (flowlog.MaxLine if that is not positive): see TooLong.
//
// Its memory is bounded by some 2.5 MiB plus maxLine, apart from looking ahead in an envelope whose keys come in
// an unusual order and from Firehose's HTTP form, which need up to 16 MiB for the time of that payload.
func NewReader(maxInflated int64, maxLine int) *Reader {
	if maxInflated <= 0 {
		maxInflated = DefaultMaxInflated
	}
	if maxLine <= 0 {
		maxLine = flowlog.MaxLine
	}
	r := &Reader{maxInflated: maxInflated, maxLine: maxLine, windowSize: max(windowSize, 2*maxLine), state: stateDone}
	r.outer.left, r.inner.left = &r.left, &r.left
	r.scratch, r.record.scratch = make([]byte, 0, 1024), make([]byte, 0, 1024)
	return r
}

// Reset starts on payload, which must stay unchanged until the last Next.
func (r *Reader) Reset(payload []byte) { r.start(payload, nil) }

// ResetReader starts on what src yields, in bounded memory. Errors of src end the payload with FaultRead.
func (r *Reader) ResetReader(src io.Reader) { r.start(nil, src) }

func (r *Reader) start(payload []byte, src io.Reader) {
	if src != nil && r.input == nil {
		r.input = bufio.NewReaderSize(nil, inputSize)
	}
	r.left, r.layers = r.maxInflated, 0
	r.window.release(r.windowSize)
	r.state, r.fault, r.passed = stateText, nil, nil
	r.meta, r.kind, r.line, r.size = Meta{}, KindLine, nil, 0
	r.id, r.time, r.hasHeader = r.id[:0], 0, false
	r.lines, r.newlines, r.number, r.controls = 0, 0, 0, 0
	if cap(r.data) > 1<<20 {
		r.data = nil
	}
	if err := r.open(payload, src); err != nil {
		r.window.over(nil)
		r.fault = readFault(err, 0, r.layers)
	}
}

// Next moves to the next line. It is false at the end and at a fault that ends the payload; Err tells which.
func (r *Reader) Next() bool {
	for r.fault == nil {
		emitted := false
		switch r.state {
		case stateText:
			emitted = r.text()
		case stateMembers:
			emitted = r.members()
		case stateEvents:
			emitted = r.event()
		case stateRecords:
			r.firehose()
		case stateChild:
			emitted = r.fromChild()
		default:
			return false
		}
		if emitted && r.fault == nil {
			r.lines++
			return true
		}
	}
	r.state = stateDone
	return false
}

// fail ends the payload. A fault of the source goes before what it made of the text.
func (r *Reader) fail(fault Fault, detail string, err error) {
	if e := r.window.err; (errors.Is(err, errEnd) || fault == FaultRead) && !r.window.ended() {
		r.fault = readFault(e, r.window.offset(), r.layers)
		return
	}
	r.fault = &FaultError{Fault: fault, Offset: r.window.offset(), Detail: detail, Err: err}
}

// pass notes a fault that costs no more than the value it is in. The first one is told.
func (r *Reader) pass(f *FaultError) {
	if r.passed == nil {
		r.passed = f
		return
	}
	r.passed.More += 1 + f.More
}

// at is the reader of the present line: of the payload, or of a record inside it.
func (r *Reader) at() *Reader {
	if r.state == stateChild {
		return r.child
	}
	return r
}

// Line is the present line without its end, borrowed until the following Next.
func (r *Reader) Line() []byte { return r.at().line }

// TooLong says that the present line is longer than maxLine: Line is its beginning, and Size its whole length. It is to
// be rejected with flowlog.ReasonTooLong.
func (r *Reader) TooLong() bool { return r.at().size > r.maxLine }

// Size is the whole length of the present line in bytes.
func (r *Reader) Size() int { return r.at().size }

// Kind says what the present line is.
func (r *Reader) Kind() Kind { return r.at().kind }

// Header is the header line in force for the present line, nil when there is none. It is borrowed until the following
// Next; flowlog.Chooser.Header makes a layout of it.
func (r *Reader) Header() []byte {
	a := r.at()
	switch {
	case a.kind == KindRecord:
		return a.record.header
	case a.kind == KindLine && a.hasHeader && a.object.kind == objectNone:
		return a.header
	}
	return nil
}

// Meta describes the envelope of the present line. Outside an envelope it is empty.
func (r *Reader) Meta() *Meta { return &r.at().meta }

// EventID is the id of the CloudWatch event that the present line came in, empty outside one. It is the same when the event
// is delivered again. Borrowed until the following Next.
func (r *Reader) EventID() []byte { return r.at().id }

// EventTime is the timestamp of that event in Unix milliseconds, 0 outside one.
func (r *Reader) EventTime() int64 { return r.at().time }

// Number is the place of the present line for a person, from 1: the number of the line in a text file, the ordinal number
// of the message in an envelope.
func (r *Reader) Number() int64 {
	if r.state != stateChild && r.object.kind != objectEnvelope {
		return r.number
	}
	return r.lines
}

// Controls is the number of control messages so far.
func (r *Reader) Controls() int { return r.controls }

// Inflated is the number of bytes that came out of gzip so far.
func (r *Reader) Inflated() int64 { return r.maxInflated - r.left }

// Err is what was wrong with the payload, a *FaultError: why it ended early, else the first of the envelopes of which something
// was passed over; nil when all of it was read. It is final once Next is false. The lines that were returned are good and count.
func (r *Reader) Err() error {
	switch {
	case r.fault != nil:
		return r.fault
	case r.passed != nil:
		return r.passed
	}
	return nil
}
