package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"dredge/consumer/columns"
	"dredge/consumer/text"
)

// errStdin says that what was lost cannot be read again.
var errStdin = errors.New("standard input cannot be read again")

// reader brings the files of s to their end.
func (s *Source) reader() *text.Reader {
	return &text.Reader{
		Processor: s.d.Processor, Budget: s.d.Budget, PieceSize: int64(s.cfg.BlockSize), MaxInFlight: s.cfg.MaxInFlight,
		Again: func(path string) error {
			if path == Stdin {
				return errStdin
			}
			return nil
		},
		Counters: text.Counters{Bytes: s.m.bytes, Payloads: s.m.payloads, Cut: s.m.cut, Rewinds: s.m.rewinds}, Log: s.d.Log,
	}
}

// read brings one file to its end.
func (s *Source) read(ctx context.Context, path string) error {
	_, err := s.reader().Read(ctx, path, 0, func(_ context.Context, from int64) (text.Pieces, time.Time, error) {
		return s.open(path, from)
	})
	return err
}

// open begins to read a file at an offset of its text, or a Parquet file at a row.
func (s *Source) open(path string, from int64) (text.Pieces, time.Time, error) {
	raw, written := io.NopCloser(s.d.Stdin), time.Now()
	if path != Stdin {
		f, err := os.Open(path)
		if err != nil {
			return nil, written, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, written, errors.Join(err, f.Close())
		}
		raw, written = f, info.ModTime()
		if info.Mode().IsRegular() && columns.Is(f) {
			in, err := s.openColumns(f, info.Size(), from)
			return in, written, err
		}
	}
	in, err := text.OpenFile(&counter{ReadCloser: raw, n: &s.taken}, from, s.cfg.BlockSize, s.cfg.MaxValueSize, s.d.IsHeader)
	if err != nil {
		return nil, written, err
	}
	return in, written, nil
}

// columnFile is a Parquet file on disk.
type columnFile struct {
	*columns.File
	raw io.Closer
}

// openColumns begins to read f, which is the answer's to close, whatever it is.
func (s *Source) openColumns(f *os.File, size, from int64) (text.Pieces, error) {
	in, err := columns.Open(&counterAt{ReaderAt: f, n: &s.taken, size: size}, size, from)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !s.d.IsHeader(in.Header()) {
		return nil, errors.Join(fmt.Errorf("the columns %.80q are none of a flow log", in.Header()), in.Close(), f.Close())
	}
	return &columnFile{File: in, raw: f}, nil
}

// Close ends the reading.
func (c *columnFile) Close() error { return errors.Join(c.File.Close(), c.raw.Close()) }

// counterAt counts what is read through it; the footer is read twice, so it never tells more than there is.
type counterAt struct {
	io.ReaderAt
	n          *atomic.Int64
	size, seen int64
}

// ReadAt implements io.ReaderAt, for one caller at a time.
func (c *counterAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	fresh := min(int64(n), c.size-c.seen)
	c.seen += fresh
	c.n.Add(fresh)
	return n, err
}

// counter counts what is read through it.
type counter struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}
