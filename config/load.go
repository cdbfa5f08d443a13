package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// envPrefix begins the name of every environment variable that overrides a key: http.listen is DREDGE_HTTP_LISTEN.
const envPrefix = "DREDGE_"

// maxFile bounds a config file: a larger one is not one.
const maxFile = 4 << 20

// Load reads the file at path, then lets environ (as os.Environ returns it) override single keys, and validates. All faults
// are reported at once. An empty path means defaults and environment only.
func Load(path string, environ []string) (Config, error) {
	var data []byte
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return Config{}, fmt.Errorf("read config: %w", err)
		}
		defer f.Close()
		if data, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err != nil {
			return Config{}, fmt.Errorf("read config %s: %w", path, err)
		}
		if len(data) > maxFile {
			return Config{}, fmt.Errorf("read config %s: larger than %d MiB; this is no config file", path, maxFile>>20)
		}
	}
	c, err := Parse(data, environ)
	if err != nil && path != "" {
		return Config{}, fmt.Errorf("config %s:\n%w", path, err)
	}
	return c, err
}

// Parse is Load on a file's content.
func Parse(data []byte, environ []string) (Config, error) {
	c := Default()
	var errs []error
	if len(bytes.TrimSpace(data)) > 0 {
		file, err := parser.ParseBytes(data, 0)
		if err != nil {
			// The lines around the fault are left out: they may hold secrets, and the page and the log tell this error.
			at, text, _ := strings.Cut(strings.TrimPrefix(yaml.FormatError(err, false, false), "["), "] ")
			return Config{}, fmt.Errorf("not YAML: line %s: %s; write it as the examples in docs/reference/config.md", at, text)
		}
		if len(file.Docs) > 1 {
			return Config{}, errors.New("holds several YAML documents; dredge reads one: remove the lines with ---")
		}
		for _, doc := range file.Docs {
			errs = append(errs, unknownKeys(doc.Body, reflect.TypeFor[Config](), "")...)
			errs = append(errs, decodeSections(doc.Body, &c)...)
		}
	}
	errs = append(errs, applyEnv(&c, environ)...)
	if err := c.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}
	return c, nil
}

// decodeSections decodes each key of the document on its own, so that a wrong value in one does not hide those in others.
func decodeSections(body ast.Node, c *Config) []error {
	var errs []error
	root := reflect.ValueOf(c).Elem()
	values := mappingValues(body)
	if values == nil && body != nil && body.Type() != ast.NullType && body.Type() != ast.CommentType {
		return []error{errors.New("is not a mapping; write keys such as \"kinesis:\" at the top level")}
	}
	for _, kv := range values {
		errs = append(errs, decodeInto(kv, root, "")...)
	}
	return errs
}

func decodeInto(kv *ast.MappingValueNode, section reflect.Value, prefix string) []error {
	key := keyName(kv)
	path := key
	if prefix != "" {
		path = prefix + "." + key
	}
	for f := range fieldsSeq(section.Type()) {
		if f.name != key {
			continue
		}
		target := section.Field(f.index)
		if nested := mappingValues(kv.Value); isSection(f.typ) && nested != nil {
			var errs []error
			for _, n := range nested {
				errs = append(errs, decodeInto(n, target, path)...)
			}
			return errs
		}
		if kv.Value.Type() == ast.NullType {
			return nil // "key:" with nothing behind it keeps the default
		}
		var errs []error
		for _, fault := range decodeValue(kv.Value, target, path) {
			errs = append(errs, fault)
		}
		return errs
	}
	return nil // unknown keys are reported by unknownKeys
}

// plainError is the first line of a YAML library error, without its picture of the source. A value of another type than its key's is said
// in words of YAML instead of Go.
func plainError(err error) string {
	if wrong, ok := errors.AsType[*yaml.TypeError](err); ok {
		return wrongType(wrong.Token, wrong.SrcType, wrong.DstType)
	}
	if wrong, ok := errors.AsType[*yaml.OverflowError](err); ok {
		return wrong.SrcNum + " is out of range; write a smaller number"
	}
	text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
	if _, after, ok := strings.Cut(text, "] "); ok {
		text = after
	}
	switch {
	case strings.HasSuffix(text, "where sequence is expected"):
		text += "; " + writeList
	case strings.HasSuffix(text, "where mapping is expected"):
		text += "; " + writeMapping
	case strings.Contains(text, "implemented Unmarshaler"):
		text = "a list or mapping stands where one value belongs"
	case strings.HasPrefix(text, "time: "):
		text = strings.TrimPrefix(text, "time: ") + "; " + writeDuration
	}
	return text
}

