package file

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dredge/metadata/event"
)

// zstdWindow bounds the memory that a zstd file may ask for.
const zstdWindow = 64 << 20

// load reads a whole file, which may be compressed, or a pipe.
func (s *Source) load(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	in := bufio.NewReader(f)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %q: %w", name, err)
	}
	if info.Mode().IsRegular() && !compressed(head) {
		_, err = s.read(ctx, name, true)
		return err
	}
	text, err := inflated(in, head)
	if err == nil {
		err = errors.Join(s.lines(ctx, name, text), text.Close())
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	return nil
}

const (
	gzipMagic = "\x1f\x8b"
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// compressed says whether a file that begins with head is compressed.
func compressed(head []byte) bool {
	return bytes.HasPrefix(head, []byte(gzipMagic)) || bytes.HasPrefix(head, []byte(zstdMagic))
}

// inflated returns what is in a file that begins with head.
func inflated(in io.Reader, head []byte) (io.ReadCloser, error) {
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		return gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	default:
		return io.NopCloser(in), nil
	}
}

// lines takes in every line of text.
func (s *Source) lines(ctx context.Context, name string, text io.Reader) error {
	t := &tail{}
	report := s.reporter(name, t)
	scan := bufio.NewReaderSize(text, event.MaxLine+2)
	for ctx.Err() == nil {
		line, err := scan.ReadSlice('\n')
		if len(line) > 0 {
			t.line++
			if errors.Is(err, bufio.ErrBufferFull) {
				report(&event.Error{Reason: event.TooLong, Err: fmt.Errorf("line is longer than %d bytes", event.MaxLine)})
				for errors.Is(err, bufio.ErrBufferFull) {
					_, err = scan.ReadSlice('\n')
				}
			} else {
				report(s.take(line))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// tellRefused logs how many lines were not taken in, and why.
func (s *Source) tellRefused() {
	if len(s.refused) == 0 {
		return
	}
	e := s.deps.Logger.Warn().Str("path", s.cfg.Path)
	for _, reason := range event.Reasons() {
		if n := s.refused[reason]; n > 0 {
			e = e.Int(string(reason), n)
		}
	}
	e.Msg("identity events were not taken in")
}
