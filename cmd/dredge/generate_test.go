package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/flowlog"
	"dredge/internal/awsfake"
	"dredge/internal/flowgen"
	"dredge/metadata/event"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
)

func generate(t *testing.T, args ...string) (progress string, err error) {
	t.Helper()
	cmd := newGenerateCmd()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var errs bytes.Buffer
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return errs.String(), err
}

func readAll(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGenerateFiles(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--for", "3m", "--rate", "50", "--start", "2026-03-01T12:00:00Z", "--out"}
	for _, sub := range []string{"a", "b"} {
		if _, err := generate(t, append(args, filepath.Join(dir, sub))...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := generate(t, append(args, filepath.Join(dir, "z"), "--gzip")...); err != nil {
		t.Fatal(err)
	}
	flows, err := filepath.Glob(filepath.Join(dir, "a", "flows-*.log"))
	if err != nil || len(flows) != 5 {
		t.Fatalf("flow logs %v, %v", flows, err)
	}
	data := 0
	for _, path := range flows {
		text := readAll(t, path)
		name := filepath.Base(path)
		if !bytes.Equal(text, readAll(t, filepath.Join(dir, "b", name))) {
			t.Errorf("%s differs between two runs of the same seed and start", name)
		}
		z, err := gzip.NewReader(bytes.NewReader(readAll(t, filepath.Join(dir, "z", name+".gz"))))
		if err != nil {
			t.Fatal(err)
		}
		if unzipped, err := io.ReadAll(z); err != nil || !bytes.Equal(unzipped, text) {
			t.Errorf("%s.gz holds something else: %v", name, err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		f, err := flowlog.ParseFormat(lines[0])
		if err != nil {
			t.Fatal(err)
		}
		d, b := flowlog.NewDecoder(), &flowlog.Batch{}
		for _, line := range lines[1:] {
			if reason := d.Append(b, f, []byte(line), 0, 0); reason != flowlog.ReasonNone {
				t.Fatalf("%s: %q: %s", name, line, flowlog.Explain(f, []byte(line)))
			}
		}
		for i := range b.Records {
			if b.Records[i].Status == flowlog.StatusOK {
				data++
			}
		}
	}
	if n := bytes.Count(readAll(t, filepath.Join(dir, "a", "truth.jsonl")), []byte("\n")); n != data || n == 0 {
		t.Errorf("%d truths of %d lines with data", n, data)
	}
	events := event.NewDecoder(bytes.NewReader(readAll(t, filepath.Join(dir, "a", "events.jsonl"))))
	told := map[event.Op]int{}
	var e event.Event
	for {
		err := events.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		told[e.Op]++
	}
	if told[event.Assign] < 300 || told[event.Progress] != 1 || e.Op != event.Progress {
		t.Errorf("hindsight tells %v", told)
	}
}

func TestGenerateFaults(t *testing.T) {
	out := t.TempDir()
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"either --out DIR or --stream NAME", nil},
		{"either --out DIR or --stream NAME", []string{"--out", out, "--stream", "s"}},
		{"--delay", []string{"--out", out, "--delay", "slow"}},
		{"--start-offset", []string{"--out", out, "--start-offset", "never"}},
		{"--identity", []string{"--out", out, "--identity", "oracle"}},
		{"--identity", []string{"--stream", "s", "--identity", "hindsight"}},
		{"--start", []string{"--out", out, "--start", "noon"}},
		{"--start", []string{"--stream", "s", "--start", "2026-03-01T12:00:00Z"}},
		{"--for", []string{"--out", out, "--for", "0s"}},
		{"ConnRate", []string{"--out", out, "--rate", "0"}},
	} {
		if _, err := generate(t, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: error %v; want %q in it", tt.args, err, tt.want)
		}
	}
}

// TestGenerateStream runs in virtual time: everything comes once, when it is due, also when Kinesis refuses half of it.
func TestGenerateStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stream = "flows"
		fake := awsfake.New(awsfake.Config{})
		if err := fake.Kinesis().CreateStream(stream, 1); err != nil {
			t.Fatal(err)
		}
		refused := fake.Inject(awsfake.Fault{Op: "PutRecords", Kind: awsfake.Partial, Times: 3})
		client := awskinesis.New(awskinesis.Options{
			Region: "us-east-1", BaseEndpoint: aws.String("http://kinesis.test"), HTTPClient: &http.Client{Transport: fake.Transport()},
			Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		})
		events := filepath.Join(t.TempDir(), "events.jsonl")
		f := generateFlags{
			stream: stream, policy: "all", delay: "fast", offset: "exact", rate: 50, scale: 1, seed: 1,
			length: 2 * time.Minute, backlog: 4 * time.Minute, identityOut: events,
		}
		cfg, err := f.config(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		sim := func() *flowgen.Sim {
			s, err := flowgen.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		begin := time.Now()
		pace := flowgen.Pace{Begin: begin, Start: cfg.Start, Backlog: f.backlog, Speed: 1}
		if err := f.toStream(t.Context(), client, sim(), pace, io.Discard); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < 110*time.Second || d > 2*time.Minute {
			t.Errorf("two minutes took %s", d)
		}
		if refused.Struck() != 3 {
			t.Errorf("%d requests were refused in part", refused.Struck())
		}
		put := map[string]time.Time{}
		for _, sh := range fake.Kinesis().Shards(stream) {
			for _, r := range fake.Kinesis().Records(stream, sh.ID) {
				if _, twice := put[string(r.Data)]; twice {
					t.Fatal("a payload was put twice")
				}
				put[string(r.Data)] = r.Arrived
			}
		}
		payloads, told := 0, 0
		for it := range sim().Until(begin.Add(f.length)) {
			if it.Event != nil {
				told++
				continue
			}
			payloads++
			at, ok := put[string(it.Payload.Data)]
			if due := pace.Due(it.Arrive); !ok || at.Before(due.Truncate(time.Millisecond)) || at.After(due.Add(3*time.Second)) {
				t.Fatalf("payload due at %s was put at %s (%v)", due, at, ok)
			}
		}
		if payloads != len(put) || payloads == 0 {
			t.Errorf("%d payloads put of %d", len(put), payloads)
		}
		if n := bytes.Count(readAll(t, events), []byte("\n")); n != told {
			t.Errorf("%d events written of %d", n, told)
		}
		if err := fake.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
