package awsfake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

func once(o *kinesis.Options) { o.RetryMaxAttempts = 1 }

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprintf("no API error: %v", err)
}

// newStream is a server with a stream "flows", and what reads its first shard.
func newStream(t *testing.T, cfg awsfake.Config, shards int) (*awsfake.Server, *kinesis.Client) {
	t.Helper()
	s := awsfaketest.NewServer(t, cfg)
	if err := s.Kinesis().CreateStream("flows", shards); err != nil {
		t.Fatal(err)
	}
	return s, awsfaketest.Kinesis(s, once)
}

func iterator(t *testing.T, c *kinesis.Client, shard string) *string {
	t.Helper()
	out, err := c.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: aws.String("flows"), ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.ShardIterator
}

const shard0 = "shardId-000000000000"

func put(t *testing.T, s *awsfake.Server, data string) {
	t.Helper()
	if _, _, err := s.Kinesis().Put("flows", "key", []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func TestFaultsStrikeAsOrdered(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   awsfake.Fault
		code    string // of the error; empty for a broken connection
		applied bool
	}{
		"throttle":  {awsfake.Fault{Kind: awsfake.Throttle}, "ProvisionedThroughputExceededException", false},
		"internal":  {awsfake.Fault{Kind: awsfake.InternalError}, "InternalFailure", false},
		"503":       {awsfake.Fault{Kind: awsfake.Unavailable}, "ServiceUnavailable", false},
		"custom":    {awsfake.Fault{Kind: awsfake.Failure, Code: "KMSDisabledException"}, "KMSDisabledException", false},
		"reset":     {awsfake.Fault{Kind: awsfake.Reset}, "", false},
		"lost":      {awsfake.Fault{Kind: awsfake.LostReply}, "", true},
		"truncated": {awsfake.Fault{Kind: awsfake.TruncatedReply}, "", true},
	} {
		for _, listen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/listen=%t", name, listen), func(t *testing.T) {
				s, _ := newStream(t, awsfake.Config{}, 1)
				if listen {
					if err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
						t.Fatal(err)
					}
				}
				c := awsfaketest.Kinesis(s, once)
				tt.fault.Op, tt.fault.Times, tt.fault.Skip = "PutRecord", 1, 1
				injected := s.Inject(tt.fault)
				in := &kinesis.PutRecordInput{StreamName: aws.String("flows"), PartitionKey: aws.String("k"), Data: []byte("x")}
				if _, err := c.PutRecord(t.Context(), in); err != nil {
					t.Fatalf("skipped request: %v", err)
				}
				_, err := c.PutRecord(t.Context(), in)
				var api smithy.APIError
				switch {
				case err == nil:
					t.Fatal("the fault did not strike")
				case errors.As(err, &api) != (tt.code != "") || tt.code != "" && api.ErrorCode() != tt.code:
					t.Errorf("error = %v; want code %q", err, tt.code)
				}
				if _, err := c.PutRecord(t.Context(), in); err != nil {
					t.Errorf("after the fault: %v", err)
				}
				want := 2
				if tt.applied {
					want = 3
				}
				if got := s.Kinesis().RecordCount("flows"); got != want {
					t.Errorf("%d records; want %d", got, want)
				}
				if s.Count("PutRecord") != 3 || injected.Struck() != 1 {
					t.Errorf("%d requests, %d strikes", s.Count("PutRecord"), injected.Struck())
				}
			})
		}
	}
}

func TestFaultFilters(t *testing.T) {
	s, c := newStream(t, awsfake.Config{}, 2)
	for _, sh := range s.Kinesis().Shards("flows") {
		it := iterator(t, c, sh.ID)
		fault := s.Inject(awsfake.Fault{Kind: awsfake.Throttle, Shard: "shardId-000000000001", Stream: "flows"})
		other := s.Inject(awsfake.Fault{Kind: awsfake.InternalError, Stream: "elsewhere"})
		table := s.Inject(awsfake.Fault{Kind: awsfake.InternalError, Table: "flows"})
		_, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
		if want := sh.ID == "shardId-000000000001"; (err != nil) != want {
			t.Errorf("%s: error = %v", sh.ID, err)
		}
		if other.Struck()+table.Struck() > 0 {
			t.Error("a fault for another resource struck")
		}
		fault.Remove()
		s.ClearFaults()
	}
}

