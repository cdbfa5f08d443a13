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
	// keyed says that DimensionKey has room for all dimensions of an ordinary row.
	keyed bool
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
	if m.dims, err = NewJSON(dims); err != nil {
		return nil, err
	}
	m.keyed = m.dims.keyed()
	return m, nil
}

// keyed says whether the columns of an ordinary row come from one identity of each side, one run of closed vocabularies, and one number.
func (j *JSON) keyed() bool {
	var sides, runs, numbers int
	for k := 0; k < len(j.steps); k++ {
		switch s := &j.steps[k]; s.kind {
		case identity:
			side := 1 << s.column.End
			if sides&side != 0 {
				return false
			}
			sides |= side
		case codes:
			runs++
		case digits:
			numbers++
		case seldom:
			k += s.skip
		default:
			return false
		}
	}
	return runs <= 1 && numbers <= 1
}

// Key returns what stands for the dimensions of raw row i of b, which takes a third of the time that their text does. False: only the text
// tells.
func (m *Minute) Key(b *row.Batch, i int) (key row.DimensionKey, ok bool) {
	r := &b.Rows[i]
	if !m.keyed || !r.Ordinary() {
		return key, false
	}
	for k := 0; k < len(m.dims.steps); k++ {
		switch s := &m.dims.steps[k]; s.kind {
		case identity:
			side := s.column.Side(r)
			if side.Identity == nil || s.appPrefix != "" && side.App != side.Identity.App {
				return key, false
			}
			if memo := side.Identity.Memo(s.key, s.render); s.column.End == row.EndSrc {
				key.Src = memo
			} else {
				key.Dst = memo
			}
		case codes:
			key.Codes = s.run.key(r)
		case digits:
			if n, ok := s.column.Digits(r); ok {
				key.Number = n + 1 // a port or protocol
			}
		case seldom:
			k += s.skip
		default:
		}
	}
	return key, true
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
