package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/druid/druidtest"
)

// lines are version 2 lines of flows that began at start, a second apart.
func linesAt(start time.Time, n int) string {
	var b strings.Builder
	for i := range n {
		at := start.Unix() + int64(i)
		fmt.Fprintf(&b, "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 %d 22 6 20 %d %d %d ACCEPT OK\n", 20000+i, 100+i, at, at+60)
	}
	return b.String()
}

// TestDoingItAgain: what was sent to Druid is done again, from the stream and from files; every row is there once afterwards, with the id it
// had, and both grains agree. Without being told to, nothing is added to rows that are there; rows of other hours stay.
func TestDoingItAgain(t *testing.T) {
	c, srv := testConfig(t)
	cluster := druidtest.New()
	cluster.TaskTime, cluster.HandOff = 0, 0
	druid := httptest.NewServer(cluster)
	defer druid.Close()
	dir := t.TempDir()
	yaml := write(t, "dredge.yaml", `
aws: {region: us-east-1, kinesis_endpoint: "`+srv.URL()+`", dynamodb_endpoint: "`+srv.URL()+`"}
kinesis: {application: app, stream_name: flows}
druid: {overlord: "`+druid.URL+`"}
sink: {type: druid, druid: {objects: "file://`+filepath.Join(dir, "objects")+`", minute: true, poll_interval: 100ms, batch_interval: 1s}}
`)
	hour := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	other := hour.Add(-time.Hour)
	api := testClients(c)
	begin := time.Now().Add(-time.Second)
	for i, text := range []string{linesAt(hour, 50), linesAt(hour.Add(30*time.Minute), 40), linesAt(other, 7)} {
		if _, _, err := srv.Kinesis().Put("flows", fmt.Sprint(i), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(o replayOptions, paths ...string) (string, error) {
		t.Helper()
		o.config = yaml
		o.clients = func(context.Context, config.Config) (awsClients, error) { return api, nil }
		var errOut bytes.Buffer
		err := runReplay(t.Context(), o, paths, nil, &bytes.Buffer{}, &errOut)
		return errOut.String(), err
	}
	arrived := fmt.Sprintf("%d..0s", begin.UnixMilli())
	ids := func() (list []string) {
		t.Helper()
		var text strings.Builder
		for _, r := range cluster.Rows("flows_raw") {
			text.WriteString(r.Line + "\n")
		}
		return rowIDs(t, text.String())
	}
	minutes := func() (rowsIn int64) {
		t.Helper()
		for _, r := range cluster.Rows("flows_1m") {
			_, rest, _ := strings.Cut(r.Line, `"rows_in":`)
			n := int64(0)
			if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
				t.Fatalf("%v in %s", err, r.Line)
			}
			rowsIn += n
		}
		return rowsIn
	}

	first, err := run(replayOptions{fromKinesis: arrived})
	if err != nil {
		t.Fatalf("%v\n%s", err, first)
	}
	before := ids()
	if len(before) != 97 || minutes() != 97 {
		t.Fatalf("%d rows and %d in rolled-up ones, want 97; tasks %v\n%s", len(before), minutes(), cluster.Tasks(), first)
	}
	flows := write(t, "flows.log", linesAt(hour, 1))
	if _, err := run(replayOptions{}, flows); err == nil || !strings.Contains(err.Error(), "write another name into druid.datasources, or add to them with --append") {
		t.Errorf("adding to what is there: %v, want a refusal", err)
	}
	hours := hour.Format(time.RFC3339) + ".." + hour.Add(time.Hour).Format(time.RFC3339)
	said, err := run(replayOptions{fromKinesis: arrived, replace: hours})
	if err != nil || !strings.Contains(said, "now have 90 rows; 7 rows of other hours were left out") {
		t.Errorf("%v\n%s", err, said)
	}
	if d := cmp.Diff(before, slices.Compact(ids())); d != "" || minutes() != 97 {
		t.Errorf("%d rows in rolled-up ones; row ids (-before +after):\n%s", minutes(), d)
	}
	// From a file the hour becomes what the file has.
	if said, err := run(replayOptions{replace: hours}, flows); err != nil || len(ids()) != 8 {
		t.Errorf("%v, %d rows, want 8\n%s", err, len(ids()), said)
	}
	// A source that fails replaces nothing.
	if _, err := run(replayOptions{replace: hours}, filepath.Join(dir, "none.log")); err == nil || len(ids()) != 8 {
		t.Errorf("a missing file: %v, %d rows, want an error and 8", err, len(ids()))
	}
	if _, err := os.Stat(filepath.Join(dir, "objects")); err != nil {
		t.Error(err)
	}
	if tables := srv.DynamoDB().Tables(); len(tables) != 0 {
		t.Errorf("tables %v were made: no lease may be touched", tables)
	}
}

// TestFromKinesisReadsWhatTheServiceMayNot: settings that bound what the service reads, or say where it starts, leave nothing out of a replay.
func TestFromKinesisReadsWhatTheServiceMayNot(t *testing.T) {
	c, srv := testConfig(t)
	if err := srv.Kinesis().CreateStream("wide", 3); err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-time.Second)
	const payloads = 12
	for i := range payloads {
		if _, _, err := srv.Kinesis().Put("wide", fmt.Sprint(i), []byte(linesAt(begin.Add(-time.Minute), 1))); err != nil {
			t.Fatal(err)
		}
	}
	for name, settings := range map[string]string{
		"Start":     "streams: [{stream_name: wide, initial_position: LATEST}]",
		"MaxLeases": "{stream_name: wide, max_leases: 1}",
		"Mode":      "{stream_name: wide, mode: 3.x}",
		"FanOut":    "{stream_name: wide, reader: fan_out}",
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "dredge.yaml", `
aws: {region: us-east-1, kinesis_endpoint: "`+srv.URL()+`", dynamodb_endpoint: "`+srv.URL()+`"}
kinesis: {application: app, `+strings.Trim(settings, "{}")+`}
`)
			api := testClients(c)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var out, errOut bytes.Buffer
			err := runReplay(ctx, replayOptions{
				config: path, out: "-", fromKinesis: fmt.Sprintf("%d..0s", begin.UnixMilli()),
				clients: func(context.Context, config.Config) (awsClients, error) { return api, nil },
			}, nil, nil, &out, &errOut)
			if rows := strings.Count(out.String(), "\n"); rows != payloads || err != nil {
				t.Errorf("%d rows of %d, %v\n%s", rows, payloads, err, errOut.String())
			}
			if n := srv.Count("RegisterStreamConsumer"); n > 0 {
				t.Errorf("%d stream consumers were registered", n)
			}
		})
	}
}