func TestFaultProbabilityIsRepeatable(t *testing.T) {
	pattern := func(seed uint64) (out string) {
		s, c := newStream(t, awsfake.Config{}, 1)
		s.Inject(awsfake.Fault{Op: "ListShards", Kind: awsfake.Throttle, Probability: 0.5, Seed: seed})
		for range 64 {
			_, err := c.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("flows")})
			out += map[bool]string{true: ".", false: "x"}[err == nil]
		}
		return out
	}
	one := pattern(1)
	if n := strings.Count(one, "x"); n < 16 || n > 48 {
		t.Errorf("%d of 64 struck", n)
	}
	if again := pattern(1); again != one {
		t.Errorf("the same seed gave %s, then %s", one, again)
	}
	if other := pattern(2); other == one {
		t.Error("another seed gave the same")
	}
}

func TestPartialBatches(t *testing.T) {
	s, c := newStream(t, awsfake.Config{}, 1)
	s.Inject(awsfake.Fault{Op: "PutRecords", Kind: awsfake.Partial, Times: 1})
	var entries []types.PutRecordsRequestEntry
	for i := range 5 {
		entries = append(entries, types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: fmt.Append(nil, i)})
	}
	out, err := c.PutRecords(t.Context(), &kinesis.PutRecordsInput{StreamName: aws.String("flows"), Records: entries})
	if err != nil {
		t.Fatal(err)
	}
	if *out.FailedRecordCount != 2 || out.Records[1].ErrorCode == nil || out.Records[0].SequenceNumber == nil || s.Kinesis().RecordCount("flows") != 3 {
		t.Errorf("%d failed, %d stored", *out.FailedRecordCount, s.Kinesis().RecordCount("flows"))
	}
}

func TestInsideSynctestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := awsfake.New(awsfake.Config{ReshardDelay: time.Minute})
		if err := s.Kinesis().CreateStream("flows", 1); err != nil {
			t.Fatal(err)
		}
		c := awsfaketest.Kinesis(s)
		s.Inject(awsfake.Fault{Op: "GetRecords", Kind: awsfake.Delay, Delay: time.Hour, Times: 1})
		it, start := iterator(t, c, shard0), time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := c.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v; want the deadline", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("the delayed call ended after %s; want 10s", took)
		}
		if err := s.Kinesis().Split("flows", shard0); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Kinesis().Shards("flows")); n != 1 {
			t.Errorf("%d shards while UPDATING; want 1", n)
		}
		time.Sleep(time.Minute)
		if n := len(s.Kinesis().Shards("flows")); n != 3 {
			t.Errorf("%d shards after the delay; want 3", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestIteratorsExpire(t *testing.T) {
	clock := newClock()
	s, c := newStream(t, awsfake.Config{Clock: clock.Now}, 1)
	get := func(it *string) string {
		_, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
		if err == nil {
			return "ok"
		}
		return codeOf(err)
	}
	it := iterator(t, c, shard0)
	clock.Advance(5 * time.Minute)
	if got := get(it); got != "ok" {
		t.Errorf("after 5 minutes: %s", got)
	}
	clock.Advance(time.Millisecond)
	if got := get(it); got != "ExpiredIteratorException" {
		t.Errorf("after more than 5 minutes: %s", got)
	}
	it = iterator(t, c, shard0)
	s.Kinesis().ExpireIterators()
	if got := get(it); got != "ExpiredIteratorException" {
		t.Errorf("after ExpireIterators: %s", got)
	}
	if got := get(iterator(t, c, shard0)); got != "ok" {
		t.Errorf("a new iterator at the same instant: %s", got)
	}
}

func TestRetentionTrims(t *testing.T) {
	clock := newClock()
	s, c := newStream(t, awsfake.Config{Clock: clock.Now}, 1)
	put(t, s, "old")
	if err := s.Kinesis().Split("flows", shard0); err != nil {
		t.Fatal(err)
	}
	clock.Advance(23 * time.Hour)
	put(t, s, "new")
	if n := s.Kinesis().RecordCount("flows"); n != 2 {
		t.Errorf("%d records after 23 hours; want 2", n)
	}
	// Once the horizon has passed the split, only the children are left: listed, and open at the horizon.
	clock.Advance(2 * time.Hour)
	if n := s.Kinesis().RecordCount("flows"); n != 1 {
		t.Errorf("%d records after 25 hours; want 1", n)
	}
	for _, filter := range []types.ShardFilterType{types.ShardFilterTypeAtTrimHorizon, types.ShardFilterTypeFromTrimHorizon} {
		out, err := c.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("flows"), ShardFilter: &types.ShardFilter{Type: filter}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Shards) != 2 || *out.Shards[0].ParentShardId != shard0 {
			t.Errorf("%s: %d shards", filter, len(out.Shards))
		}
	}
	_, err := c.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: aws.String("flows"), ShardId: aws.String(shard0), ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if codeOf(err) != "ResourceNotFoundException" {
		t.Errorf("expired shard: %v", err)
	}
}

func TestTrimmedPositionsMoveToTheHorizon(t *testing.T) {
	clock := newClock()
	s, c := newStream(t, awsfake.Config{Clock: clock.Now}, 1)
	it := iterator(t, c, shard0)
	put(t, s, "a")
	first := s.Kinesis().Records("flows", shard0)[0].SequenceNumber
	clock.Advance(time.Second)
	put(t, s, "b")
	if err := s.Kinesis().Trim("flows", clock.Now()); err != nil {
		t.Fatal(err)
	}
	at, err := c.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: aws.String("flows"), ShardId: aws.String(shard0), ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: &first,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range []*string{it, at.ShardIterator} {
		out, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
		if err != nil || len(out.Records) != 1 || string(out.Records[0].Data) != "b" {
			t.Errorf("read %v, %v", out, err)
		}
	}
}

func TestMillisBehindLatest(t *testing.T) {
	clock := newClock()
	s, c := newStream(t, awsfake.Config{Clock: clock.Now}, 1)
	for range 3 {
		put(t, s, "x")
		clock.Advance(10 * time.Second)
	}
	it := iterator(t, c, shard0)
	for i, want := range []int64{30_000, 20_000, 0, 0} {
		out, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it, Limit: aws.Int32(1)})
		if err != nil {
			t.Fatal(err)
		}
		if *out.MillisBehindLatest != want {
			t.Errorf("read %d: behind by %d ms; want %d", i, *out.MillisBehindLatest, want)
		}
		it = out.NextShardIterator
	}
}

