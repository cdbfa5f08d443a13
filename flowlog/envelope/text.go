package envelope

import (
	"bytes"
	"errors"
	"strings"

	"dredge/flowlog"
)

// text reads one value between others: a raw line or a JSON object.
func (r *Reader) text() bool {
	w := &r.window
	for {
		for w.pos < len(w.buf) {
			c := w.buf[w.pos]
			if c == '\n' {
				r.newlines++
			} else if c != ' ' && c != '\t' && c != '\r' {
				break
			}
			w.pos++
		}
		if w.pos < len(w.buf) {
			if w.buf[w.pos] == magicBOM[0] && w.have(len(magicBOM)) && bytes.HasPrefix(w.buf[w.pos:], []byte(magicBOM)) {
				w.pos += len(magicBOM) // of a file that stands behind another
				continue
			}
			break
		}
		if !w.more() {
			if !w.ended() {
				r.fail(FaultRead, "", nil)
			}
			r.state = stateDone
			return false
		}
	}
	r.meta, r.kind, r.id, r.time = Meta{}, KindLine, r.id[:0], 0
	r.number = r.newlines + 1
	if w.buf[w.pos] == '{' {
		w.keep(r.windowSize)
		r.object = object{kind: objectPlain, begin: w.offset()}
		w.pos++
		r.record.reset()
		r.first = true
		r.state = stateMembers
		return false
	}
	r.object = object{}
	if !r.rawLine() {
		return false
	}
	if c := r.line[0]; 'a' <= c && c <= 'z' && r.size <= r.maxLine && flowlog.IsHeader(r.line) {
		r.header = append(r.header[:0], r.line...)
		r.hasHeader = true
		return false
	}
	return true
}

// rawLine reads up to the line end. A line that the source breaks off is dropped: its last number could be cut.
func (r *Reader) rawLine() bool {
	w := &r.window
	seen := 0
	for {
		if i := bytes.IndexByte(w.buf[w.pos+seen:], '\n'); i >= 0 {
			r.setLine(w.buf[w.pos:w.pos+seen+i], seen+i)
			w.pos += seen + i + 1
			r.newlines++
			return true
		}
		seen = len(w.buf) - w.pos
		if seen > r.maxLine && w.err == nil {
			return r.longLine()
		}
		if !w.more() {
			break
		}
	}
	if !w.ended() {
		w.pos = len(w.buf)
		r.fail(FaultRead, "", nil)
		return false
	}
	r.setLine(w.buf[w.pos:], seen)
	w.pos = len(w.buf)
	return true
}

// setLine makes text, of a value of size bytes, the present line. It is cut here, or was cut before.
func (r *Reader) setLine(text []byte, size int) {
	if size == len(text) {
		for size > 0 && (text[size-1] == '\n' || text[size-1] == '\r') {
			size--
		}
		text = text[:size]
	}
	r.line, r.size = text[:min(len(text), r.maxLine)], size
}

// longLine passes a line that is too long and keeps its beginning.
func (r *Reader) longLine() bool {
	w := &r.window
	r.lineBuf = append(r.lineBuf[:0], w.buf[w.pos:w.pos+r.maxLine]...)
	size := 0
	for {
		i := bytes.IndexByte(w.buf[w.pos:], '\n')
		if i >= 0 {
			size += i
			w.pos += i + 1
			r.newlines++
			break
		}
		size += len(w.buf) - w.pos
		w.pos = len(w.buf)
		if !w.more() {
			if !w.ended() {
				r.fail(FaultRead, "", nil)
				return false
			}
			break
		}
	}
	r.line, r.size = r.lineBuf, size
	return true
}

// malformed deals with a JSON object that can't be read. An envelope is a fault of the payload, which goes on where the next
// object begins. Anything else ends at its line end, as one bad line among others; without a line end nobody can tell where it
// would, so that is a fault too.
func (r *Reader) malformed(err error) bool {
	w := &r.window
	if errors.Is(err, errEnd) {
		r.fail(FaultBadJSON, r.object.kind.String(), err)
		return false
	}
	if r.object.kind != objectPlain {
		r.pass(&FaultError{Fault: FaultBadJSON, Offset: w.offset(), Detail: r.object.kind.String(), Err: err})
		r.resync()
		return false
	}
	offset := w.offset()
	for {
		if i := bytes.IndexByte(w.buf[w.pos:], '\n'); i >= 0 {
			w.pos += i
			break
		}
		w.pos = len(w.buf)
		if !w.more() {
			r.fail(FaultBadJSON, r.object.kind.String(), err)
			r.fault.Offset = min(r.fault.Offset, offset)
			return false
		}
	}
	r.rawObject()
	r.state = stateText
	return true
}

// resync goes to the next object after a broken envelope: one that begins a line, or a CloudWatch message as CloudWatch writes it.
// Inside a value neither can be: JSON has no line ends in strings, and quotes there have a backslash before them.
func (r *Reader) resync() {
	w := &r.window
	w.mark = -1
	r.state = stateText
	w.pos = max(0, w.pos-behind) // the value's fault may be that the next one has begun
	for {
		b := w.buf[w.pos:]
		at, found := nextObject(b)
		r.newlines += int64(bytes.Count(b[:at], []byte{'\n'}))
		w.pos += at
		if found {
			return
		}
		if !w.more() {
			w.pos = len(w.buf)
			return // what is wrong with the source, if anything, is told between the values
		}
	}
}

// nextObject returns where the object begins to which resync goes, or how much of b is certainly before it. It looks at no byte twice: there may be as
// many broken envelopes as fit a payload.
func nextObject(b []byte) (at int, found bool) {
	const message = `{"messageType"`
	for {
		i := bytes.IndexByte(b[at:], '{')
		if i < 0 {
			return max(0, len(b)-1), false // the last byte may be the line end before it
		}
		at += i
		switch rest := b[at:]; {
		case at > 0 && b[at-1] == '\n':
			return at, true
		case bytes.HasPrefix(rest, []byte(message)):
			return at, true
		case len(rest) < len(message) && strings.HasPrefix(message, string(rest)):
			return max(0, at-1), false
		}
		at++
	}
}

// rawObject makes the text of the object up to the present place the present line.
func (r *Reader) rawObject() {
	w := &r.window
	r.kind = KindMalformed
	if w.mark < 0 { // larger than the window, so certainly too long
		r.line, r.size = r.lineBuf[:0], int(w.offset()-r.object.begin)
	} else {
		r.setLine(w.buf[w.mark:w.pos], w.pos-w.mark)
	}
	w.mark = -1
}
