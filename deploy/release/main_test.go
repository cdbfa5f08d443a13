package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The same files give the same bytes, and come out as they went in.
func TestArchive(t *testing.T) {
	stamp := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	files := []file{{"dredge", 0o755, []byte("program")}, {"completions/dredge.fish", 0o644, []byte("complete")}}
	one, err := archive("dredge_v1", files, stamp)
	if err != nil {
		t.Fatal(err)
	}
	two, err := archive("dredge_v1", files, stamp)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("two archives of the same differ: %v", err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(one))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for tr := tar.NewReader(zip); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(data)
		if !h.ModTime.Equal(stamp) || h.Uname != "" {
			t.Errorf("%s: %s of %q", h.Name, h.ModTime, h.Uname)
		}
	}
	if diff := cmp.Diff(map[string]string{"dredge_v1/dredge": "program", "dredge_v1/completions/dredge.fish": "complete"}, got); diff != "" {
		t.Error(diff)
	}
}

// The same commit gives the same binary wherever it is built, and the binary says which commit it is of.
func TestBuildIsReproducible(t *testing.T) {
	git := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null"}
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		git = append(git, "GIT_"+who+"_NAME=a", "GIT_"+who+"_EMAIL=a@example.com", "GIT_"+who+"_DATE=2026-01-02T03:04:05Z")
	}
	built := func(dir string) []byte {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "cmd/dredge"), 0o750); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"go.mod": "module dredge\n\ngo 1.26\n", "cmd/dredge/main.go": "package main\n\nfunc main() { println(1) }\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"commit", "-q", "-m", "first"}, {"tag", "v1.2.3"}} {
			if _, err := run(t.Context(), dir, git, "git", args...); err != nil {
				t.Fatal(err)
			}
		}
		binary := filepath.Join(t.TempDir(), "dredge")
		if err := build(t.Context(), dir, binary, "linux", "arm64"); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(dir)) {
			t.Errorf("the binary tells that it was built in %s", dir)
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if info.Main.Version != "v1.2.3" || len(settings["vcs.revision"]) != 40 || settings["vcs.modified"] != "false" || settings["CGO_ENABLED"] != "0" {
			t.Errorf("version %s, %v", info.Main.Version, settings)
		}
		return data
	}
	if one, two := built(t.TempDir()), built(t.TempDir()); !bytes.Equal(one, two) {
		t.Errorf("two builds of the same differ: %d and %d bytes", len(one), len(two))
	}
}

// The bill lists the program and every module in it, as the linker says: of a replaced one what replaced it.
func TestBillOfMaterials(t *testing.T) {
	info := &buildinfo.BuildInfo{GoVersion: "go1.26.1", Deps: []*debug.Module{
		{Path: "example.com/a", Version: "v1.0.0"},
		{Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/c", Version: "v2.0.0"}},
	}}
	b := billOf(info, [32]byte{1}, "v1.2.3", time.Unix(0, 0).UTC())
	var got []string
	for _, c := range append(b.Components, b.Metadata.Component) {
		got = append(got, c.Type+" "+c.PURL)
	}
	want := []string{
		"platform pkg:golang/stdlib@1.26.1", "library pkg:golang/example.com/a@v1.0.0", "library pkg:golang/example.com/c@v2.0.0",
		"application pkg:golang/dredge@v1.2.3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b.BOMFormat != "CycloneDX" || b.Metadata.Component.Hashes[0].Content[:2] != "01" {
		t.Errorf("bill %+v", b)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var read bill
	if text, err := billOfMaterials(self, "v1", time.Unix(0, 0)); err != nil || json.Unmarshal(text, &read) != nil || len(read.Components) == 0 {
		t.Errorf("of a binary: %v %s", err, text)
	}
	if _, err := billOfMaterials(t.TempDir(), "v1", time.Unix(0, 0)); err == nil {
		t.Error("a folder has a bill")
	}
}
