package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"dredge/flowlog/envelope/internal/inflate"
)

// window is the unread text and the bytes around it: buf[pos:] is unread. It either lies on a payload that is text already
// (then it holds all of it and never copies), or slides over a source with a buffer of its own.
type window struct {
	src io.Reader // nil when buf is everything
	own []byte    // the buffer behind buf when there is a source
	buf []byte
	pos int
	// base is the place of buf[0] in the text.
	base int64
	// mark is a place in buf from which on bytes are kept, -1 for none. They are kept while own is not larger than hold;
	// then lost is set and the mark is dropped.
	mark int
	hold int
	lost bool
	// err is why there is no more, io.EOF at the end.
	err error
}

// over lays the window on text.
func (w *window) over(text []byte) {
	*w = window{own: w.own, buf: text, mark: -1, err: io.EOF}
}

// from lets the window slide over src with a buffer of size bytes.
func (w *window) from(src io.Reader, size int) {
	if cap(w.own) < size {
		w.own = make([]byte, size)
	}
	w.own = w.own[:cap(w.own)]
	*w = window{own: w.own, buf: w.own[:0], src: src, mark: -1}
}

// release gives a buffer back that has grown beyond size.
func (w *window) release(size int) {
	if cap(w.own) > size {
		w.own = nil
	}
	w.buf, w.src = nil, nil
}

func (w *window) offset() int64 { return w.base + int64(w.pos) }

// keep sets the mark at the present place.
func (w *window) keep(hold int) { w.mark, w.hold, w.lost = w.pos, hold, false }

// ended tells whether the source is at its end; a wrapped io.EOF is a fault of the source.
func (w *window) ended() bool { return w.err == io.EOF } //nolint:errorlint // io.Reader's end is io.EOF itself

// more gets at least one more byte behind buf. It may move what is in buf: places in it must be taken again from pos and
// mark, and slices of it are no longer valid.
func (w *window) more() bool {
	if w.err != nil {
		return false
	}
	w.slide()
	if len(w.buf) == len(w.own) {
		if w.mark >= 0 && len(w.own) >= w.hold {
			w.mark, w.lost = -1, true
			w.slide()
		}
		if len(w.buf) == len(w.own) {
			grown := make([]byte, 2*len(w.own))
			w.buf = grown[:copy(grown, w.buf)]
			w.own = grown
		}
	}
	for range 100 {
		n, err := w.src.Read(w.own[len(w.buf):])
		w.buf = w.own[:len(w.buf)+n]
		w.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	w.err = io.ErrNoProgress
	return false
}

// behind is how many bytes before pos stay in buf, as far as they ever were: resync looks at them.
const behind = len("\n{")

// slide drops what is before pos and the mark.
func (w *window) slide() {
	from := max(0, w.pos-behind)
	if w.mark >= 0 {
		from = min(from, w.mark)
		w.mark -= from
	}
	if from > 0 {
		w.buf = w.own[:copy(w.own, w.buf[from:])]
		w.base += int64(from)
		w.pos -= from
	}
}

// peek returns the present byte without passing it.
func (w *window) peek() (byte, bool) {
	if w.pos == len(w.buf) && !w.more() {
		return 0, false
	}
	return w.buf[w.pos], true
}

// space passes JSON's white space and returns the byte after it without passing that.
func (w *window) space() (byte, bool) {
	for {
		for w.pos < len(w.buf) {
			switch c := w.buf[w.pos]; c {
			case ' ', '\t', '\r', '\n':
				w.pos++
			default:
				return c, true
			}
		}
		if !w.more() {
			return 0, false
		}
	}
}

// have says whether at least n unread bytes are there, n small.
func (w *window) have(n int) bool {
	for len(w.buf)-w.pos < n {
		if !w.more() {
			return false
		}
	}
	return true
}

// inflater is one layer of gzip that counts what comes out of it.
type inflater struct {
	gz gzip.Reader
	// left is how many bytes may still come out of all layers.
	left *int64
}

func (z *inflater) Read(p []byte) (int, error) {
	n, err := z.gz.Read(p)
	if int64(n) > *z.left {
		n, err = int(*z.left), errBomb
	}
	*z.left -= int64(n)
	return n, err
}

// prefixed reads head, then the rest.
type prefixed struct {
	head []byte
	rest io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.rest.Read(b)
}

func isFlateError(err error) bool {
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return true
	}
	_, ok := errors.AsType[flate.InternalError](err)
	return ok
}

