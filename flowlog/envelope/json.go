package envelope

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep a value that is skipped may be nested.
const maxDepth = 64

// The faults of JSON text. They are constant so that bad text costs no allocation; the place says the rest.
var (
	errEnd     = errors.New("the text ends inside a JSON value")
	errString  = errors.New("want a string")
	errControl = errors.New("control character inside a string")
	errEscape  = errors.New("unknown escape inside a string")
	errColon   = errors.New(`want ":" after a key`)
	errComma   = errors.New(`want "," or the end of the object or array`)
	errValue   = errors.New("want a value")
	errDepth   = errors.New("nested deeper than 64 levels")
)

const (
	lanes = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns how many bytes at the beginning of b stand for themselves inside a JSON string: up to the first quote,
// backslash or control character.
func plain(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^'"'*lanes, x^'\\'*lanes
		// The lowest bit is exact: a borrow comes only from a hit below.
		if hit := ((quote-lanes)&^quote | (slash-lanes)&^slash | (x-' '*lanes)&^x) & highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
		i++
	}
	return i
}

// str reads the string at the present place and appends its value to dst, of which at most most bytes are kept; size is
// the length of the whole.
func (w *window) str(dst []byte, most int) (out []byte, size int, err error) {
	if c, ok := w.peek(); !ok {
		return dst, 0, errEnd
	} else if c != '"' {
		return dst, 0, errString
	}
	w.pos++
	room := most
	for {
		chunk := w.buf[w.pos:]
		n := plain(chunk)
		size += n
		kept := min(n, room)
		dst = append(dst, chunk[:kept]...)
		room -= kept
		w.pos += n
		if n == len(chunk) {
			if !w.more() {
				return dst, size, errEnd
			}
			continue
		}
		switch chunk[n] {
		case '"':
			w.pos++
			return dst, size, nil
		case '\\':
			var buf [8]byte
			value, err := w.escape(buf[:0])
			if err != nil {
				return dst, size, err
			}
			size += len(value)
			if room < len(value) {
				room = 0 // no half characters, and nothing after a gap
			}
			if room > 0 {
				dst = append(dst, value...)
				room -= len(value)
			}
		default:
			return dst, size, errControl
		}
	}
}

// escape reads one escape sequence and appends what it stands for; half a surrogate pair stands for U+FFFD.
func (w *window) escape(dst []byte) ([]byte, error) {
	if !w.have(2) {
		return dst, errEnd
	}
	c := w.buf[w.pos+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, err := w.hex4()
		if err != nil {
			return dst, err
		}
		if utf16.IsSurrogate(r) {
			r = w.lowHalf(r)
		}
		return utf8.AppendRune(dst, r), nil
	default:
		return dst, errEscape
	}
	w.pos += 2
	return append(dst, c), nil
}

// lowHalf completes a surrogate pair whose first half was read. What follows is passed only when it is the second half.
func (w *window) lowHalf(high rune) rune {
	if !w.have(6) || w.buf[w.pos] != '\\' || w.buf[w.pos+1] != 'u' {
		return utf8.RuneError
	}
	at := w.pos
	low, err := w.hex4()
	if err != nil {
		w.pos = at
		return utf8.RuneError
	}
	r := utf16.DecodeRune(high, low)
	if r == utf8.RuneError {
		w.pos = at
	}
	return r
}

// hex4 reads \uXXXX.
func (w *window) hex4() (rune, error) {
	if !w.have(6) {
		return 0, errEnd
	}
	r := rune(0)
	for _, c := range w.buf[w.pos+2 : w.pos+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, errEscape
		}
		r = r<<4 | rune(c)
	}
	w.pos += 6
	return r, nil
}

// key reads a key, short ones without copying; it is valid until the window moves. Of a long key the beginning is
// returned, which is no key that anybody asks for.
func (w *window) key(scratch []byte) ([]byte, error) {
	const most = 64
	if c, ok := w.peek(); ok && c == '"' {
		b := w.buf[w.pos+1:]
		b = b[:min(len(b), most)]
		if n := plain(b); n < len(b) && b[n] == '"' {
			w.pos += n + 2
			return b[:n], nil
		}
	}
	k, size, err := w.str(scratch[:0], most)
	if size > most {
		k = append(k[:0], "(long)"...)
	}
	return k, err
}

