package awsfake_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/internal/awsfake"
)

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
