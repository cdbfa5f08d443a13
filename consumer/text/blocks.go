// Package text reads files: it cuts their text into pieces that a decoder can take one by one, whatever a file is compressed with, and
// hands them to a stream.Processor until the rows of the whole file are durable.
//
// Where the pieces end depends on the text and the sizes alone, so a file that is read again is cut in the same places.
package text

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Block is a piece of a file's text that a decoder can take by itself.
type Block struct {
	// Data starts with the header line in force, when the text has one and it is not in the piece itself. It is valid until the
	// next call of Next.
	Data []byte
	// End is the offset in the decompressed text after the piece.
	End int64
	// Text is how many bytes of the piece come from the file: Data without a repeated header.
	Text int
	// Cut says that the piece ends in the middle of a line or value, because that is too long.
	Cut bool
}

// Blocks cuts a text into pieces of about size bytes.
//
// Lines are never split. Text whose first character is { or [ is JSON: there a piece ends where a top-level value ends, so that values may
// be glued together, spread over lines, or stand one per line. Memory is bounded by the longest value allowed.
//
// A header line sets the layout of the lines after it, but only within its payload. So each later piece of the same text begins with a
// copy of it. Row ids stay unique: they hold the piece's position, which differs, and the line's place in it.
type Blocks struct {
	src      io.Reader
	size     int
	limit    int
	isHeader func([]byte) bool

	buf    []byte // what was read and is not handed out yet
	header []byte
	out    []byte
	offset int64 // of buf in the text
	json   bool
	begun  bool
	scan   jsonScan
	err    error // of src, io.EOF at the end
}

// NewBlocks cuts src into pieces of about size bytes. A line or JSON value longer than limit is cut there. isHeader says whether a
// line names the fields of the lines after it.
func NewBlocks(src io.Reader, size, limit int, isHeader func([]byte) bool) *Blocks {
	return &Blocks{src: src, size: size, limit: limit, isHeader: isHeader}
}

// skipSize is how much text is passed over at a time; a header longer than this is not noticed there.
const skipSize = 64 << 10

// firstRead is the buffer that reading begins with; it grows to the size of a piece.
const firstRead = 32 << 10

// SkipTo drops text up to offset, of which the rows are durable already. Headers in it stay in force.
func (b *Blocks) SkipTo(offset int64) error {
	for b.offset < offset {
		want := int(min(skipSize, offset-b.offset))
		if err := b.fill(want); err != nil {
			return err
		}
		if len(b.buf) == 0 {
			return fmt.Errorf("the text ends at %d, before the position %d to go on from: is it another file?", b.offset, offset)
		}
		b.begin()
		n := min(want, len(b.buf))
		if i := bytes.LastIndexByte(b.buf[:n], '\n'); i >= 0 && b.offset+int64(n) < offset {
			n = i + 1 // headers are found in whole lines
		}
		if !b.json {
			b.findHeader(b.buf[:n])
		}
		b.drop(n)
	}
	b.scan = jsonScan{}
	return nil
}

// Offset is where the next piece begins in the text.
func (b *Blocks) Offset() int64 { return b.offset }

// Next returns the next piece, io.EOF at the end of the text, or the source's error when nothing whole is left before it.
func (b *Blocks) Next() (Block, error) {
	target := b.size
	for {
		if err := b.fill(target); err != nil {
			return Block{}, err
		}
		if len(b.buf) == 0 {
			return Block{}, b.err
		}
		b.begin()
		last := len(b.buf) <= target && b.err != nil
		if last && errors.Is(b.err, io.EOF) {
			return b.hand(len(b.buf), false), nil
		}
		n := b.boundary(min(target, len(b.buf)))
		switch {
		case n > 0:
			return b.hand(n, false), nil
		case last:
			return Block{}, b.err // what is left may be half a line
		case target == b.limit:
			b.scan = jsonScan{}
			n := min(len(b.buf), b.limit)
			if i := bytes.LastIndexByte(b.buf[:n], '\n'); i >= 0 {
				n = i + 1 // the value may be a broken one, and whole ones follow it in lines of their own
			}
			return b.hand(n, true), nil
		}
		target = min(2*target, b.limit)
	}
}

