package kinesis

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// fakeKinesis is one stream in memory. It knows resharding, iterators that expire, the read limit, retention and faults on
// order, which is what a consumer has to live with.
type fakeKinesis struct {
	mu      sync.Mutex
	shards  []*fakeShard
	seq     int64
	created time.Time

	iteratorTTL  time.Duration
	readLimit    int  // reads per shard and second; 0: none
	pageSize     int  // of ListShards
	hideChildren bool // the last read of a shard does not name its children
	ignoreFilter bool
	// fail, when set, may answer a call with an error.
	fail func(op, shard string) error

	calls     map[string]int
	iterTypes []types.ShardIteratorType
}

type fakeShard struct {
	id       string
	parents  []string
	lo, hi   *big.Int
	first    string
	last     string // of a closed shard
	created  time.Time
	closed   time.Time
	forgot   bool // not listed any more
	keepFrom int  // records before it are trimmed
	records  []types.Record
	reads    []time.Time
}

func newFakeKinesis(shards int) *fakeKinesis {
	// Small sequence numbers of growing length: whoever compares them as text is found out.
	f := &fakeKinesis{created: time.Now(), seq: 90, iteratorTTL: 5 * time.Minute, pageSize: 3, readLimit: kinesisReadLimit, calls: map[string]int{}}
	space := new(big.Int).Lsh(big.NewInt(1), 128)
	lo := new(big.Int)
	for i := range shards {
		next := new(big.Int).Div(new(big.Int).Mul(space, big.NewInt(int64(i+1))), big.NewInt(int64(shards)))
		f.add(nil, lo, new(big.Int).Sub(next, big.NewInt(1)))
		lo = next
	}
	return f
}

func (f *fakeKinesis) nextSeq() string {
	f.seq++
	return strconv.FormatInt(f.seq, 10)
}

func (f *fakeKinesis) add(parents []string, lo, hi *big.Int) *fakeShard {
	s := &fakeShard{
		id: fmt.Sprintf("shardId-%012d", len(f.shards)), parents: parents, lo: lo, hi: hi, first: f.nextSeq(), created: time.Now(),
	}
	f.shards = append(f.shards, s)
	return s
}

func (f *fakeKinesis) shard(id string) *fakeShard {
	for _, s := range f.shards {
		if s.id == id && !s.forgot {
			return s
		}
	}
	return nil
}

// put writes records to a shard and returns its sequence numbers.
func (f *fakeKinesis) put(id string, data ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.shard(id)
	if !s.closed.IsZero() {
		panic("put into closed " + id)
	}
	for _, d := range data {
		s.records = append(s.records, types.Record{
			Data: []byte(d), SequenceNumber: aws.String(f.nextSeq()), ApproximateArrivalTimestamp: aws.Time(time.Now()),
		})
	}
}

func (f *fakeKinesis) close(s *fakeShard) { s.closed, s.last = time.Now(), f.nextSeq() }

func (f *fakeKinesis) split(id string) (a, b string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.shard(id)
	f.close(s)
	mid := new(big.Int).Rsh(new(big.Int).Add(s.lo, s.hi), 1)
	x := f.add([]string{id}, s.lo, mid)
	y := f.add([]string{id}, new(big.Int).Add(mid, big.NewInt(1)), s.hi)
	return x.id, y.id
}

func (f *fakeKinesis) merge(a, b string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, y := f.shard(a), f.shard(b)
	f.close(x)
	f.close(y)
	return f.add([]string{a, b}, x.lo, y.hi).id
}

func (f *fakeKinesis) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// enter counts a call and asks for its fault.
func (f *fakeKinesis) enter(ctx context.Context, op, shard string) error {
	f.calls[op]++
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.fail != nil {
		return f.fail(op, shard)
	}
	return nil
}

func (f *fakeKinesis) ListShards(ctx context.Context, in *kinesis.ListShardsInput, _ ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter(ctx, "ListShards", ""); err != nil {
		return nil, err
	}
	var all []types.Shard
	token := aws.ToString(in.NextToken)
	kind, offset, _ := strings.Cut(token, "|")
	if in.ShardFilter != nil && !f.ignoreFilter {
		kind = string(in.ShardFilter.Type)
		if t := in.ShardFilter.Timestamp; t != nil {
			kind += "@" + strconv.FormatInt(t.UnixNano(), 10)
		}
	}
	if token != "" && (in.StreamName != nil || in.ShardFilter != nil) {
		return nil, &types.InvalidArgumentException{Message: aws.String("a token allows nothing beside it")}
	}
	for _, s := range f.shards {
		if !s.forgot && s.matches(kind) {
			all = append(all, s.describe())
		}
	}
	n, _ := strconv.Atoi(offset)
	out := &kinesis.ListShardsOutput{Shards: all[min(n, len(all)):min(n+f.pageSize, len(all))]}
	if n+f.pageSize < len(all) {
		out.NextToken = aws.String(kind + "|" + strconv.Itoa(n+f.pageSize))
	}
	return out, nil
}

func (s *fakeShard) matches(filter string) bool {
	kind, at, _ := strings.Cut(filter, "@")
	switch types.ShardFilterType(kind) {
	case types.ShardFilterTypeAtLatest:
		return s.closed.IsZero()
	case types.ShardFilterTypeAtTrimHorizon:
		return len(s.parents) == 0
	case types.ShardFilterTypeAtTimestamp:
		ns, _ := strconv.ParseInt(at, 10, 64)
		t := time.Unix(0, ns)
		return !s.created.After(t) && (s.closed.IsZero() || s.closed.After(t))
	default:
		return true
	}
}

