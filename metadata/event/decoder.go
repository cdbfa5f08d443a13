package event

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Stats counts what a Decoder met.
type Stats struct {
	// Lines are all lines that were not blank; Events those that were returned.
	Lines, Events int
	// Refused counts the others by reason, skipped ones included.
	Refused map[Reason]int
}

// Decoder reads JSON Lines. A faulty line costs nothing but itself. Not safe for concurrent use.
type Decoder struct {
	// Parser holds the clock; set it before the first Decode.
	Parser Parser

	r     *bufio.Reader
	buf   []byte
	line  int
	stats Stats
}

// NewDecoder returns a Decoder of r.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, 64<<10), stats: Stats{Refused: map[Reason]int{}}}
}

// Decode reads the next event into e. Blank lines and lines of an unknown op or version are passed over; the latter are counted.
// An *Error is of one line, whose number it says: call Decode again for the next one. io.EOF is the end, any other error the
// reader's.
func (d *Decoder) Decode(e *Event) error {
	for {
		line, err := d.readLine()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if line == nil && err != nil {
			return io.EOF
		}
		d.line++
		if len(line) <= MaxLine {
			line = bytes.TrimSpace(line)
		}
		if d.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(line) == 0 {
			continue
		}
		d.stats.Lines++
		perr := d.Parser.Parse(line, e)
		if perr == nil {
			d.stats.Events++
			return nil
		}
		var refused *Error
		if !errors.As(perr, &refused) {
			return perr
		}
		refused.Line = d.line
		d.stats.Refused[refused.Reason]++
		if !refused.Reason.Skipped() {
			return refused
		}
	}
}

// readLine returns the next line without its line feed; nil and io.EOF at the end. Of a line that is too long it keeps one
// byte more than MaxLine, which is enough to see that.
func (d *Decoder) readLine() ([]byte, error) {
	d.buf = d.buf[:0]
	read := false
	for {
		part, err := d.r.ReadSlice('\n')
		if len(part) > 0 {
			read = true
		}
		complete := err == nil
		if complete {
			part = part[:len(part)-1]
		}
		if room := MaxLine + 1 - len(d.buf); room > 0 {
			d.buf = append(d.buf, part[:min(len(part), room)]...)
		}
		if complete {
			return d.buf, nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if read {
			return d.buf, err
		}
		return nil, err
	}
}

// Stats returns the counts so far. Its map is the Decoder's: read it before the next Decode.
func (d *Decoder) Stats() Stats { return d.stats }