// colon passes the colon after a key and returns the first byte of the value.
func (w *window) colon() (byte, error) {
	c, ok := w.space()
	if !ok {
		return 0, errEnd
	}
	if c != ':' {
		return 0, errColon
	}
	w.pos++
	if c, ok = w.space(); !ok {
		return 0, errEnd
	}
	return c, nil
}

// next passes the comma before an element, unless it is the first, and returns the element's first byte. Done means that
// the closing byte was passed instead.
func (w *window) next(first bool, closing byte) (c byte, done bool, err error) {
	c, ok := w.space()
	if !ok {
		return 0, false, errEnd
	}
	if c == closing {
		w.pos++
		return 0, true, nil
	}
	if first {
		return c, false, nil
	}
	if c != ',' {
		return 0, false, errComma
	}
	w.pos++
	if c, ok = w.space(); !ok {
		return 0, false, errEnd
	}
	if c == closing {
		return 0, false, errValue
	}
	return c, false, nil
}

// scalar reads a number, true, false or null and appends its text to dst, at most 64 bytes of it.
func (w *window) scalar(dst []byte) ([]byte, error) {
	n := 0
	for {
		for w.pos < len(w.buf) {
			c := w.buf[w.pos]
			if ('0' > c || c > '9') && ('a' > c || c > 'z') && c != '-' && c != '+' && c != '.' && c != 'E' {
				if n == 0 {
					return dst, errValue
				}
				return dst, nil
			}
			if n < 64 {
				dst = append(dst, c)
			}
			n++
			w.pos++
		}
		if !w.more() {
			return dst, errEnd // every value stands in an object or array
		}
	}
}

// skipString passes a string.
func (w *window) skipString() error {
	w.pos++
	for {
		chunk := w.buf[w.pos:]
		n := plain(chunk)
		w.pos += n
		if n == len(chunk) {
			if !w.more() {
				return errEnd
			}
			continue
		}
		switch chunk[n] {
		case '"':
			w.pos++
			return nil
		case '\\':
			var buf [8]byte
			if _, err := w.escape(buf[:0]); err != nil {
				return err
			}
		default:
			return errControl
		}
	}
}

// skip passes one value whose first byte is c. It keeps a bit per level instead of calling itself, so depth costs no
// stack. Inside it checks the structure, and numbers only by their letters.
func (w *window) skip(c byte) error {
	var objects uint64 // a bit per open level, the lowest for the innermost: 1 for an object
	depth := 0
	for {
		switch c {
		case '{', '[':
			if depth == maxDepth {
				return errDepth
			}
			depth++
			objects <<= 1
			if c == '{' {
				objects |= 1
			}
			w.pos++
			again, err := w.element(&c, true, objects&1 == 1)
			if err != nil {
				return err
			}
			if again {
				continue
			}
			depth--
			objects >>= 1
		case '"':
			if err := w.skipString(); err != nil {
				return err
			}
		default:
			var buf [64]byte
			if _, err := w.scalar(buf[:0]); err != nil {
				return err
			}
		}
		for {
			if depth == 0 {
				return nil
			}
			again, err := w.element(&c, false, objects&1 == 1)
			if err != nil {
				return err
			}
			if again {
				break
			}
			depth--
			objects >>= 1
		}
	}
}

// element goes to the next element of an object or array and puts the first byte of its value into c; false when the
// object or array ended.
func (w *window) element(c *byte, first, object bool) (bool, error) {
	closing := byte(']')
	if object {
		closing = '}'
	}
	b, done, err := w.next(first, closing)
	if err != nil || done {
		return false, err
	}
	if object {
		if b != '"' {
			return false, errString
		}
		if err := w.skipString(); err != nil {
			return false, err
		}
		if b, err = w.colon(); err != nil {
			return false, err
		}
	}
	*c = b
	return true, nil
}
