package text

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow bounds the memory that a zstd file may ask for.
const zstdWindow = 64 << 20

var (
	gzipMagic    = []byte{0x1f, 0x8b}             //nolint:gochecknoglobals // read-only table
	zstdMagic    = []byte{0x28, 0xb5, 0x2f, 0xfd} //nolint:gochecknoglobals // read-only table
	parquetMagic = []byte("PAR1")                 //nolint:gochecknoglobals // read-only table
)

// ErrParquet says that a stream of bytes is no text at all.
var ErrParquet = errors.New("this is Parquet, which begins at its end: it cannot be read from a stream; name the file, not compressed")

// Compression around a text has at most this many layers: what compresses a file that came compressed adds one.
const maxLayers = 2

// Decompressed returns the text of src, whatever its name: gzip (of any number of members) and zstd, and one of them around the
// other, are told by their first bytes. The text must be closed. The error is ErrParquet for a file of columns.
func Decompressed(src io.Reader) (io.ReadCloser, error) {
	t := &decompressed{}
	in := bufio.NewReaderSize(src, 128<<10)
	for layer := 0; ; layer++ {
		head, err := in.Peek(len(parquetMagic))
		if layer == 0 && err != nil && len(head) == 0 && !errors.Is(err, io.EOF) {
			return nil, err // what is wrong with compressed text, reading it tells
		}
		t.Reader = in
		var inner io.ReadCloser
		switch {
		case bytes.HasPrefix(head, parquetMagic):
			return nil, errors.Join(ErrParquet, t.Close())
		case layer == maxLayers:
			return t, nil
		case bytes.HasPrefix(head, gzipMagic):
			if inner, err = gzip.NewReader(in); err != nil {
				return nil, errors.Join(fmt.Errorf("read gzip header: %w", err), t.Close())
			}
		case bytes.HasPrefix(head, zstdMagic):
			z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return nil, errors.Join(fmt.Errorf("read zstd header: %w", err), t.Close())
			}
			inner = z.IOReadCloser()
		default:
			return t, nil
		}
		t.layers = append(t.layers, inner)
		in = bufio.NewReaderSize(inner, 4<<10) // for a look at the first bytes; longer reads go past it
	}
}

// decompressed is a text, and the layers around it.
type decompressed struct {
	io.Reader
	layers []io.ReadCloser
}

// Close ends the reading; what the text came from stays open.
func (t *decompressed) Close() error {
	var errs []error
	for _, l := range t.layers {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
