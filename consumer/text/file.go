package text

import (
	"errors"
	"fmt"
	"io"
)

// File is the text of a file in pieces, compressed or not.
type File struct {
	raw    io.Closer
	plain  io.Closer
	blocks *Blocks
}

// OpenFile reads the text of raw from an offset on, as NewBlocks cuts it. Whatever it returns, raw is the File's to close.
func OpenFile(raw io.ReadCloser, from int64, size, limit int, isHeader func([]byte) bool) (*File, error) {
	plain, err := Decompressed(raw)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	f := &File{raw: raw, plain: plain, blocks: NewBlocks(plain, size, limit, isHeader)}
	if err := f.blocks.SkipTo(from); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Next returns the next piece, as Pieces says.
func (f *File) Next() (Block, error) {
	b, err := f.blocks.Next()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("cut off after %d bytes of text: %w", f.blocks.Offset(), err)
	case err != nil && !errors.Is(err, io.EOF):
		err = fmt.Errorf("after %d bytes of text: %w", f.blocks.Offset(), err)
	}
	return b, err
}

// Close ends the reading.
func (f *File) Close() error {
	_ = f.plain.Close() // what is wrong with compressed text was told by Next
	return f.raw.Close()
}
