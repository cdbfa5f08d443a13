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

// Decompressed returns the text of src, whatever its name: gzip (of any number of members) and zstd are told by their first
// bytes. The text must be closed. The error is ErrParquet for a file of columns.
func Decompressed(src io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(src, 128<<10)
	head, err := in.Peek(4)
	if err != nil && len(head) == 0 && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read gzip header: %w", err)
		}
		return z, nil
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, fmt.Errorf("read zstd header: %w", err)
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, parquetMagic):
		return nil, ErrParquet
	default:
		return io.NopCloser(in), nil
	}
}