// The first bytes by which layers are known.
const (
	magicGzip   = "\x1f\x8b"
	magicBase64 = "H4sI" // base64 of a gzip header
	magicKPL    = "\xf3\x89\x9a\xc2"
	magicBOM    = "\xef\xbb\xbf"
	sniff       = 4
)

// open finds the layers around the text and lays the window over it. payload is everything, or src is where it comes from.
func (r *Reader) open(payload []byte, src io.Reader) error {
	head := payload
	if src != nil {
		r.input.Reset(src)
		var err error
		head, err = r.input.Peek(sniff)
		src = r.input
		if err != nil && !errors.Is(err, io.EOF) {
			// The source broke within its first bytes, and bufio says so once only. They still count.
			head = bytes.Clone(head)
			src = &prefixed{head: head, rest: failed{err}}
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte(magicKPL)):
		r.fault = &FaultError{Fault: FaultKPLAggregated, Detail: "a KPL aggregate must be taken apart before"}
		return nil
	case bytes.HasPrefix(head, []byte(magicGzip)):
		if src == nil {
			if r.inflateWhole(payload) {
				return r.skipBOM()
			}
			r.bytes.Reset(payload)
			src = &r.bytes
		}
	case bytes.HasPrefix(head, []byte(magicBase64)):
		if src == nil {
			r.bytes.Reset(payload)
			src = &r.bytes
		}
		src = base64.NewDecoder(base64.StdEncoding, src)
	case src == nil:
		r.window.over(payload)
		return r.skipBOM()
	default:
		r.window.from(src, r.windowSize)
		return r.skipBOM()
	}
	r.layers = 1
	if err := r.outer.gz.Reset(src); err != nil {
		return unexpected(err)
	}
	r.window.from(&r.outer, r.windowSize)
	if !r.gzipNext() {
		return r.skipBOM()
	}
	r.head = append(r.head[:0], r.window.buf...)
	r.between = prefixed{head: r.head, rest: readerOrError(&r.outer, r.window.err)}
	r.layers = 2
	if err := r.inner.gz.Reset(&r.between); err != nil {
		return unexpected(err)
	}
	r.window.from(&r.inner, r.windowSize)
	if r.gzipNext() {
		return errNestedGzip
	}
	return r.skipBOM()
}

// inflateWhole inflates a payload of one layer of gzip at once when what comes out is small enough: nearly every one, in less than
// half the time that streaming it takes. When it is false nothing was read: the payload is large, has a second layer or a
// fault, whose place and kind are for streaming to find, after the good lines before it.
func (r *Reader) inflateWhole(payload []byte) bool {
	most := min(r.left, maxWhole)
	if int64(inflate.Size(payload)) > most {
		return false
	}
	var err error
	r.whole, err = r.inflater.Gzip(r.whole, payload, int(most))
	if err != nil || bytes.HasPrefix(r.whole, []byte(magicGzip)) {
		return false
	}
	r.left -= int64(len(r.whole))
	r.layers = 1
	r.window.over(r.whole)
	return true
}

// gzipNext says whether the window begins with another layer of gzip.
func (r *Reader) gzipNext() bool {
	return r.window.have(len(magicGzip)) && bytes.HasPrefix(r.window.buf, []byte(magicGzip))
}

func (r *Reader) skipBOM() error {
	if r.window.have(len(magicBOM)) && bytes.HasPrefix(r.window.buf[r.window.pos:], []byte(magicBOM)) {
		r.window.pos += len(magicBOM)
	}
	return nil
}

// unexpected makes a header that ends at once a truncation; gzip says io.EOF there.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readerOrError repeats an error that came together with the last bytes.
func readerOrError(r io.Reader, err error) io.Reader {
	if err != nil {
		return failed{err}
	}
	return r
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
