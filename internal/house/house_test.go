package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "dredge"

// source is one Go file of the repository.
type source struct {
	path string // slash-separated, from the root
	pkg  string // folder, "" for the root
	test bool
	ast  *ast.File
	fset *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	root := "../.."
	var out []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, root), string(filepath.Separator)))
		if d.IsDir() {
			if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && rel != "" && d.Name() != ".." || rel == "tools" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{path: rel, pkg: strings.TrimPrefix(path.Dir(rel), "."), test: strings.HasSuffix(rel, "_test.go"), ast: f, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d Go files; the walk is broken", len(out))
	}
	return out
}

// directions says which of our packages each package may import outside its tests. A folder also stands for what lies below it
// unless that has a line of its own.
var directions = map[string][]string{
	"stream":               {},
	"flowlog":              {},
	"flowlog/envelope":     {"flowlog"},
	"row":                  {},
	"row/encode":           {"row"},
	"row/rollup":           {"row"},
	"row/condition":        {"row"},
	"enrich/rules":         {"row", "row/condition"},
	"enrich/segment":       {"row", "row/condition"},
	"metadata/event":       {},
	"metadata/store":       {"metadata", "metadata/event", "internal/hugepages"},
	"metadata/file":        {"metadata/event"},
	"metadata/ec2":         {"metadata/event", "metadata/internal/awscall"},
	"metadata/ecs":         {"metadata/event", "metadata/internal/awscall"},
	"metadata/internal":    {"metadata/event"},
	"metadata/kube":        {"metadata/event"},
	"metadata/app":         {"metadata/event"},
	"metadata/geo":         {"metadata"},
	"metadata/networks":    {"metadata/event"},
	"metadata/idlog":       {"metadata/event", "internal/blob"},
	"metadata/sonar":       {"metadata", "metadata/event", "metadata/store", "metadata/idlog"},
	"druid":                {"row", "internal/certificate"},
	"internal/blob":        {},
	"internal/hugepages":   {},
	"internal/retry":       {},
	"metadata":             {"metadata/event"},
	"consumer/window":      {"stream"},
	"consumer":             {"stream", "consumer", "internal/retry"},
	"sink":                 {"stream", "row", "row/rollup", "sink", "internal/certificate", "internal/retry", "internal/secret"},
	"sink/druid":           {"stream", "row", "row/rollup", "sink", "sink/internal/ack", "druid", "internal/blob", "internal/retry"},
	"enrich":               {"flowlog", "row", "metadata"},
	"pipeline":             {"stream", "flowlog", "flowlog/envelope", "row", "sink"},
	"internal/telemetry":   {},
	"internal/httpd":       {"internal/secret"},
	"internal/secret":      {},
	"internal/certificate": {},
	"internal/page":        {},
	"internal/tail":        {"row", "row/encode"},
	"internal/house":       {},
	"internal/awsfake":     {},
	// Test helpers: packages that only tests import.
	"internal/awsfake/awsfaketest":     {"internal/awsfake"},
	"internal/awsfake/contract":        {},
	"consumer/kinesis/lease/leasetest": {"consumer/kinesis/lease"},
	"sink/sinktest":                    {"stream", "row", "sink", "sink/internal/ack"},
	"deploy":                           {},
	"internal/flowgen":                 {"metadata/event", "flowlog"},
}

func TestImportDirections(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "cmd") || strings.HasPrefix(s.pkg, "test/") || s.pkg == "config" {
			continue // cmd and whole-system tests know everything, config every Config
		}
		allowed, rule := lookup(s.pkg)
		if rule == "" {
			t.Errorf("%s: package %s has no line in the table of import directions", s.path, s.pkg)
			continue
		}
		for _, spec := range s.ast.Imports {
			imported, ours := strings.CutPrefix(importPath(spec), module+"/")
			if !ours || imported == s.pkg || strings.HasPrefix(imported, rule+"/") && !strings.HasPrefix(rule, "metadata") {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return imported == a || strings.HasPrefix(imported, a+"/") && a == "consumer" }) {
				t.Errorf("%s imports %s; %s may import only %v", s.path, imported, rule, allowed)
			}
		}
	}
}

