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
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

func once(o *kinesis.Options) { o.RetryMaxAttempts = 1 }

func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
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
		<-time.After(time.Minute)
		if n := len(s.Kinesis().Shards("flows")); n != 3 {
			t.Errorf("%d shards after the delay; want 3", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
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
