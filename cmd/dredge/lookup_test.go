package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dredge/internal/telemetry"
	"dredge/metadata/sonar"
)

func lookUp(t *testing.T, o lookupOptions, ip string) (string, error) {
	t.Helper()
	var out, errOut bytes.Buffer
	err := runLookup(t.Context(), o, ip, &out, &errOut)
	return out.String(), err
}

func TestLookupInFiles(t *testing.T) {
	o := lookupOptions{events: []string{write(t, "events.jsonl", replayEvents)}, at: "1418530070"}
	out, err := lookUp(t, o, "172.31.16.21")
	for _, want := range []string{"172.31.16.21 in vpc-0a1b at 2014-12-14T04:07:50.000Z", "covered (interval)", "named: one owner was told", "assign", "release", "inventory", "eni:eni-0ffff", "payments"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v; %q is not in\n%s", err, want, out)
		}
	}
	o.history = true
	out, err = lookUp(t, o, "172.31.16.21")
	for _, want := range []string{"2014-12-14T04:23:20.000Z", "search", "now", "told"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v; %q is not in\n%s", err, want, out)
		}
	}
	for _, history := range []bool{false, true} {
		o.history = history
		gone, out := io.Pipe()
		_ = gone.Close()
		if err := runLookup(t.Context(), o, "172.31.16.21", out, io.Discard); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("an answer that could not be written, history %v: %v", history, err)
		}
	}
	if _, err := lookUp(t, o, "9.9.9"); err == nil || !strings.Contains(err.Error(), `"9.9.9" is no IP address`) {
		t.Error(err)
	}
	var exit *exitError
	if _, err := lookUp(t, o, "192.168.1.1"); !errors.As(err, &exit) || exit.code != 1 {
		t.Errorf("an unknown address: %v", err)
	}
	o.history, o.scope = false, "vpc-none"
	if out, err := lookUp(t, o, "172.31.16.21"); !errors.As(err, &exit) || exit.code != 1 || !strings.Contains(out, "nothing is known of this scope") {
		t.Errorf("an unknown scope: %v\n%s", err, out)
	}
	o.scope = "vpc-0a1b"
	if _, err := lookUp(t, o, "10.99.0.1"); !errors.As(err, &exit) || exit.code != 1 {
		t.Errorf("an address that nobody had: %v", err)
	}
	o.server = "http://127.0.0.1:1"
	if _, err := lookUp(t, o, "10.0.0.1"); err == nil || !strings.Contains(err.Error(), "write one of them") {
		t.Error(err)
	}
}

// A log and a server answer alike.
func TestLookupInALogAndAtAServer(t *testing.T) {
	f := newFleet(t)
	s, err := newSonar(f.sonarConfig(), aws.Config{}, zerolog.Nop(), telemetry.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	stop := beside(t, s.run)
	await(t, "the sonar is ready", func() bool { return s.ready() == nil })
	mux := http.NewServeMux()
	for pattern, h := range sonar.NewAPI(s.sonar.Asker(), nil).Handlers() {
		mux.Handle(pattern, h)
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	at := f.at.UTC().Format("2006-01-02T15:04:05Z")
	for _, o := range []lookupOptions{{server: server.URL, at: at, json: true}, {log: f.log, at: at, json: true}} {
		var out string
		await(t, "the event is there", func() bool {
			out, err = lookUp(t, o, "10.0.0.2")
			return err == nil
		})
		var got sonar.Answers
		if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Answers) != 1 {
			t.Fatalf("%v in %s", err, out)
		}
		if a := got.Answers[0]; a.Grade != "covered" || a.Workload == nil || a.Workload.App != "beta" || a.Scope != "vpc-1" || len(a.Evidence) == 0 {
			t.Errorf("%+v", a)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if _, err := lookUp(t, lookupOptions{log: "file://" + filepath.Join(t.TempDir(), "empty")}, "10.0.0.2"); err == nil || !strings.Contains(err.Error(), "holds no identity log") {
		t.Error(err)
	}
	if _, err := lookUp(t, lookupOptions{server: "nowhere"}, "10.0.0.2"); err == nil || !strings.Contains(err.Error(), "write http://127.0.0.1:9090") {
		t.Error(err)
	}
}

// The same events in any order, and some of them twice, print the same bytes; of an owner whose workload changed, both are candidates.
func TestLookupIsTheSameInAnyOrder(t *testing.T) {
	lines := strings.SplitAfter(`{"op":"assign","src":"f","from":1767225600000,"scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","wl":{"app":"cart"}}
{"op":"describe","src":"f","from":1767229200000,"owner":"eni:eni-a","wl":{"app":"shop"}}
{"op":"assign","src":"g","from":1767225600000,"scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","wl":{"app":"cart"}}
{"op":"assign","src":"f","from":1767225600000,"scope":"vpc-1","ip":"10.0.0.1","owner":"task-1","proto":6,"port":8080,"wl":{"app":"web"}}
{"op":"progress","src":"f","to":1767240000000}
`, "\n")
	for _, as := range []lookupOptions{{json: true}, {json: true, history: true}, {}, {history: true}} {
		as.at = "2026-01-01T00:59:59.500Z"
		var want string
		for n := range len(lines) - 1 {
			as.events = []string{write(t, "events.jsonl", strings.Join(append(slices.Concat(lines[n:], lines[:n]), lines[0]), ""))}
			got, err := lookUp(t, as, "10.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("another order: %s", diff)
			}
		}
		wants := []string{"task-1 port 8080 (protocol 6)"}
		if as.json {
			wants = []string{`"port": 8080`}
		}
		for _, w := range wants {
			if !strings.Contains(want, w) {
				t.Errorf("%q is not in\n%s", w, want)
			}
		}
	}
}

func TestLookupNamesWhatRanBeforeAndAfter(t *testing.T) {
	o := lookupOptions{at: "2026-01-01T00:59:59.500Z", events: []string{write(t, "events.jsonl", `{"op":"assign","src":"f","from":1767225600000,"scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","wl":{"app":"cart"}}
{"op":"describe","src":"f","from":1767229200000,"owner":"eni:eni-a","wl":{"app":"shop"}}
`)}}
	out, err := lookUp(t, o, "10.0.0.1")
	for _, want := range []string{"ambiguous (workload-changed)", "eni:eni-a cart", "eni:eni-a shop"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v; %q is not in\n%s", err, want, out)
		}
	}
}
