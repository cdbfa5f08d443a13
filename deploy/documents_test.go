package deploy

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents returns the paths of all documents for people.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"/*.md", "/docs/*.md", "/docs/*/*.md", "/deploy/*/*.md", "/test/*/*.md"} {
		files, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, files...)
	}
	if len(out) < 10 {
		t.Fatalf("%d documents", len(out))
	}
	return out
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// anchors returns the anchors of a document's headings as Git hosts make them.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		out[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return out
}

// Every link inside the repository leads to a file, and its anchor to a heading of it.
func TestLinks(t *testing.T) {
	checked := 0
	for _, file := range documents(t) {
		text := fence.ReplaceAllString(string(read(t, file)), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: link %q: %v", file, m[1], err)
				continue
			}
			if u.Scheme != "" || u.Host != "" {
				continue
			}
			checked++
			target := file
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(file), u.Path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %q leads nowhere", file, m[1])
				continue
			}
			if u.Fragment != "" && !anchors(string(read(t, target)))[u.Fragment] {
				t.Errorf("%s: link %q: %s has no such heading", file, m[1], target)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d links were checked", checked)
	}
}

// Every document in docs/ itself is reached from the README, directly or by way of another; decisions and reports are lists in their folders.
func TestDocumentsAreReached(t *testing.T) {
	seen := map[string]bool{}
	var walk func(string)
	walk = func(file string) {
		if file = filepath.Clean(file); seen[file] || filepath.Ext(file) != ".md" {
			return
		}
		seen[file] = true
		data, err := os.ReadFile(file)
		if err != nil {
			return // TestLinks reports it
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			path, _, _ := strings.Cut(m[1], "#")
			if path != "" && !strings.Contains(path, "://") {
				walk(filepath.Join(filepath.Dir(file), path))
			}
		}
	}
	walk(root + "/README.md")
	for _, file := range documents(t) {
		if filepath.Dir(file) == filepath.Clean(root+"/docs") && !seen[filepath.Clean(file)] {
			t.Errorf("%s: no link leads there from the README", file)
		}
	}
}
