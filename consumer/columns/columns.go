// Package columns reads Parquet files of flow logs as lines below a header line, so that whatever reads text reads them, too.
//
// Columns are read by name and by what is really in them: account ids written as numbers, times as timestamps, numbers as floats. A file is
// read in ranges, a page of each column at a time, never whole. A row keeps its place: reading can begin at any row, and the
// pieces end at the same rows wherever it began.
package columns

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"dredge/consumer/text"
)

// Magic is what a Parquet file begins and ends with.
const Magic = "PAR1"

const (
	// columnBuffer is how much of a column is asked for at a time. All columns together stay within the memory of a slot.
	columnBuffer = 512 << 10
	maxColumns   = 256
	// maxGroupSize bounds the decoded bytes of one row group, of which a page per column is held.
	maxGroupSize = 2 << 30
	valuesAhead  = 512
	maxText      = 4096 // of one value
	// pieceRows is how many rows a piece has. The ids of rows are made of where their pieces end, so this is no setting: a file that is
	// read again, by anybody, must give the same ids.
	pieceRows = 4096
)

// File is a Parquet file in pieces of lines. Not safe for concurrent use. Make it with Open.
type File struct {
	header  []byte
	columns []*column
	groups  []parquet.RowGroup
	group   int   // being read; its columns are open when left > 0
	left    int64 // rows of it
	row     int64 // next one in the file
	out     []byte
}

// Open begins to read a file of size bytes at a row. Errors are of r, or say what is wrong with the file. It must be closed, r afterwards.
func Open(r io.ReaderAt, size, from int64) (*File, error) {
	p := &File{row: from}
	err := guard(func() error {
		f, err := parquet.OpenFile(r, size, &parquet.FileConfig{
			SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: columnBuffer, ReadMode: parquet.ReadModeSync,
		})
		if err != nil {
			return err
		}
		return p.begin(f, from)
	})
	if err != nil {
		p.closeGroup()
		return nil, fmt.Errorf("read Parquet: %w", err)
	}
	return p, nil
}

// Is says whether a file begins as Parquet does.
func Is(r io.ReaderAt) bool {
	var head [len(Magic)]byte
	n, _ := r.ReadAt(head[:], 0) // who cannot read it will be told
	return string(head[:n]) == Magic
}

// Header is the header line, without its end. It belongs to the File.
func (p *File) Header() []byte { return p.header }

// guard turns a panic of f into an error. The library panics on some broken files.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("broken Parquet: %v", v)
		}
	}()
	return f()
}

// begin finds the columns and the row group of a row.
func (p *File) begin(f *parquet.File, from int64) error {
	for _, c := range f.Root().Columns() {
		name := strings.ReplaceAll(c.Name(), "_", "-")
		if !c.Leaf() || c.MaxRepetitionLevel() > 0 || !isName(name) || len(p.columns) == maxColumns {
			continue
		}
		col := &column{
			name: name, index: c.Index(), kind: c.Type().Kind(), account: strings.HasSuffix(name, "account-id"),
			maxLevel: byte(c.MaxDefinitionLevel()), buf: make([]parquet.Value, valuesAhead),
		}
		if l := c.Type().LogicalType(); l != nil {
			switch t := l.Value.(type) {
			case *format.TimestampType:
				if t.Unit.Value != nil {
					col.perSec = int64(time.Second / t.Unit.Value.Duration())
				}
			case *format.DateType:
				col.date = true
			}
		}
		if len(p.columns) > 0 {
			p.header = append(p.header, ' ')
		}
		p.header = append(p.header, name...)
		p.columns = append(p.columns, col)
	}
	p.groups = f.RowGroups()
	for i, g := range f.Metadata().RowGroups {
		if g.TotalByteSize > maxGroupSize {
			return fmt.Errorf("row group %d has %d bytes; %d are allowed", i, g.TotalByteSize, maxGroupSize)
		}
	}
	for ; p.group < len(p.groups) && from >= p.groups[p.group].NumRows(); p.group++ {
		from -= p.groups[p.group].NumRows()
	}
	if p.group == len(p.groups) {
		return nil // left is 0, so the first piece is the end
	}
	return p.openGroup(from)
}

// isName says whether a column's name can stand in a header line.
func isName(s string) bool {
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return false
		}
	}
	return s != ""
}

// openGroup opens the columns of a row group at one of its rows.
func (p *File) openGroup(row int64) error {
	g := p.groups[p.group]
	chunks := g.ColumnChunks()
	for _, c := range p.columns {
		if c.index >= len(chunks) {
			return fmt.Errorf("row group %d has no column %s", p.group, c.name)
		}
		c.pages = chunks[c.index].Pages()
		if row > 0 {
			if err := c.pages.SeekToRow(row); err != nil {
				return fmt.Errorf("column %s: %w", c.name, err)
			}
		}
	}
	p.left = g.NumRows() - row
	return nil
}

func (p *File) closeGroup() {
	for _, c := range p.columns {
		c.close()
	}
}

// Next implements text.Pieces.
func (p *File) Next() (out text.Block, err error) {
	err = guard(func() error {
		var err error
		out, err = p.rows()
		return err
	})
	if errors.Is(err, errNoMoreRows) {
		return text.Block{}, io.EOF
	}
	return out, err
}

// errNoMoreRows is the end of the file; io.EOF from the library means that it is cut off.
var errNoMoreRows = errors.New("no more rows")

// rows returns the next rows, up to the end of their row group.
func (p *File) rows() (text.Block, error) {
	for p.left == 0 {
		p.closeGroup()
		if p.group++; p.group >= len(p.groups) {
			return text.Block{}, errNoMoreRows
		}
		if err := p.openGroup(0); err != nil {
			return text.Block{}, err
		}
	}
	p.out = append(append(p.out[:0], p.header...), '\n')
	head := len(p.out)
	// Pieces end at the same rows wherever reading began.
	n := min(p.left, pieceRows-p.row%pieceRows)
	for range n {
		for i, c := range p.columns {
			if i > 0 {
				p.out = append(p.out, ' ')
			}
			var err error
			if p.out, err = c.appendNext(p.out); err != nil {
				return text.Block{}, fmt.Errorf("column %s at row %d: %w", c.name, p.row, err)
			}
		}
		p.out = append(p.out, '\n')
		p.row++
	}
	p.left -= n
	return text.Block{Data: p.out, End: p.row, Text: len(p.out) - head}, nil
}

// Close implements text.Pieces.
func (p *File) Close() error {
	return guard(func() error { p.closeGroup(); return nil })
}
