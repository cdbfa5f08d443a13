package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/internal/awsfake"
	"dredge/internal/telemetry"
)

// testConfig is a service over a fake AWS with one stream, writing rows to a file.
func testConfig(t *testing.T) (config.Config, *awsfake.Server) {
	t.Helper()
	return testConfigOver(t, awsfake.Config{})
}

// testConfigOver is testConfig over such a fake.
func testConfigOver(t *testing.T, fake awsfake.Config) (config.Config, *awsfake.Server) {
	t.Helper()
	srv := awsfake.New(fake)
	if err := srv.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	if err := srv.Kinesis().CreateStream("flows", 2); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.HTTP.Listen = "127.0.0.1:0"
	c.AWS = config.AWSConfig{Region: "us-east-1", KinesisEndpoint: srv.URL(), DynamoDBEndpoint: srv.URL()}
	c.Kinesis.Application, c.Kinesis.StreamName = "app", "flows"
	c.Sink.Type, c.Sink.File.Path = config.SinkFile, filepath.Join(t.TempDir(), "rows.jsonl")
	c.Identity.File.Path = filepath.Join(t.TempDir(), "events.jsonl")
	c.Identity.File.PollInterval = 10 * time.Millisecond
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	return c, srv
}

func testClients(c config.Config) awsClients {
	return clientsFrom(aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, c.AWS, time.Second)
}

// testService is a service as c says.
func testService(t *testing.T, c config.Config) *service {
	t.Helper()
	svc, err := newService(c, testClients(c), zerolog.Nop(), telemetry.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// serve runs svc beside the test, with its HTTP server at url, until stop or the test's end; ended are called when it has returned.
func serve(t *testing.T, svc *service, ended ...func()) (url string, stop func()) {
	t.Helper()
	addr, err := svc.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return "http://" + addr.String(), beside(t, func(ctx context.Context) error {
		err := svc.run(ctx)
		for _, f := range ended {
			f()
		}
		return err
	})
}

// beside calls run beside the test. stop, or the test's end, ends it and fails the test when run returns an error.
func beside(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// TestM3NotReadyBeforeIdentityIsLoaded: the service is not ready, and takes no lease, until identity was loaded.
func TestM3NotReadyBeforeIdentityIsLoaded(t *testing.T) {
	c, srv := testConfig(t)
	svc := testService(t, c)
	url, stop := serve(t, svc)
	if code, body := get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "events.jsonl was not read") {
		t.Errorf("readyz before identity: %d %s", code, body)
	}
	if n := srv.Count("ListShards") + srv.Count("UpdateItem"); n != 0 {
		t.Errorf("%d calls for leases before identity was loaded", n)
	}
	if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, url)
	stop()
}

// TestM3NotReadyBeforeTheSnapshotIsLoaded: a worker that gets identity from a log is not ready, and takes no lease, until there is a snapshot and it was loaded.
func TestM3NotReadyBeforeTheSnapshotIsLoaded(t *testing.T) {
	f := newFleet(t)
	c := f.workerConfig(t, 1)
	c.HTTP.Listen = "127.0.0.1:0"
	url, stop := serve(t, testService(t, c))
	if code, body := get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, f.log) {
		t.Errorf("readyz without a snapshot: %d %s", code, body)
	}
	if n := f.aws.Count("ListShards") + f.aws.Count("UpdateItem"); n != 0 {
		t.Errorf("%d calls for leases without a snapshot", n)
	}
	endSonar := f.sonar(t)
	awaitReady(t, url)
	stop()
	endSonar()
}

func TestCheckTellsWhatIsWrong(t *testing.T) {
	c, _ := testConfig(t)
	if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(c config.Config) (string, error) {
		var out bytes.Buffer
		err := runCheck(t.Context(), c, &out)
		return out.String(), err
	}
	out, err := run(c)
	if err != nil {
		t.Errorf("a right configuration: %v\n%s", err, out)
	}
	for _, want := range []string{
		"2 shards, 2 open", "app does not exist yet", "4 events", "none tells progress", "lines without a rule: the layout has no", "flow-direction", "${pkt-srcaddr}",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}

	bad := c
	bad.Kinesis.StreamName = "nowhere"
	bad.Identity.File.Path = filepath.Join(t.TempDir(), "none.jsonl")
	bad.Sink.File.Path = filepath.Join(t.TempDir(), "no", "such", "rows.jsonl")
	out, err = run(bad)
	if err == nil {
		t.Error("a wrong configuration passes")
	}
	for _, want := range []string{"FAIL  kinesis stream", "kinesis.stream_name", "FAIL  identity", "none.jsonl", "FAIL  sink", "rows.jsonl"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
}

// Every metric of the whole service has a name and help as Prometheus wants them.
func TestMetricsAreWellNamed(t *testing.T) {
	c, _ := testConfig(t)
	reg := telemetry.NewRegistry()
	svc, err := newService(c, testClients(c), zerolog.Nop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := svc.close(); err != nil {
			t.Error(err)
		}
	}()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "dredge_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestStartSaysWhatLayoutsLack(t *testing.T) {
	var out bytes.Buffer
	logAdvice(zerolog.New(&out), config.Default().Pipeline.Formats)
	for _, want := range []string{"lines without a rule", `"flow-direction":`, `"vpc-id":`, "${pkt-srcaddr}"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not say %q: %s", want, out.String())
		}
	}
}