func TestWriteLimits(t *testing.T) {
	clock := newClock()
	s, c := newStream(t, awsfake.Config{Clock: clock.Now, Limits: awsfake.AllLimits()}, 1)
	big := make([]byte, 1<<20-1)
	write := func(data []byte) string {
		_, err := c.PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("flows"), PartitionKey: aws.String("k"), Data: data})
		if err == nil {
			return "ok"
		}
		return codeOf(err)
	}
	if got := write(big); got != "ok" {
		t.Errorf("1 MiB: %s", got)
	}
	if got := write([]byte("x")); got != "ProvisionedThroughputExceededException" {
		t.Errorf("more than 1 MiB in a second: %s", got)
	}
	clock.Advance(time.Second)
	entries := make([]types.PutRecordsRequestEntry, 500)
	for i := range entries {
		entries[i] = types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: []byte("x")}
	}
	for i, want := range []int32{0, 0, 500} {
		out, err := c.PutRecords(t.Context(), &kinesis.PutRecordsInput{StreamName: aws.String("flows"), Records: entries})
		if err != nil {
			t.Fatal(err)
		}
		if *out.FailedRecordCount != want {
			t.Errorf("batch %d: %d failed; want %d", i, *out.FailedRecordCount, want)
		}
	}
	s.Kinesis().SetLimits(awsfake.Limits{})
	if got := write([]byte("x")); got != "ok" {
		t.Errorf("without limits: %s", got)
	}
}

func TestReadLimits(t *testing.T) {
	clock := newClock()
	s, c := newStream(t, awsfake.Config{Clock: clock.Now, Limits: awsfake.Limits{ReadBytes: true, ReadCalls: true}}, 1)
	read := func() (int, string) {
		out, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: iterator(t, c, shard0)})
		if err != nil {
			return 0, codeOf(err)
		}
		return len(out.Records), "ok"
	}
	for range 5 {
		if _, got := read(); got != "ok" {
			t.Fatalf("within 5 calls a second: %s", got)
		}
	}
	if _, got := read(); got != "ProvisionedThroughputExceededException" {
		t.Errorf("the sixth call: %s", got)
	}
	clock.Advance(time.Second)
	for range 12 {
		put(t, s, strings.Repeat("x", 1<<20))
	}
	// One answer has at most 10 MiB; it is paid for after 5 seconds.
	if n, got := read(); n != 10 || got != "ok" {
		t.Errorf("%d records, %s; want 10", n, got)
	}
	clock.Advance(3999 * time.Millisecond)
	if _, got := read(); got != "ProvisionedThroughputExceededException" {
		t.Errorf("4 seconds after 10 MiB: %s", got)
	}
	clock.Advance(time.Millisecond)
	if _, got := read(); got != "ok" {
		t.Errorf("5 seconds of allowance after 10 MiB: %s", got)
	}
}

