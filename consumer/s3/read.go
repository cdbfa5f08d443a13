package s3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"dredge/consumer/columns"
	"dredge/consumer/text"
)

// How a file is cut into payloads. The ids of its rows are made of where its payloads end, so these are no settings: a file that is
// read again, by any worker, must give the same ids.
const (
	blockSize    = 1 << 20
	maxValueSize = 16 << 20
)

// maxInFlight bounds the payloads of one file whose rows are not yet durable.
const maxInFlight = 16

// reader brings files to their end.
func (w *Worker) reader() *text.Reader {
	return &text.Reader{
		Processor: w.d.Processor, Budget: w.d.Budget, PieceSize: blockSize, MaxInFlight: maxInFlight,
		Counters: text.Counters{Bytes: w.m.textBytes, Payloads: w.m.payloads, Cut: w.m.cut, Rewinds: w.m.rewinds}, Log: w.d.Log,
	}
}

// readFile brings a file to its end, from a position on. It returns the position up to which the rows are durable, whatever happens.
// A FileError is the file's fault, any other error the sink's or ctx's.
func (w *Worker) readFile(ctx context.Context, o Object, from int64) (safe int64, err error) {
	return w.reader().Read(ctx, o.ID(), from, func(ctx context.Context, from int64) (text.Pieces, time.Time, error) {
		return w.open(ctx, o, from)
	})
}

// get asks for a file, or a range of it. It asks for the very content that was announced.
func (w *Worker) get(ctx context.Context, o Object, span string) (*s3.GetObjectOutput, error) {
	in := &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key}
	if o.Version != "" {
		in.VersionId = &o.Version
	} else if o.ETag != "" {
		in.IfMatch = aws.String(`"` + o.ETag + `"`)
	}
	if span != "" {
		in.Range = &span
	}
	out, err := w.d.Store.GetObject(ctx, in)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, readFault(fmt.Errorf("read %q: %w", o.ID(), err))
	}
	return out, nil
}

// open begins to read o at a position. What a file is decides what is in it, not its name.
func (w *Worker) open(ctx context.Context, o Object, from int64) (text.Pieces, time.Time, error) {
	if isParquet(o.Key) {
		in, written, err := w.openParquet(ctx, o, from)
		if !errors.Is(err, errNoColumns) {
			return in, written, err
		}
	}
	out, err := w.get(ctx, o, "")
	if err != nil {
		return nil, time.Time{}, err
	}
	body := &body{ReadCloser: out.Body}
	in := bufio.NewReaderSize(body, 64<<10)
	if magic, _ := in.Peek(len(columns.Magic)); string(magic) == columns.Magic {
		_ = body.Close() // most of it was not read
		in, written, err := w.openParquet(ctx, o, from)
		if errors.Is(err, errNoColumns) {
			err = &FileError{Reason: fileCorrupt, Err: err}
		}
		return in, written, err
	}
	f, err := text.OpenFile(struct {
		io.Reader
		io.Closer
	}{in, body}, from, blockSize, maxValueSize, w.d.IsHeader)
	if err != nil {
		return nil, time.Time{}, body.fault(ctx, err)
	}
	return &textPieces{ctx: ctx, body: body, file: f}, arrival(o, out.LastModified), nil
}

// isParquet tells by the name, which saves a request where it is right.
func isParquet(key string) bool { return strings.HasSuffix(key, ".parquet") }

// arrival is when the file was written.
func arrival(o Object, modified *time.Time) time.Time {
	switch {
	case modified != nil:
		return *modified
	case !o.Time.IsZero():
		return o.Time
	}
	return time.Now()
}

// body notes an error of the network, to tell it from one of what was read.
type body struct {
	io.ReadCloser
	err error
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// fault says whose fault err is.
func (b *body) fault(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case b.err != nil:
		return &FileError{Reason: fileFailed, Err: b.err}
	}
	return &FileError{Reason: fileCorrupt, Err: err}
}

// textPieces are those of lines or JSON, compressed or not. They say whose fault an error is.
type textPieces struct {
	ctx  context.Context //nolint:containedctx // lives as long as the pass
	body *body
	file *text.File
}

func (t *textPieces) Next() (text.Block, error) {
	b, err := t.file.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		err = t.body.fault(t.ctx, err)
	}
	return b, err
}

func (t *textPieces) Close() error {
	_ = t.file.Close() // a body that is not read to its end may say so
	return nil
}
