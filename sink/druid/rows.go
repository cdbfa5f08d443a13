package druid

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// table is a datasource that batches have rows for.
type table int

// The tables. Their names are parts of task ids and object keys.
const (
	raw table = iota
	late
	minute
	tables
)

var tableNames = [tables]string{"raw", "late", "1m"} //nolint:gochecknoglobals // read-only table

func (t table) String() string { return tableNames[t] }

// rows are encoded rows of one table, compressed where there are enough of them to be worth it. A gzip file may have many members, so
// rows are compressed as they come, by those who made them, and put together without being touched again.
type rows struct {
	members [][]byte
	plain   []byte
	// n is the number of rows, count that of the raw rows behind them, bytes their size as JSON.
	n, count, bytes int64
	// from and to are the first and the last time, in Unix milliseconds.
	from, to int64
}

const (
	// memberBytes is from where rows are compressed at once.
	memberBytes = 64 << 10
	// plainBytes bounds the small pieces that wait to be compressed together.
	plainBytes = 512 << 10
)

// saw widens the time.
func (r *rows) saw(ms int64) {
	if r.n == 0 {
		r.from, r.to = ms, ms
	}
	r.from, r.to = min(r.from, ms), max(r.to, ms)
}

// add takes o over.
func (r *rows) add(o *rows) error {
	if o.n == 0 {
		return nil
	}
	r.saw(o.from)
	r.saw(o.to)
	r.n, r.count, r.bytes = r.n+o.n, r.count+o.count, r.bytes+o.bytes
	if len(o.members) > 0 {
		if err := r.squeeze(); err != nil { // what came first stands first
			return err
		}
	}
	r.members = append(r.members, o.members...)
	r.plain = append(r.plain, o.plain...)
	if len(r.plain) >= plainBytes {
		return r.squeeze()
	}
	return nil
}

// squeeze compresses what is plain.
func (r *rows) squeeze() error {
	if len(r.plain) == 0 {
		return nil
	}
	m, err := compress(r.plain)
	if err != nil {
		return err
	}
	r.members, r.plain = append(r.members, m), r.plain[:0]
	return nil
}

// size is what r takes in memory.
func (r *rows) size() (n int64) {
	for _, m := range r.members {
		n += int64(len(m))
	}
	return n + int64(len(r.plain))
}

// file is r as a gzip file.
func (r *rows) file() ([]byte, error) {
	if err := r.squeeze(); err != nil {
		return nil, err
	}
	return bytes.Join(r.members, nil), nil
}

// text is r as JSON Lines.
func (r *rows) text() ([]byte, error) {
	out := make([]byte, 0, r.bytes)
	for _, m := range r.members {
		z, err := gzip.NewReader(bytes.NewReader(m))
		if err != nil {
			return nil, fmt.Errorf("reading own rows: %w", err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			return nil, fmt.Errorf("reading own rows: %w", err)
		}
		out = append(out, text...)
	}
	return append(out, r.plain...), nil
}

func compress(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("compressing rows: %w", err)
	}
	if _, err := z.Write(data); err != nil {
		return nil, fmt.Errorf("compressing rows: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing rows: %w", err)
	}
	return b.Bytes(), nil
}

// stack are rows of every table.
type stack [tables]rows

func (s *stack) add(o *stack) error {
	for t := range s {
		if err := s[t].add(&o[t]); err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) n() (n int64) {
	for t := range s {
		n += s[t].n
	}
	return n
}

func (s *stack) bytes() (n int64) {
	for t := range s {
		n += s[t].bytes
	}
	return n
}