func TestStaleReads(t *testing.T) {
	clock := newClock()
	s := awsfaketest.NewServer(t, awsfake.Config{Clock: clock.Now, ReadLag: time.Second})
	c := awsfaketest.DynamoDB(s)
	createTable(t, c, "leases")
	write := func(item string) {
		t.Helper()
		if err := s.DynamoDB().PutRaw("leases", []byte(item)); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(consistent bool) int {
		t.Helper()
		out, err := c.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("leases"), ConsistentRead: &consistent})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Items)
	}
	write(`{"leaseKey":{"S":"a"}}`)
	if stale, fresh := seen(false), seen(true); stale != 0 || fresh != 1 {
		t.Errorf("at once: %d stale, %d consistent; want 0 and 1", stale, fresh)
	}
	clock.Advance(time.Second)
	if n := seen(false); n != 1 {
		t.Errorf("after the lag: %d; want 1", n)
	}
}

func TestExpireItems(t *testing.T) {
	clock := newClock()
	s := awsfaketest.NewServer(t, awsfake.Config{Clock: clock.Now})
	c := awsfaketest.DynamoDB(s)
	createTable(t, c, "ledger")
	in := &dynamodb.UpdateTimeToLiveInput{TableName: aws.String("ledger"), TimeToLiveSpecification: timeToLive("expires")}
	if _, err := c.UpdateTimeToLive(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for key, at := range map[string]time.Time{"past": clock.Now(), "future": clock.Now().Add(time.Second)} {
		if err := s.DynamoDB().PutRaw("ledger", fmt.Appendf(nil, `{"leaseKey":{"S":%q},"expires":{"N":"%d"}}`, key, at.Unix())); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.DynamoDB().ExpireItems("ledger"); n != 1 || s.DynamoDB().Item("ledger", "past") != nil || s.DynamoDB().Item("ledger", "future") == nil {
		t.Errorf("%d expired; left %v", n, s.DynamoDB().Items("ledger"))
	}
}

func TestObserveAndCount(t *testing.T) {
	var seen []awsfake.Request
	s, c := newStream(t, awsfake.Config{Observe: func(r awsfake.Request) { seen = append(seen, r) }}, 1)
	if _, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: iterator(t, c, shard0)}); err != nil {
		t.Fatal(err)
	}
	_, _ = c.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("absent")})
	got := ""
	for _, r := range seen {
		got += fmt.Sprintf("%s %s %s %s %s\n", r.Service, r.Operation, r.Resource, r.Shard, r.Error)
	}
	want := "kinesis GetShardIterator flows " + shard0 + " \nkinesis GetRecords flows " + shard0 + " \nkinesis ListShards absent  ResourceNotFoundException\n"
	if got != want {
		t.Errorf("observed\n%swant\n%s", got, want)
	}
	if n := s.Counts()["GetRecords"]; n != 1 {
		t.Errorf("%d GetRecords; want 1", n)
	}
	if s.ResetCounts(); len(s.Counts()) != 0 {
		t.Error("counts after a reset")
	}
}

func TestCallerIdentity(t *testing.T) {
	s := awsfaketest.NewListeningServer(t, awsfake.Config{Account: "210987654321"})
	out, err := sts.NewFromConfig(awsfaketest.AWSConfig(s)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *out.Account != "210987654321" {
		t.Errorf("identity = %+v, %v", out, err)
	}
}

func TestRefusesWhatItCannotRead(t *testing.T) {
	s := awsfaketest.NewServer(t, awsfake.Config{})
	for name, tt := range map[string]struct {
		target, contentType, body string
		status                    int
		code                      string
	}{
		"unknown service":   {"Glacier_20120601.ListVaults", "application/x-amz-json-1.1", "{}", 400, "UnknownOperationException"},
		"unknown operation": {"Kinesis_20131202.CreateChannel", "application/x-amz-json-1.1", "{}", 400, "UnknownOperationException"},
		"no target":         {"", "application/x-amz-json-1.1", "{}", 400, "UnknownOperationException"},
		"bad JSON":          {"Kinesis_20131202.ListShards", "application/x-amz-json-1.1", "{", 400, "SerializationException"},
		"wrong type":        {"Kinesis_20131202.ListShards", "application/x-amz-json-1.1", `{"StreamName":1}`, 400, "SerializationException"},
		"bad CBOR":          {"Kinesis_20131202.ListShards", "application/x-amz-cbor-1.1", "\xbf", 400, "SerializationException"},
		"too large":         {"Kinesis_20131202.PutRecords", "application/x-amz-json-1.1", strings.Repeat(" ", 33<<20), 413, "RequestEntityTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://aws/", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Amz-Target", tt.target)
			req.Header.Set("Content-Type", tt.contentType)
			resp, err := s.Transport().RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.code) {
				t.Errorf("%d %s, %v; want %d %s", resp.StatusCode, body, err, tt.status, tt.code)
			}
		})
	}
}
