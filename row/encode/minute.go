package encode

import (
	"errors"

	"dredge/row"
)

// Minute appends rolled-up rows as JSON objects. Their dimensions are encoded once for each row that is made, from the first raw
// row that goes into it; equal dimensions have equal text, so the text is also what the roll-up goes by. Safe for concurrent use.
type Minute struct {
	time     string
	dims     *JSON
	measures []measure
	columns  []row.Column
}

type measure struct {
	prefix string
	of     func(*row.Sums) int64
}

// NewMinute compiles an encoder for columns, as row.Config.Columns returns them for row.Minute.
func NewMinute(columns []row.Column) (*Minute, error) {
	m := &Minute{columns: columns}
	var dims []row.Column
	for i := range columns {
		c := &columns[i]
		switch {
		case c.Role == row.Timestamp:
			m.time = `{"` + c.Name + `":`
		case c.OfSums != nil:
			m.measures = append(m.measures, measure{`,"` + c.Name + `":`, c.OfSums})
		default:
			dims = append(dims, *c)
		}
	}
	if m.time == "" {
		return nil, errors.New("compiling an encoder of rolled-up rows: no time")
	}
	var err error
	m.dims, err = NewJSON(dims)
	return m, err
}

// Columns returns the columns that m writes. It must not be modified.
func (m *Minute) Columns() []row.Column { return m.columns }

// AppendDimensions appends the dimensions of raw row i of b. It allocates only to grow dst, and for identities and combinations of
// values that it has not seen before.
func (m *Minute) AppendDimensions(dst []byte, b *row.Batch, i int) []byte {
	start := len(dst)
	dst = m.dims.Append(dst, b, i)
	if len(dst) == start+len("{}") {
		return dst[:start]
	}
	dst[start] = ','
	return dst[:len(dst)-1]
}

// Append appends a rolled-up row: its minute in Unix milliseconds, its dimensions as AppendDimensions made them, and its sums.
func (m *Minute) Append(dst []byte, minute int64, dims []byte, s *row.Sums) []byte {
	dst = append(dst, m.time...)
	dst = appendInt(dst, minute)
	dst = append(dst, dims...)
	for i := range m.measures {
		dst = append(dst, m.measures[i].prefix...)
		dst = appendInt(dst, m.measures[i].of(s))
	}
	return append(dst, '}')
}
