package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/row"
	"dredge/sink"
)

// mixed has lines of two layouts: those of version 2, and two that leave the account out.
const mixed = `2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK
eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20642 22 6 20 5000 1418530010 1418530070 ACCEPT OK
2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20643 22 6 20 4251 1418530010 1418530070 ACCEPT OK
eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20644 22 6 20 6000 1418530010 1418530070 ACCEPT OK
`

var letterTime = time.Date(2026, 3, 1, 12, 0, 0, 5_000_000, time.UTC)

const shortFormat = "interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"

// rowIDs are the ids and bytes of rows.
func rowIDs(t *testing.T, rows string) (ids []string) {
	t.Helper()
	for line := range strings.Lines(rows) {
		var row struct {
			ID    string `json:"row_id"`
			Bytes int64  `json:"bytes"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		ids = append(ids, row.ID+" "+number(row.Bytes))
	}
	slices.Sort(ids)
	return ids
}

// Lines that had no layout become dead letters; run again with the layout that was missing they become the very rows that they would have
// been, with the ids of their places.
func TestDLQReplay(t *testing.T) {
	flows := write(t, "flows.log", mixed)
	dead := filepath.Join(t.TempDir(), "dead.jsonl")
	config := write(t, "dredge.yaml", "dead_letter: {type: file, file: {path: "+dead+"}}\nsink: {type: file, file: {path: \"-\"}}\n")

	var good, want, errOut bytes.Buffer
	if err := runReplay(t.Context(), replayOptions{config: config}, []string{flows}, nil, &good, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	// What the same lines would have been at once.
	if err := runReplay(t.Context(), replayOptions{format: shortFormat}, []string{flows}, nil, &want, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}

	list := func(args ...string) string {
		t.Helper()
		cmd := newRootCmd()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(append([]string{"dlq", "list"}, args...))
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if out := list("-c", config, "--count"); !strings.Contains(out, "field_count  2") {
		t.Errorf("list --count says\n%s", out)
	}
	if out := list("-c", config); strings.Count(out, "field_count") != 2 || !strings.Contains(out, "12 fields, want 14") {
		t.Errorf("list says\n%s", out)
	}
	if out := list("-c", config, "--reason", "bad_gzip"); strings.Contains(out, "field_count") {
		t.Errorf("list of another reason says\n%s", out)
	}
	text, err := os.ReadFile(dead)
	if err != nil {
		t.Fatal(err)
	}
	if out := list("--json", dead); out != string(text) {
		t.Errorf("list --json is not what the file holds:\n%s\n%s", out, text)
	}

	var rows bytes.Buffer
	errOut.Reset()
	if err := runDLQReplay(t.Context(), &letterChoice{config: config}, replayOptions{format: shortFormat}, nil, &rows, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	if !strings.Contains(errOut.String(), "lines 2, decoded 2, delivered 2") {
		t.Errorf("the books say\n%s", errOut.String())
	}
	if d := cmp.Diff(rowIDs(t, want.String()), rowIDs(t, rows.String())); d != "" {
		t.Errorf("rows (-at once +from letters):\n%s", d)
	}
}

// The letters of a configuration are found however their file is compressed and rotated, and its neighbours are not taken for them.
func TestDLQFindsItsFiles(t *testing.T) {
	flows := write(t, "flows.log", "no flow\n")
	for _, c := range []struct{ name, more string }{
		{"dead", ""},
		{"dead.jsonl", ""},
		{"dead.jsonl.gz", ""},
		{"dead.jsonl.zst", ""},
		{"dead[1].jsonl", ", rotate_age: 1h"},
		{"dead", ", rotate_age: 1h"},
		{"dead.jsonl.gz", ", rotate_age: 1h"},
		{"dead.jsonl.zst", ", rotate_bytes: 1000"},
	} {
		dir := t.TempDir()
		for _, other := range []string{"dead-other.jsonl.gz", "dead-other", "dead-20260101T000000.000Z-x.jsonl.zst", "dead[1]-.jsonl", "dead-20260101T000000.000Z-0001.txt"} {
			if err := os.WriteFile(filepath.Join(dir, other), []byte("not ours\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		config := write(t, "dredge.yaml", fmt.Sprintf("dead_letter: {type: file, file: {path: %q%s}}", filepath.Join(dir, c.name), c.more))
		var out bytes.Buffer
		// An input that was rejected is an error of replay's.
		_ = runReplay(t.Context(), replayOptions{config: config, out: "-"}, []string{flows}, nil, &out, io.Discard)
		cmd := newRootCmd()
		cmd.SetOut(&out)
		cmd.SetArgs([]string{"dlq", "list", "-c", config})
		if err := cmd.ExecuteContext(t.Context()); err != nil || strings.Count(out.String(), "field_count") != 1 {
			t.Errorf("%s%s: error %v, list says\n%s", c.name, c.more, err, out.String())
		}
	}
}

// Letters that cannot be run again are told, and cost no other letter.
func TestDLQReplayTellsWhatItLeaves(t *testing.T) {
	line := strings.Split(mixed, "\n")[1]
	var text []byte
	add := func(l sink.Letter, most int) {
		l.Partition, l.At, l.Data, l.Size = "shard-1", "495", []byte(line), len(line)
		text = append(sink.AppendLetter(text, l, letterTime, most), '\n')
	}
	add(sink.Letter{Reason: "field_count", Index: 3}, 1000)
	add(sink.Letter{Reason: "field_count", Index: 4}, 20)
	add(sink.Letter{Reason: "row_too_large", Index: 5}, 1000)
	text = append(text, "no letter\n"...)
	var rows, errOut bytes.Buffer
	err := runDLQReplay(t.Context(), &letterChoice{}, replayOptions{format: shortFormat, out: "-"}, []string{write(t, "dead.jsonl", string(text))}, &rows, &errOut)
	if err == nil || !strings.Contains(err.Error(), "1 lines are no dead letters") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"delivered 1", "1 letters were not run again: they were cut", "1 letters were not run again: they hold rows"} {
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, errOut.String())
		}
	}
	if ids := rowIDs(t, rows.String()); len(ids) != 1 || !strings.Contains(ids[0], ".3 ") {
		t.Errorf("rows %q, want one with index 3", ids)
	}
}

// Letters in a topic are read to its end, those of aborted transactions left out.
func TestDLQReadsTheTopic(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.TransactionalID("letters"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 3, 1, nil, "dead"); err != nil {
		t.Fatal(err)
	}
	for n, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for p := range int32(2) {
			value := sink.AppendLetter(nil, sink.Letter{Partition: "shard-1", At: "495", Index: n*10 + int(p), Reason: "field_count"}, letterTime, 10)
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "dead", Partition: p, Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	config := write(t, "dredge.yaml", `dead_letter: {type: kafka}
sink: {type: kafka, kafka: {brokers: ["`+strings.Join(fake.ListenAddrs(), `", "`)+`"], topic: flows, dead_letter: {topic: dead}}}
`)
	cmd := newRootCmd()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"dlq", "list", "-c", config, "--json"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var indexes []int
	for line := range strings.Lines(out.String()) {
		l, _, err := sink.ParseLetter([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		indexes = append(indexes, l.Index)
	}
	slices.Sort(indexes)
	if d := cmp.Diff([]int{0, 1, 20, 21}, indexes); d != "" {
		t.Errorf("letters (-want +have):\n%s", d)
	}
}

// A letter carries the log group, log stream and account of its line, so the rules choose its layout when it is run again; --format takes
// the place of the rules.
func TestDLQReplayChoosesTheLayoutByLogGroup(t *testing.T) {
	lines := strings.Split(mixed, "\n")
	var text []byte
	add := func(group, line string, index int) {
		l := sink.Letter{
			Partition: "shard-1", At: "495", Index: index, LogGroup: group, LogStream: "eni-1", Account: "123456789010", Reason: "no_format",
			Data: []byte(line), Size: len(line),
		}
		text = append(sink.AppendLetter(text, l, letterTime, 1000), '\n')
	}
	add("/vpc/short", lines[1], 3)
	add("/vpc/long", lines[2], 4)
	letters := write(t, "dead.jsonl", string(text))
	config := write(t, "dredge.yaml", `pipeline: {formats: {default: "", rules: [{log_group: /vpc/short, account: "123456789010", format: "`+shortFormat+`"}, {log_group: /vpc/long, log_stream: eni-*, format: default}]}}
sink: {type: file, file: {path: "-"}}
`)
	f := func(o replayOptions, books string, want ...string) {
		t.Helper()
		var rows, errOut bytes.Buffer
		if err := runDLQReplay(t.Context(), &letterChoice{config: config}, o, []string{letters}, &rows, &errOut); err != nil {
			t.Fatalf("%v\n%s", err, errOut.String())
		}
		if !strings.Contains(errOut.String(), books) {
			t.Errorf("the books say\n%s, want %s", errOut.String(), books)
		}
		if d := cmp.Diff(want, rowIDs(t, rows.String())); d != "" {
			t.Errorf("rows (-want +have):\n%s", d)
		}
	}
	short, long := row.LineID("shard-1", "495", 3)+" 5000", row.LineID("shard-1", "495", 4)+" 4251"
	f(replayOptions{}, "lines 2, decoded 2, delivered 2", short, long)
	f(replayOptions{format: shortFormat}, "lines 2, decoded 1, delivered 1", short)

	cmd := newRootCmd()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"dlq", "list", letters})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "LOG GROUP") || !strings.Contains(text, "/vpc/short") {
		t.Errorf("list says\n%s", text)
	}
}
