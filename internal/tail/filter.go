package tail

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dredge/row"
)

// Bounds of a filter.
const (
	maxFilter = 1024
	maxTerms  = 20
)

// Filter picks rows: all of its terms must hold. The zero Filter picks every row.
type Filter struct{ terms []term }

// term is one condition on the columns' values.
type term struct {
	columns []row.Column // one of them must have the value
	value   string
	not     bool
	prefix  bool
}

// anywhere are the columns that a word without a column is looked for in.
var anywhere = []string{"src_app", "dst_app", "src_ip", "dst_ip", "src_cluster", "dst_cluster", "src_account", "dst_account", "eni"} //nolint:gochecknoglobals // read-only table

// ParseFilter reads terms separated by spaces: column=value, column!=value, or a word that the application, cluster, account, address
// of either end or the interface must be. app, ip, port, grade and other columns that both ends have mean either end. A * at the end of a value
// stands for anything.
func ParseFilter(text string, columns []row.Column) (Filter, error) {
	if len(text) > maxFilter {
		return Filter{}, fmt.Errorf("filter of %d bytes; write at most %d", len(text), maxFilter)
	}
	var (
		f    Filter
		errs []error
	)
	words := strings.Fields(text)
	if len(words) > maxTerms {
		return Filter{}, fmt.Errorf("filter of %d terms; write at most %d", len(words), maxTerms)
	}
	for _, word := range words {
		name, value, given := strings.Cut(word, "=")
		t := term{value: value}
		switch {
		case given:
			name, t.not = strings.CutSuffix(name, "!")
			t.columns = named(columns, name, "src_"+name, "dst_"+name)
			if len(t.columns) == 0 {
				errs = append(errs, fmt.Errorf("%q: no column is called %q; write one of docs/reference/rows.md, as src_app=checkout, or a word alone", word, name))
			}
		default:
			t.value, t.columns = word, named(columns, anywhere...)
		}
		t.value, t.prefix = strings.CutSuffix(t.value, "*")
		f.terms = append(f.terms, t)
	}
	return f, errors.Join(errs...)
}

func named(columns []row.Column, names ...string) []row.Column {
	var out []row.Column
	for _, c := range columns {
		if slices.Contains(names, c.Name) {
			out = append(out, c)
		}
	}
	return out
}

// Match says whether the filter picks r.
func (f Filter) Match(b *row.Batch, r *row.Row) bool {
	for i := range f.terms {
		t := &f.terms[i]
		holds := slices.ContainsFunc(t.columns, func(c row.Column) bool {
			v, ok := c.Value(b, r)
			return ok && slices.ContainsFunc(texts(v), t.is)
		})
		if holds == t.not {
			return false
		}
	}
	return true
}

func (t *term) is(text string) bool {
	return text == t.value || t.prefix && strings.HasPrefix(text, t.value)
}

// texts writes a column's value as rows have it.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case int64:
		return []string{strconv.FormatInt(v, 10)}
	case bool:
		return []string{strconv.FormatBool(v)}
	}
	return nil
}
