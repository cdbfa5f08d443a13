package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const edgesOfTest = `
version: 1
default: deny
edges:
  - {name: ssh, from: {app: bastion}, to: {app: payments}, protocol: tcp, port: 22}
`

// Declared edges judge both grains, rules can ask what they said, and explain tells which edge it was.
func TestSegmentationInRowsAndExplain(t *testing.T) {
	dir := t.TempDir()
	rows, rolled := filepath.Join(dir, "rows.jsonl"), filepath.Join(dir, "minute.jsonl")
	yaml := fmt.Sprintf("segmentation: {file: %q}\nrules: [{name: alarm, when: {segmentation: unexpected}, tag: alarm}]\nsink: {type: file, file: {path: %q, minute_path: %q}}\n",
		write(t, "edges.yaml", edgesOfTest), rows, rolled)
	o := replayOptions{config: write(t, "dredge.yaml", yaml), identity: write(t, "events.jsonl", replayEvents)}
	var errOut bytes.Buffer
	if err := runReplay(t.Context(), o, []string{write(t, "flows.log", replayLines)}, nil, &bytes.Buffer{}, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	verdicts := func(list []map[string]any) (out []string) {
		for _, r := range list {
			out = append(out, fmt.Sprint(r["src_app"], ">", r["dst_app"], " ", r["segmentation"], " ", r["rule_tags"]))
		}
		return out
	}
	// The second line's flow is to another owner of the address, whom nothing allows.
	if diff := cmp.Diff([]string{"bastion>payments allowed <nil>", "bastion>search unexpected alarm"}, verdicts(objects(t, rows))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bastion>payments allowed <nil>", "bastion>search unexpected <nil>"}, verdicts(objects(t, rolled))); diff != "" {
		t.Error(diff)
	}
	line, _, _ := strings.Cut(replayLines, "\n")
	var out bytes.Buffer
	if err := runExplain(t.Context(), explainOptions{config: o.config, identity: o.identity, json: true}, []string{line}, nil, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var explained struct{ Segmentation step }
	if err := json.Unmarshal(out.Bytes(), &explained); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(step{Value: "allowed", By: "ssh", Why: "an edge allows it"}, explained.Segmentation); diff != "" {
		t.Error(diff)
	}
}

// A faulty file ends the start, with all its faults.
func TestFaultyEdgesEndTheStart(t *testing.T) {
	yaml := fmt.Sprintf("segmentation: {file: %q}\n", write(t, "edges.yaml", "version: 1\ndefault: maybe\nedges: [{name: a, from: {apps: x}}]\n"))
	var errOut bytes.Buffer
	err := runReplay(t.Context(), replayOptions{config: write(t, "dredge.yaml", yaml)}, []string{write(t, "flows.log", replayLines)}, nil, &bytes.Buffer{}, &errOut)
	for _, want := range []string{"segmentation: declared edges", `default: "maybe" is neither`, "edges[0].from.apps: is nothing that ends are chosen by"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
