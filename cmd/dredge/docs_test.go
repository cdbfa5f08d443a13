package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The reference pages are what the code says: run `make generate` after a change of settings, metrics, columns or flags.
func TestReferencePagesAreFresh(t *testing.T) {
	pages, err := referencePages(newRootCmd(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join("../../docs/reference", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/reference/%s is stale; run make generate", name)
		}
	}
}