// fill reads until want bytes are there or the source has no more. It returns the source's error only when nothing is there.
func (b *Blocks) fill(want int) error {
	for len(b.buf) < want && b.err == nil {
		if len(b.buf) == cap(b.buf) {
			// Files may be very many and very small.
			grown := make([]byte, len(b.buf), min(want, max(firstRead, 4*len(b.buf))))
			copy(grown, b.buf)
			b.buf = grown
		}
		n, err := b.src.Read(b.buf[len(b.buf):min(want, cap(b.buf))])
		b.buf = b.buf[:len(b.buf)+n]
		b.err = err
	}
	if len(b.buf) == 0 && b.err != nil && !errors.Is(b.err, io.EOF) {
		return b.err
	}
	return nil
}

// begin decides at the first character that is no space what kind of text it is.
func (b *Blocks) begin() {
	if b.begun {
		return
	}
	if t := bytes.TrimLeft(b.buf, " \t\r\n\ufeff"); len(t) > 0 {
		b.begun = true
		b.json = t[0] == '{' || t[0] == '['
	}
}

// boundary returns the length of the longest piece within the first n bytes that ends where a decoder may stop; 0 when none does.
func (b *Blocks) boundary(n int) int {
	if b.json {
		return b.scan.boundary(b.buf[:n])
	}
	return bytes.LastIndexByte(b.buf[:n], '\n') + 1
}

// hand gives out the first n bytes of the buffer.
func (b *Blocks) hand(n int, cut bool) Block {
	piece := b.buf[:n]
	b.out = b.out[:0]
	if !b.json && len(b.header) > 0 && !b.isHeaderLine(firstLine(piece)) {
		b.out = append(append(b.out, b.header...), '\n')
	}
	b.out = append(b.out, piece...)
	if !b.json {
		b.findHeader(piece)
	}
	b.drop(n)
	return Block{Data: b.out, End: b.offset, Text: n, Cut: cut}
}

// drop forgets the first n bytes.
func (b *Blocks) drop(n int) {
	b.offset += int64(n)
	rest := copy(b.buf, b.buf[n:])
	b.buf = b.buf[:rest]
	b.scan.moved(n)
}

// findHeader keeps the last header line of text. Data lines begin with a digit, so nearly all of them are passed by at a glance.
func (b *Blocks) findHeader(text []byte) {
	for len(text) > 0 {
		line := firstLine(text)
		if b.isHeaderLine(line) {
			b.header = append(b.header[:0], line...)
		}
		text = text[min(len(text), len(line)+1):]
	}
}

func (b *Blocks) isHeaderLine(line []byte) bool {
	line = bytes.TrimSuffix(bytes.TrimPrefix(line, []byte("\ufeff")), []byte("\r"))
	return len(line) > 0 && 'a' <= line[0] && line[0] <= 'z' && b.isHeader(line)
}

func firstLine(text []byte) []byte {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return line
}

// jsonScan follows nesting and strings over a growing buffer, so that each byte is looked at once.
type jsonScan struct {
	seen     int // bytes of the buffer looked at
	last     int // end of the last whole top-level value, or line between values
	depth    int
	inString bool
	escaped  bool
}

// boundary looks at the rest of text and returns the end of the last whole value in it.
func (s *jsonScan) boundary(text []byte) int {
	for ; s.seen < len(text); s.seen++ {
		c := text[s.seen]
		switch {
		case s.escaped:
			s.escaped = false
		case s.inString:
			switch c {
			case '\\':
				s.escaped = true
			case '"':
				s.inString = false
			}
		case c == '"' && s.depth > 0:
			s.inString = true
		case c == '{' || c == '[':
			s.depth++
		case c == '}' || c == ']':
			if s.depth--; s.depth <= 0 {
				s.depth = 0
				s.last = s.seen + 1
			}
		case c == '\n' && s.depth == 0:
			s.last = s.seen + 1
		}
	}
	return s.last
}

// moved takes account of n bytes taken from the front of the buffer.
func (s *jsonScan) moved(n int) {
	s.seen = max(0, s.seen-n)
	s.last = max(0, s.last-n)
}