// What to write instead.
const (
	writeDuration = "write a number with its unit, such as 500ms, 30s, 10m or 1h"
	writeTime     = "write one like 2026-01-31T00:00:00Z"
	writeList     = "write [a, b], or a line with - for each"
	writeMapping  = "write keys with their values"
)

// wrongType says that the value at t, read as have, is not what a key of type want takes.
func wrongType(t *token.Token, have, want reflect.Type) string {
	value := "a mapping"
	switch {
	case have != nil && have.Kind() == reflect.Slice:
		value = "a list"
	case have == nil || have.Kind() != reflect.Map:
		value = strconv.Quote(t.Value)
	}
	for want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	switch {
	case want == reflect.TypeFor[time.Duration]():
		return value + " is no duration; " + writeDuration
	case want == reflect.TypeFor[time.Time]():
		return value + " is no time; " + writeTime
	case want.Kind() == reflect.Bool:
		return value + " is neither true nor false; write one of them"
	case want.Kind() == reflect.String:
		return value + " is no text; write one value"
	case want.Kind() == reflect.Slice:
		return value + " is no list; " + writeList
	case want.Kind() == reflect.Map, want.Kind() == reflect.Struct:
		return value + " is no mapping; " + writeMapping
	default:
		return value + " is no number; write one, without a unit"
	}
}

// applyEnv overrides keys from the environment. The value is YAML, so lists are written as [a, b].
func applyEnv(c *Config, environ []string) []error {
	known := leaves(reflect.TypeFor[Config](), "")
	names := make(map[string]string, len(known))
	all := make([]string, 0, len(known))
	for _, f := range known {
		names[EnvName(f.path)] = f.path
		all = append(all, EnvName(f.path))
	}
	var errs []error
	for _, kv := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(reservedEnv, name) {
			continue
		}
		path, ok := names[name]
		if !ok && ofService(name, value) {
			continue
		}
		if !ok {
			errs = append(errs, fmt.Errorf("environment %s: no such setting; %s", name, suggest(name, all)))
			continue
		}
		target := fieldByPath(reflect.ValueOf(c).Elem(), strings.Split(path, "."))
		if target.Kind() == reflect.String {
			target.SetString(value)
			continue
		}
		file, err := parser.ParseBytes([]byte(value), 0)
		if err != nil {
			errs = append(errs, fmt.Errorf("environment %s: %s", name, plainError(err)))
			continue
		}
		for _, doc := range file.Docs {
			if doc.Body == nil || doc.Body.Type() == ast.NullType {
				continue // as a key with nothing behind it
			}
			for _, fault := range decodeValue(doc.Body, target, name) {
				errs = append(errs, fmt.Errorf("environment %s: %s", fault.path, fault.fault))
			}
		}
	}
	return errs
}

// reservedEnv are variables of ours that are no settings.
var reservedEnv = []string{"DREDGE_FULL", "DREDGE_CONFIG"} //nolint:gochecknoglobals // read-only table

// ofService says whether Kubernetes put a variable there: each pod gets the address and the ports of each service of its namespace, so that a
// service called dredge, or dredge-sonar, looks like a setting of ours.
func ofService(name, value string) bool {
	if strings.HasSuffix(name, "_SERVICE_HOST") || strings.HasSuffix(name, "_SERVICE_PORT") || strings.Contains(name, "_SERVICE_PORT_") {
		return true
	}
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		if link := strings.HasPrefix(value, protocol+"://"); link && strings.HasSuffix(name, "_PORT") {
			return true // DREDGE_PORT=tcp://10.0.0.1:9090
		}
		before, after, ok := strings.Cut(name, "_"+strings.ToUpper(protocol)) // DREDGE_PORT_9090_TCP and, of the same, _ADDR, _PORT, _PROTO
		if ok && strings.Contains(before, "_PORT_") && (after == "" || after == "_ADDR" || after == "_PORT" || after == "_PROTO") {
			return true
		}
	}
	return false
}

// EnvName is the environment variable that overrides the key at path.
func EnvName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

func fieldByPath(v reflect.Value, path []string) reflect.Value {
	for f := range fieldsSeq(v.Type()) {
		if f.name != path[0] {
			continue
		}
		if len(path) == 1 {
			return v.Field(f.index)
		}
		return fieldByPath(v.Field(f.index), path[1:])
	}
	panic("BUG: config path " + strings.Join(path, ".") + " does not exist")
}
