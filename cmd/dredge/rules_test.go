package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ruledConfig = `
rules:
  - {name: one-port, when: {dst_port: 1007}, drop: true}
  - {name: web, when: {dst_app: payments}, tag: card-data}
  - {name: sampled, when: {dst_port: ">= 1100"}, sample: 4}
  - {name: hidden, when: {dst_port: 1001}, redact: [src], keep_ipv4_bits: 16}
rows: {minute_dimensions: [src_app, dst_app, action, rule_tags]}
sink: {type: file, file: {path: %q, minute_path: %q}}
`

// Rules act before either grain is written: the books say what they took away by rule, the measures of sampled rows are multiplied in both grains,
// tags can be rolled up by, and doing it again keeps the very same rows.
func TestRulesActOnBothGrains(t *testing.T) {
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintf(&lines, "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 40000 %d 6 1 100 1418530010 1418530070 ACCEPT OK\n", 1000+i)
	}
	flows, identity := write(t, "flows.log", lines.String()), write(t, "events.jsonl", replayEvents)
	run := func() (raw, minute []map[string]any, books string) {
		t.Helper()
		dir := t.TempDir()
		rows, rolled := filepath.Join(dir, "rows.jsonl"), filepath.Join(dir, "minute.jsonl")
		o := replayOptions{config: write(t, "dredge.yaml", fmt.Sprintf(ruledConfig, rows, rolled)), identity: identity}
		var errOut bytes.Buffer
		if err := runReplay(t.Context(), o, []string{flows}, nil, &bytes.Buffer{}, &errOut); err != nil {
			t.Fatalf("%v\n%s", err, errOut.String())
		}
		return objects(t, rows), objects(t, rolled), errOut.String()
	}
	raw, minute, books := run()
	var kept, sampled, bytesRaw, flowsRaw float64
	for _, r := range raw {
		bytesRaw += r["bytes"].(float64)
		flowsRaw += r["flows"].(float64)
		if r["rule_tags"] != "card-data" || r["dst_port"] == "1007" {
			t.Fatalf("row %v", r)
		}
		if r["weight"] == nil {
			kept++
		} else if sampled++; r["weight"] != 4.0 || r["bytes"] != 400.0 || r["packets"] != 4.0 || r["flows"] != 4.0 {
			t.Fatalf("row %v", r)
		}
		if want := map[bool]string{true: "172.31.0.0", false: "172.31.16.139"}[r["dst_port"] == "1001"]; r["src_ip"] != want {
			t.Fatalf("src_ip of port %v is %v", r["dst_port"], r["src_ip"])
		}
	}
	if kept != 99 || sampled < 60 || sampled > 140 { // of 400, 100 are to be expected
		t.Errorf("%v rows are whole, %v sampled", kept, sampled)
	}
	want := fmt.Sprintf("delivered %v", kept+sampled)
	for _, want := range []string{want, "one-port 1", fmt.Sprintf("sampled %v", 400-sampled)} {
		if !strings.Contains(books, want) {
			t.Errorf("the books do not say %q:\n%s", want, books)
		}
	}
	if len(minute) != 1 || minute[0]["bytes"] != bytesRaw || minute[0]["flows"] != flowsRaw || minute[0]["rows_in"] != kept+sampled || minute[0]["rule_tags"] != "card-data" {
		t.Errorf("rolled up %v of %v bytes and %v flows in %v rows", minute, bytesRaw, flowsRaw, kept+sampled)
	}
	again, _, _ := run()
	if len(again) == 0 {
		t.Fatal("nothing came again")
	}
	if diff := cmp.Diff(raw, again); diff != "" {
		t.Errorf("the second run (-first +second):\n%s", diff)
	}
}

// objects reads JSON Lines.
func objects(t *testing.T, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	for line := range bytes.Lines(data) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		list = append(list, m)
	}
	return list
}
