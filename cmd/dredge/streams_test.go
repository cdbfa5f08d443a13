package main

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/internal/telemetry"
)

// signers notes which access key signed the requests to which stream, and where they went.
type signers struct {
	next http.RoundTripper
	mu   sync.Mutex
	seen map[string]bool // "key region operation"
}

// RoundTrip implements http.RoundTripper.
func (s *signers) RoundTrip(r *http.Request) (*http.Response, error) {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if parts := strings.Split(rest, "/"); len(parts) > 3 {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		s.mu.Lock()
		s.seen[parts[0]+" "+parts[2]+" "+parts[3]+" "+operation] = true
		s.mu.Unlock()
	}
	return s.next.RoundTrip(r)
}

func (s *signers) of(operation string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for k := range maps.Keys(s.seen) {
		if key, ok := strings.CutSuffix(k, " "+operation); ok {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// Each stream is read with its own role, asked of STS once, in the region of its ARN; those without one share a client.
func TestEachStreamIsReadWithItsRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := awsfaketest.NewServer(t, awsfake.Config{})
		if err := server.Kinesis().CreateStream("own", 1); err != nil {
			t.Fatal(err)
		}
		if err := server.Kinesis().CreateStream("theirs", 1); err != nil {
			t.Fatal(err)
		}
		base := awsfaketest.AWSConfig(server)
		seen := &signers{next: server.Transport(), seen: map[string]bool{}}
		base.HTTPClient = &http.Client{Transport: seen}
		const role = "arn:aws:iam::222222222222:role/dredge-reader"
		c := config.Default()
		c.Kinesis.Application = "app"
		c.Kinesis.Streams = []kinesis.StreamConfig{
			{StreamName: "own"},
			{StreamARN: "arn:aws:kinesis:us-east-1:123456789012:stream/theirs", RoleARN: role},
		}
		if err := c.ValidateService(); err != nil {
			t.Fatal(err)
		}
		clients := clientsFrom(base, config.AWSConfig{DynamoDBEndpoint: *base.BaseEndpoint}, time.Second)
		streams, err := newLeaseStreams(t.Context(), c, "", clients)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, s := range streams {
				if shards, err := s.Shards(t.Context()); err != nil || len(shards) != 1 {
					t.Errorf("%d shards, %v", len(shards), err)
				}
			}
		}
		want := []string{"AKIDAWSFAKE us-east-1 kinesis", "ASIAAWSFAKE222222222222 us-east-1 kinesis"}
		if diff := cmp.Diff(want, seen.of("ListShards")); diff != "" {
			t.Errorf("who listed shards (-want +got):\n%s", diff)
		}
		if n := server.Count("AssumeRole"); n != 1 {
			t.Errorf("STS was asked %d times for one role", n)
		}
		var names []string
		for name := range streams {
			names = append(names, name)
			if !strings.HasPrefix(name, "123456789012:") || strings.Count(name, ":") != 2 {
				t.Errorf("stream %q is not account:stream:epoch", name)
			}
		}
		if len(names) != 2 {
			t.Errorf("streams %v", names)
		}
	})
}

func TestStreamsAreCheckedBeforeTheStart(t *testing.T) {
	c, _ := testConfig(t)
	f := func(s kinesis.StreamConfig, want string) {
		t.Helper()
		c.Kinesis.StreamName, c.Kinesis.Streams = "", []kinesis.StreamConfig{s}
		svc, err := newService(c, testClients(c), zerolog.Nop(), telemetry.NewRegistry())
		if err == nil {
			t.Errorf("%+v is accepted; close: %v", s, svc.close())
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
	f(kinesis.StreamConfig{StreamName: "flows", RoleARN: "dredge-reader"}, `role_arn: "dredge-reader" is no ARN of a role`)
	f(kinesis.StreamConfig{StreamName: "flows", RoleARN: "arn:aws:iam::1:user/u"}, "arn:aws:iam::ACCOUNT:role/NAME")
	f(kinesis.StreamConfig{StreamARN: "arn:aws:s3:::bucket"}, "stream_arn:")
	f(kinesis.StreamConfig{StreamARN: "flows"}, "arn:aws:kinesis:REGION:ACCOUNT:stream/NAME")
}

// The leases of several streams are found by shard, by stream and by key.
func TestLeasesOfSeveralStreams(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		for _, stream := range []string{"1:a:7", "1:b:8"} {
			b.row(lease.Lease{Key: stream + ":" + shard0, StreamName: stream, ShardID: shard0, Checkpoint: lease.Checkpoint{Sequence: "5"}}, "dredge-a")
		}
		b.refused([]string{"release", "--table", "app", shard0}, "1:a:7:"+shard0+", 1:b:8:"+shard0)
		b.want("released 1:b:8:"+shard0+" from dredge-a; it is free\n", "release", "--table", "app", "1:b:8:"+shard0)
	})
}
