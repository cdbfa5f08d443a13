package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"dredge/flowlog"
)

// object is what is known of the top-level JSON object being read.
type object struct {
	kind  objectKind
	begin int64 // its offset
	// seen has the describing keys of an envelope that were read.
	seen       members
	control    bool
	foreign    bool // of a messageType that is none of CloudWatch's
	message    bool // lineBuf holds its message, of messageLen bytes
	ahead      bool // reading ahead for what describes logEvents
	messageLen int
}

type objectKind uint8

const (
	objectNone objectKind = iota // no object: a raw line
	objectPlain
	objectEnvelope
	objectFirehose
)

func (k objectKind) String() string {
	switch k {
	case objectEnvelope:
		return "CloudWatch envelope"
	case objectFirehose:
		return "Firehose request"
	default:
		return "JSON object"
	}
}

// members is a set of keys.
type members uint8

const (
	hasMessageType members = 1 << iota
	hasOwner
	hasLogGroup
	hasLogStream
	describing = hasMessageType | hasOwner | hasLogGroup | hasLogStream
)

// names of keys.
type key uint8

const (
	keyOther key = iota
	keyMessageType
	keyOwner
	keyLogGroup
	keyLogStream
	keyLogEvents
	keyID
	keyTimestamp
	keyMessage
	keyExtracted
	keyRecords
	keyData
	keyAccount
	keyRegion
)

func keyOf(name []byte) key {
	switch string(name) {
	case "messageType":
		return keyMessageType
	case "owner":
		return keyOwner
	case "logGroup":
		return keyLogGroup
	case "logStream":
		return keyLogStream
	case "logEvents":
		return keyLogEvents
	case "id":
		return keyID
	case "timestamp":
		return keyTimestamp
	case "message":
		return keyMessage
	case "extractedFields":
		return keyExtracted
	case "records":
		return keyRecords
	case "data":
		return keyData
	case "@aws.account":
		return keyAccount
	case "@aws.region":
		return keyRegion
	}
	return keyOther
}

// members reads the members of a top-level object up to its end, or up to logEvents or records, which have states of their
// own because they yield lines.
func (r *Reader) members() bool {
	w := &r.window
	for {
		c, done, err := w.next(r.first, '}')
		if err != nil {
			return r.malformed(err)
		}
		if done {
			if r.object.ahead {
				return false
			}
			return r.endObject()
		}
		r.first = false
		if c != '"' {
			return r.malformed(errString)
		}
		if err := r.member(); err != nil {
			return r.malformed(err)
		}
		if r.fault != nil || r.state != stateMembers {
			return false
		}
	}
}

func (r *Reader) member() error {
	w := &r.window
	name, err := w.key(r.scratch)
	if err != nil {
		return err
	}
	k, field := keyOf(name), r.record.field(name)
	c, err := w.colon()
	if err != nil {
		return err
	}
	o := &r.object
	switch k {
	case keyMessageType:
		o.kind = objectEnvelope
		return r.messageType(c)
	case keyOwner:
		return r.describe(&r.meta.Owner, hasOwner, c)
	case keyLogGroup:
		return r.describe(&r.meta.LogGroup, hasLogGroup, c)
	case keyLogStream:
		return r.describe(&r.meta.LogStream, hasLogStream, c)
	case keyLogEvents:
		if c == '[' {
			return r.logEvents()
		}
	case keyRecords:
		if c == '[' && o.kind == objectPlain && r.child != r {
			o.kind = objectFirehose
			w.mark = -1
			w.pos++
			r.first, r.state = true, stateRecords
			return nil
		}
	case keyMessage:
		switch c {
		case '"':
			r.lineBuf, o.messageLen, err = w.str(r.lineBuf[:0], r.maxLine)
			o.message = err == nil
			return err
		case '{':
			return r.record.object(w)
		}
	default: // a field of a flow log, or nothing of ours
	}
	if k != keyOther && field == flowlog.FieldOther {
		return w.skip(c) // a key of what a record comes in
	}
	return r.record.member(w, field, c)
}

// describe reads one of the strings that describe an envelope; null and other values leave it empty.
func (r *Reader) describe(dst *string, m members, c byte) error {
	r.object.seen |= m
	if c != '"' {
		return r.window.skip(c)
	}
	var err error
	if r.scratch, _, err = r.window.str(r.scratch[:0], maxShort); err != nil {
		return err
	}
	*dst = r.names.String(r.scratch)
	return nil
}

