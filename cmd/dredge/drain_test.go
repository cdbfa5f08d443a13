package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
)

// TestDrain: a running service hands its leases over on request, says so, stays unready, and ends when it is told to.
func TestDrain(t *testing.T) {
	c, srv := testConfig(t)
	if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
		t.Fatal(err)
	}
	clients := testClients(c)
	svc := testService(t, c)
	ended := make(chan struct{})
	url, stop := serve(t, svc, func() { close(ended) })
	awaitReady(t, url)

	var scale scaleAnswer
	if code, body := get(t, url+"/scale"); code != http.StatusOK || json.Unmarshal([]byte(body), &scale) != nil || scale.DesiredWorkers != 1 || scale.Shards != 2 || scale.Owned != 2 {
		t.Errorf("scale: %d %s", code, body)
	}
	store, err := lease.NewDynamoDB(c.Kinesis.Table(), clients.leases)
	if err != nil {
		t.Fatal(err)
	}
	owners := func() (n int) {
		listing, err := store.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range listing.Leases {
			if l.Owner != "" {
				n++
			}
		}
		return n
	}
	if n := owners(); n != 2 {
		t.Fatalf("%d leases have owners before the drain, want 2", n)
	}
	var out bytes.Buffer
	cmd := newDrainCmd()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--url", url})
	if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), `"drained":true`) {
		t.Errorf("drain: %v, %s", err, out.String())
	}
	if n := owners(); n != 0 {
		t.Errorf("%d leases have owners after the drain", n)
	}
	if code, body := get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "drained") {
		t.Errorf("readyz after the drain: %d %s", code, body)
	}
	select {
	case <-ended:
		t.Error("the process ended by itself")
	default:
	}
	stop()
	if n := srv.Count("DeleteItem"); n != 0 {
		t.Errorf("a drain deleted %d rows", n)
	}
}

func TestScaleHasNoAnswerBeforeTheTableWasRead(t *testing.T) {
	c, _ := testConfig(t)
	svc := testService(t, c)
	url, stop := serve(t, svc) // waits for identity
	if code, body := get(t, url+"/scale"); code != http.StatusServiceUnavailable || !strings.Contains(body, "not read yet") {
		t.Errorf("%d %s", code, body)
	}
	stop()
}

func TestDrainSaysWhatIsWrong(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		cmd := newDrainCmd()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v does not say %q", args, err, want)
		}
	}
	f("does dredge run on this machine", "--url", "http://127.0.0.1:1")
	f("--url", "--url", "http://[")
	for listen, want := range map[string]string{
		"127.0.0.1:9090": "http://127.0.0.1:9090", "0.0.0.0:9090": "http://127.0.0.1:9090", ":9090": "http://127.0.0.1:9090", "[::1]:9": "http://[::1]:9",
		"[::]:9090": "http://127.0.0.1:9090", "10.1.2.3:9090": "http://10.1.2.3:9090", "localhost:9090": "http://localhost:9090", "worker-1:9090": "http://worker-1:9090",
	} {
		if got, err := localURL(listen); got != want || err != nil {
			t.Errorf("localURL(%q) = %q, %v", listen, got, err)
		}
	}
	for _, listen := range []string{"", "127.0.0.1:0"} {
		if _, err := localURL(listen); err == nil || !strings.Contains(err.Error(), "--url") {
			t.Errorf("localURL(%q): %v", listen, err)
		}
	}
}

func awaitReady(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		code, body := get(t, url+"/readyz")
		if code == http.StatusOK {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(errors.New("never ready: " + body))
		case <-tick.C:
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body.String()
}
