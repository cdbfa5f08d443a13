package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every target of the Makefile has its line in `make help`, is declared phony once, and is there when a document names it.
func TestMakefile(t *testing.T) {
	raw, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), "\\\n", " ")
	targets, phony := []string{}, []string{}
	for line := range strings.Lines(text) {
		if names, ok := strings.CutPrefix(line, ".PHONY:"); ok {
			phony = append(phony, strings.Fields(names)...)
		} else if m := regexp.MustCompile(`^([a-z0-9-]+):[^=]*?(##.*)?\n$`).FindStringSubmatch(line); m != nil {
			targets = append(targets, m[1])
			if m[2] == "" {
				t.Errorf("make %s has no help", m[1])
			}
		}
	}
	slices.Sort(targets)
	slices.Sort(phony)
	if diff := cmp.Diff(targets, phony); diff != "" {
		t.Errorf("targets and .PHONY differ:\n%s", diff)
	}
	named := regexp.MustCompile("`make ([a-z0-9-]+)")
	err = filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".md") {
			return err
		}
		doc, err := os.ReadFile(filepath.Clean(p))
		if err != nil {
			return err
		}
		for _, m := range named.FindAllStringSubmatch(string(doc), -1) {
			if !slices.Contains(targets, m[1]) {
				t.Errorf("%s names `make %s`, which is no target", p, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