func (r *Reader) messageType(c byte) error {
	if err := r.describe(&r.meta.MessageType, hasMessageType, c); err != nil {
		return err
	}
	o := &r.object
	o.control, o.foreign = false, false
	switch r.meta.MessageType {
	case "DATA_MESSAGE":
	case "CONTROL_MESSAGE":
		o.control = true
	default:
		o.foreign = true
		r.pass(&FaultError{
			Fault: FaultUnknownMessageType, Offset: r.window.offset(),
			Detail: fmt.Sprintf("messageType %.40q, want DATA_MESSAGE or CONTROL_MESSAGE", r.meta.MessageType),
		})
	}
	return nil
}

// logEvents begins the events. What describes them must be known before the first line is returned, and JSON has no order:
// when something is missing, the rest of the object is read first, and then the events again.
func (r *Reader) logEvents() error {
	w, o := &r.window, &r.object
	o.kind = objectEnvelope
	if o.ahead || o.control || o.foreign {
		return w.skip('[')
	}
	if o.seen != describing {
		w.keep(lookAhead)
		o.ahead = true
		err := w.skip('[')
		if err == nil {
			r.members()
		}
		o.ahead = false
		switch {
		case r.fault != nil || r.state != stateMembers:
			return nil //nolint:nilerr // the fault has been told, and goes before what it made of the text
		case err != nil:
			return err
		case w.lost:
			r.pass(&FaultError{
				Fault: FaultUnorderedEnvelope, Offset: w.offset(),
				Detail: "logEvents come before messageType, owner, logGroup and logStream, by more than 16 MiB",
			})
			return r.passObject()
		case o.foreign:
			return r.passObject()
		case o.seen&hasMessageType == 0:
			r.pass(&FaultError{Fault: FaultUnknownMessageType, Offset: w.offset(), Detail: "logEvents without messageType"})
			return r.passObject()
		}
		o.seen = describing // what is not there will not come
		w.pos, w.mark = w.mark, -1
		if o.control {
			return w.skip('[')
		}
	}
	w.mark = -1
	w.pos++
	r.first, r.state = true, stateEvents
	return nil
}

// passObject leaves an object that was read to its end, and of which nothing is used.
func (r *Reader) passObject() error {
	r.window.mark, r.state = -1, stateText
	return nil
}

// endObject decides what a top-level object was.
func (r *Reader) endObject() bool {
	r.state = stateText
	switch o := &r.object; {
	case o.kind == objectEnvelope:
		if o.control {
			r.controls++
		}
		return false
	case o.kind == objectFirehose:
		return false
	case o.message:
		r.takeMessage(o.messageLen)
	case r.record.complete():
		r.takeRecord()
	default:
		r.rawObject()
	}
	r.window.mark = -1
	return true
}

const recordData = "data of a Firehose record"

// firehose reads one of the records of Firehose's HTTP form and starts on its data.
func (r *Reader) firehose() {
	w := &r.window
	c, done, err := w.next(r.first, ']')
	if err == nil && done {
		r.first, r.state = false, stateMembers
		return
	}
	if err == nil && c != '{' {
		err = errValue
	}
	if err != nil {
		r.malformed(err)
		return
	}
	r.first = false
	w.pos++
	size := -1
	for first := true; ; first = false {
		if c, done, err = w.next(first, '}'); err != nil || done {
			break
		}
		if c != '"' {
			err = errString
			break
		}
		var name []byte
		if name, err = w.key(r.scratch); err != nil {
			break
		}
		k := keyOf(name)
		if c, err = w.colon(); err != nil {
			break
		}
		if k == keyData && c == '"' {
			r.data, size, err = w.str(r.data[:0], maxRecordData)
		} else {
			err = w.skip(c)
		}
		if err != nil {
			break
		}
	}
	switch {
	case err != nil:
		r.malformed(err)
		return
	case size > maxRecordData:
		r.pass(&FaultError{Fault: FaultBomb, Offset: w.offset(), Detail: recordData, Err: errors.New("more than 16 MiB")})
		return
	case size < 0:
		return
	}
	n, err := base64.StdEncoding.Decode(r.data, bytes.TrimSpace(r.data))
	if err != nil {
		r.pass(&FaultError{Fault: FaultBadBase64, Offset: w.offset(), Detail: recordData, Err: err})
		return
	}
	if r.child == nil {
		r.child = NewReader(r.maxInflated, r.maxLine)
		r.child.child = r.child // a record inside a record is not unfolded
	}
	r.child.maxInflated = r.left
	r.child.Reset(r.data[:n])
	r.state = stateChild
}

// fromChild goes on with the data of one record.
func (r *Reader) fromChild() bool {
	if r.child.Next() {
		return true
	}
	r.left = r.child.left
	r.controls += r.child.controls
	for _, f := range []*FaultError{r.child.passed, r.child.fault} {
		if f != nil {
			r.pass(f)
		}
	}
	r.state = stateRecords
	return false
}
