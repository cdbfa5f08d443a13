package columns

import "io"

// Text is a Parquet file as one text: the header line, then a line for each row. It must be closed.
func Text(r io.ReaderAt, size int64) (io.ReadCloser, error) {
	f, err := Open(r, size, 0)
	if err != nil {
		return nil, err
	}
	return &reader{file: f, left: append(append([]byte(nil), f.header...), '\n')}, nil
}

type reader struct {
	file *File
	left []byte // of the piece that was read last
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		b, err := r.file.Next()
		if err != nil {
			return 0, err
		}
		r.left = b.Data[len(b.Data)-b.Text:]
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// Close ends the reading; the file that Text was given stays open.
func (r *reader) Close() error { return r.file.Close() }
