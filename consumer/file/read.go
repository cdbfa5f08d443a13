package file

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

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

// open begins to read a file at an offset of its text.
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
	}
	in, err := text.OpenFile(&counter{ReadCloser: raw, n: &s.taken}, from, s.cfg.BlockSize, s.cfg.MaxValueSize, s.d.IsHeader)
	if err != nil {
		return nil, written, err
	}
	return in, written, nil
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
