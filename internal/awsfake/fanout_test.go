package awsfake_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// fanOut is a server with a stream "flows" and a registered consumer.
type fanOut struct {
	*testing.T
	server   *awsfake.Server
	client   *kinesis.Client
	consumer *string
	// protocol makes the protocol of each subscription: the SDK's keeps a buffer for event streams without a lock, so two
	// streams of one protocol value race.
	protocol func() smithyhttp.ClientProtocol
}

func newFanOut(t *testing.T, s *awsfake.Server) *fanOut {
	t.Helper()
	if err := s.Kinesis().CreateStream("flows", 1); err != nil {
		t.Fatal(err)
	}
	c := awsfaketest.Kinesis(s, once)
	stream, err := c.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("flows")})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{
		StreamARN: stream.StreamDescriptionSummary.StreamARN, ConsumerName: aws.String("app"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &fanOut{t, s, c, out.Consumer.ConsumerARN, func() smithyhttp.ClientProtocol { return awsjson.New11(schemas.Kinesis_20131202) }}
}

func (f *fanOut) subscribe(from types.StartingPosition) (*kinesis.SubscribeToShardEventStream, error) {
	in := &kinesis.SubscribeToShardInput{ConsumerARN: f.consumer, ShardId: aws.String(shard0), StartingPosition: &from}
	out, err := f.client.SubscribeToShard(f.Context(), in, func(o *kinesis.Options) { o.Protocol = f.protocol() })
	if err != nil {
		return nil, err
	}
	return out.GetStream(), nil
}

func (f *fanOut) mustSubscribe(from types.StartingPosition) *kinesis.SubscribeToShardEventStream {
	f.Helper()
	s, err := f.subscribe(from)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// next is the next event; nil at the stream's end.
func next(s *kinesis.SubscribeToShardEventStream) *types.SubscribeToShardEvent {
	e, ok := (<-s.Events()).(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
	if !ok {
		return nil
	}
	return &e.Value
}

// records reads events until n records have come, and returns them with the last event.
func (f *fanOut) records(s *kinesis.SubscribeToShardEventStream, n int) ([]string, *types.SubscribeToShardEvent) {
	f.Helper()
	var data []string
	for {
		e := next(s)
		if e == nil {
			f.Fatalf("the stream ended after %q: %v", data, s.Err())
		}
		for _, r := range e.Records {
			data = append(data, string(r.Data))
		}
		if len(data) >= n {
			return data, e
		}
	}
}

var horizon = types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}

// inBubble runs a test of an in-process server under virtual time.
func inBubble(t *testing.T, cfg awsfake.Config, test func(f *fanOut)) {
	synctest.Test(t, func(t *testing.T) {
		s := awsfake.New(cfg)
		test(newFanOut(t, s))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFanOutDelivers(t *testing.T) {
	for name, tt := range map[string]struct {
		listen   bool
		protocol func() smithyhttp.ClientProtocol
	}{
		"in process": {},
		"http":       {listen: true},
		"rpcv2":      {protocol: func() smithyhttp.ClientProtocol { return rpcv2.NewCBOR(schemas.Kinesis_20131202) }},
	} {
		t.Run(name, func(t *testing.T) {
			server := awsfaketest.NewServer
			if tt.listen {
				server = awsfaketest.NewListeningServer
			}
			f := newFanOut(t, server(t, awsfake.Config{}))
			if tt.protocol != nil {
				f.protocol = tt.protocol
			}
			put(t, f.server, "a")
			put(t, f.server, "b")
			s := f.mustSubscribe(horizon)
			got, e := f.records(s, 2)
			if !slices.Equal(got, []string{"a", "b"}) || *e.MillisBehindLatest != 0 || e.ContinuationSequenceNumber == nil {
				t.Errorf("got %q, then %+v", got, e)
			}
			put(t, f.server, "live")
			if got, _ := f.records(s, 1); !slices.Equal(got, []string{"live"}) {
				t.Errorf("live: %q", got)
			}
			if err := f.server.Kinesis().Split("flows", shard0); err != nil {
				t.Fatal(err)
			}
			for e = next(s); e != nil && e.ContinuationSequenceNumber != nil; e = next(s) {
			}
			if e == nil || len(e.ChildShards) != 2 || e.ChildShards[0].ParentShards[0] != shard0 {
				t.Fatalf("last event = %+v, %v", e, s.Err())
			}
			if e := next(s); e != nil || s.Err() != nil {
				t.Errorf("after the end: %+v, %v", e, s.Err())
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFanOutContinues(t *testing.T) {
	inBubble(t, awsfake.Config{}, func(f *fanOut) {
		put(f.T, f.server, "before")
		s := f.mustSubscribe(types.StartingPosition{Type: types.ShardIteratorTypeLatest})
		// Also a quiet shard tells how to go on, so that nothing is lost between two subscriptions.
		e := next(s)
		if e == nil || len(e.Records) != 0 || e.ContinuationSequenceNumber == nil {
			f.Fatalf("first event = %+v", e)
		}
		if err := s.Close(); err != nil {
			f.Error(err)
		}
		put(f.T, f.server, "between")
		<-time.After(5 * time.Second)
		s = f.mustSubscribe(types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: e.ContinuationSequenceNumber})
		if got, _ := f.records(s, 1); !slices.Equal(got, []string{"between"}) {
			f.Errorf("got %q", got)
		}
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
}

func TestFanOutEndsAfterFiveMinutes(t *testing.T) {
	inBubble(t, awsfake.Config{}, func(f *fanOut) {
		start := time.Now()
		s := f.mustSubscribe(horizon)
		quiet := 0
		for e := next(s); e != nil; e = next(s) {
			if len(e.Records) == 0 && e.ContinuationSequenceNumber != nil {
				quiet++
			}
		}
		if took := time.Since(start); took != 5*time.Minute || s.Err() != nil {
			f.Errorf("ended after %s: %v", took, s.Err())
		}
		if quiet != 60 {
			f.Errorf("%d events without records; want one every 5 s", quiet)
		}
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
}

func TestFanOutTakeOver(t *testing.T) {
	inBubble(t, awsfake.Config{}, func(f *fanOut) {
		first := f.mustSubscribe(horizon)
		next(first)
		<-time.After(5*time.Second - time.Millisecond)
		if _, err := f.subscribe(horizon); codeOf(err) != "ResourceInUseException" {
			f.Errorf("within 5 s: %v", err)
		}
		<-time.After(time.Millisecond)
		second := f.mustSubscribe(horizon)
		for next(first) != nil {
		}
		var taken *types.ResourceInUseException
		if err := first.Err(); !errors.As(err, &taken) {
			f.Errorf("the first subscription ended by %v", err)
		}
		put(f.T, f.server, "x")
		if got, _ := f.records(second, 1); !slices.Equal(got, []string{"x"}) {
			f.Errorf("the second got %q", got)
		}
		_ = first.Close() // gives the stream's error again
		if err := second.Close(); err != nil {
			f.Error(err)
		}
	})
}

func TestFanOutEndings(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(f *fanOut) error
		code string // of the modelled error; empty for a broken connection
	}{
		"deregistered": {func(f *fanOut) error {
			_, err := f.client.DeregisterStreamConsumer(f.Context(), &kinesis.DeregisterStreamConsumerInput{ConsumerARN: f.consumer})
			return err
		}, "ResourceNotFoundException"},
		"stream deleted": {func(f *fanOut) error { return f.server.Kinesis().DeleteStream("flows") }, "ResourceNotFoundException"},
		"broken":         {func(f *fanOut) error { return f.server.Kinesis().BreakSubscriptions("flows") }, ""},
		"server closed":  {func(f *fanOut) error { return f.server.Close() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, awsfake.Config{}, func(f *fanOut) {
				s := f.mustSubscribe(horizon)
				next(s)
				if err := tt.end(f); err != nil {
					f.Fatal(err)
				}
				for next(s) != nil {
				}
				if err := s.Err(); tt.code != "" && codeOf(err) != tt.code {
					f.Errorf("ended by %v; want %s", err, tt.code)
				}
				_ = s.Close() // gives the stream's error again
			})
		})
	}
}

func TestFanOutPace(t *testing.T) {
	inBubble(t, awsfake.Config{Limits: awsfake.Limits{ReadBytes: true}}, func(f *fanOut) {
		for range 8 {
			if _, _, err := f.server.Kinesis().Put("flows", "k", make([]byte, 1<<20)); err != nil {
				f.Fatal(err)
			}
		}
		start := time.Now()
		s := f.mustSubscribe(horizon)
		f.records(s, 8)
		if took := time.Since(start); took != 3500*time.Millisecond {
			f.Errorf("8 MiB took %s; want 3.5s at 2 MiB/s with the first event at once", took)
		}
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
}

func TestFanOutAbandonedReader(t *testing.T) {
	inBubble(t, awsfake.Config{}, func(f *fanOut) {
		ctx, cancel := context.WithCancel(f.Context())
		out, err := f.client.SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{ConsumerARN: f.consumer, ShardId: aws.String(shard0), StartingPosition: &horizon})
		if err != nil {
			f.Fatal(err)
		}
		// Nobody reads; the server must not hang on its write when the request ends.
		cancel()
		if err := out.GetStream().Close(); err != nil {
			f.Error(err)
		}
	})
}
