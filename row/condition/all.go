package condition

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dredge/row"
)

// Columns finds columns by name and says which sets of columns a choice of them needs.
type Columns map[string]*row.Column

// RowColumns returns the columns that rules may ask for: everything that stands in a raw row or can be a dimension of the minute
// grain, but not the row's own id and place, which say nothing of the flow.
func RowColumns() Columns {
	out := Columns{}
	columns := row.Catalogue()
	for i := range columns {
		c := &columns[i]
		if c.Grains&row.Raw == 0 && c.Role != row.Dimension || slices.Contains(outOfReach, c.Name) {
			continue
		}
		out[c.Name] = c
	}
	return out
}

// outOfReach are the columns that rules cannot ask for: they name the delivery, or are what rules make.
var outOfReach = []string{"row_id", "position", "weight", "rule_tags"} //nolint:gochecknoglobals // read-only table

// All are conditions that must all hold, in the order of the columns' names.
type All []Condition

// Compile compiles a condition for each entry of m. All faults are reported, each beginning with the column's name.
func (c Columns) Compile(m map[string]Values) (All, error) {
	var all All
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m)) {
		column, ok := c[name]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: is no column that a condition can ask for; %s", name, c.suggest(name)))
			continue
		}
		one, err := New(column, m[name])
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("%s: %s", name, line))
			}
			continue
		}
		all = append(all, one)
	}
	return all, errors.Join(errs...)
}

// suggest names the columns that name is a part of, or that are a part of it.
func (c Columns) suggest(name string) string {
	var near []string
	for _, known := range slices.Sorted(maps.Keys(c)) {
		if strings.Contains(known, name) || strings.Contains(name, known) {
			near = append(near, known)
		}
	}
	if len(near) == 0 || len(near) > 8 {
		return "docs/reference/rows.md lists them"
	}
	return "perhaps one of " + strings.Join(near, ", ")
}

// Holds says whether all conditions hold for row i of b; no conditions always do.
func (a All) Holds(b *row.Batch, i int, s *Scratch) bool {
	for k := range a {
		if !a[k].Holds(b, i, s) {
			return false
		}
	}
	return true
}

// Any says whether one of the conditions holds, and which; nil says that none does.
func (a All) Any(b *row.Batch, i int, s *Scratch) *Condition {
	for k := range a {
		if a[k].Holds(b, i, s) {
			return &a[k]
		}
	}
	return nil
}

// Failing returns the first condition that does not hold, nil when all do.
func (a All) Failing(b *row.Batch, i int, s *Scratch) *Condition {
	for k := range a {
		if !a[k].Holds(b, i, s) {
			return &a[k]
		}
	}
	return nil
}

// Sets appends the column sets, beside core, that the join must fill for a to be answered.
func (a All) Sets(list []row.Set) []row.Set {
	for k := range a {
		if set := a[k].column.Set; set != row.Core && !slices.Contains(list, set) {
			list = append(list, set)
		}
	}
	return list
}
