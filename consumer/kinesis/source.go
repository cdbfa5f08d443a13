package kinesis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/consumer/kinesis/lease"
)

// source is one stream that the worker reads.
type source struct {
	api API
	cfg StreamConfig
	// multi says that the application reads several streams, so that lease keys name theirs.
	multi bool
	// fanOut is nil when the stream is read by polling.
	fanOut *fanOut
	// name is what KCL calls the stream in keys, "account:stream:epoch"; empty until it is known, and always for a single stream.
	name atomic.Pointer[string]
	// lasting is the name that the stream has for ever, "account/region/stream:epoch"; empty until somebody asked for it.
	lasting atomic.Pointer[string]
}

// newSources makes a source for each configured stream.
func newSources(cfg Config, deps Deps) ([]*source, error) {
	configs := cfg.streams()
	out := make([]*source, 0, len(configs))
	for _, c := range configs {
		s := &source{api: deps.Kinesis, cfg: c, multi: len(cfg.Streams) > 0}
		if deps.StreamAPI != nil {
			api, err := deps.StreamAPI(c)
			if err != nil {
				return nil, fmt.Errorf("client for stream %q: %w", c.label(), err)
			}
			s.api = api
		}
		if c.Reader == ReaderFanOut {
			api, ok := s.api.(FanOutAPI)
			if !ok {
				return nil, fmt.Errorf("stream %q: its client can't subscribe to shards, which reader %s needs", c.label(), c.Reader)
			}
			s.fanOut = newFanOut(s, api, cfg.Application, deps.Log)
		}
		out = append(out, s)
	}
	return out, nil
}

// ref names the stream in a request: by name or by ARN.
func (s *source) ref() (name, streamARN *string) {
	if s.cfg.StreamARN != "" {
		return nil, aws.String(s.cfg.StreamARN)
	}
	return aws.String(s.cfg.StreamName), nil
}

// streamARN is for requests that name the stream by its ARN only; nil when it is configured by name.
func (s *source) streamARN() *string {
	if s.cfg.StreamARN == "" {
		return nil
	}
	return aws.String(s.cfg.StreamARN)
}

// streamName is the name that lease rows of this stream carry. It is empty for a single stream, and while it is not known.
func (s *source) streamName() string {
	if n := s.name.Load(); n != nil {
		return *n
	}
	return ""
}

// isKnown says whether leases of this stream can be told from others'.
func (s *source) isKnown() bool { return !s.multi || s.streamName() != "" }

var errStreamName = errors.New("the description of the stream lacks its ARN or its time of creation")

// identify asks for what the lease keys of one stream among several are made of: its account, name and time of creation. So a stream that
// was deleted and made again under its old name does not find the checkpoints of its predecessor.
func (s *source) identify(ctx context.Context) error {
	if s.isKnown() {
		return nil
	}
	a, stream, epoch, err := s.describe(ctx)
	if err != nil {
		return err
	}
	id := a.AccountID + ":" + stream + ":" + epoch
	s.name.Store(&id)
	return nil
}

// lastingName names the stream among all there ever are. A stream that was deleted and made again has another.
func (s *source) lastingName(ctx context.Context) (string, error) {
	if n := s.lasting.Load(); n != nil {
		return *n, nil
	}
	a, stream, epoch, err := s.describe(ctx)
	if err != nil {
		return "", err
	}
	name := a.AccountID + "/" + a.Region + "/" + stream + ":" + epoch
	s.lasting.Store(&name)
	return name, nil
}

// LastingName is what Worker.Name puts before the shards of a stream, for who has no Worker.
func LastingName(ctx context.Context, api API, stream StreamConfig) (string, error) {
	return (&source{api: api, cfg: stream}).lastingName(ctx)
}

// describe asks for the stream's ARN, name and time of creation in Unix seconds.
func (s *source) describe(ctx context.Context) (a arn.ARN, stream, epoch string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	name, streamARN := s.ref()
	out, err := s.api.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: name, StreamARN: streamARN})
	if err != nil {
		return a, "", "", fmt.Errorf("describe stream %q: %w", s.cfg.label(), err)
	}
	d := out.StreamDescriptionSummary
	if d == nil || d.StreamCreationTimestamp == nil {
		return a, "", "", fmt.Errorf("describe stream %q: %w", s.cfg.label(), errStreamName)
	}
	a, err = arn.Parse(aws.ToString(d.StreamARN))
	if err != nil || aws.ToString(d.StreamName) == "" {
		return a, "", "", fmt.Errorf("describe stream %q: %w", s.cfg.label(), errStreamName)
	}
	return a, *d.StreamName, strconv.FormatInt(d.StreamCreationTimestamp.Unix(), 10), nil
}

// key is the lease key of one of the stream's shards.
func (s *source) key(shardID string) string {
	if !s.multi {
		return shardID
	}
	return s.streamName() + ":" + shardID
}

// newLease is the row that makes a shard be read from the sentinel at.
func (s *source) newLease(i shardInfo, at string) lease.Lease {
	l := lease.Lease{Key: s.key(i.id), Checkpoint: lease.Checkpoint{Sequence: at}, Parents: i.parents}
	if i.hash.Start != "" && i.hash.End != "" {
		l.HashRange = &i.hash
	}
	if s.multi {
		l.StreamName, l.ShardID = s.streamName(), i.id
	}
	return l
}

// owns says whether l is a lease on a shard of this stream.
func (s *source) owns(l lease.Lease) bool {
	if !s.multi {
		return l.StreamName == ""
	}
	return s.streamName() != "" && l.StreamName == s.streamName()
}

// initialTimestamp is where AT_TIMESTAMP begins.
func (s *source) initialTimestamp() *time.Time { return aws.Time(s.cfg.InitialTimestamp) }

// sourceOf returns the stream that l belongs to, nil when it is none of this worker's.
func (w *Worker) sourceOf(l lease.Lease) *source {
	for _, s := range w.sources {
		if s.owns(l) {
			return s
		}
	}
	return nil
}

// of returns the leases of the stream's shards.
func (s *source) of(leases []lease.Lease) []lease.Lease {
	var out []lease.Lease
	for _, l := range leases {
		if s.owns(l) {
			out = append(out, l)
		}
	}
	return out
}
