package contract

import (
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// splitMiddle splits a shard in the middle and waits for it.
func (k *kinesisTest) splitMiddle(t *testing.T, s types.Shard) {
	t.Helper()
	middle := new(big.Int).Add(bigInt(*s.HashKeyRange.StartingHashKey), bigInt(*s.HashKeyRange.EndingHashKey))
	middle.Rsh(middle.Add(middle, big.NewInt(1)), 1)
	must(k.SplitShard(k.ctx, &kinesis.SplitShardInput{StreamName: &k.stream, ShardToSplit: s.ShardId, NewStartingHashKey: aws.String(middle.String())}))(t)
	k.active(t)
}

func (k *kinesisTest) splitEndsShard(t *testing.T) {
	parent := k.shards(t, nil)[0]
	k.put(t, "k", "before")
	k.splitMiddle(t, parent)
	child := k.put(t, "k", "after")[0]
	shards := k.shards(t, nil)
	if len(shards) != 3 || shards[1].ParentShardId == nil || *shards[1].ParentShardId != *parent.ShardId || shards[1].AdjacentParentShardId != nil {
		t.Fatalf("shards after the split: %+v", shards)
	}
	k.tiles(t, shards[1:])
	if shards[0].SequenceNumberRange.EndingSequenceNumber == nil || shards[1].SequenceNumberRange.EndingSequenceNumber != nil {
		t.Error("only a closed shard has an EndingSequenceNumber")
	}
	data, last := k.read(t, k.horizon(t, parent.ShardId))
	if !slices.Equal(data, []string{"before"}) || last.NextShardIterator != nil {
		t.Errorf("closed shard: read %q, next iterator %v", data, last.NextShardIterator)
	}
	k.wantChildren(t, last, []string{*shards[1].ShardId, *shards[2].ShardId}, []string{*parent.ShardId})
	// LATEST on a closed shard is its end: no record, no further iterator, the children.
	latest := k.iterator(t, kinesis.GetShardIteratorInput{ShardId: parent.ShardId, ShardIteratorType: types.ShardIteratorTypeLatest})
	data, last = k.read(t, latest)
	if len(data) != 0 || last.NextShardIterator != nil || len(last.ChildShards) != 2 {
		t.Errorf("LATEST of a closed shard: %q, %d children", data, len(last.ChildShards))
	}
	k.wantData(t, k.horizon(t, child.ShardId), "after")
	_, err := k.SplitShard(k.ctx, &kinesis.SplitShardInput{StreamName: &k.stream, ShardToSplit: parent.ShardId, NewStartingHashKey: aws.String("1000")})
	if err == nil {
		t.Error("a closed shard was split")
	}
}

func (k *kinesisTest) wantChildren(t *testing.T, out *kinesis.GetRecordsOutput, children, parents []string) {
	t.Helper()
	got := []string{}
	for _, c := range out.ChildShards {
		got = append(got, *c.ShardId)
		slices.Sort(c.ParentShards)
		if !slices.Equal(c.ParentShards, parents) || c.HashKeyRange == nil {
			t.Errorf("child %s: parents %q, range %v; want parents %q", *c.ShardId, c.ParentShards, c.HashKeyRange, parents)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, children) {
		t.Errorf("ChildShards = %q; want %q", got, children)
	}
}

func (k *kinesisTest) mergeEndsShards(t *testing.T) {
	parents := k.shards(t, nil)
	must(k.MergeShards(k.ctx, &kinesis.MergeShardsInput{StreamName: &k.stream, ShardToMerge: parents[0].ShardId, AdjacentShardToMerge: parents[1].ShardId}))(t)
	k.active(t)
	shards := k.shards(t, nil)
	child := shards[len(shards)-1]
	if len(shards) != 3 || *child.ParentShardId != *parents[0].ShardId || child.AdjacentParentShardId == nil || *child.AdjacentParentShardId != *parents[1].ShardId {
		t.Fatalf("child of the merge = %+v", child)
	}
	for _, p := range parents {
		_, last := k.read(t, k.horizon(t, p.ShardId))
		k.wantChildren(t, last, []string{*child.ShardId}, ids(parents))
	}
	k.tiles(t, []types.Shard{child})
}

// clock is the service's time, read from a record's arrival.
func (k *kinesisTest) clock(t *testing.T) time.Time {
	t.Helper()
	r := k.put(t, "k", "tick")[0]
	it := k.iterator(t, kinesis.GetShardIteratorInput{ShardId: r.ShardId, ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: r.SequenceNumber})
	return *must(k.GetRecords(k.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t).Records[0].ApproximateArrivalTimestamp
}

func (k *kinesisTest) filtersShards(t *testing.T) {
	first := k.shards(t, nil)
	k.Wait(1100 * time.Millisecond)
	before := k.clock(t)
	k.Wait(1100 * time.Millisecond)
	k.splitMiddle(t, first[0])
	all := k.shards(t, nil)
	open := []string{*first[1].ShardId, *all[2].ShardId, *all[3].ShardId}
	k.Wait(1100 * time.Millisecond)
	after := k.clock(t)
	for _, tt := range []struct {
		filter types.ShardFilter
		want   []string
	}{
		{types.ShardFilter{Type: types.ShardFilterTypeAtLatest}, open},
		{types.ShardFilter{Type: types.ShardFilterTypeFromTrimHorizon}, ids(all)},
		{types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp, Timestamp: &before}, ids(first)},
		{types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp, Timestamp: &after}, open},
		{types.ShardFilter{Type: types.ShardFilterTypeFromTimestamp, Timestamp: &before}, ids(all)},
		{types.ShardFilter{Type: types.ShardFilterTypeFromTimestamp, Timestamp: &after}, open},
		{types.ShardFilter{Type: types.ShardFilterTypeAfterShardId, ShardId: first[1].ShardId}, ids(all[2:])},
	} {
		if got := ids(k.shards(t, &tt.filter)); !slices.Equal(got, tt.want) {
			t.Errorf("%s %v: %q; want %q", tt.filter.Type, tt.filter.Timestamp, got, tt.want)
		}
	}
	if k.deviates(t, TrimHorizonListsAll) {
		return
	}
	if got := ids(k.shards(t, &types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon})); !slices.Equal(got, ids(first)) {
		t.Errorf("AT_TRIM_HORIZON: %q; want %q", got, ids(first))
	}
}

func (k *kinesisTest) updatesShardCount(t *testing.T) {
	for _, n := range []int32{3, 2} {
		must(k.UpdateShardCount(k.ctx, &kinesis.UpdateShardCountInput{StreamName: &k.stream, TargetShardCount: &n, ScalingType: types.ScalingTypeUniformScaling}))(t)
		k.active(t)
		open := k.shards(t, &types.ShardFilter{Type: types.ShardFilterTypeAtLatest})
		if len(open) != int(n) {
			t.Errorf("%d open shards; want %d", len(open), n)
		}
		k.tiles(t, open)
	}
}
