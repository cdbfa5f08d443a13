package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"dredge/consumer/columns"
	"dredge/consumer/text"
)

// tailSize is read of a Parquet file first: a footer nearly always fits into it, and small files fit whole.
const tailSize = 64 << 10

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

// columnPieces are those of a Parquet file. They say whose fault an error is.
type columnPieces struct {
	r    *objectReader
	file *columns.File
}

// openParquet begins to read a file of columns. The error is errNoColumns when it is none, whatever its name says.
func (w *Worker) openParquet(ctx context.Context, o Object, from int64) (text.Pieces, time.Time, error) {
	r, err := w.openObject(ctx, o)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !bytes.HasSuffix(r.tail, []byte(columns.Magic)) {
		return nil, time.Time{}, errNoColumns
	}
	f, err := columns.Open(r, r.size, from)
	if err != nil {
		return nil, time.Time{}, r.fault(err, fileCorrupt)
	}
	if !w.d.IsHeader(f.Header()) {
		return nil, time.Time{}, errors.Join(
			&FileError{Reason: fileLayout, Err: fmt.Errorf("the columns %q are none of a flow log", clip(string(f.Header())))}, f.Close())
	}
	return &columnPieces{r: r, file: f}, r.time, nil
}

// errNoColumns says that a file does not end as Parquet does.
var errNoColumns = errors.New("the file does not end as Parquet does: it was cut off")

// Next implements text.Pieces.
func (p *columnPieces) Next() (text.Block, error) {
	b, err := p.file.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		err = p.r.fault(err, fileCorrupt)
	}
	return b, err
}

// Close implements text.Pieces.
func (p *columnPieces) Close() error {
	if err := p.file.Close(); err != nil {
		return p.r.fault(err, fileCorrupt)
	}
	return nil
}
