package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateExplained = flag.Bool("update", false, "write the outputs of testdata/explain")

// part returns the part of a case file below "-- name --".
func part(text, name string) string {
	_, rest, _ := strings.Cut(text, "-- "+name+" --\n")
	if i := strings.Index(rest, "\n-- "); i >= 0 {
		rest = rest[:i]
	}
	return strings.TrimSuffix(rest, "\n")
}

// TestExplain explains the line of each file of testdata/explain and compares every word.
func TestExplain(t *testing.T) {
	files, err := filepath.Glob("testdata/explain/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(raw)
			o := explainOptions{identity: write(t, "events.jsonl", part(text, "events")+"\n"), format: part(text, "format")}
			if c := part(text, "config"); c != "" {
				o.config = write(t, "dredge.yaml", c+"\n")
			}
			var out, errOut bytes.Buffer
			if err := runExplain(t.Context(), o, []string{part(text, "line")}, nil, &out, &errOut); err != nil || errOut.Len() > 0 {
				t.Fatalf("%v\n%s", err, errOut.String())
			}
			if *updateExplained {
				head, _, _ := strings.Cut(text, "-- out --\n")
				if err := os.WriteFile(file, []byte(head+"-- out --\n"+out.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(part(text, "out"), strings.TrimSuffix(out.String(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What explain prints as the row is the row that a replay of the same file makes, down to the row id.
func TestExplainMakesTheRowOfAReplay(t *testing.T) {
	identity, flows := write(t, "events.jsonl", replayEvents), write(t, "flows.log", replayLines)
	var replayed, errOut bytes.Buffer
	r := replayOptions{identity: identity, sets: []string{"endpoint", "evidence", "network", "tags"}}
	if err := runReplay(t.Context(), r, []string{flows}, nil, &replayed, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	rows := strings.Split(strings.TrimSpace(replayed.String()), "\n")
	if len(rows) != 2 {
		t.Fatalf("replay made %d rows:\n%s", len(rows), replayed.String())
	}
	for i, want := range rows {
		var out bytes.Buffer
		line := flows + ":" + string(rune('1'+i))
		if err := runExplain(t.Context(), explainOptions{identity: identity, json: true}, []string{line}, nil, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		var explained struct {
			Row    map[string]any
			Source struct {
				Tenures []struct{ Owner string }
			}
		}
		if err := json.Unmarshal(out.Bytes(), &explained); err != nil {
			t.Fatal(err)
		}
		var row map[string]any
		if err := json.Unmarshal([]byte(want), &row); err != nil {
			t.Fatal(err)
		}
		delete(row, "row_id") // the place in the file is not given here
		if diff := cmp.Diff(row, explained.Row); diff != "" {
			t.Errorf("%s (-replay +explain):\n%s", line, diff)
		}
		if len(explained.Source.Tenures) == 0 {
			t.Errorf("%s: no tenures of the source", line)
		}
	}
}

func TestExplainTakesThePlaceInAStream(t *testing.T) {
	o := explainOptions{identity: write(t, "events.jsonl", replayEvents), json: true, partition: "shardId-000000000001", position: "4950", index: 3}
	line, _, _ := strings.Cut(replayLines, "\n")
	var out bytes.Buffer
	if err := runExplain(t.Context(), o, nil, strings.NewReader(line), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var explained struct{ Row map[string]any }
	if err := json.Unmarshal(out.Bytes(), &explained); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	maps.Copy(got, explained.Row)
	if got["partition"] != "shardId-000000000001" || got["position"] != "4950" || !strings.HasSuffix(got["row_id"].(string), ".3") {
		t.Errorf("lineage is %v %v %v", got["partition"], got["position"], got["row_id"])
	}
}

func TestExplainSaysWhatIsWrong(t *testing.T) {
	flows := write(t, "flows.log", replayLines)
	f := func(o explainOptions, arg, stdin, want string) {
		t.Helper()
		var errOut bytes.Buffer
		var args []string
		if arg != "" {
			args = []string{arg}
		}
		err := runExplain(t.Context(), o, args, strings.NewReader(stdin), io.Discard, &errOut)
		if err == nil {
			t.Errorf("no error; want %q", want)
			return
		}
		said := errOut.String()
		if exit, ok := errors.AsType[*exitError](err); !ok || exit.err != nil {
			said += err.Error()
		}
		if !strings.Contains(said, want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
	f(explainOptions{}, flows+":9", "", "has no line 9")
	f(explainOptions{}, flows+":4", "", "flows.log:4: field_count")
	f(explainOptions{}, filepath.Join(t.TempDir(), "none.log")+":1", "", "none.log")
	f(explainOptions{}, "flows.log", "", "flows.log:1")
	f(explainOptions{}, "", "", "no line was given")
	f(explainOptions{}, "", "2 3 4\n", "line 1: field_count")
	f(explainOptions{format: "version version"}, "2 3", "", "version")
	f(explainOptions{log: "file://" + t.TempDir()}, "2 3", "", "no identity log")
	f(explainOptions{identity: filepath.Join(t.TempDir(), "none.jsonl")}, "2 3", "", "none.jsonl")
}
