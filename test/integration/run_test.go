//go:build integration

package integration

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/page"
)

// TestRun is the compose file without Kafka and Druid: `dredge generate` puts the simulated estate into kinesis-mock, and `dredge
// run`, with the compose file's own configuration, names it and writes rows to a file. Every line must become one row, and the
// lease table in DynamoDB Local must be left so that the next worker goes on where this one ended.
func TestRun(t *testing.T) {
	dir, application := t.TempDir(), prefix()+"run"
	rows, events := filepath.Join(dir, "rows.jsonl"), filepath.Join(dir, "events.jsonl")
	endpoint := setting(t, "DREDGE_TEST_KINESIS")
	client := kinesis.NewFromConfig(awsConfig(t, "DREDGE_TEST_KINESIS"))
	if _, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &application, ShardCount: aws.Int32(4)}); err != nil {
		t.Fatal(err)
	}
	if err := kinesis.NewStreamExistsWaiter(client).Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: &application}, time.Minute); err != nil {
		t.Fatal(err)
	}

	binary := build(t)
	generate, _ := start(t, regexp.MustCompile(`^(rules):`), dredge(t, binary, nil,
		"generate", "--stream", application, "--endpoint", endpoint, "--identity-out", events, "--backlog", "1m", "--for", "20s"))
	run, url := start(t, regexp.MustCompile(`"url":"(http://127\.0\.0\.1:\d+/)"`), dredge(t, binary, []string{
		"DREDGE_HTTP_LISTEN=127.0.0.1:0",
		"DREDGE_AWS_KINESIS_ENDPOINT=" + endpoint,
		"DREDGE_AWS_DYNAMODB_ENDPOINT=" + setting(t, "DREDGE_TEST_DYNAMODB"),
		"DREDGE_KINESIS_APPLICATION=" + application,
		"DREDGE_KINESIS_STREAM_NAME=" + application,
		"DREDGE_IDENTITY_FILE_PATH=" + events,
		"DREDGE_KINESIS_FAILOVER_TIME=1m", // no worker dies here, but the machine may be slow
		"DREDGE_SINK_TYPE=file",
		"DREDGE_SINK_FILE_PATH=" + rows,
	}, "run", "-c", "../../deploy/compose/dredge.yaml"))

	<-generate.done
	put := regexp.MustCompile(`put (\d+) lines`).FindAllStringSubmatch(generate.output(), -1)
	if generate.err != nil || len(put) == 0 {
		t.Fatalf("generate ended with %v:\n%s", generate.err, generate.output())
	}
	want, err := strconv.ParseInt(put[len(put)-1][1], 10, 64)
	if err != nil || want == 0 {
		t.Fatalf("generate put %q lines", put)
	}
	var status page.Status
	await(t, "the delivery of all lines", 2*time.Minute, func() bool {
		status = page.Status{}
		if err := json.Unmarshal([]byte(get(t, url+"api/status")), &status); err != nil {
			t.Fatal(err)
		}
		return linesOnce(status.Books) >= want && status.Books.InFlight == 0
	})
	if err := run.interrupt(); err != nil {
		t.Errorf("run ended with %v:\n%s", err, run.output())
	}

	b := status.Books
	if got := linesOnce(b); got != want || b.Imbalance != "" {
		t.Errorf("%d lines came through; %d were put. Books: %+v\n%s", got, want, b, run.output())
	}
	for reason, n := range b.Rejected {
		if n != 0 {
			t.Errorf("%d lines rejected: %s", n, reason)
		}
	}
	if status.Ends["confirmed"]+status.Ends["covered"] == 0 {
		t.Errorf("no end was named: %v", status.Ends)
	}
	if got := distinctRows(t, rows); got != b.Delivered {
		t.Errorf("the file has %d distinct rows; %d were delivered", got, b.Delivered)
	}
	wantReleased(t, application)
}

// linesOnce is the lines read, without those that were given up to be read again and without CloudWatch's own messages.
func linesOnce(b page.Books) int64 {
	n := b.Lines - b.Skipped["control"]
	for _, again := range b.Abandoned {
		n -= again
	}
	return n
}

// distinctRows counts the rows of a file by their row id; a double fails the test.
func distinctRows(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var row struct {
			ID string `json:"row_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil || row.ID == "" {
			t.Fatalf("row %s: %v", lines.Bytes(), err)
		}
		if seen[row.ID] {
			t.Errorf("row %s stands twice in the file", row.ID)
		}
		seen[row.ID] = true
	}
	return int64(len(seen))
}

// wantReleased fails the test unless every lease is free and has moved.
func wantReleased(t *testing.T, table string) {
	t.Helper()
	store, err := lease.NewDynamoDB(table, dynamodb.NewFromConfig(awsConfig(t, "DREDGE_TEST_DYNAMODB")))
	if err != nil {
		t.Fatal(err)
	}
	list, err := store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Leases) != 4 {
		t.Errorf("%d leases; want one for each of 4 shards", len(list.Leases))
	}
	for _, l := range list.Leases {
		if l.Owner != "" || l.Checkpoint.Sequence == lease.TrimHorizon {
			t.Errorf("lease of %s: owner %q, checkpoint %s; want a free lease that has moved", l.Key, l.Owner, l.Checkpoint)
		}
	}
}
