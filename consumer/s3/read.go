package s3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"dredge/consumer/text"
	"dredge/consumer/window"
	"dredge/internal/retry"
	"dredge/stream"
)

// How a file is cut into payloads. The ids of its rows are made of where its payloads end, so these are no settings: a file that is
// read again, by any worker, must give the same ids.
const (
	blockSize    = 1 << 20
	maxValueSize = 16 << 20
	blockRows    = 4096 // of Parquet
)

const (
	// maxInFlight bounds the payloads of one file whose rows are not yet durable.
	maxInFlight  = 16
	closeTimeout = 10 * time.Second
	// rewindTries bounds the rewinds in a row without progress.
	rewindTries = 10
)

// piece is a part of a file that a decoder can take by itself.
type piece struct {
	data []byte // valid until the next piece is asked for
	end  int64  // position after it
	text int    // bytes of it that come from the file
	cut  bool   // it ends in the middle of a line, because that is too long
}

// pieces yields a file piece by piece, io.EOF at its end.
type pieces interface {
	next() (piece, error)
	close() error
}

// readFile brings a file to its end, from a position on. It returns the position up to which the rows are durable, whatever happens.
// A FileError is the file's fault, any other error the sink's or ctx's.
func (w *Worker) readFile(ctx context.Context, o Object, from int64) (safe int64, err error) {
	h, at, err := w.d.Processor.Open(ctx, o.ID())
	if err != nil {
		return from, fmt.Errorf("open sink: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if cerr := h.Close(ctx); cerr != nil {
			err = errors.Join(err, fmt.Errorf("close sink: %w", cerr))
		}
	}()
	stands, err := parsePosition(at)
	if err != nil {
		return from, fmt.Errorf("the sink's position: %w", err)
	}
	from = max(from, stands)
	for tries := 0; ; tries++ {
		safe, err := w.pass(ctx, o, from, h)
		rewind, ok := errors.AsType[*stream.RewindError](err)
		if !ok {
			return safe, err
		}
		to, perr := parsePosition(rewind.To)
		if perr != nil {
			return safe, errors.Join(err, perr)
		}
		if next := max(from, safe, to); next > from {
			from, tries = next, 0
		}
		if tries == rewindTries {
			return from, fmt.Errorf("%d rewinds without progress: %w", tries, err)
		}
		w.m.rewinds.Inc()
		w.d.Log.Warn().Err(err).Str("file", o.ID()).Int64("position", from).Msg("file is read again from an earlier position")
		if err := retry.Sleep(ctx, time.Duration(tries)*100*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
			return from, err
		}
	}
}

// parsePosition reads a place in a file; "" is the beginning.
func parsePosition(p stream.Position) (int64, error) {
	if p == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(p), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("position %q is not a place in a file", string(p))
	}
	return n, nil
}

// pass reads from a position to the end, and returns the position up to which everything is durable.
func (w *Worker) pass(ctx context.Context, o Object, from int64, h stream.Handler) (safe int64, err error) {
	in, arrived, err := w.open(ctx, o, from)
	if err != nil {
		return from, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	win, err := window.New(maxInFlight)
	if err != nil {
		return from, err
	}
	err = w.deliver(ctx, o, in, arrived, win, h)
	safe, perr := parsePosition(win.Close())
	return max(from, safe), errors.Join(err, perr)
}

// deliver hands the pieces over. An error that the sink reports later ends it.
func (w *Worker) deliver(ctx context.Context, o Object, in pieces, arrived time.Time, win *window.Window, h stream.Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	const reserve = 2 * blockSize // the piece, in the reader and as handed over
	for {
		if err := w.d.Budget.Acquire(ctx, reserve); err != nil {
			return window.CauseOr(ctx, err)
		}
		done, err := func() (bool, error) {
			defer w.d.Budget.Release(reserve)
			p, err := in.next()
			if errors.Is(err, io.EOF) {
				return true, nil
			}
			if err != nil {
				return true, err // what came before it was good, and is waited for
			}
			w.m.textBytes.Add(float64(p.text))
			w.m.payloads.Inc()
			if p.cut {
				w.m.cut.Inc()
			}
			return false, w.handle(ctx, cancel, o, p, arrived, win, h)
		}()
		if !done && err != nil {
			return err
		}
		if done {
			if ferr := h.Flush(ctx); ferr != nil {
				return window.CauseOr(ctx, fmt.Errorf("flush: %w", ferr))
			}
			if werr := win.Err(); werr != nil {
				return werr
			}
			return err
		}
	}
}

func (w *Worker) handle(ctx context.Context, cancel context.CancelCauseFunc, o Object, p piece, arrived time.Time, win *window.Window, h stream.Handler) error {
	at := stream.Position(strconv.FormatInt(p.end, 10))
	return win.Deliver(ctx, h, stream.Chunk{
		Partition: o.ID(), Last: at, Behind: max(0, time.Since(arrived)),
		Payloads: []stream.Payload{{Data: p.data, At: at, Arrived: arrived}},
	}, cancel)
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

// open begins to read o at a position.
func (w *Worker) open(ctx context.Context, o Object, from int64) (pieces, time.Time, error) {
	if isParquet(o.Key) {
		return w.openParquet(ctx, o, from)
	}
	out, err := w.get(ctx, o, "")
	if err != nil {
		return nil, time.Time{}, err
	}
	body := &body{ReadCloser: out.Body}
	in := bufio.NewReaderSize(body, 64<<10)
	if magic, _ := in.Peek(len(parquetMagic)); string(magic) == parquetMagic {
		_ = body.Close() // most of it was not read
		return w.openParquet(ctx, o, from)
	}
	plain, err := text.Decompressed(in)
	if err != nil {
		return nil, time.Time{}, errors.Join(body.fault(ctx, err), body.Close())
	}
	t := &textPieces{ctx: ctx, body: body, plain: plain, blocks: text.NewBlocks(plain, blockSize, maxValueSize, w.d.IsHeader)}
	if err := t.blocks.SkipTo(from); err != nil {
		return nil, time.Time{}, errors.Join(body.fault(ctx, err), t.close())
	}
	return t, arrival(o, out.LastModified), nil
}

// isParquet tells by the name, which saves a request.
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

// textPieces are those of lines or JSON, compressed or not.
type textPieces struct {
	ctx    context.Context //nolint:containedctx // lives as long as the pass
	body   *body
	plain  io.ReadCloser
	blocks *text.Blocks
}

func (t *textPieces) next() (piece, error) {
	b, err := t.blocks.Next()
	if errors.Is(err, io.EOF) {
		return piece{}, io.EOF
	}
	if err != nil {
		return piece{}, t.body.fault(t.ctx, fmt.Errorf("after %d bytes of text: %w", t.blocks.Offset(), err))
	}
	return piece{data: b.Data, end: b.End, text: b.Text, cut: b.Cut}, nil
}

func (t *textPieces) close() error {
	// A broken compressed text has been told already, and a body that is not read to its end may say so.
	_ = t.plain.Close()
	_ = t.body.Close()
	return nil
}
