package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"dredge/consumer/text"
)

const (
	parquetMagic = "PAR1"
	// tailSize is read first: a footer nearly always fits into it, and small files fit whole.
	tailSize = 64 << 10
	// columnBuffer is how much of a column is asked for at a time. All columns together stay within the memory of a slot.
	columnBuffer = 512 << 10
	maxColumns   = 256
	// maxGroupSize bounds the decoded bytes of one row group, of which a page per column is held.
	maxGroupSize = 2 << 30
	valuesAhead  = 512
	maxText      = 4096 // of one value
)

// objectReader reads ranges of a file. It keeps the last bytes of it, where everything starts in Parquet.
type objectReader struct {
	ctx  context.Context //nolint:containedctx // lives as long as the pass
	w    *Worker
	o    Object
	size int64
	tail []byte
	err  error // of S3, to tell it from a broken file
	time time.Time
}

func (w *Worker) openObject(ctx context.Context, o Object) (*objectReader, error) {
	r := &objectReader{ctx: ctx, w: w, o: o}
	out, err := w.get(ctx, o, "bytes=-"+strconv.Itoa(tailSize))
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	if r.tail, err = io.ReadAll(io.LimitReader(out.Body, tailSize+1)); err != nil {
		return nil, r.fault(fmt.Errorf("read the end of %q: %w", o.ID(), err), fileFailed)
	}
	r.size, r.time = int64(len(r.tail)), arrival(o, out.LastModified)
	if out.ContentRange != nil {
		_, total, _ := strings.Cut(*out.ContentRange, "/")
		if n, err := strconv.ParseInt(total, 10, 64); err == nil && n >= r.size {
			r.size = n
		}
	}
	return r, nil
}

func (r *objectReader) fault(err error, reason string) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	if r.err != nil {
		err, reason = r.err, fileFailed
		if named, ok := errors.AsType[*FileError](err); ok {
			return named
		}
	}
	return &FileError{Reason: reason, Err: err}
}

