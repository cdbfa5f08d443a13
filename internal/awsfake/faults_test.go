package awsfake_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

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
