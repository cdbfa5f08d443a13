package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The dashboards that are shipped are the ones that the tables make.
func TestDashboardsAreUpToDate(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	contents := func(dir string) map[string]string {
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatal("no dashboards in", dir, err)
		}
		out := map[string]string{}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(file)] = string(data)
		}
		return out
	}
	if diff := cmp.Diff(contents("dashboards"), contents(dir)); diff != "" {
		t.Errorf("run `make generate` (-shipped +made):\n%s", diff)
	}
}

// No panel lies over another or beyond the grid, and none stands twice.
func TestDashboardsAreLaidOut(t *testing.T) {
	for _, d := range []dashboard{health(), truth(), traffic(), capacity()} {
		taken := map[[2]int]string{}
		titles := map[string]bool{}
		for _, p := range d.layout() {
			title, _ := p["title"].(string)
			if titles[title] || title == "" {
				t.Errorf("%s: %q stands twice or is empty", d.uid, title)
			}
			titles[title] = true
			at, _ := p["gridPos"].(object)
			n := func(key string) int { v, _ := at[key].(int); return v }
			if n("w") < 1 || n("h") < 1 || n("x")+n("w") > columns {
				t.Errorf("%s: %q is at %v", d.uid, title, at)
			}
			for x := n("x"); x < n("x")+n("w"); x++ {
				for y := n("y"); y < n("y")+n("h"); y++ {
					if other, ok := taken[[2]int{x, y}]; ok {
						t.Fatalf("%s: %q lies over %q", d.uid, title, other)
					}
					taken[[2]int{x, y}] = title
				}
			}
		}
	}
}
