// Package condition asks rows questions that somebody wrote down: conditions over the columns of the catalogue, compiled once and
// answered without allocating. Rules and declared edges are made of them.
//
// A condition is the name of a column and the values that it may have; a list of values holds when one of them does:
//
//	src_app: [web, "batch-*"]     a text; * stands for any characters, and "" for an absent value
//	dst_ip: 10.0.0.0/8            an address or a network
//	dst_port: [443, 8000-8099]    a number, a range of numbers, or a bound: "< 1024", ">= 32768"
//	action: REJECT                one of the column's values
//	counted: true
package condition

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dredge/row"
)

// Values are what a column may have in a condition: any one of them.
type Values []string

// MaxValues bounds the values of one condition, MaxText the length of each.
const (
	MaxValues = 1024
	MaxText   = 256
)

// UnmarshalYAML reads one value or a list of them; numbers and booleans are taken as they are written.
func (v *Values) UnmarshalYAML(unmarshal func(any) error) error {
	var value any
	if err := unmarshal(&value); err != nil {
		return err
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	out := make(Values, 0, len(list))
	for _, x := range list {
		switch x := x.(type) {
		case string:
			out = append(out, x)
		case bool, int64, uint64, float64:
			out = append(out, fmt.Sprint(x))
		case nil:
			out = append(out, "")
		default:
			return fmt.Errorf("%v is no value of a column; write a text, a number, or a list of them", x)
		}
	}
	*v = out
	return nil
}

// Condition is one column and the values it may have, compiled. It is immutable and safe for concurrent use.
type Condition struct {
	column *row.Column
	// Exactly one of these is set.
	texts    *texts
	numbers  numbers
	prefixes []netip.Prefix
	codes    codes
}

// Column returns the column that c asks for.
func (c *Condition) Column() *row.Column { return c.column }

// Scratch is the memory that answering needs. One goroutine may use it at a time; the zero value is ready.
type Scratch struct{ text []byte }

// New compiles a condition. The error says what is wrong and what to write instead, without the column's name; all faulty values
// are reported at once.
func New(c *row.Column, values Values) (Condition, error) {
	out := Condition{column: c}
	switch {
	case c == nil:
		return out, errors.New("BUG: a condition without a column")
	case len(values) == 0:
		return out, errors.New("has no values; write one, or a list of them")
	case len(values) > MaxValues:
		return out, fmt.Errorf("has %d values; write at most %d, or a pattern with *", len(values), MaxValues)
	}
	var errs []error
	for _, v := range values {
		if len(v) > MaxText {
			errs = append(errs, fmt.Errorf("%.40q… is longer than %d bytes", v, MaxText))
			continue
		}
		if err := out.add(v); err != nil {
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

func (c *Condition) add(v string) error {
	col := c.column
	switch {
	case col.Code != nil:
		return c.codes.add(col, v)
	case col.Addr != nil:
		p, err := parsePrefix(v)
		c.prefixes = append(c.prefixes, p)
		return err
	case col.Number != nil || col.Digits != nil:
		return c.numbers.add(v)
	default:
		if c.texts == nil {
			c.texts = &texts{exact: map[string]struct{}{}}
		}
		c.texts.add(v)
		return nil
	}
}

// Holds says whether the condition holds for row i of b. It allocates nothing once s has grown.
func (c *Condition) Holds(b *row.Batch, i int, s *Scratch) bool {
	r := &b.Rows[i]
	col := c.column
	switch {
	case col.Code != nil:
		return c.codes.has(col.Code(r))
	case col.OfIdentity != nil:
		return c.texts.match(identityText(col, r))
	case col.Text != nil:
		return c.texts.match(col.Text(b, r))
	case col.Addr != nil:
		a := col.Addr(r).Unmap()
		return a.IsValid() && slices.ContainsFunc(c.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	case col.Digits != nil:
		n, ok := col.Digits(r)
		return ok && c.numbers.match(int64(n))
	case col.Number != nil:
		n, ok := col.Number(b, r)
		return ok && c.numbers.match(n)
	case col.List != nil:
		return slices.ContainsFunc(col.List(r), c.texts.match)
	case col.Append != nil:
		s.text = col.Append(s.text[:0], b, r)
		return c.texts.matchBytes(s.text)
	default:
		return false
	}
}

// identityText is the column's value from the identity of its side; the application stands in the side itself.
func identityText(col *row.Column, r *row.Row) string {
	side := col.Side(r)
	switch {
	case col.Bit == row.AppBit && side.App != "":
		return side.App
	case side.Identity == nil && col.Optional:
		return ""
	case side.Identity == nil:
		return row.KindUnknown // what an unknown end has in the columns that are always there
	default:
		return col.OfIdentity(side.Identity)
	}
}

func parsePrefix(v string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(v); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(v)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is no address and no network; write one as 10.1.2.3 or 10.0.0.0/8", v)
	case p != p.Masked():
		return p, fmt.Errorf("%q has bits behind its mask; write %s", v, p.Masked())
	default:
		return p, nil
	}
}

// codes is a set of a column's codes.
type codes [5]uint64

func (c *codes) add(col *row.Column, v string) error {
	found := false
	for i, text := range col.Texts {
		if strings.EqualFold(text, v) && i < len(c)*64 {
			c[i/64] |= 1 << (i % 64)
			found = true
		}
	}
	if n, err := strconv.ParseUint(v, 10, 8); err == nil && col.Type == row.String && col.Values == nil {
		c[n/64] |= 1 << (n % 64) // a protocol by its number, although it has a name
		found = true
	}
	switch {
	case found:
		return nil
	case col.Values != nil:
		return fmt.Errorf("%q is no value of it; write one of %s", v, strings.Join(col.Values, ", "))
	case col.Type == row.Boolean:
		return fmt.Errorf("%q is no value of it; write true or false", v)
	default:
		return fmt.Errorf("%q is no value of it; docs/reference/rows.md has them", v)
	}
}

func (c *codes) has(code uint16) bool { return int(code) < len(c)*64 && c[code/64]&(1<<(code%64)) != 0 }
