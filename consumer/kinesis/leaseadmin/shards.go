package leaseadmin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"dredge/consumer/kinesis/lease"
)

// API is what is needed of *kinesis.Client.
type API interface {
	ListShards(ctx context.Context, in *kinesis.ListShardsInput, opts ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error)
	GetShardIterator(ctx context.Context, in *kinesis.GetShardIteratorInput, opts ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error)
	GetRecords(ctx context.Context, in *kinesis.GetRecordsInput, opts ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error)
}

// Stream is one Kinesis stream, and the client that may read it.
type Stream struct {
	API API
	// Name or ARN says which stream it is; only one of them is set.
	Name, ARN string
}

func (s Stream) ref() (name, arn *string) {
	if s.ARN != "" {
		return nil, &s.ARN
	}
	return &s.Name, nil
}

// Shards returns all shards that the stream keeps records of.
func (s Stream) Shards(ctx context.Context) ([]types.Shard, error) {
	name, arn := s.ref()
	in := &kinesis.ListShardsInput{StreamName: name, StreamARN: arn}
	var out []types.Shard
	for {
		page, err := s.API.ListShards(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list shards of %s%s: %w", s.Name, s.ARN, err)
		}
		out = append(out, page.Shards...)
		if page.NextToken == nil {
			return out, nil
		}
		in = &kinesis.ListShardsInput{NextToken: page.NextToken} // a token allows nothing beside it
	}
}

// Lag asks Kinesis how far the checkpoint of l is behind the tip of its shard. It costs one of the shard's five reads of a second
// and the reading of one record.
func (s Stream) Lag(ctx context.Context, l lease.Lease) (time.Duration, error) {
	name, arn := s.ref()
	in := &kinesis.GetShardIteratorInput{StreamName: name, StreamARN: arn, ShardId: aws.String(l.Shard())}
	switch {
	case l.Checkpoint.IsSequence():
		in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, aws.String(l.Checkpoint.Sequence)
	case l.Checkpoint.Sequence == lease.Latest && !l.StartedAt.IsZero():
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, aws.Time(l.StartedAt)
	case l.Checkpoint.Sequence == lease.Latest:
		return 0, nil
	default:
		in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	}
	it, err := s.API.GetShardIterator(ctx, in)
	if err != nil {
		return 0, fmt.Errorf("ask for the lag of shard %s: %w", l.Shard(), plain(err))
	}
	out, err := s.API.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it.ShardIterator, StreamARN: arn, Limit: aws.Int32(1)})
	if err != nil {
		return 0, fmt.Errorf("ask for the lag of shard %s: %w", l.Shard(), plain(err))
	}
	return time.Duration(aws.ToInt64(out.MillisBehindLatest)) * time.Millisecond, nil
}

// ParseKey takes a lease key of KCL's multi-stream mode, account:stream:epoch:shard, apart. Without that form ok is false.
func ParseKey(key string) (account, stream, epoch, shard string, ok bool) {
	parts := strings.Split(key, ":")
	if len(parts) != 4 {
		return "", "", "", "", false
	}
	return parts[0], parts[1], parts[2], parts[3], true
}

// StreamOf returns account:stream:epoch of a lease of multi-stream mode, "" of one of single-stream mode.
func StreamOf(l lease.Lease) string {
	if l.StreamName != "" {
		return l.StreamName
	}
	if account, stream, epoch, _, ok := ParseKey(l.Key); ok {
		return account + ":" + stream + ":" + epoch
	}
	return ""
}

// plain is what AWS said, without the layers of the SDK around it.
func plain(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	}
	return err
}
