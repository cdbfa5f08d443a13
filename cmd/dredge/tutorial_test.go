package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dredge/config"
)

// What docs/tutorial.md says happens: its files are those that are run.
func TestTutorial(t *testing.T) {
	text, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, m := range regexp.MustCompile("(?s)```\\w+ ([\\w.]+)\n(.*?)```").FindAllSubmatch(text, -1) {
		if err := os.WriteFile(filepath.Join(dir, string(m[1])), m[2], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replay := func() string {
		t.Helper()
		cmd := newRootCmd()
		var out, books bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&books)
		rows := filepath.Join(dir, "rows.jsonl")
		cmd.SetArgs([]string{"replay", "--identity", filepath.Join(dir, "events.jsonl"), "--out", rows, filepath.Join(dir, "flows.log")})
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err, books.String())
		}
		data, err := os.ReadFile(rows)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	row := replay()
	for _, want := range []string{`"src_app":"checkout"`, `"src_grade":"confirmed"`, `"dst_app":"payments"`, `"dst_grade":"covered"`} {
		if !strings.Contains(row, want) {
			t.Errorf("no %s in %s", want, row)
		}
	}

	events := filepath.Join(dir, "events.jsonl")
	var both []byte
	for _, file := range []string{events, filepath.Join(dir, "more.jsonl")} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, data...)
	}
	if err := os.WriteFile(events, both, 0o600); err != nil {
		t.Fatal(err)
	}
	if row := replay(); !strings.Contains(row, `"dst_app":"ambiguous"`) || !strings.Contains(row, `"dst_candidates":["payments","search"]`) {
		t.Errorf("with a change of owner within the flow: %s", row)
	}

	c, err := config.Load(filepath.Join(dir, "dredge.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ValidateService(); err != nil {
		t.Error(err)
	}
}
