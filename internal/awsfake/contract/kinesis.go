package contract

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// Deviations of Kinesis emulators.
const (
	// TrimHorizonListsAll: the filter AT_TRIM_HORIZON lists every shard, not those open at the horizon.
	TrimHorizonListsAll Deviation = "AT_TRIM_HORIZON lists every shard"
	// BadIteratorIsServerError: a malformed iterator gives HTTP 500.
	BadIteratorIsServerError Deviation = "a malformed iterator is answered with HTTP 500"
	// BadSequenceAccepted: GetShardIterator takes what no Kinesis sequence number looks like.
	BadSequenceAccepted Deviation = "GetShardIterator takes a malformed sequence number"
	// NoPutRecordsBound: PutRecords takes more than 500 records.
	NoPutRecordsBound Deviation = "PutRecords takes more than 500 records"
	// ForeignSequenceAccepted: a sequence number of another shard is accepted.
	ForeignSequenceAccepted Deviation = "GetShardIterator takes a sequence number of another shard"
	// OtherHashBoundaries: initial hash ranges are not cut as AWS cuts them.
	OtherHashBoundaries Deviation = "initial hash boundaries differ from AWS's"
	// ConstantEndingSequence: EndingSequenceNumber is not above the shard's records.
	ConstantEndingSequence Deviation = "EndingSequenceNumber is a constant"
)

// Kinesis runs the suite. It makes and deletes streams of its own.
func Kinesis(t *testing.T, client *kinesis.Client, o Options) {
	tests := []struct {
		name   string
		shards int
		run    func(*kinesisTest, *testing.T)
	}{
		{"DescribesStream", 2, (*kinesisTest).describes},
		{"DeliversInOrder", 1, (*kinesisTest).deliversInOrder},
		{"RoutesByHash", 4, (*kinesisTest).routesByHash},
		{"IteratorTypes", 1, (*kinesisTest).iteratorTypes},
		{"RefusesBadIterators", 1, (*kinesisTest).refusesBadIterators},
		{"HonoursLimit", 1, (*kinesisTest).honoursLimit},
		{"BoundsPutRecords", 1, (*kinesisTest).boundsPutRecords},
		{"PagesShards", 5, (*kinesisTest).pagesShards},
		{"SplitEndsShard", 1, (*kinesisTest).splitEndsShard},
		{"MergeEndsShards", 2, (*kinesisTest).mergeEndsShards},
		{"FiltersShards", 2, (*kinesisTest).filtersShards},
		{"UpdatesShardCount", 2, (*kinesisTest).updatesShardCount},
		{"SequenceNumbers", 2, (*kinesisTest).sequenceNumbers},
		{"NamesByARN", 1, (*kinesisTest).namesByARN},
		{"UnknownStream", 1, (*kinesisTest).unknownStream},
		{"RegistersConsumers", 1, (*kinesisTest).registersConsumers},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := &kinesisTest{Client: client, Options: o, stream: fmt.Sprintf("%sstream-%d", o.Prefix, i), ctx: t.Context()}
			if _, err := client.CreateStream(k.ctx, &kinesis.CreateStreamInput{StreamName: &k.stream, ShardCount: aws.Int32(int32(tt.shards))}); err != nil {
				t.Fatal(err)
			}
			k.active(t)
			t.Cleanup(func() {
				in := &kinesis.DeleteStreamInput{StreamName: &k.stream, EnforceConsumerDeletion: aws.Bool(true)}
				if _, err := client.DeleteStream(context.WithoutCancel(k.ctx), in); err != nil {
					t.Error(err)
				}
			})
			tt.run(k, t)
		})
	}
}

// kinesisTest is one test with a stream of its own.
type kinesisTest struct {
	*kinesis.Client
	Options
	stream string
	ctx    context.Context //nolint:containedctx // the test's
}

func (k *kinesisTest) active(t *testing.T) {
	t.Helper()
	k.until(t, "stream "+k.stream+" being ACTIVE", func() bool {
		out, err := k.DescribeStreamSummary(k.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &k.stream})
		return err == nil && out.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive
	})
}

func (k *kinesisTest) shards(t *testing.T, filter *types.ShardFilter) []types.Shard {
	t.Helper()
	return must(k.ListShards(k.ctx, &kinesis.ListShardsInput{StreamName: &k.stream, ShardFilter: filter}))(t).Shards
}

