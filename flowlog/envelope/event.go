package envelope

// event reads one event of logEvents.
func (r *Reader) event() bool {
	w := &r.window
	c, done, err := w.next(r.first, ']')
	if err == nil && done {
		r.first, r.state = false, stateMembers
		return false
	}
	if err != nil {
		return r.malformed(err)
	}
	r.first = false
	r.kind, r.id, r.time = KindLine, r.id[:0], 0
	r.meta.Account, r.meta.Region = "", ""
	if c != '{' {
		return r.noEvent(c)
	}
	if r.usualEvent() {
		return true
	}
	w.pos++
	r.lineBuf = r.lineBuf[:0]
	size, isRecord := 0, false
	for first := true; ; first = false {
		c, done, err = w.next(first, '}')
		if err != nil {
			return r.malformed(err)
		}
		if done {
			break
		}
		if c != '"' {
			return r.malformed(errString)
		}
		name, err := w.key(r.scratch)
		if err != nil {
			return r.malformed(err)
		}
		k := keyOf(name)
		if c, err = w.colon(); err != nil {
			return r.malformed(err)
		}
		switch {
		case k == keyMessage && c == '"':
			r.lineBuf, size, err = w.str(r.lineBuf[:0], r.maxLine)
		case k == keyMessage && c == '{':
			r.record.reset()
			err = r.record.object(w)
			isRecord = r.record.complete()
		case k == keyID && c == '"':
			r.id, _, err = w.str(r.id[:0], maxShort)
		case k == keyTimestamp && c != '{' && c != '[' && c != '"':
			r.scratch, err = w.scalar(r.scratch[:0])
			r.time = integer(r.scratch)
		case k == keyExtracted && c == '{':
			err = r.extracted()
		default:
			err = w.skip(c)
		}
		if err != nil {
			return r.malformed(err)
		}
	}
	if isRecord {
		r.takeRecord()
	} else {
		r.takeMessage(size)
	}
	return true
}

// noEvent passes a value among the events that is none. It is one rejected line.
func (r *Reader) noEvent(c byte) bool {
	w := &r.window
	w.keep(r.windowSize)
	if err := w.skip(c); err != nil {
		return r.malformed(err)
	}
	r.rawObject()
	return true
}

// usualEvent reads an event written exactly as CloudWatch does, without escapes, if all of it is in the window: nearly every
// one. It takes half the time of the general way (BenchmarkScan/cloudwatch), most of it because nothing is copied: the line
// is borrowed from the window, which does not move before the following Next. When it is false nothing was read.
func (r *Reader) usualEvent() bool {
	const id, timestamp, message = `{"id":"`, `","timestamp":`, `,"message":"`
	w := &r.window
	b := w.buf[w.pos:]
	if len(b) < len(id) || string(b[:len(id)]) != id {
		return false
	}
	at := len(id)
	idEnd := at + plain(b[at:])
	at = idEnd
	if idEnd > len(id)+maxShort || len(b)-at < len(timestamp) || string(b[at:at+len(timestamp)]) != timestamp {
		return false
	}
	at += len(timestamp)
	time, digits := int64(0), at
	for at < len(b) && b[at]-'0' <= 9 {
		time = time*10 + int64(b[at]-'0')
		at++
	}
	if at == digits || at-digits > 18 || len(b)-at < len(message) || string(b[at:at+len(message)]) != message {
		return false
	}
	at += len(message)
	end := at + plain(b[at:])
	if len(b)-end < 2 || b[end] != '"' || b[end+1] != '}' {
		return false
	}
	r.id = append(r.id, b[len(id):idEnd]...)
	r.time = time
	r.setLine(b[at:end], end-at)
	w.pos += end + 2
	return true
}

// extracted reads extractedFields for the two system fields. Its other keys are names that the author of a filter chose.
func (r *Reader) extracted() error {
	w := &r.window
	w.pos++
	for first := true; ; first = false {
		c, done, err := w.next(first, '}')
		if err != nil || done {
			return err
		}
		if c != '"' {
			return errString
		}
		name, err := w.key(r.scratch)
		if err != nil {
			return err
		}
		k := keyOf(name)
		if c, err = w.colon(); err != nil {
			return err
		}
		switch {
		case k == keyAccount && c == '"':
			r.scratch, _, err = w.str(r.scratch[:0], maxShort)
			r.meta.Account = r.names.String(r.scratch)
		case k == keyRegion && c == '"':
			r.scratch, _, err = w.str(r.scratch[:0], maxShort)
			r.meta.Region = r.names.String(r.scratch)
		default:
			err = w.skip(c)
		}
		if err != nil {
			return err
		}
	}
}

// takeMessage makes lineBuf, of a message of size bytes, the present line. A message that is a record as JSON text becomes
// a record.
func (r *Reader) takeMessage(size int) {
	r.setLine(r.lineBuf, size)
	if len(r.line) > 0 && r.line[0] == '{' && r.size <= r.maxLine && r.record.parse(r.line) {
		r.takeRecord()
	}
}

func (r *Reader) takeRecord() {
	r.kind = KindRecord
	r.setLine(r.record.line, len(r.record.line))
}

// integer reads a timestamp; anything else than digits is 0.
func integer(b []byte) (v int64) {
	if len(b) > 18 {
		return 0
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		v = v*10 + int64(c-'0')
	}
	return v
}
