package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
)

// Two regions run one service each, from one configuration but for what is the region's: each has the leases of its own table only, reads its own
// stream only, and delivers all of it. When one ends, the other's leases stay as they are.
func TestTwoRegions(t *testing.T) {
	type region struct {
		svc   *service
		url   string
		rows  string
		line  string
		stop  func()
		owned func() map[string]string
	}
	var regions []*region
	for i, name := range []string{"us-east-1", "eu-west-1"} {
		c, srv := testConfig(t) // a fake AWS for each, as regions share nothing
		c.AWS.Region = name
		if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := lease.NewDynamoDB(c.Kinesis.Table(), testClients(c).leases)
		if err != nil {
			t.Fatal(err)
		}
		r := &region{svc: testService(t, c), rows: c.Sink.File.Path}
		r.owned = func() map[string]string {
			listing, err := table.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			owners := map[string]string{}
			for _, l := range listing.Leases {
				owners[l.Key] = l.Owner
			}
			return owners
		}
		r.line = fmt.Sprintf("2 12345678901%d eni-%d 10.%d.0.1 10.%d.0.2 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK", i, i, i, i)
		for n := range 50 {
			if _, _, err := srv.Kinesis().Put("flows", fmt.Sprint(n), []byte(r.line)); err != nil {
				t.Fatal(err)
			}
		}
		r.url, r.stop = serve(t, r.svc)
		regions = append(regions, r)
	}
	workers := map[string]bool{}
	for _, r := range regions {
		awaitReady(t, r.url)
		awaitCount(t, r.rows, 50)
		status := r.svc.worker.Status()
		workers[status.WorkerID] = true
		for key, owner := range r.owned() {
			if owner != status.WorkerID {
				t.Errorf("lease %s of one region is owned by %s, not by its worker %s", key, owner, status.WorkerID)
			}
		}
		if len(status.Workers) != 1 || status.Owned != 2 {
			t.Errorf("a region's worker has %d of its 2 leases and sees the workers %v", status.Owned, status.Workers)
		}
	}
	if len(workers) != 2 {
		t.Errorf("workers are %v", workers)
	}
	for i, r := range regions {
		for line := range strings.Lines(read(t, r.rows)) {
			var row struct {
				IP string `json:"src_ip"`
			}
			if err := json.Unmarshal([]byte(line), &row); err != nil || row.IP != fmt.Sprintf("10.%d.0.1", i) {
				t.Errorf("region %d has the row %s", i, line)
			}
		}
		if err := r.svc.core.pipeline.Books().Snapshot().Check(); err != nil {
			t.Error(err)
		}
	}
	before := regions[1].owned()
	regions[0].stop()
	for key, owner := range regions[0].owned() {
		if owner != "" {
			t.Errorf("lease %s of the region that ended is still %s's", key, owner)
		}
	}
	for key, owner := range regions[1].owned() {
		if owner != before[key] {
			t.Errorf("lease %s of the other region went from %s to %s", key, before[key], owner)
		}
	}
	regions[1].stop()
}

// awaitCount waits until the file has so many lines, and fails the test when it has more.
func awaitCount(t *testing.T, path string, want int) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := strings.Count(read(t, path), "\n")
		if got > want {
			t.Fatalf("%s has %d lines, want %d", filepath.Base(path), got, want)
		}
		if got == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s has %d lines after a minute, want %d", filepath.Base(path), got, want)
		case <-tick.C:
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}
