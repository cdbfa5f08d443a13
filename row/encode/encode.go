// Package encode turns rows into bytes, driven by the column catalogue of package row.
//
// An encoder is compiled once from a choice of columns into a list of steps; encoding a row runs the steps and appends. A row
// is mostly repetition, so most of it is rendered beforehand: names, quotes and commas for good, the columns of an identity once
// per identity (they are kept with it), and each run of columns with closed vocabularies once per combination of values that
// occurs. What is left to render per row are addresses, ports and counters. BenchmarkJSON shows what that buys.
package encode

import (
	"errors"
	"fmt"

	"dredge/row"
)

// JSON appends rows as JSON objects. It is safe for concurrent use: one is enough for a process.
type JSON struct {
	steps   []step
	nobody  *row.Identity
	columns []row.Column
}

type kind uint8

const (
	number kind = iota
	digits
	addr
	text
	appended
	list
	codes
	identity
	seldom
)

// step writes one column, or a run of columns. Everything that a step writes begins with a comma, the first of which becomes
// the row's opening brace.
type step struct {
	kind kind
	// prefix is `,"name":`, with the opening quote where the value is a string.
	prefix string
	column *row.Column
	// skip is how many steps after a seldom one are for rows that are not ordinary.
	skip int
	// run is set for codes.
	run *codeRun
	// key, render and appPrefix belong to an identity; appPrefix is "" when it does not begin with the application.
	key       uint32
	render    func(*row.Identity) (string, int)
	appPrefix string
}

// NewJSON compiles an encoder for columns, as row.Config.Columns returns them.
func NewJSON(columns []row.Column) (*JSON, error) {
	if len(columns) == 0 {
		return nil, errors.New("compiling an encoder: no columns")
	}
	j := &JSON{nobody: &row.Identity{App: row.AppUnknown, Kind: row.KindUnknown}, columns: columns}
	for i := 0; i < len(columns); {
		c, first := &columns[i], i
		switch {
		case c.OfIdentity != nil:
			for i < len(columns) && columns[i].OfIdentity != nil && columns[i].End == c.End {
				i++
			}
			j.steps = append(j.steps, identityStep(columns[first:i]))
		case c.Seldom:
			head := len(j.steps)
			j.steps = append(j.steps, step{kind: seldom})
			for ; i < len(columns) && columns[i].Seldom; i++ {
				s, err := columnStep(&columns[i])
				if err != nil {
					return nil, err
				}
				j.steps = append(j.steps, s)
				j.steps[head].skip++
			}
		case c.Code != nil:
			run := newCodeRun()
			for i < len(columns) && columns[i].Code != nil && run.add(&columns[i]) {
				i++
			}
			j.steps = append(j.steps, step{kind: codes, run: run})
		default:
			s, err := columnStep(c)
			if err != nil {
				return nil, err
			}
			j.steps = append(j.steps, s)
			i++
		}
	}
	return j, nil
}

// Columns returns the columns that j writes. It must not be modified.
func (j *JSON) Columns() []row.Column { return j.columns }

func columnStep(c *row.Column) (step, error) {
	s := step{column: c, prefix: `,"` + c.Name + `":"`}
	switch {
	case c.Number != nil:
		s.kind, s.prefix = number, `,"`+c.Name+`":`
	case c.Digits != nil:
		s.kind = digits
	case c.Addr != nil:
		s.kind = addr
	case c.Text != nil:
		s.kind = text
	case c.Append != nil:
		s.kind = appended
	case c.List != nil:
		s.kind, s.prefix = list, `,"`+c.Name+`":[`
	default:
		return step{}, fmt.Errorf("compiling an encoder: column %q has no accessor", c.Name)
	}
	return s, nil
}

// identityStep writes a run of columns that come from one side's identity. Its memo key says which side and which columns, so
// that every encoder with the same choice shares the rendering.
func identityStep(columns []row.Column) step {
	s := step{kind: identity, column: &columns[0], key: uint32(columns[0].End) << 30}
	for i := range columns {
		s.key |= 1 << columns[i].Bit
	}
	app := columns[0].Bit == row.AppBit
	if app {
		s.appPrefix = `,"` + columns[0].Name + `":"`
	}
	s.render = func(id *row.Identity) (string, int) {
		var dst []byte
		head := 0
		for i := range columns {
			v := columns[i].OfIdentity(id)
			if v == "" && columns[i].Optional {
				continue
			}
			if v == "" {
				v = row.KindUnknown
			}
			dst = append(dst, `,"`...)
			dst = append(dst, columns[i].Name...)
			dst = append(dst, `":"`...)
			dst = appendEscaped(dst, v)
			dst = append(dst, '"')
			if i == 0 && app {
				head = len(dst)
			}
		}
		return string(dst), head
	}
	return s
}

