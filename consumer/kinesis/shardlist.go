package kinesis

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/consumer/kinesis/lease"
)

// listTimeout bounds one page of ListShards.
const listTimeout = 20 * time.Second

// shardInfo is a shard as the stream describes it.
type shardInfo struct {
	id      string
	parents []string // one, or two after a merge; they may no longer be listed
	hash    lease.HashRange
	start   string // first sequence number
	open    bool
}

// listShards returns the shards that filter selects, in order of their first sequence numbers; with a nil filter, all that the
// stream keeps records of.
func (s *source) listShards(ctx context.Context, filter *types.ShardFilter) ([]shardInfo, error) {
	name, arn := s.ref()
	in := &kinesis.ListShardsInput{StreamName: name, StreamARN: arn, ShardFilter: filter}
	var out []shardInfo
	for {
		page, err := s.listPage(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list shards: %w", err)
		}
		for _, sh := range page.Shards {
			out = append(out, newShardInfo(sh))
		}
		if page.NextToken == nil {
			break
		}
		in = &kinesis.ListShardsInput{NextToken: page.NextToken} // a token allows nothing beside it
	}
	slices.SortFunc(out, func(a, b shardInfo) int { return lease.CompareSequences(a.start, b.start) })
	return out, nil
}

func (s *source) listPage(ctx context.Context, in *kinesis.ListShardsInput) (*kinesis.ListShardsOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return s.api.ListShards(ctx, in)
}

func newShardInfo(s types.Shard) shardInfo {
	i := shardInfo{id: aws.ToString(s.ShardId), open: true}
	for _, p := range []*string{s.ParentShardId, s.AdjacentParentShardId} {
		if aws.ToString(p) != "" {
			i.parents = append(i.parents, *p)
		}
	}
	if r := s.HashKeyRange; r != nil {
		i.hash = lease.HashRange{Start: aws.ToString(r.StartingHashKey), End: aws.ToString(r.EndingHashKey)}
	}
	if r := s.SequenceNumberRange; r != nil {
		i.start, i.open = aws.ToString(r.StartingSequenceNumber), r.EndingSequenceNumber == nil
	}
	return i
}

// newChildInfo is a child as the last read of its parent describes it.
func newChildInfo(c types.ChildShard) shardInfo {
	i := shardInfo{id: aws.ToString(c.ShardId), parents: c.ParentShards}
	if r := c.HashKeyRange; r != nil {
		i.hash = lease.HashRange{Start: aws.ToString(r.StartingHashKey), End: aws.ToString(r.EndingHashKey)}
	}
	return i
}

// childrenOf returns the shards that came from parent.
func childrenOf(shards []shardInfo, parent string) []shardInfo {
	var out []shardInfo
	for _, s := range shards {
		if slices.Contains(s.parents, parent) {
			out = append(out, s)
		}
	}
	return out
}

func listed(shards []shardInfo, id string) bool {
	return slices.ContainsFunc(shards, func(s shardInfo) bool { return s.id == id })
}

// tiles says whether the hash ranges cover the whole key space with no gap and no overlap.
func tiles(shards []shardInfo) bool {
	type span struct{ from, to *big.Int }
	spans := make([]span, 0, len(shards))
	for _, s := range shards {
		from, ok1 := new(big.Int).SetString(s.hash.Start, 10)
		to, ok2 := new(big.Int).SetString(s.hash.End, 10)
		if !ok1 || !ok2 {
			return false
		}
		spans = append(spans, span{from, to})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Cmp(b.from) })
	next, one := new(big.Int), big.NewInt(1)
	for _, s := range spans {
		if s.from.Cmp(next) != 0 || s.to.Cmp(s.from) < 0 {
			return false
		}
		next.Add(s.to, one)
	}
	return next.Cmp(new(big.Int).Lsh(one, 128)) == 0
}
