package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	replayEvents = `{"v":1,"op":"assign","src":"inventory","from":1418500000000,"scope":"vpc-0a1b","ip":"172.31.16.139","owner":"eni:eni-1235b8ca123456789","ep":{"kind":"instance"},"wl":{"app":"bastion"}}
{"v":1,"op":"assign","src":"inventory","from":1418500000000,"scope":"vpc-0a1b","ip":"172.31.16.21","owner":"eni:eni-0ffff","ep":{"kind":"instance"},"wl":{"app":"payments"}}
{"v":1,"op":"release","src":"inventory","to":1418531000000,"scope":"vpc-0a1b","ip":"172.31.16.21","owner":"eni:eni-0ffff"}
{"v":1,"op":"assign","src":"inventory","from":1418532000000,"scope":"vpc-0a1b","ip":"172.31.16.21","owner":"eni:eni-0eeee","ep":{"kind":"instance"},"wl":{"app":"search"}}
`
	replayLines = `2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK
2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20642 22 6 20 4249 1418540010 1418540070 ACCEPT OK
2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA
seven fields are too few for this layout
`
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A default version 2 log says neither VPC nor direction; with a file of events both ends are named as they were then.
func TestReplayNamesADefaultLog(t *testing.T) {
	o := replayOptions{identity: write(t, "events.jsonl", replayEvents)}
	var out, errOut bytes.Buffer
	if err := runReplay(t.Context(), o, []string{write(t, "flows.log", replayLines)}, nil, &out, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		var row struct {
			Src string `json:"src_app"`
			Dst string `json:"dst_app"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		names = append(names, row.Src+">"+row.Dst)
	}
	if got := strings.Join(names, " "); got != "bastion>payments bastion>search" {
		t.Errorf("rows name %s", got)
	}
	for _, want := range []string{"lines 4, decoded 2, delivered 2", "nodata 1", "field_count 1", "flows.log: field_count: 8 fields, want 14"} {
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("the books do not say %q:\n%s", want, errOut.String())
		}
	}
}

// What comes through a pipe can be read once only.
func TestReplayReadsPipes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString(replayLines); err != nil {
		t.Fatal(err)
	}
	w.Close()
	o := replayOptions{identity: write(t, "events.jsonl", replayEvents)}
	var out, errOut bytes.Buffer
	if err := runReplay(t.Context(), o, []string{fmt.Sprintf("/dev/fd/%d", r.Fd())}, nil, &out, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	if !strings.Contains(errOut.String(), "lines 4, decoded 2, delivered 2") {
		t.Errorf("the books say\n%s", errOut.String())
	}
}

func TestReplaySaysWhatIsWrongWithItsInput(t *testing.T) {
	f := func(o replayOptions, path, want string) {
		t.Helper()
		var out, errOut bytes.Buffer
		err := runReplay(t.Context(), o, []string{path}, nil, &out, &errOut)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	good := write(t, "flows.log", replayLines)
	f(replayOptions{}, filepath.Join(t.TempDir(), "none.log"), "none.log")
	f(replayOptions{identity: filepath.Join(t.TempDir(), "none.jsonl")}, good, "none.jsonl")
	f(replayOptions{format: "version version"}, good, "version")
	f(replayOptions{out: filepath.Join(t.TempDir(), "no", "such", "rows.jsonl")}, good, "rows.jsonl")
	f(replayOptions{config: write(t, "bad.yaml", "sinc: {}\n")}, good, `did you mean "sink"`)
	var exit *exitError
	if err := runReplay(t.Context(), replayOptions{}, []string{"none.log"}, nil, &bytes.Buffer{}, &bytes.Buffer{}); !errors.As(err, &exit) || exit.code != 1 {
		t.Errorf("a missing file ends with %v, want exit code 1", err)
	}
}

// A file that is read must not be emptied for the rows.
func TestReplayKeepsItsInput(t *testing.T) {
	in := write(t, "flows.log", replayLines)
	link := filepath.Join(t.TempDir(), "link.jsonl")
	if err := os.Symlink(in, link); err != nil {
		t.Fatal(err)
	}
	f := func(out string, paths ...string) {
		t.Helper()
		err := runReplay(t.Context(), replayOptions{out: out}, paths, nil, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), "--out") {
			t.Errorf("--out %s of %q: %v", out, paths, err)
		}
		if left, err := os.ReadFile(in); err != nil || string(left) != replayLines {
			t.Fatalf("--out %s of %q: %d bytes of the input are left, %v", out, paths, len(left), err)
		}
	}
	f(in, in)
	f(in, "none.log", filepath.Dir(in))
	f(link, in)
}

// What any line proves about an address counts for every line, whatever the order of the files: here only the second file shows that
// the destination of the first one's flow was eni-bbbb's.
func TestReplayKnowsWhatLaterFilesProve(t *testing.T) {
	events := `{"v":1,"op":"describe","src":"inventory","from":1418500000000,"scope":"vpc-1","owner":"eni:eni-bbbb","ep":{"kind":"instance","eni":"eni-bbbb"},"wl":{"app":"payments"}}
{"v":1,"op":"progress","src":"inventory","through":1418700000000}
`
	const header = "interface-id vpc-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status flow-direction\n"
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	for path, lines := range map[string]string{
		first: header + "eni-aaaa vpc-1 10.0.0.1 10.0.0.2 40000 443 6 1 100 1418530010 1418530040 ACCEPT OK egress\n",
		second: header + "eni-bbbb vpc-1 10.0.0.9 10.0.0.2 40000 443 6 1 100 1418529900 1418529990 ACCEPT OK ingress\n" +
			"eni-bbbb vpc-1 10.0.0.9 10.0.0.2 40000 443 6 1 100 1418530060 1418530090 ACCEPT OK ingress\n",
	} {
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, paths := range [][]string{{first, second}, {second, first}} {
		var out, errOut bytes.Buffer
		if err := runReplay(t.Context(), replayOptions{identity: write(t, "events.jsonl", events)}, paths, nil, &out, &errOut); err != nil {
			t.Fatalf("%v\n%s", err, errOut.String())
		}
		file := filepath.Join(dir, "rows.jsonl")
		for range 2 { // the second time replaces the rows of the first
			o := replayOptions{identity: write(t, "events.jsonl", events), out: file}
			if err := runReplay(t.Context(), o, paths, nil, &bytes.Buffer{}, &errOut); err != nil {
				t.Fatal(err)
			}
		}
		if rows, err := os.ReadFile(file); err != nil || bytes.Count(rows, []byte("\n")) != 3 {
			t.Errorf("%d rows in the file (%v)", bytes.Count(rows, []byte("\n")), err)
		}
		if n := strings.Count(out.String(), `"dst_app":"payments"`); n != 3 {
			t.Errorf("%d of 3 rows name the destination with %s first:\n%s", n, filepath.Base(paths[0]), out.String())
		}
	}
}
