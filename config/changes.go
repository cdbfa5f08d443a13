package config

import (
	"reflect"
	"strings"
)

// Changes returns the keys whose values differ between a and b, in the order of the reference. A list is one key.
func Changes(a, b Config) []string {
	var out []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for _, f := range leaves(reflect.TypeFor[Config](), "") {
		path := strings.Split(f.path, ".")
		if !same(fieldByPath(va, path), fieldByPath(vb, path)) {
			out = append(out, f.path)
		}
	}
	return out
}

// same is equality for which nothing is as good as an empty list or map: a file can say either.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice, reflect.Map:
		if a.Len() == 0 && b.Len() == 0 {
			return true
		}
	default:
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// covers says whether key is p or lies in it.
func (p Part) covers(key string) bool {
	return key == p.Key || strings.HasPrefix(key, p.Key+".")
}