// Append appends row i of b as one JSON object, without a line end, and returns the extended slice. It allocates only to grow
// dst, and for identities and combinations of values that it has not seen before.
func (j *JSON) Append(dst []byte, b *row.Batch, i int) []byte {
	if i%aheadRows == 0 {
		j.readAhead(b.Rows[i:])
	}
	r := &b.Rows[i]
	start := len(dst)
	for k := 0; k < len(j.steps); k++ {
		s := &j.steps[k]
		switch s.kind {
		case seldom:
			if r.Ordinary() {
				k += s.skip
			}
		case identity:
			dst = j.appendIdentity(dst, s, r)
		case codes:
			dst = s.run.append(dst, r)
		case number:
			if n, ok := s.column.Number(b, r); ok {
				dst = append(dst, s.prefix...)
				dst = appendInt(dst, n)
			}
		case digits:
			if n, ok := s.column.Digits(r); ok {
				dst = append(dst, s.prefix...)
				dst = append(appendUint(dst, n), '"')
			}
		case addr:
			if a := s.column.Addr(r); a.IsValid() {
				dst = append(dst, s.prefix...)
				dst = append(appendAddr(dst, a), '"')
			}
		case text:
			if v := s.column.Text(b, r); v != "" {
				dst = append(dst, s.prefix...)
				dst = append(appendEscaped(dst, v), '"')
			}
		case appended:
			dst = appendText(dst, s, b, r)
		case list:
			dst = appendList(dst, s, r)
		}
	}
	if len(dst) == start {
		return append(dst, "{}"...)
	}
	dst[start] = '{'
	return append(dst, '}')
}

// aheadRows is for how many rows identities are read ahead together: their texts fit the processor's first cache.
const aheadRows = 32

// readAhead touches the renderings of identities that the next rows will append. An estate has far more of them than the
// processor's caches hold, and each is found in three steps that wait for each other; the waits of many rows overlap. It returns
// something that depends on all that it read, so that no compiler may leave the reading out.
func (j *JSON) readAhead(rows []row.Row) (touched int) {
	rows = rows[:min(len(rows), aheadRows)]
	var memos [aheadRows]*row.Memo
	for k := range j.steps {
		s := &j.steps[k]
		if s.kind != identity {
			continue
		}
		for i := range rows {
			memos[i] = nil
			if id := s.column.Side(&rows[i]).Identity; id != nil {
				memos[i] = id.Peek(s.key)
			}
		}
		for _, m := range memos[:len(rows)] {
			if m != nil {
				touched += len(m.Text)
			}
		}
		for _, m := range memos[:len(rows)] {
			if m != nil {
				for at := 0; at < len(m.Text); at += cacheLine {
					touched += int(m.Text[at])
				}
			}
		}
	}
	return touched
}

const cacheLine = 64

func (j *JSON) appendIdentity(dst []byte, s *step, r *row.Row) []byte {
	side := s.column.Side(r)
	id := side.Identity
	if id == nil {
		id = j.nobody
	}
	m := id.Memo(s.key, s.render)
	if s.appPrefix == "" || side.App == id.App {
		return append(dst, m.Text...)
	}
	app := side.App
	if app == "" {
		app = row.AppUnknown
	}
	dst = append(dst, s.appPrefix...)
	dst = append(appendEscaped(dst, app), '"')
	return append(dst, m.Text[m.Head:]...)
}

// appendText writes a column that appends its own text, escaping it afterwards in the rare case that it needs it.
func appendText(dst []byte, s *step, b *row.Batch, r *row.Row) []byte {
	before := len(dst)
	dst = append(dst, s.prefix...)
	value := len(dst)
	dst = s.column.Append(dst, b, r)
	if len(dst) == value {
		return dst[:before]
	}
	if cleanPrefix(dst[value:]) != len(dst)-value {
		raw := string(dst[value:])
		dst = appendEscaped(dst[:value], raw)
	}
	return append(dst, '"')
}

func appendList(dst []byte, s *step, r *row.Row) []byte {
	values := s.column.List(r)
	if len(values) == 0 {
		return dst
	}
	dst = append(dst, s.prefix...)
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(appendEscaped(dst, v), '"')
	}
	return append(dst, ']')
}
