package main

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/internal/blob"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/store"
)

// regionStore is a store that remembers for so long and was told events by src.
func regionStore(t *testing.T, retention time.Duration, src string, events ...event.Event) *store.Store {
	t.Helper()
	cfg := metadata.DefaultConfig()
	cfg.Retention = retention
	s, err := store.New(cfg, store.Dependencies{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		events[i].Src = src
		if err := s.Apply(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// writeLog writes a log that holds nothing but a snapshot of s.
func writeLog(t *testing.T, url string, s *store.Store) {
	t.Helper()
	bucket, err := blob.New(url)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close() //nolint:errcheck // a directory
	settings := idlog.DefaultSettings()
	settings.SnapshotInterval = time.Second
	w, err := idlog.NewWriter(settings, idlog.Tracker, time.Hour, idlog.WriterDeps{Bucket: bucket, Logger: zerolog.Nop(), Snapshotter: idlog.NewFold(time.Hour), State: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-time.After(3 * time.Second)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// Another region's log is loaded in its compact form. What its sources told of holds nothing back here, what they only point at does, and
// what that region has forgotten is not forgotten here.
func TestRemoteLogInCompactForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UnixMilli()
		far := regionStore(t, time.Hour, "ec2/1/far",
			event.Event{Op: event.Assign, From: now - 600_000, Scope: "vpc-far", IP: "10.9.0.1", Owner: "eni:eni-f", WL: &event.Workload{App: "far"}},
			event.Event{Op: event.Topology, From: 1, Scope: "vpc-far", CIDR: "10.1.0.0/16", ToScope: "vpc-here", Owner: "pcx-1"},
			event.Event{Op: event.Progress, To: now - 300_000})
		far.Trim(time.UnixMilli(now))
		here := regionStore(t, 24*time.Hour, "ec2/1/here",
			event.Event{Op: event.Assign, From: now - 7200_000, Scope: "vpc-here", IP: "10.1.0.1", Owner: "eni:eni-h", WL: &event.Workload{App: "here"}},
			event.Event{Op: event.Progress, To: now})
		url := "file://" + t.TempDir()
		writeLog(t, url, far)
		reg := prometheus.NewRegistry()
		cfg := config.Default().Identity
		cfg.Logs = []idlog.Config{{URL: url, Remote: true}}
		logs, err := newIdentityLogs(cfg, here, zerolog.Nop(), reg)
		if err != nil {
			t.Fatal(err)
		}
		defer logs.close() //nolint:errcheck // a directory
		if err := logs.remote[0].Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		app := func(scope, ip string, ago int64) string {
			a := here.Lookup(here.Scope(scope), netip.MustParseAddr(ip), metadata.Window{Start: now - ago, End: now - ago + 1000})
			if !a.Grade.Names() {
				return a.Reason.String()
			}
			return here.Workload(a.Workload).App
		}
		got := []string{app("vpc-far", "10.9.0.1", 400_000), app("vpc-here", "10.1.0.1", 400_000), app("vpc-here", "10.1.0.1", 5400_000)}
		if diff := gocmp.Diff([]string{"far", "here", "here"}, got); diff != "" {
			t.Error(diff)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		counted := map[string]float64{}
		for _, f := range families {
			if m := f.GetMetric()[0]; m.GetCounter() != nil {
				counted[f.GetName()] = m.GetCounter().GetValue()
			}
		}
		if counted["dredge_identity_log_read_events_total"] != 0 || counted["dredge_identity_log_loaded_snapshots_total"] != 1 {
			t.Errorf("not one snapshot in its compact form was read: %v", counted)
		}
		// Both regions' sources are behind; only this one's holds back.
		gate := localGate{of: here, remote: &logs.remoteScopes}
		if ok, _ := gate.Complete([]metadata.Scope{here.Scope("vpc-far")}, now-100_000); !ok {
			t.Error("the other region's scope holds rows back")
		}
		if ok, _ := gate.Complete([]metadata.Scope{here.Scope("vpc-here"), here.Scope("vpc-far")}, now+1000); ok {
			t.Error("this region's scope holds nothing back")
		}
	})
}
