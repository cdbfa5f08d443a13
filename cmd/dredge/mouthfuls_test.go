package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"dredge/config"
)

// A service without a stream reads what S3 announces: gatherer, worker, pipeline and sink in one process.
func TestServiceReadsS3(t *testing.T) {
	c, srv := testConfig(t)
	if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	fmt.Fprintln(z, "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status")
	for i := range 100 {
		fmt.Fprintf(z, "2 123456789012 eni-1 10.0.0.1 10.0.0.2 %d 443 6 1 %d 1700000000 1700000060 ACCEPT OK\n", 40000+i, i)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	c.AWS.SQSEndpoint = srv.URL()
	c.AWS.S3Endpoint = srv.URL()
	srv.S3().CreateBucket("flows", false)
	c.Kinesis = config.Default().Kinesis
	c.S3.LedgerTable, c.S3.Gather.MaxAge = "ledger", time.Second
	c.S3.Gather.Queue, c.S3.MouthfulQueue = srv.SQS().CreateQueue("files"), srv.SQS().CreateQueue("mouthfuls")
	if err := c.ValidateService(); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	svc := testService(t, c)
	if svc.worker != nil {
		t.Error("a Kinesis worker without a stream")
	}
	for range 2 { // announced twice
		if err := srv.S3().Announce("flows", "files", "AWSLogs/", ".log.gz"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := srv.S3().Put("flows", "AWSLogs/123456789012/vpcflowlogs/us-east-1/a.log.gz", text.Bytes()); err != nil {
		t.Fatal(err)
	}
	_, stop := serve(t, svc)
	empty := func(queue string) bool {
		visible, inFlight, _ := srv.SQS().Depth(queue)
		return visible+inFlight == 0
	}
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for svc.core.pipeline.Books().Snapshot().Delivered < 100 || !empty("files") || !empty("mouthfuls") {
		select {
		case <-deadline:
			t.Fatalf("not read: %+v", svc.core.pipeline.Books().Snapshot())
		case <-tick.C:
		}
	}
	if err := svc.consumersReady(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	answer := httptest.NewRecorder()
	svc.serveScale(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/scale", nil))
	if got := answer.Body.String(); answer.Code != http.StatusOK || !strings.Contains(got, `"desired_workers":1`) || !strings.Contains(got, `"mouthfuls":0`) {
		t.Errorf("scale: %d, %s", answer.Code, got)
	}
	stop()
	rows, err := os.ReadFile(c.Sink.File.Path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(rows), "\n"); n != 100 {
		t.Errorf("%d rows, want 100", n)
	}
	if err := svc.core.pipeline.Books().Snapshot().CheckAtRest(); err != nil {
		t.Error(err)
	}
}
