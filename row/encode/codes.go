package encode

import (
	"math/bits"
	"sync/atomic"

	"dredge/row"
)

// codeRun writes neighbouring columns with closed vocabularies. The codes of a row together make a key; the text of each
// key is rendered when it is first met and kept in a table of fixed size. A few dozen combinations make up nearly all traffic;
// what finds no place in the table is rendered again every time.
type codeRun struct {
	columns []codeColumn
	bits    int
	table   [runSlots]atomic.Pointer[runText]
}

const (
	runSlots  = 1 << 11
	runProbes = 8
)

type codeColumn struct {
	code func(*row.Row) uint16
	// rendered is the whole column for every code; the last one stands for codes that have no text.
	rendered []string
	shift    int
}

type runText struct {
	key  uint64
	text string
}

func newCodeRun() *codeRun { return &codeRun{} }

// add takes c into the run, unless its code finds no room in the key.
func (u *codeRun) add(c *row.Column) bool {
	width := bits.Len(uint(len(c.Texts)))
	if u.bits+width > 64 {
		return false
	}
	col := codeColumn{code: c.Code, shift: u.bits}
	for i := range len(c.Texts) + 1 {
		v := "unknown"
		if i < len(c.Texts) {
			v = c.Texts[i]
		}
		out := ""
		switch {
		case v == "":
		case c.Type == row.String:
			out = string(append(appendEscaped([]byte(`,"`+c.Name+`":"`), v), '"'))
		case i < len(c.Texts):
			out = `,"` + c.Name + `":` + v
		}
		col.rendered = append(col.rendered, out)
	}
	u.columns = append(u.columns, col)
	u.bits += width
	return true
}

// key is the codes of r together.
func (u *codeRun) key(r *row.Row) (key uint64) {
	for i := range u.columns {
		c := &u.columns[i]
		key |= uint64(min(int(c.code(r)), len(c.rendered)-1)) << c.shift
	}
	return key
}

func (u *codeRun) append(dst []byte, r *row.Row) []byte {
	key := u.key(r)
	slot := key * 0x9e3779b97f4a7c15 >> (64 - 11)
	for range runProbes {
		t := u.table[slot].Load()
		if t == nil {
			t = &runText{key, string(u.render(nil, key))}
			if !u.table[slot].CompareAndSwap(nil, t) {
				t = u.table[slot].Load() // another row was faster, perhaps with another key
			}
		}
		if t.key == key {
			return append(dst, t.text...)
		}
		slot = (slot + 1) % runSlots
	}
	return u.render(dst, key)
}

func (u *codeRun) render(dst []byte, key uint64) []byte {
	for i := range u.columns {
		c := &u.columns[i]
		width := bits.Len(uint(len(c.rendered) - 1))
		dst = append(dst, c.rendered[key>>c.shift&(1<<width-1)]...)
	}
	return dst
}