func lookup(pkg string) (allowed []string, rule string) {
	for p := pkg; p != "." && p != ""; p = path.Dir(p) {
		if a, ok := directions[p]; ok {
			return a, p
		}
	}
	return nil, ""
}

// Outside libraries that only some packages may know, so that they can be replaced there.
func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	only := map[string][]string{
		"github.com/aws/":            {"consumer", "cmd", "metadata/ec2", "metadata/ecs", "metadata/internal/awscall", "internal/blob", "internal/awsfake", "test"},
		"github.com/twmb/franz-go":   {"sink/kafka", "cmd", "test"},
		"k8s.io/":                    {"metadata/kube"},
		"github.com/oschwald/":       {"metadata/geo"},
		"github.com/spf13/cobra":     {"cmd"},
		"gocloud.dev":                {"internal/blob"},
		"github.com/chromedp":        {"test"},
		"github.com/compose-spec":    {"deploy", "test", "internal/house"},
		"pgregory.net/rapid":         nil,               // tests only
		"github.com/google/go-cmp":   {"sink/sinktest"}, // a contract suite is test code
		"go.uber.org/goleak":         nil,
		"github.com/goccy/go-yaml":   {"config", "flowlog", "sink", "consumer", "pipeline", "metadata", "enrich", "druid", "cmd"},
		"github.com/santhosh-tekuri": nil,
	}
	for _, s := range sources(t) {
		for _, spec := range s.ast.Imports {
			for prefix, homes := range only {
				if !strings.HasPrefix(importPath(spec), prefix) || s.test {
					continue
				}
				if !slices.ContainsFunc(homes, func(h string) bool { return s.pkg == h || strings.HasPrefix(s.pkg, h+"/") }) {
					t.Errorf("%s imports %s, which belongs to %v", s.path, importPath(spec), homes)
				}
			}
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if _, ok := comments[s.pkg]; !ok {
			comments[s.pkg] = nil
		}
		if s.ast.Doc != nil {
			comments[s.pkg] = append(comments[s.pkg], s.path)
		}
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %s has its comment in %d files %v; exactly one must say what it owns", pkg, len(files), files)
		}
	}
}

func TestNamesSayWhatTheyHold(t *testing.T) {
	for _, s := range sources(t) {
		for _, bad := range []string{"util", "utils", "common", "helpers", "types", "interfaces", "misc"} {
			if path.Base(s.pkg) == bad {
				t.Errorf("package %s: name the thing it owns", s.pkg)
			}
		}
	}
}

func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: func init; make it a call that somebody can read", at(s, n))
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Sleep" {
					t.Errorf("%s: time.Sleep; wait on a condition or use virtual time", at(s, n))
				}
				if n.Sel.Name == "Skip" || n.Sel.Name == "Skipf" || n.Sel.Name == "SkipNow" {
					if x, ok := n.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b" || x.Name == "f") && !strings.HasPrefix(s.pkg, "test/") {
						t.Errorf("%s: a skipped test passes silently; run it elsewhere instead", at(s, n))
					}
				}
			}
			return true
		})
	}
}

// The project stands alone: nothing in it points at the place where it was written.
func TestStandsAlone(t *testing.T) {
	words := []string{"../" + "shared", "/wo" + "rk/", "DESIGN" + ".md"}
	err := filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == ".cache" {
				return fs.SkipDir
			}
			return nil
		}
		if d.Name() == ".git" { // in a linked work tree it is a file that names the place of the repository
			return nil
		}
		info, err := d.Info()
		if err != nil || info.Size() > 1<<20 || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, w := range words {
			if i := strings.Index(string(data), w); i >= 0 {
				t.Errorf("%s names %q", p, w)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value
	}
	return p
}

func at(s source, n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}
