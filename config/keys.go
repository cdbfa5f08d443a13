package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// field is one key that a config file may hold.
type field struct {
	path string // dotted, as in error messages
	typ  reflect.Type
}

// fieldsOf returns the keys of struct type t in order of declaration, by yaml name.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for f := range fieldsSeq(t) {
		out = append(out, field{path: f.name, typ: f.typ})
	}
	return out
}

type namedField struct {
	name  string
	typ   reflect.Type
	index int
}

func fieldsSeq(t reflect.Type) func(func(namedField) bool) {
	return func(yield func(namedField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if !f.IsExported() || tag == "-" || tag == "" {
				continue
			}
			if !yield(namedField{name: tag, typ: f.Type, index: i}) {
				return
			}
		}
	}
}

// isSection says whether t is a struct whose fields are keys of their own, not one value.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() && len(fieldsOf(t)) > 0
}

// leaves returns every key below struct type t that holds a value, with its full path.
func leaves(t reflect.Type, prefix string) []field {
	var out []field
	for _, f := range fieldsOf(t) {
		path := f.path
		if prefix != "" {
			path = prefix + "." + f.path
		}
		if isSection(f.typ) {
			out = append(out, leaves(f.typ, path)...)
			continue
		}
		out = append(out, field{path: path, typ: f.typ})
	}
	return out
}

// unknownKeys walks a parsed document against struct type t and reports every key that t does not have, with its line and
// the key that was probably meant.
func unknownKeys(node ast.Node, t reflect.Type, prefix string) []error {
	var errs []error
	switch t.Kind() {
	case reflect.Pointer:
		return unknownKeys(node, t.Elem(), prefix)
	case reflect.Slice:
		if seq, ok := node.(*ast.SequenceNode); ok {
			for i, v := range seq.Values {
				errs = append(errs, unknownKeys(v, t.Elem(), fmt.Sprintf("%s[%d]", prefix, i))...)
			}
		}
		return errs
	}
	if !isSection(t) {
		return nil
	}
	known := fieldsOf(t)
	for _, kv := range mappingValues(node) {
		key := keyName(kv)
		path := key
		if prefix != "" {
			path = prefix + "." + key
		}
		i := slices.IndexFunc(known, func(f field) bool { return f.path == key })
		if i >= 0 {
			errs = append(errs, unknownKeys(kv.Value, known[i].typ, path)...)
			continue
		}
		names := make([]string, len(known))
		for j, f := range known {
			names[j] = f.path
		}
		errs = append(errs, &keyError{line: kv.Key.GetToken().Position.Line, path: path, hint: suggest(key, names)})
	}
	return errs
}

type keyError struct {
	line int
	path string
	hint string
}

func (e *keyError) Error() string {
	return fmt.Sprintf("line %d: %s: unknown key; %s", e.line, e.path, e.hint)
}

// keyName is the key as it is meant, without quotes.
func keyName(kv *ast.MappingValueNode) string { return strings.Trim(kv.Key.String(), `"'`) }

func mappingValues(node ast.Node) []*ast.MappingValueNode {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	case *ast.AnchorNode:
		return mappingValues(n.Value)
	}
	return nil
}

// suggest names the key nearest to got, or all of them when none is near.
func suggest(got string, known []string) string {
	best, bestDistance := "", len(got)/2+2
	for _, k := range known {
		if d := distance(got, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known keys here: " + strings.Join(known, ", ")
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