// ReadAt implements io.ReaderAt.
func (r *objectReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= r.size {
		return 0, io.EOF
	}
	if begin := r.size - int64(len(r.tail)); off >= begin {
		n := copy(p, r.tail[off-begin:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	short := int64(len(p)) > r.size-off
	if short {
		p = p[:r.size-off]
	}
	if len(p) == 0 {
		return 0, nil
	}
	out, err := r.w.get(r.ctx, r.o, fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1))
	if err != nil {
		r.err = err
		return 0, err
	}
	defer out.Body.Close()
	n, err := io.ReadFull(out.Body, p)
	if err != nil {
		r.err = err
		return n, err
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// parquetPieces yields the rows of a Parquet file as lines below a header line. Columns are read by name and by what is really in
// them: account ids written as numbers, times as timestamps, numbers as floats.
type parquetPieces struct {
	r       *objectReader
	header  []byte
	columns []*column
	groups  []parquet.RowGroup
	group   int   // being read; its columns are open when left > 0
	left    int64 // rows of it
	row     int64 // next one in the file
	out     []byte
}

// column is a column of the file that is open at a row.
type column struct {
	name    string
	index   int
	kind    parquet.Kind
	perSec  int64 // of a timestamp; 0 is none
	date    bool
	account bool

	pages  parquet.Pages
	page   parquet.Page
	reader parquet.ValueReader
	values []parquet.Value
	buf    []parquet.Value
}

func (w *Worker) openParquet(ctx context.Context, o Object, from int64) (_ text.Pieces, _ time.Time, err error) {
	r, err := w.openObject(ctx, o)
	if err != nil {
		return nil, time.Time{}, err
	}
	p := &parquetPieces{r: r, row: from}
	err = p.guard(func() error {
		f, err := parquet.OpenFile(r, r.size, &parquet.FileConfig{
			SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: columnBuffer, ReadMode: parquet.ReadModeSync,
		})
		if err != nil {
			return err
		}
		return p.begin(f, from)
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	if !w.d.IsHeader(p.header) {
		return nil, time.Time{}, &FileError{Reason: fileLayout, Err: fmt.Errorf("the columns %q are none of a flow log", clip(string(p.header)))}
	}
	return p, r.time, nil
}

// guard names what goes wrong in f. The library panics on some broken files.
func (p *parquetPieces) guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = p.r.fault(fmt.Errorf("broken Parquet: %v", v), fileCorrupt)
		}
	}()
	if err = f(); err == nil || errors.Is(err, errNoMoreRows) {
		return err
	}
	if _, named := errors.AsType[*FileError](err); named {
		return err
	}
	return p.r.fault(err, fileCorrupt)
}

// begin finds the columns and the row group of a row.
func (p *parquetPieces) begin(f *parquet.File, from int64) error {
	for _, c := range f.Root().Columns() {
		name := strings.ReplaceAll(c.Name(), "_", "-")
		if !c.Leaf() || c.MaxRepetitionLevel() > 0 || !isName(name) || len(p.columns) == maxColumns {
			continue
		}
		col := &column{name: name, index: c.Index(), kind: c.Type().Kind(), account: strings.HasSuffix(name, "account-id"), buf: make([]parquet.Value, valuesAhead)}
		if l := c.Type().LogicalType(); l != nil {
			switch t := l.Value.(type) {
			case *format.TimestampType:
				if t.Unit.Value != nil {
					col.perSec = int64(time.Second / t.Unit.Value.Duration())
				}
			case *format.DateType:
				col.date = true
			}
		}
		if len(p.columns) > 0 {
			p.header = append(p.header, ' ')
		}
		p.header = append(p.header, name...)
		p.columns = append(p.columns, col)
	}
	p.groups = f.RowGroups()
	for i, g := range f.Metadata().RowGroups {
		if g.TotalByteSize > maxGroupSize {
			return &FileError{Reason: fileCorrupt, Err: fmt.Errorf("row group %d has %d bytes; %d are allowed", i, g.TotalByteSize, maxGroupSize)}
		}
	}
	for ; p.group < len(p.groups) && from >= p.groups[p.group].NumRows(); p.group++ {
		from -= p.groups[p.group].NumRows()
	}
	if p.group == len(p.groups) {
		return nil // left is 0, so the first piece is the end
	}
	return p.openGroup(from)
}

// isName says whether a column's name can stand in a header line.
func isName(s string) bool {
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return false
		}
	}
	return s != ""
}

// openGroup opens the columns of a row group at one of its rows.
func (p *parquetPieces) openGroup(row int64) error {
	g := p.groups[p.group]
	chunks := g.ColumnChunks()
	for _, c := range p.columns {
		if c.index >= len(chunks) {
			return fmt.Errorf("row group %d has no column %s", p.group, c.name)
		}
		c.pages = chunks[c.index].Pages()
		if row > 0 {
			if err := c.pages.SeekToRow(row); err != nil {
				return fmt.Errorf("column %s: %w", c.name, err)
			}
		}
	}
	p.left = g.NumRows() - row
	return nil
}

func (p *parquetPieces) closeGroup() {
	for _, c := range p.columns {
		c.close()
	}
}

func (c *column) close() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	if c.pages != nil {
		_ = c.pages.Close() // it was only read
	}
	c.page, c.pages, c.reader, c.values = nil, nil, nil, nil
}

// Next implements text.Pieces.
func (p *parquetPieces) Next() (out text.Block, err error) {
	err = p.guard(func() error {
		var err error
		out, err = p.rows()
		return err
	})
	if errors.Is(err, errNoMoreRows) {
		return text.Block{}, io.EOF
	}
	return out, err
}

// errNoMoreRows is the end of the file; io.EOF from the library means that it is cut off.
var errNoMoreRows = errors.New("no more rows")