func ids(shards []types.Shard) []string {
	out := []string{}
	for _, s := range shards {
		out = append(out, *s.ShardId)
	}
	slices.Sort(out)
	return out
}

func (k *kinesisTest) put(t *testing.T, key string, data ...string) []types.PutRecordsResultEntry {
	t.Helper()
	var out []types.PutRecordsResultEntry
	for _, d := range data {
		r := must(k.PutRecord(k.ctx, &kinesis.PutRecordInput{StreamName: &k.stream, PartitionKey: &key, Data: []byte(d)}))(t)
		out = append(out, types.PutRecordsResultEntry{ShardId: r.ShardId, SequenceNumber: r.SequenceNumber})
	}
	return out
}

func (k *kinesisTest) iterator(t *testing.T, in kinesis.GetShardIteratorInput) *string {
	t.Helper()
	if in.StreamName == nil {
		in.StreamName = &k.stream
	}
	return must(k.GetShardIterator(k.ctx, &in))(t).ShardIterator
}

func (k *kinesisTest) horizon(t *testing.T, shard *string) *string {
	t.Helper()
	return k.iterator(t, kinesis.GetShardIteratorInput{ShardId: shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
}

// read reads until the shard's end or its tip, and returns what it read and the last answer.
func (k *kinesisTest) read(t *testing.T, it *string) ([]string, *kinesis.GetRecordsOutput) {
	t.Helper()
	data := []string{}
	for {
		out := must(k.GetRecords(k.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t)
		for _, r := range out.Records {
			data = append(data, string(r.Data))
		}
		if out.NextShardIterator == nil || len(out.Records) == 0 && *out.MillisBehindLatest == 0 {
			return data, out
		}
		it = out.NextShardIterator
	}
}

func (k *kinesisTest) wantData(t *testing.T, it *string, want ...string) {
	t.Helper()
	if got, _ := k.read(t, it); !slices.Equal(got, want) {
		t.Errorf("read %q; want %q", got, want)
	}
}

func (k *kinesisTest) describes(t *testing.T) {
	d := must(k.DescribeStream(k.ctx, &kinesis.DescribeStreamInput{StreamName: &k.stream}))(t).StreamDescription
	if *d.StreamName != k.stream || d.StreamStatus != types.StreamStatusActive || len(d.Shards) != 2 || *d.HasMoreShards || *d.RetentionPeriodHours != 24 {
		t.Errorf("description = %+v", d)
	}
	s := must(k.DescribeStreamSummary(k.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &k.stream}))(t).StreamDescriptionSummary
	if *s.OpenShardCount != 2 || s.StreamCreationTimestamp.IsZero() || s.EncryptionType != types.EncryptionTypeNone && s.EncryptionType != "" {
		t.Errorf("summary = %+v", s)
	}
	_, err := k.CreateStream(k.ctx, &kinesis.CreateStreamInput{StreamName: &k.stream, ShardCount: aws.Int32(1)})
	wantCode(t, err, "ResourceInUseException")
	names := must(k.ListStreams(k.ctx, &kinesis.ListStreamsInput{}))(t).StreamNames
	if !slices.Contains(names, k.stream) {
		t.Errorf("ListStreams = %q, without %q", names, k.stream)
	}
}

func (k *kinesisTest) deliversInOrder(t *testing.T) {
	sent := k.put(t, "key", "one", "", "three \x00\xff")
	it := k.horizon(t, sent[0].ShardId)
	out := must(k.GetRecords(k.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t)
	if len(out.Records) != 3 {
		t.Fatalf("%d records; want 3", len(out.Records))
	}
	for i, want := range []string{"one", "", "three \x00\xff"} {
		r := out.Records[i]
		if string(r.Data) != want || *r.SequenceNumber != *sent[i].SequenceNumber || *r.PartitionKey != "key" || r.ApproximateArrivalTimestamp.IsZero() {
			t.Errorf("record %d = %q %+v", i, r.Data, r)
		}
	}
	if *out.MillisBehindLatest != 0 || out.NextShardIterator == nil {
		t.Errorf("at the tip: behind %d, next iterator %v", *out.MillisBehindLatest, out.NextShardIterator)
	}
	k.put(t, "key", "four")
	k.wantData(t, out.NextShardIterator, "four")
}

func (k *kinesisTest) routesByHash(t *testing.T) {
	shards := k.shards(t, nil)
	for _, s := range shards {
		for _, hash := range []*string{s.HashKeyRange.StartingHashKey, s.HashKeyRange.EndingHashKey} {
			r := must(k.PutRecord(k.ctx, &kinesis.PutRecordInput{StreamName: &k.stream, PartitionKey: aws.String("x"), ExplicitHashKey: hash, Data: []byte("x")}))(t)
			if *r.ShardId != *s.ShardId {
				t.Errorf("hash key %s went to %s; want %s", *hash, *r.ShardId, *s.ShardId)
			}
		}
	}
	// MD5("a") = 0cc175b9…, MD5("b") = 92eb5ffe…: the first and the third quarter.
	for key, quarter := range map[string]int{"a": 0, "b": 2} {
		if got := *k.put(t, key, "x")[0].ShardId; got != *shards[quarter].ShardId {
			t.Errorf("partition key %q went to %s; want %s", key, got, *shards[quarter].ShardId)
		}
	}
	_, err := k.PutRecord(k.ctx, &kinesis.PutRecordInput{
		StreamName: &k.stream, PartitionKey: aws.String("x"), Data: []byte("x"),
		ExplicitHashKey: aws.String("340282366920938463463374607431768211456"),
	})
	wantCode(t, err, "InvalidArgumentException")
	k.tiles(t, shards)
	if k.deviates(t, OtherHashBoundaries) {
		return
	}
	if got := *shards[0].HashKeyRange.EndingHashKey; got != "85070591730234615865843651857942052863" {
		t.Errorf("first of four shards ends at %s", got)
	}
}

// tiles holds that the shards' hash ranges cover everything exactly once.
func (k *kinesisTest) tiles(t *testing.T, shards []types.Shard) {
	t.Helper()
	next := new(big.Int)
	sorted := slices.SortedFunc(slices.Values(shards), func(a, b types.Shard) int {
		return bigInt(*a.HashKeyRange.StartingHashKey).Cmp(bigInt(*b.HashKeyRange.StartingHashKey))
	})
	for _, s := range sorted {
		if start := bigInt(*s.HashKeyRange.StartingHashKey); start.Cmp(next) != 0 {
			t.Errorf("shard %s starts at %s; want %s", *s.ShardId, start, next)
		}
		next.Add(bigInt(*s.HashKeyRange.EndingHashKey), big.NewInt(1))
	}
	if want := new(big.Int).Lsh(big.NewInt(1), 128); next.Cmp(want) != 0 {
		t.Errorf("shards end at %s; want 2^128-1", next)
	}
}

func bigInt(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		panic("not a number: " + s)
	}
	return n
}

func (k *kinesisTest) iteratorTypes(t *testing.T) {
	first := k.put(t, "k", "a", "b")
	shard := first[0].ShardId
	latest := k.iterator(t, kinesis.GetShardIteratorInput{ShardId: shard, ShardIteratorType: types.ShardIteratorTypeLatest})
	k.Wait(1100 * time.Millisecond)
	between := must(k.GetRecords(k.ctx, &kinesis.GetRecordsInput{ShardIterator: k.horizon(t, shard)}))(t).Records[1].ApproximateArrivalTimestamp.Add(time.Second)
	second := k.put(t, "k", "c")
	k.wantData(t, k.horizon(t, shard), "a", "b", "c")
	k.wantData(t, latest, "c")
	for kind, want := range map[types.ShardIteratorType][]string{
		types.ShardIteratorTypeAtSequenceNumber:    {"b", "c"},
		types.ShardIteratorTypeAfterSequenceNumber: {"c"},
	} {
		k.wantData(t, k.iterator(t, kinesis.GetShardIteratorInput{ShardId: shard, ShardIteratorType: kind, StartingSequenceNumber: first[1].SequenceNumber}), want...)
	}
	k.wantData(t, k.iterator(t, kinesis.GetShardIteratorInput{ShardId: shard, ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: second[0].SequenceNumber}))
	for at, want := range map[time.Time][]string{
		between:                     {"c"},
		between.Add(-1 * time.Hour): {"a", "b", "c"},
	} {
		k.wantData(t, k.iterator(t, kinesis.GetShardIteratorInput{ShardId: shard, ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: &at}), want...)
	}
	// The shard's own first number, which no record has, is a place to start from too.
	start := k.shards(t, nil)[0].SequenceNumberRange.StartingSequenceNumber
	k.wantData(t, k.iterator(t, kinesis.GetShardIteratorInput{ShardId: shard, ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: start}), "a", "b", "c")
}

func (k *kinesisTest) refusesBadIterators(t *testing.T) {
	_, err := k.GetShardIterator(k.ctx, &kinesis.GetShardIteratorInput{StreamName: &k.stream, ShardId: aws.String("shardId-000000000099"), ShardIteratorType: types.ShardIteratorTypeLatest})
	wantCode(t, err, "ResourceNotFoundException")
	if !k.deviates(t, BadSequenceAccepted) {
		_, err = k.GetShardIterator(k.ctx, &kinesis.GetShardIteratorInput{
			StreamName: &k.stream, ShardId: aws.String("shardId-000000000000"),
			ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: aws.String("12345"),
		})
		wantCode(t, err, "InvalidArgumentException")
	}
	if k.deviates(t, BadIteratorIsServerError) {
		return
	}
	_, err = k.GetRecords(k.ctx, &kinesis.GetRecordsInput{ShardIterator: aws.String("nonsense")})
	wantCode(t, err, "InvalidArgumentException")
}

func (k *kinesisTest) honoursLimit(t *testing.T) {
	shard := k.put(t, "k", "a", "b", "c")[0].ShardId
	out := must(k.GetRecords(k.ctx, &kinesis.GetRecordsInput{ShardIterator: k.horizon(t, shard), Limit: aws.Int32(2)}))(t)
	if len(out.Records) != 2 {
		t.Fatalf("%d records; want 2", len(out.Records))
	}
	k.wantData(t, out.NextShardIterator, "c")
	_, err := k.GetRecords(k.ctx, &kinesis.GetRecordsInput{ShardIterator: k.horizon(t, shard), Limit: aws.Int32(10_001)})
	if err == nil {
		t.Error("a limit of 10001 was accepted")
	}
}

func (k *kinesisTest) boundsPutRecords(t *testing.T) {
	entries := make([]types.PutRecordsRequestEntry, 500)
	for i := range entries {
		entries[i] = types.PutRecordsRequestEntry{PartitionKey: aws.String(fmt.Sprint(i)), Data: fmt.Append(nil, i)}
	}
	out := must(k.PutRecords(k.ctx, &kinesis.PutRecordsInput{StreamName: &k.stream, Records: entries}))(t)
	if *out.FailedRecordCount != 0 || len(out.Records) != 500 {
		t.Errorf("%d failed of %d", *out.FailedRecordCount, len(out.Records))
	}
	data, _ := k.read(t, k.horizon(t, out.Records[0].ShardId))
	if len(data) != 500 || data[0] != "0" || data[499] != "499" {
		t.Errorf("read %d records, from %q", len(data), data[:1])
	}
	_, err := k.PutRecord(k.ctx, &kinesis.PutRecordInput{StreamName: &k.stream, PartitionKey: aws.String("k"), Data: make([]byte, 1<<20+1)})
	if err == nil {
		t.Error("a record of more than 1 MiB was accepted")
	}
	if k.deviates(t, NoPutRecordsBound) {
		return
	}
	_, err = k.PutRecords(k.ctx, &kinesis.PutRecordsInput{StreamName: &k.stream, Records: append(entries, entries[0])})
	if err == nil {
		t.Error("501 records were accepted")
	}
}

func (k *kinesisTest) pagesShards(t *testing.T) {
	var got []types.Shard
	in := &kinesis.ListShardsInput{StreamName: &k.stream, MaxResults: aws.Int32(2)}
	for pages := 1; ; pages++ {
		out := must(k.ListShards(k.ctx, in))(t)
		got = append(got, out.Shards...)
		if out.NextToken == nil {
			if pages != 3 {
				t.Errorf("%d pages; want 3", pages)
			}
			break
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken, MaxResults: aws.Int32(2)}
	}
	all := k.shards(t, nil)
	if !slices.Equal(ids(got), ids(all)) || len(all) != 5 {
		t.Errorf("pages hold %q; want %q", ids(got), ids(all))
	}
	after := must(k.ListShards(k.ctx, &kinesis.ListShardsInput{StreamName: &k.stream, ExclusiveStartShardId: all[2].ShardId}))(t).Shards
	if !slices.Equal(ids(after), ids(all[3:])) {
		t.Errorf("after the third: %q", ids(after))
	}
}

func (k *kinesisTest) sequenceNumbers(t *testing.T) {
	shards := k.shards(t, nil)
	var last *big.Int
	for i, r := range k.put(t, "a", "x", "y", "z") {
		n := bigInt(*r.SequenceNumber)
		if last != nil && n.Cmp(last) <= 0 {
			t.Errorf("number %d does not rise", i)
		}
		last = n
		// What KCL's validator reads.
		if n.BitLen() != 186 || new(big.Int).Rsh(n, 184).Int64()&15 != 2 {
			t.Errorf("%s is no number of version 2", n)
		}
		if index := new(big.Int).Rsh(n, 4).Uint64() & (1<<32 - 1); fmt.Sprintf("shardId-%012d", index) != *r.ShardId {
			t.Errorf("%s carries shard %d; it came from %s", n, index, *r.ShardId)
		}
		if start := bigInt(*shards[0].SequenceNumberRange.StartingSequenceNumber); n.Cmp(start) <= 0 {
			t.Errorf("%s is not after the shard's start %s", n, start)
		}
	}
	k.splitMiddle(t, shards[0])
	t.Run("ending", func(t *testing.T) {
		if k.deviates(t, ConstantEndingSequence) {
			return
		}
		if end := bigInt(*k.shards(t, nil)[0].SequenceNumberRange.EndingSequenceNumber); end.Cmp(last) < 0 {
			t.Errorf("the closed shard ends at %s, before its record %s", end, last)
		}
	})
	if k.deviates(t, ForeignSequenceAccepted) {
		return
	}
	_, err := k.GetShardIterator(k.ctx, &kinesis.GetShardIteratorInput{
		StreamName: &k.stream, ShardId: shards[1].ShardId,
		ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: aws.String(last.String()),
	})
	wantCode(t, err, "InvalidArgumentException")
}

func (k *kinesisTest) namesByARN(t *testing.T) {
	arn := must(k.DescribeStreamSummary(k.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &k.stream}))(t).StreamDescriptionSummary.StreamARN
	if !strings.HasPrefix(*arn, "arn:aws:kinesis:") || !strings.HasSuffix(*arn, ":stream/"+k.stream) {
		t.Errorf("ARN = %q", *arn)
	}
	shards := must(k.ListShards(k.ctx, &kinesis.ListShardsInput{StreamARN: arn}))(t).Shards
	it := must(k.GetShardIterator(k.ctx, &kinesis.GetShardIteratorInput{StreamARN: arn, ShardId: shards[0].ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}))(t)
	must(k.GetRecords(k.ctx, &kinesis.GetRecordsInput{StreamARN: arn, ShardIterator: it.ShardIterator}))(t)
}

func (k *kinesisTest) unknownStream(t *testing.T) {
	name := aws.String(k.stream + "-absent")
	_, err := k.DescribeStreamSummary(k.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: name})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = k.ListShards(k.ctx, &kinesis.ListShardsInput{StreamName: name})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = k.PutRecord(k.ctx, &kinesis.PutRecordInput{StreamName: name, PartitionKey: aws.String("k"), Data: []byte("x")})
	wantCode(t, err, "ResourceNotFoundException")
}

func (k *kinesisTest) registersConsumers(t *testing.T) {
	arn := must(k.DescribeStreamSummary(k.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &k.stream}))(t).StreamDescriptionSummary.StreamARN
	c := must(k.RegisterStreamConsumer(k.ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("app")}))(t).Consumer
	k.until(t, "consumer being ACTIVE", func() bool {
		d := must(k.DescribeStreamConsumer(k.ctx, &kinesis.DescribeStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("app")}))(t).ConsumerDescription
		return d.ConsumerStatus == types.ConsumerStatusActive && *d.ConsumerARN == *c.ConsumerARN
	})
	_, err := k.RegisterStreamConsumer(k.ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("app")})
	wantCode(t, err, "ResourceInUseException")
	if l := must(k.ListStreamConsumers(k.ctx, &kinesis.ListStreamConsumersInput{StreamARN: arn}))(t).Consumers; len(l) != 1 || *l[0].ConsumerName != "app" {
		t.Errorf("consumers = %+v", l)
	}
	must(k.DeregisterStreamConsumer(k.ctx, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: c.ConsumerARN}))(t)
	k.until(t, "consumer being gone", func() bool {
		_, err := k.DescribeStreamConsumer(k.ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: c.ConsumerARN})
		return err != nil
	})
}
