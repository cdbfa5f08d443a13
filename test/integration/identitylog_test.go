//go:build integration

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/internal/blob"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/sonar"
	"dredge/metadata/store"
)

// TestIdentityLogInS3 lets a dredge sonar write its log into S3 as moto keeps it, and reads it as a worker does: a snapshot, then what
// comes behind it. Damaged objects are counted, and the ones before them say the same. It is no parallel test: it sets credentials.
func TestIdentityLogInS3(t *testing.T) {
	endpoint := setting(t, "DREDGE_TEST_MOTO")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDINTEGRATION")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "integration")
	name := "identity-" + strings.Trim(prefix(), "-")
	api := s3.NewFromConfig(awsConfig(t, "DREDGE_TEST_MOTO"), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := api.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Fatal(err)
	}
	url := "s3://" + name + "/dredge/identity?region=us-east-1&use_path_style=true&endpoint=" + endpoint
	bucket, err := blob.New(url)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close() //nolint:errcheck // everything was written
	// A term of the leader is an object that only one can create: S3's conditional write.
	if err := bucket.Create(t.Context(), "other/once", []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Create(t.Context(), "other/once", []byte("second")); !errors.Is(err, blob.ErrExist) {
		t.Errorf("creating an object twice: %v, want that it exists", err)
	}

	binary, dir := build(t), t.TempDir()
	events, config := filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "sonar.yaml")
	tell := func(owner, app string, from time.Time) {
		t.Helper()
		f, err := os.OpenFile(events, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		var lines []byte
		for _, e := range []event.Event{
			{Op: event.Assign, Src: "inventory", Obs: now, From: from.UnixMilli(), Scope: "vpc-1", IP: "10.0.0.1", Owner: owner, WL: &event.Workload{App: app}},
			{Op: event.Progress, Src: "inventory", Obs: now, To: now},
		} {
			if lines, err = event.Append(lines, &e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Write(lines); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now().Add(-time.Hour)
	tell("eni:eni-a", "alpha", begin)
	text := fmt.Sprintf("http: {listen: \"127.0.0.1:0\"}\nlog: {format: json}\nidentity:\n  file: {path: %q, poll_interval: 200ms}\n  logs: [{url: %q}]\n  log_settings: {snapshot_interval: 2s}\n", events, url)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	service, _ := start(t, regexp.MustCompile(`"url":"(http://[^"]+)"`), dredge(t, binary, nil, "sonar", "-c", config))

	early := newLogReader(t, bucket, url)
	await(t, "the snapshot in the worker's store", time.Minute, func() bool { return early.app(begin.Add(time.Minute)) == "alpha" })
	moved := time.Now().Add(-10 * time.Minute)
	tell("eni:eni-b", "beta", moved)
	await(t, "the change in the worker's store", time.Minute, func() bool { return early.app(moved.Add(3*time.Minute)) == "beta" })
	if got := early.app(begin.Add(time.Minute)); got != "alpha" {
		t.Errorf("before the change the address was %q's, want alpha's", got)
	}
	await(t, "two snapshots", time.Minute, func() bool { return len(newestManifest(t, bucket).Snapshots) == 2 })
	if err := service.interrupt(); err != nil {
		t.Fatalf("%v:\n%s", err, service.output())
	}

	check := func(what string, damaged map[string]float64) {
		t.Helper()
		r := newLogReader(t, bucket, url)
		if before, after := r.app(begin.Add(time.Minute)), r.app(moved.Add(3*time.Minute)); before != "alpha" || after != "beta" {
			t.Errorf("%s: the address was %q's, then %q's; want alpha's, then beta's", what, before, after)
		}
		if diff := cmp.Diff(damaged, r.damaged()); diff != "" {
			t.Errorf("%s: damaged objects: %s", what, diff)
		}
	}
	damage := func(objects ...logObject) {
		t.Helper()
		for _, o := range objects {
			data, err := bucket.Read(t.Context(), o.Key, idlog.MaxObject)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 0x40
			if err := bucket.Write(t.Context(), o.Key, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	check("intact", map[string]float64{"manifest": 0, "segment": 0, "snapshot": 0})
	m := newestManifest(t, bucket)
	damage(m.Snapshots[0].State.Parts...)
	check("without the newest snapshot's compact form", map[string]float64{"manifest": 0, "segment": 0, "snapshot": 1})
	damage(m.Snapshots[0].Parts...)
	check("without the newest snapshot", map[string]float64{"manifest": 0, "segment": 0, "snapshot": 2})
	damage(logObject{Key: m.key})
	r := newLogReader(t, bucket, url)
	if got := r.app(moved.Add(3 * time.Minute)); got != "beta" || r.damaged()["manifest"] != 1 {
		t.Errorf("without the newest manifest: the address is %q's, %v", got, r.damaged())
	}
	out, err := dredge(t, binary, nil, "lookup", "10.0.0.1", "--log", url, "--at", moved.Add(3*time.Minute).Format(time.RFC3339), "--json").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"beta"`) {
		t.Errorf("dredge lookup --log: %v\n%s", err, out)
	}
}

// logManifest is what this test has to know of a manifest, and where it stood.
type logManifest struct {
	Generation int64 `json:"generation"`
	Snapshots  []struct {
		Parts []logObject `json:"parts"`
		State struct {
			Parts []logObject `json:"parts"`
		} `json:"state"`
	} `json:"snapshots"`
	key string
}

type logObject struct {
	Key string `json:"key"`
}

// newestManifest is the last that the only stream's writer wrote.
func newestManifest(t *testing.T, bucket *blob.Bucket) (newest logManifest) {
	t.Helper()
	list, err := bucket.List(t.Context(), "manifest/")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		data, err := bucket.Read(t.Context(), o.Key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		m := logManifest{key: o.Key}
		_, body, _ := strings.Cut(string(data), "\n")
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		if m.Generation > newest.Generation {
			newest = m
		}
	}
	return newest
}

// logReader is a worker's part of identity: a store that a log fills.
type logReader struct {
	t      *testing.T
	store  *store.Store
	reader *idlog.Reader
	reg    *prometheus.Registry
}

func newLogReader(t *testing.T, bucket *blob.Bucket, url string) *logReader {
	t.Helper()
	r := &logReader{t: t, reg: prometheus.NewRegistry()}
	var err error
	if r.store, err = store.New(metadata.DefaultConfig(), store.Dependencies{}); err != nil {
		t.Fatal(err)
	}
	r.reader, err = idlog.NewReader(idlog.Config{URL: url}, idlog.DefaultSettings(), idlog.ReaderDeps{
		Bucket: bucket, Target: r, State: r.store, Logger: zerolog.Nop(), Registerer: r.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Apply implements idlog.Target.
func (r *logReader) Apply(e *event.Event) error { return r.store.Apply(e) }

// Observe implements idlog.Target.
func (r *logReader) Observe(s idlog.Sighting) { r.store.Observe(sonar.StoreSighting(r.store, s)) }

// app looks at the log and returns whose the address was for a minute from then on, "" when it has no name.
func (r *logReader) app(from time.Time) string {
	r.t.Helper()
	if err := r.reader.Poll(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	w := metadata.Window{Start: from.UnixMilli(), End: from.Add(time.Minute).UnixMilli()}
	a := r.store.Lookup(r.store.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1"), w)
	if !a.Grade.Names() {
		return ""
	}
	return r.store.Workload(a.Workload).App
}

// damaged is how many objects of each kind were found damaged.
func (r *logReader) damaged() map[string]float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "dredge_identity_log_damaged_objects_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "object" {
					out[l.GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
	}
	return out
}