func (s *fakeShard) describe() types.Shard {
	d := types.Shard{
		ShardId:             aws.String(s.id),
		HashKeyRange:        s.hashRange(),
		SequenceNumberRange: &types.SequenceNumberRange{StartingSequenceNumber: aws.String(s.first)},
	}
	if !s.closed.IsZero() {
		d.SequenceNumberRange.EndingSequenceNumber = aws.String(s.last)
	}
	if len(s.parents) > 0 {
		d.ParentShardId = aws.String(s.parents[0])
	}
	if len(s.parents) > 1 {
		d.AdjacentParentShardId = aws.String(s.parents[1])
	}
	return d
}

func (s *fakeShard) hashRange() *types.HashKeyRange {
	return &types.HashKeyRange{StartingHashKey: aws.String(s.lo.String()), EndingHashKey: aws.String(s.hi.String())}
}

func (f *fakeKinesis) iterator(s *fakeShard, index int) *string {
	return aws.String(fmt.Sprintf("%s|%d|%d", s.id, index, time.Now().Add(f.iteratorTTL).UnixNano()))
}

// DescribeStreamSummary tells what keys of leases are made of.
func (f *fakeKinesis) DescribeStreamSummary(ctx context.Context, in *kinesis.DescribeStreamSummaryInput, _ ...func(*kinesis.Options)) (*kinesis.DescribeStreamSummaryOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter(ctx, "DescribeStreamSummary", ""); err != nil {
		return nil, err
	}
	return &kinesis.DescribeStreamSummaryOutput{StreamDescriptionSummary: &types.StreamDescriptionSummary{
		StreamName:              in.StreamName,
		StreamARN:               aws.String("arn:aws:kinesis:eu-west-1:123456789012:stream/" + aws.ToString(in.StreamName)),
		StreamCreationTimestamp: aws.Time(f.created),
	}}, nil
}

func (f *fakeKinesis) GetShardIterator(ctx context.Context, in *kinesis.GetShardIteratorInput, _ ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := aws.ToString(in.ShardId)
	if err := f.enter(ctx, "GetShardIterator", id); err != nil {
		return nil, err
	}
	f.iterTypes = append(f.iterTypes, in.ShardIteratorType)
	s := f.shard(id)
	if s == nil {
		return nil, &types.ResourceNotFoundException{Message: aws.String("no shard " + id)}
	}
	index := s.keepFrom
	switch in.ShardIteratorType {
	case types.ShardIteratorTypeTrimHorizon:
	case types.ShardIteratorTypeLatest:
		index = len(s.records)
	case types.ShardIteratorTypeAtTimestamp:
		for index < len(s.records) && s.records[index].ApproximateArrivalTimestamp.Before(*in.Timestamp) {
			index++
		}
	case types.ShardIteratorTypeAtSequenceNumber, types.ShardIteratorTypeAfterSequenceNumber:
		at := slices.IndexFunc(s.records, func(r types.Record) bool { return *r.SequenceNumber == *in.StartingSequenceNumber })
		if at < s.keepFrom {
			return nil, &types.InvalidArgumentException{Message: aws.String("StartingSequenceNumber " + *in.StartingSequenceNumber + " is invalid")}
		}
		if index = at; in.ShardIteratorType == types.ShardIteratorTypeAfterSequenceNumber {
			index++
		}
	}
	return &kinesis.GetShardIteratorOutput{ShardIterator: f.iterator(s, index)}, nil
}

func (f *fakeKinesis) GetRecords(ctx context.Context, in *kinesis.GetRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	parts := strings.Split(aws.ToString(in.ShardIterator), "|")
	if len(parts) != 3 {
		return nil, &types.InvalidArgumentException{Message: aws.String("bad iterator")}
	}
	if err := f.enter(ctx, "GetRecords", parts[0]); err != nil {
		return nil, err
	}
	index, _ := strconv.Atoi(parts[1])
	expires, _ := strconv.ParseInt(parts[2], 10, 64)
	if time.Now().UnixNano() > expires {
		return nil, &types.ExpiredIteratorException{Message: aws.String("iterator expired")}
	}
	s := f.shard(parts[0])
	if s == nil {
		return nil, &types.ResourceNotFoundException{Message: aws.String("no shard " + parts[0])}
	}
	now := time.Now()
	s.reads = slices.DeleteFunc(s.reads, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if f.readLimit > 0 && len(s.reads) >= f.readLimit {
		return nil, &types.ProvisionedThroughputExceededException{Message: aws.String("rate exceeded")}
	}
	s.reads = append(s.reads, now)
	out := &kinesis.GetRecordsOutput{MillisBehindLatest: aws.Int64(0)}
	end := min(index+int(aws.ToInt32(in.Limit)), len(s.records))
	out.Records = slices.Clone(s.records[index:end])
	if end < len(s.records) {
		out.MillisBehindLatest = aws.Int64(max(1, now.Sub(*s.records[end].ApproximateArrivalTimestamp).Milliseconds()))
	}
	if end < len(s.records) || s.closed.IsZero() {
		out.NextShardIterator = f.iterator(s, end)
		return out, nil
	}
	if !f.hideChildren {
		for _, c := range f.shards {
			if slices.Contains(c.parents, s.id) {
				out.ChildShards = append(out.ChildShards, types.ChildShard{ShardId: aws.String(c.id), ParentShards: c.parents, HashKeyRange: c.hashRange()})
			}
		}
	}
	return out, nil
}
