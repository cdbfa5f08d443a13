package house

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// parsing is the name of a function that reads what somebody else wrote, when its first parameters hold bytes or text.
var parsing = regexp.MustCompile(`^([pP]arse|[dD]ecode|[uU]npack|Split|Unmarshal)([A-Z]|$)`)

// unfuzzed are packages whose parsers read only what stands on a command line, in the configuration that config's own target reads, or
// in tests.
var unfuzzed = []string{
	"cmd/dredge", "metadata", "internal/blob", "sink/sinktest", "druid/druidtest",
}

// Every package with a parser has a fuzz target.
func TestParsersAreFuzzed(t *testing.T) {
	parsers, targets := map[string][]string{}, map[string]int{}
	for _, s := range sources(t) {
		dir := s.pkg
		if strings.HasPrefix(dir, "test/") || strings.HasPrefix(dir, "deploy/") || strings.HasPrefix(dir, "tools/") {
			continue
		}
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok:
			case s.test:
				if strings.HasPrefix(f.Name.Name, "Fuzz") {
					targets[dir]++
				}
			case parsing.MatchString(f.Name.Name) && readsBytes(f.Type):
				parsers[dir] = append(parsers[dir], f.Name.Name)
			}
		}
	}
	if len(parsers) < 15 || len(targets) < 25 {
		t.Fatalf("found parsers in %d packages and fuzz targets in %d", len(parsers), len(targets))
	}
	for dir, names := range parsers {
		if targets[dir] == 0 && !slices.Contains(unfuzzed, dir) {
			t.Errorf("%s has no fuzz target for %s", dir, strings.Join(names, ", "))
		}
	}
}

// readsBytes says whether a parameter is text, bytes, or a reader.
func readsBytes(f *ast.FuncType) bool {
	for _, p := range f.Params.List {
		switch x := p.Type.(type) {
		case *ast.Ident:
			if x.Name == "string" {
				return true
			}
		case *ast.ArrayType:
			if of, ok := x.Elt.(*ast.Ident); ok && of.Name == "byte" && x.Len == nil {
				return true
			}
		case *ast.SelectorExpr:
			if x.Sel.Name == "Reader" {
				return true
			}
		}
	}
	return false
}