// TestFromKinesisWaitsForTheSink: a shard is over when its last rows are durable, since nobody reads them again.
func TestFromKinesisWaitsForTheSink(t *testing.T) {
	to := time.Now()
	past := &passed{span: span{to.Add(-time.Hour), to}, shards: map[string]bool{}, reads: map[string]time.Time{}}
	for i, step := range []struct {
		read     time.Duration // since the end of the span
		inFlight int
		over     bool
	}{{-time.Second, 0, false}, {time.Second, 2, false}, {2 * time.Second, 2, false}, {3 * time.Second, 1, false}, {4 * time.Second, 0, true}} {
		over := past.all(kinesis.Status{Shards: []kinesis.ShardStatus{{Key: "shardId-0", LastRead: to.Add(step.read), InFlight: step.inFlight}}})
		if over != step.over {
			t.Errorf("step %d: over is %v, want %v", i, over, step.over)
		}
	}
}

func TestDoingItAgainRefuses(t *testing.T) {
	f := func(o replayOptions, want string) {
		t.Helper()
		err := runReplay(t.Context(), o, nil, nil, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	f(replayOptions{fromKinesis: "2026-03-01T12:00:00Z"}, "is no span")
	f(replayOptions{fromKinesis: "1h..2h"}, "is not before")
	f(replayOptions{fromKinesis: "1h..-1h"}, "not past yet")
	f(replayOptions{replace: "yesterday..today"}, "replace")
	f(replayOptions{replace: "2026-03-01T12:00:00Z..2026-03-01T13:00:00Z"}, "druid.overlord: is empty")
}
