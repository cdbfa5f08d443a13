package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"dredge/consumer/s3/s3test"
)

const (
	parseOK     = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"
	parseOKJSON = `{"version":2,"account_id":"123456789010","interface_id":"eni-1235b8ca123456789","srcaddr":"172.31.16.139","dstaddr":"172.31.16.21",` +
		`"srcport":20641,"dstport":22,"protocol":6,"packets":20,"bytes":4249,"start":1418530010,"end":1418530070,"action":"ACCEPT","log_status":"OK"}` + "\n"
)

// parse runs the command on stdin and returns what it wrote.
func parse(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := newParseCmd()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out, errs bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		exit, ok := errors.AsType[*exitError](err)
		if !ok {
			t.Fatal(err)
		}
		code = exit.code
	}
	return out.String(), errs.String(), code
}

func TestParseGoldenRecords(t *testing.T) {
	text, err := os.ReadFile("../../flowlog/testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		var c struct {
			ID, Format, Line string
			Expect           json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		n++
		for _, way := range []struct {
			name, stdin string
			args        []string
		}{
			{"--format", c.Line, []string{"--format", c.Format}},
			{"header", c.Format + "\n" + c.Line + "\n", []string{"-"}},
			{"underscores", strings.ReplaceAll(c.Format, "-", "_") + "\r\n" + c.Line + "\r\n", nil},
		} {
			stdout, stderr, code := parse(t, way.stdin, way.args...)
			if string(c.Expect) == `"error"` {
				if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "-:") {
					t.Errorf("%s by %s: %d, %q, %q", c.ID, way.name, code, stdout, stderr)
				}
				continue
			}
			if code != 0 || stderr != "" {
				t.Errorf("%s by %s: %d, %s", c.ID, way.name, code, stderr)
				continue
			}
			var want, got any
			if err := errors.Join(json.Unmarshal(c.Expect, &want), json.Unmarshal([]byte(stdout), &got)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s by %s: %s", c.ID, way.name, diff)
			}
		}
	}
	if n != 39 {
		t.Errorf("%d cases, want 39", n)
	}
}

func TestParseReportsAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "flows.log")
	packed := filepath.Join(dir, "flows.log.gz")
	bad := strings.Replace(parseOK, "20641", "70000", 1)
	if err := os.WriteFile(file, []byte(parseOK+"\n\n"+bad+"\n2 3\n"+parseOK), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(parseOK + "\n" + parseOK + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packed, b.Bytes()[:b.Len()-3], 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := parse(t, "", file, filepath.Join(dir, "missing"), packed)
	if want := strings.Repeat(parseOKJSON, 4); stdout != want || code != 1 {
		t.Errorf("code %d: %s", code, cmp.Diff(want, stdout))
	}
	lines := strings.Split(stderr, "\n")
	for i, want := range []string{
		file + `:3: integer_range: field 6, srcport: "70000", want an integer from 0 to 65535`,
		file + ":4: field_count: 2 fields, want 14",
		filepath.Join(dir, "missing") + ": open: no such file or directory",
		packed + ": truncated_gzip at byte ",
		"",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("%q lacks %q", stderr, want)
		}
	}
}

// What replay reads, parse and explain read too; Parquet, too, but for a pipe.
func TestParseZstdAndParquet(t *testing.T) {
	dir := t.TempDir()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed, columns, broken := filepath.Join(dir, "flows.zst"), filepath.Join(dir, "flows.parquet"), filepath.Join(dir, "broken")
	const header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n"
	parquet, err := s3test.Parquet([]byte(header + parseOK + "\n" + parseOK + "\n"))
	if err = errors.Join(err, os.WriteFile(packed, z.EncodeAll([]byte(parseOK+"\n"+parseOK), nil), 0o600), z.Close(), os.WriteFile(columns, parquet, 0o600),
		os.WriteFile(broken, []byte("PAR1 and columns PAR1"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := parse(t, "", packed); stdout != strings.Repeat(parseOKJSON, 2) || code != 0 {
		t.Errorf("zstd: %d\n%s\n%s", code, stdout, stderr)
	}
	if stdout, stderr, code := parse(t, "", columns); strings.Count(stdout, `"bytes":4249,"dstaddr":"172.31.16.21"`) != 2 || strings.Count(stdout, "\n") != 2 || code != 0 {
		t.Errorf("Parquet: %d\n%s\n%s", code, stdout, stderr)
	}
	if stdout, stderr, code := parse(t, "", broken); stdout != "" || code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "read Parquet") {
		t.Errorf("broken Parquet: %d\n%s\n%s", code, stdout, stderr)
	}
	if stdout, stderr, code := parse(t, string(parquet)); stdout != "" || code != 1 || !strings.Contains(stderr, "name the file") {
		t.Errorf("Parquet from a pipe: %d\n%s\n%s", code, stdout, stderr)
	}
	var out, errOut bytes.Buffer
	if err := runExplain(t.Context(), explainOptions{}, []string{packed + ":2"}, nil, &out, &errOut); err != nil || !strings.Contains(out.String(), "172.31.16.139") {
		t.Errorf("explain: %v\n%s%s", err, out.String(), errOut.String())
	}
	out.Reset()
	if err := runExplain(t.Context(), explainOptions{}, []string{columns + ":3"}, nil, &out, &errOut); err != nil || !strings.Contains(out.String(), "172.31.16.139") {
		t.Errorf("explain of Parquet: %v\n%s%s", err, out.String(), errOut.String())
	}
	out.Reset()
	if err := runReplay(t.Context(), replayOptions{}, []string{columns}, nil, &out, &errOut); err != nil || strings.Count(out.String(), "172.31.16.139") != 2 {
		t.Errorf("replay of Parquet: %v\n%s", err, out.String())
	}
	if err := runReplay(t.Context(), replayOptions{}, []string{broken}, nil, &out, &errOut); err == nil || !strings.Contains(err.Error(), "read Parquet") {
		t.Errorf("replay: %v", err)
	}
}

func TestParseEnvelope(t *testing.T) {
	text, err := os.ReadFile("../../flowlog/envelope/testdata/cwl_data_message_example.json")
	if err != nil {
		t.Fatal(err)
	}
	// AWS's example carries CloudTrail events: three rejected messages, and what is glued to them is still read.
	mine := `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":[{"id":"1","timestamp":1,"message":"` + parseOK + `"}]}`
	stdout, stderr, code := parse(t, string(text)+mine)
	if stdout != parseOKJSON || code != 1 || strings.Count(stderr, "\n") != 3 || !strings.HasPrefix(stderr, "-:1: field_count: 1 field, want 14") {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
	stdout, stderr, code = parse(t, `{"srcAddr":"10.0.0.1","logStatus":"NODATA"}`+"\n{}\n")
	if stdout != `{"srcaddr":"10.0.0.1","log_status":"NODATA"}`+"\n" || code != 1 || !strings.HasPrefix(stderr, "-:2: bad_json") {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
}

func TestParseFormatFlag(t *testing.T) {
	cmd := newParseCmd()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs([]string{"--format", "version version"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), `field "version" stands twice`) {
		t.Error(err)
	}
	// A format that was given outranks the header.
	stdout, _, code := parse(t, "srcaddr dstaddr\n10.0.0.1 10.0.0.2\n", "--format", "dstaddr,srcaddr")
	if stdout != `{"dstaddr":"10.0.0.1","srcaddr":"10.0.0.2"}`+"\n" || code != 0 {
		t.Errorf("%d %s", code, stdout)
	}
}
