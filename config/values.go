package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// decodeValue puts the value of node into target, the setting at path. The YAML library changes some values without a word: it cuts a whole number
// out of 1.5 and reads a time that it does not understand as none. Here they are faults.
func decodeValue(node ast.Node, target reflect.Value, path string) []*valueError {
	if faults := silentlyChanged(node, target.Type(), path); len(faults) > 0 {
		return faults
	}
	if err := yaml.NodeToValue(node, target.Addr().Interface()); err != nil {
		return []*valueError{{line: node.GetToken().Position.Line, path: path, fault: plainError(err)}}
	}
	return nil
}

// valueError is a value that its key does not take.
type valueError struct {
	line  int
	path  string
	fault string
}

// Error implements error.
func (e *valueError) Error() string { return fmt.Sprintf("line %d: %s: %s", e.line, e.path, e.fault) }

// silentlyChanged walks a value against its type and reports what would be decoded as something else.
func silentlyChanged(node ast.Node, t reflect.Type, path string) []*valueError {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		node = anchor.Value
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	text := node.GetToken().Value
	fault := func(rule string) []*valueError {
		return []*valueError{{line: node.GetToken().Position.Line, path: path, fault: strconv.Quote(text) + rule}}
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		var at time.Time
		if err := yaml.NodeToValue(node, &at); err == nil && at.IsZero() && node.Type() != ast.NullType {
			if _, err := time.Parse(time.RFC3339, text); err != nil { // else it is the zero time, as `dredge config` prints it
				return fault(" is no time; " + writeTime)
			}
		}
		return nil
	case t == reflect.TypeFor[time.Duration](), reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()),
		reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.InterfaceUnmarshaler]()):
		return nil // they look themselves
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if f, err := strconv.ParseFloat(text, 64); isNumber(node) && err == nil && f != math.Trunc(f) {
			return fault(" is no whole number; write one, without a unit")
		}
	case reflect.Float32, reflect.Float64:
		if node.Type() == ast.NanType || node.Type() == ast.InfinityType {
			return fault(" is no number; write one, without a unit")
		}
	case reflect.Slice:
		var out []*valueError
		if seq, ok := node.(*ast.SequenceNode); ok {
			for i, v := range seq.Values {
				out = append(out, silentlyChanged(v, t.Elem(), fmt.Sprintf("%s[%d]", path, i))...)
			}
		}
		return out
	case reflect.Map:
		var out []*valueError
		for _, kv := range mappingValues(node) {
			out = append(out, silentlyChanged(kv.Value, t.Elem(), path+"."+keyName(kv))...)
		}
		return out
	case reflect.Struct:
		var out []*valueError
		known := fieldsOf(t)
		for _, kv := range mappingValues(node) {
			if i := slices.IndexFunc(known, func(f field) bool { return f.path == keyName(kv) }); i >= 0 {
				out = append(out, silentlyChanged(kv.Value, known[i].typ, path+"."+keyName(kv))...)
			}
		}
		return out
	}
	return nil
}

// isNumber says whether a value is a number, or text, which is taken as one where a number belongs.
func isNumber(node ast.Node) bool {
	return node.Type() == ast.FloatType || node.Type() == ast.IntegerType || node.Type() == ast.StringType
}
