package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/druid/druidtest"
	"dredge/internal/awsfake"
	"dredge/internal/blob"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
)

// lastWeek is a bucket with the flow logs of a day of last week: two accounts, three files each, in which 10.0.0.1 talks to 10.0.0.2. On that
// day 10.0.0.1 was the application then's; the day after it became now's.
func lastWeek(t *testing.T) (config.Config, *awsfake.Server, time.Time) {
	t.Helper()
	c, srv := testConfig(t)
	c.Kinesis = config.Default().Kinesis
	c.AWS.S3Endpoint, c.S3.LedgerTable = srv.URL(), "ledger"
	c.S3.Gather.MaxFiles = 2
	day := time.Now().UTC().AddDate(0, 0, -7).Truncate(24 * time.Hour)
	events := ""
	for _, e := range []string{
		`{"v":1,"op":"assign","src":"inventory","from":%[1]d,"scope":"vpc-0a1b","ip":"10.0.0.1","owner":"eni:eni-1","eni":"eni-1","primary":true,"ep":{"kind":"instance"},"wl":{"app":"then"}}`,
		`{"v":1,"op":"assign","src":"inventory","from":%[1]d,"scope":"vpc-0a1b","ip":"10.0.0.2","owner":"eni:eni-2","eni":"eni-2","primary":true,"ep":{"kind":"instance"},"wl":{"app":"peer"}}`,
		`{"v":1,"op":"release","src":"inventory","to":%[2]d,"scope":"vpc-0a1b","ip":"10.0.0.1","owner":"eni:eni-1"}`,
		`{"v":1,"op":"assign","src":"inventory","from":%[2]d,"scope":"vpc-0a1b","ip":"10.0.0.1","owner":"eni:eni-9","eni":"eni-9","primary":true,"ep":{"kind":"instance"},"wl":{"app":"now"}}`,
	} {
		events += fmt.Sprintf(e, day.Add(-24*time.Hour).UnixMilli(), day.Add(24*time.Hour).UnixMilli()) + "\n"
	}
	if err := os.WriteFile(c.Identity.File.Path, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	srv.S3().CreateBucket("flows", false)
	put := func(account string, at time.Time) {
		t.Helper()
		var text bytes.Buffer
		z := gzip.NewWriter(&text)
		fmt.Fprintln(z, "version vpc-id account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status")
		for i := range 10 {
			fmt.Fprintf(z, "5 vpc-0a1b %s eni-1 10.0.0.1 10.0.0.2 %d 443 6 1 %d %d %d ACCEPT OK\n", account, 40000+i, i, at.Unix(), at.Unix()+60)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("logs/AWSLogs/%[1]s/vpcflowlogs/us-east-1/%[2]s/%[1]s_vpcflowlogs_us-east-1_fl-1_%[3]s_0a1b2c3d.log.gz", account, at.Format("2006/01/02"), at.Format("20060102T1504Z"))
		if _, err := srv.S3().Put("flows", key, text.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	for _, account := range []string{"111111111111", "222222222222"} {
		for _, d := range []time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour, 50 * time.Hour} {
			put(account, day.Add(d))
		}
	}
	return c, srv, day
}

func backfillOf(day time.Time) backfillOptions {
	return backfillOptions{
		span: timeSpan{from: day.Format(time.RFC3339), to: day.Add(24 * time.Hour).Format(time.RFC3339)}, prefixes: []string{"s3://flows/logs/"},
	}
}

// ends counts the rows of a file by the application and the reason of their source.
func ends(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var r struct {
			App    string `json:"src_app"`
			Reason string `json:"src_reason"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		out[r.App+" "+r.Reason]++
	}
	return out
}

func wantEnds(t *testing.T, path, want string, rows int) {
	t.Helper()
	got := ends(t, path)
	for end, n := range got {
		if strings.HasPrefix(end, want) && n == rows && len(got) == 1 {
			return
		}
	}
	t.Errorf("rows by source are %v, want %d of %q", got, rows, want)
}

// B7: back-fill with history. A re-run of last week's files names last week's owners while identity reaches back; else it is refused,
// and when it is insisted on, rows are unattributed and say why.
func TestB7BackfillNamesThenOwners(t *testing.T) {
	c, _, day := lastWeek(t)
	c.Identity.Store.Retention = 14 * 24 * time.Hour
	var errOut bytes.Buffer
	o := backfillOf(day)
	if err := runBackfill(t.Context(), o, c, testClients(c), nil, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	wantEnds(t, c.Sink.File.Path, "then ", 60)

	c.Identity.Store.Retention = 24 * time.Hour
	o.out = filepath.Join(t.TempDir(), "late.jsonl")
	o.run = "late"
	err := runBackfill(t.Context(), o, c, testClients(c), nil, &errOut)
	if err == nil || !strings.Contains(err.Error(), "identity.store.retention is 24h0m0s") {
		t.Fatalf("a time that identity has forgotten: %v", err)
	}
	o.unattributed = true
	if err := runBackfill(t.Context(), o, c, testClients(c), nil, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	wantEnds(t, o.out, "unknown before-retention", 60)
}

// A dry run reads nothing; a second run of the same name has nothing left to do; rows that are there are not added to; accounts restrict.
func TestBackfill(t *testing.T) {
	c, srv, day := lastWeek(t)
	c.Identity.Store.Retention = 14 * 24 * time.Hour
	o := backfillOf(day)
	run := func(o backfillOptions) (string, error) {
		var errOut bytes.Buffer
		err := runBackfill(t.Context(), o, c, testClients(c), nil, &errOut)
		return errOut.String(), err
	}
	dry := o
	dry.dryRun = true
	var plan bytes.Buffer
	err := runBackfill(t.Context(), dry, c, testClients(c), &plan, io.Discard)
	if said := plan.String(); err != nil || !strings.Contains(said, ": 6 files (0 Parquet)") || !strings.Contains(said, "cost about $") || srv.Count("GetObject") != 0 {
		t.Errorf("dry run: %v, %d files read, and said\n%s", err, srv.Count("GetObject"), said)
	}
	forgotten := c
	forgotten.Identity.Store.Retention = 24 * time.Hour
	if err := runBackfill(t.Context(), dry, forgotten, testClients(c), &plan, io.Discard); err == nil || !strings.Contains(err.Error(), "identity.store.retention is 24h0m0s") {
		t.Errorf("a dry run of what would be refused: %v", err)
	}
	sizeless := c // a file without a ledger or queues is not judged by what they need
	sizeless.S3.LedgerTable, sizeless.S3.Gather.MaxBytes, sizeless.S3.Gather.MaxFiles = "", 0, 0
	if err := runBackfill(t.Context(), dry, sizeless, testClients(c), &plan, io.Discard); err == nil || !strings.Contains(err.Error(), "s3.gather.max_bytes: 0 must be from 1") {
		t.Errorf("a dry run of mouthfuls without a size: %v", err)
	}
	one := o
	one.accounts, one.out = []string{"222222222222"}, filepath.Join(t.TempDir(), "one.jsonl")
	if said, err := run(one); err != nil || !strings.Contains(said, "lines 30,") {
		t.Errorf("one account: %v\n%s", err, said)
	}
	// The first run of the whole meets a file that can't be read; it ends with that, and the others are there.
	order := srv.Inject(awsfake.Fault{Op: "GetObject", Kind: awsfake.Failure, Code: "NoSuchKey", Status: 404, Times: 1})
	if said, err := run(o); err == nil || !strings.Contains(err.Error(), "1 files could not be read") || !strings.Contains(said, "lines 50,") {
		t.Errorf("with a file that is gone: %v\n%s", err, said)
	}
	order.Remove()
	if _, err := run(o); err == nil || !strings.Contains(err.Error(), "has rows already") {
		t.Errorf("rows are added to those that are there: %v", err)
	}
	o.appendRows = true
	if said, err := run(o); err != nil || !strings.Contains(said, "lines 0,") {
		t.Errorf("a second run of the same name: %v\n%s", err, said)
	}
	o.run = "again"
	if said, err := run(o); err != nil || !strings.Contains(said, "lines 60,") {
		t.Errorf("a run of another name: %v\n%s", err, said)
	}
	for name, change := range map[string]func(*backfillOptions){
		"--prefix":   func(o *backfillOptions) { o.prefixes = []string{"flows"} },
		"--accounts": func(o *backfillOptions) { o.accounts = []string{"12"} },
		"--from":     func(o *backfillOptions) { o.span.from = "yesterday" },
		"--run":      func(o *backfillOptions) { o.run, o.appendRows = "a b", true },
	} {
		bad := o
		change(&bad)
		if _, err := run(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// intoLog moves the events of the identity file into an identity log, which is all that identity has then.
func intoLog(t *testing.T, c *config.Config) {
	t.Helper()
	text, err := os.ReadFile(c.Identity.File.Path)
	if err != nil {
		t.Fatal(err)
	}
	var events []event.Event
	for line := range bytes.Lines(text) {
		var e event.Event
		if err := (event.Parser{}).Parse(bytes.TrimSpace(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	url := "file://" + t.TempDir()
	bucket, err := blob.New(url)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close() //nolint:errcheck // a folder
	w, err := idlog.NewWriter(c.Identity.LogSettings, idlog.Tracker, c.Identity.Store.Retention, idlog.WriterDeps{Bucket: bucket, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Emit(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	w.SetLoaded()
	over, end := context.WithCancel(t.Context())
	end() // it writes what it has and ends
	if err := w.Run(over); err != nil {
		t.Fatal(err)
	}
	c.Identity.File.Path, c.Identity.Logs = "", []idlog.Config{{URL: url}}
}

// landed are the sums of a table in Druid, and its rows by the application of their source.
type landed struct {
	Rows, Bytes, Packets, RowsIn int64
	Apps                         map[string]int
}

func landedIn(t *testing.T, cluster *druidtest.Cluster, table string) landed {
	t.Helper()
	out := landed{Apps: map[string]int{}}
	for _, r := range cluster.Rows(table) {
		var row struct {
			App     string `json:"src_app"`
			Bytes   int64  `json:"bytes"`
			Packets int64  `json:"packets"`
			RowsIn  int64  `json:"rows_in"`
		}
		if err := json.Unmarshal([]byte(r.Line), &row); err != nil {
			t.Fatal(err)
		}
		out.Rows, out.Bytes, out.Packets, out.RowsIn = out.Rows+1, out.Bytes+row.Bytes, out.Packets+row.Packets, out.RowsIn+row.RowsIn
		out.Apps[row.App]++
	}
	return out
}

// B7 in Druid: last week's hours, which landed when nobody knew the owners, are done again. The sums of both grains are what they were, and
// the owners are those of then, from the identity log. Nothing changes when a file cannot be read, and nothing past the retention of identity.
func TestB7BackfillReplacesHours(t *testing.T) {
	c, srv, day := lastWeek(t)
	cluster := druidtest.New()
	cluster.TaskTime, cluster.HandOff = 0, 0
	druid := httptest.NewServer(cluster)
	defer druid.Close()
	c.Druid.Overlord = druid.URL
	c.Sink.Type = config.SinkDruid
	c.Sink.Druid.Objects, c.Sink.Druid.Minute = "file://"+t.TempDir(), true
	c.Sink.Druid.PollInterval, c.Sink.Druid.BatchInterval = 100*time.Millisecond, time.Second
	c.Identity.Store.Retention = 14 * 24 * time.Hour
	unknown := c
	unknown.Identity.File.Path = ""
	intoLog(t, &c)
	run := func(o backfillOptions, c config.Config) error {
		t.Helper()
		var errOut bytes.Buffer
		if err := runBackfill(t.Context(), o, c, testClients(c), nil, &errOut); err != nil {
			return fmt.Errorf("%w\n%s", err, errOut.String())
		}
		return nil
	}
	o := backfillOf(day)
	if err := run(o, unknown); err != nil {
		t.Fatal(err)
	}
	raw, minute := landedIn(t, cluster, "flows_raw"), landedIn(t, cluster, "flows_1m")
	if raw.Rows != 60 || minute.RowsIn != 60 || raw.Apps["unknown"] != 60 {
		t.Fatalf("before: %+v, %+v", raw, minute)
	}
	same := func(what string) {
		t.Helper()
		if diff := cmp.Diff([]landed{raw, minute}, []landed{landedIn(t, cluster, "flows_raw"), landedIn(t, cluster, "flows_1m")}); diff != "" {
			t.Errorf("%s changed Druid (-before +after):\n%s", what, diff)
		}
	}
	refused := func(what, want string, o backfillOptions, c config.Config) {
		t.Helper()
		if err := run(o, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		same(what)
	}
	refused("adding to rows that are there", "has 60 rows", o, c)
	o.replace = o.span.from + ".." + o.span.to
	refused("reading too little", "flows of these hours stand in files from", o, c)
	o.span.to = day.Add(24*time.Hour + stragglers).Format(time.RFC3339)
	forgotten := c
	forgotten.Identity.Store.Retention = 24 * time.Hour
	refused("a time that identity has forgotten", "identity.store.retention is 24h0m0s", o, forgotten)
	named := o
	named.run = "again"
	refused("going on with a replacement", "goes with none of --run", named, c)
	order := srv.Inject(awsfake.Fault{Op: "GetObject", Kind: awsfake.Failure, Code: "NoSuchKey", Status: 404, Times: 1})
	refused("a file that is gone", "nothing was replaced", o, c)
	order.Remove()

	if err := run(o, c); err != nil {
		t.Fatal(err)
	}
	raw.Apps = map[string]int{"then": 60}
	after := landedIn(t, cluster, "flows_1m")
	if n := after.Apps["then"]; n != int(after.Rows) {
		t.Errorf("rolled-up rows by source: %v", after.Apps)
	}
	minute.Apps, minute.Rows = after.Apps, after.Rows // how many rows a sum is cut into is nothing to hold
	same("the hours done again")
}
