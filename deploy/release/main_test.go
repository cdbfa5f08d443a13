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