// rows returns the next rows, up to the end of their row group.
func (p *parquetPieces) rows() (text.Block, error) {
	for p.left == 0 {
		p.closeGroup()
		if p.group++; p.group >= len(p.groups) {
			return text.Block{}, errNoMoreRows
		}
		if err := p.openGroup(0); err != nil {
			return text.Block{}, err
		}
	}
	p.out = append(append(p.out[:0], p.header...), '\n')
	head := len(p.out)
	// Pieces end at the same rows wherever reading began.
	n := min(p.left, blockRows-p.row%blockRows)
	for range n {
		for i, c := range p.columns {
			v, err := c.next()
			if err != nil {
				return text.Block{}, fmt.Errorf("column %s at row %d: %w", c.name, p.row, err)
			}
			if i > 0 {
				p.out = append(p.out, ' ')
			}
			p.out = c.append(p.out, v)
		}
		p.out = append(p.out, '\n')
		p.row++
	}
	p.left -= n
	return text.Block{Data: p.out, End: p.row, Text: len(p.out) - head}, nil
}

// Close implements text.Pieces.
func (p *parquetPieces) Close() error {
	return p.guard(func() error { p.closeGroup(); return nil })
}

// next returns the column's next value. It is valid until the following call.
func (c *column) next() (parquet.Value, error) {
	for len(c.values) == 0 {
		if c.reader == nil {
			page, err := c.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				return parquet.Value{}, io.ErrUnexpectedEOF // fewer values than the group has rows
			}
			if err != nil {
				return parquet.Value{}, err
			}
			c.page, c.reader = page, page.Values()
		}
		n, err := c.reader.ReadValues(c.buf)
		c.values = c.buf[:n]
		if n > 0 {
			break // an error comes again
		}
		if err == nil {
			return parquet.Value{}, io.ErrNoProgress
		}
		if !errors.Is(err, io.EOF) {
			return parquet.Value{}, err
		}
		parquet.Release(c.page)
		c.page, c.reader = nil, nil
	}
	v := c.values[0]
	c.values = c.values[1:]
	return v, nil
}

// accountDigits is how many an account id has; a number has lost its leading zeros.
const accountDigits = 12

// append writes v as AWS writes it in text.
func (c *column) append(dst []byte, v parquet.Value) []byte {
	if v.IsNull() {
		return append(dst, '-')
	}
	switch c.kind {
	case parquet.Boolean:
		return strconv.AppendBool(dst, v.Boolean())
	case parquet.Int32:
		return c.appendInt(dst, int64(v.Int32()))
	case parquet.Int64:
		return c.appendInt(dst, v.Int64())
	case parquet.Int96:
		// The time of old writers: nanoseconds of the day, and the Julian day.
		t := v.Int96()
		const epoch = 2440588
		return strconv.AppendInt(dst, (int64(t[2])-epoch)*86400+int64(uint64(t[1])<<32|uint64(t[0]))/int64(time.Second), 10)
	case parquet.Float:
		return c.appendFloat(dst, float64(v.Float()))
	case parquet.Double:
		return c.appendFloat(dst, v.Double())
	default:
		return appendText(dst, v.ByteArray())
	}
}

func (c *column) appendInt(dst []byte, n int64) []byte {
	switch {
	case c.perSec > 0:
		n /= c.perSec
	case c.date:
		n *= 86400
	case c.account && n >= 0:
		for limit, digits := int64(10), 1; digits < accountDigits; limit, digits = limit*10, digits+1 {
			if n < limit {
				dst = append(dst, "000000000000"[:accountDigits-digits]...)
				break
			}
		}
	}
	return strconv.AppendInt(dst, n, 10)
}

// appendFloat writes a number that a data frame made a float of, because others in its column are missing.
func (c *column) appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return append(dst, '-')
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return c.appendInt(dst, int64(f))
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendText writes a value as one field of a line: what stands for nothing as -, and spaces so that they don't end the field.
func appendText(dst, s []byte) []byte {
	switch string(s) {
	case "", "-", "None", "null", "nan", "NaN", "<NA>":
		return append(dst, '-')
	}
	for _, b := range s[:min(len(s), maxText)] {
		if b <= ' ' || b == 0x7f {
			const hex = "0123456789ABCDEF"
			dst = append(dst, '%', hex[b>>4], hex[b&15])
			continue
		}
		dst = append(dst, b)
	}
	return dst
}
