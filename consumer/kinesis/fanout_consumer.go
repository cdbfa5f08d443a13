package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/rs/zerolog"

	"dredge/internal/retry"
)

// FanOutAPI is what a Worker needs of *kinesis.Client beside API to read by enhanced fan-out.
type FanOutAPI interface {
	DescribeStreamConsumer(ctx context.Context, in *kinesis.DescribeStreamConsumerInput, opts ...func(*kinesis.Options)) (*kinesis.DescribeStreamConsumerOutput, error)
	RegisterStreamConsumer(ctx context.Context, in *kinesis.RegisterStreamConsumerInput, opts ...func(*kinesis.Options)) (*kinesis.RegisterStreamConsumerOutput, error)
	SubscribeToShard(ctx context.Context, in *kinesis.SubscribeToShardInput, opts ...func(*kinesis.Options)) (*kinesis.SubscribeToShardOutput, error)
}

// consumerPoll is the time between two looks at a stream consumer that is being made.
const consumerPoll = time.Second

// fanOut is the stream consumer that a worker's shards of one stream are read as. It is never deregistered: the application's other
// workers use it too.
type fanOut struct {
	api FanOutAPI
	src *source
	// application names the consumer when the configuration does not.
	application string
	log         zerolog.Logger
	// turn has an element while the consumer is looked for; it guards arn.
	turn chan struct{}
	arn  string
}

func newFanOut(src *source, api FanOutAPI, application string, log zerolog.Logger) *fanOut {
	return &fanOut{api: api, src: src, application: application, log: log, turn: make(chan struct{}, 1)}
}

// consumer returns the ARN of the active stream consumer, which it registers if need be. One call at a time asks Kinesis; the
// others wait for what it finds.
func (f *fanOut) consumer(ctx context.Context) (string, error) {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer func() { <-f.turn }()
	if f.arn != "" {
		return f.arn, nil
	}
	arn, err := f.find(ctx)
	if err == nil {
		f.arn = arn
	}
	return arn, err
}

// forget makes the next call of consumer look again.
func (f *fanOut) forget() {
	f.turn <- struct{}{}
	f.arn = ""
	<-f.turn
}

func (f *fanOut) find(ctx context.Context) (string, error) {
	in := &kinesis.DescribeStreamConsumerInput{}
	if f.src.cfg.ConsumerARN != "" {
		in.ConsumerARN = &f.src.cfg.ConsumerARN
	} else {
		stream, err := f.streamARN(ctx)
		if err != nil {
			return "", err
		}
		in.StreamARN, in.ConsumerName = &stream, aws.String(f.name())
	}
	for {
		out, err := f.api.DescribeStreamConsumer(ctx, in)
		var missing *types.ResourceNotFoundException
		switch {
		case errors.As(err, &missing) && in.ConsumerName != nil:
			if err := f.register(ctx, in); err != nil {
				return "", err
			}
			continue
		case err != nil:
			return "", fmt.Errorf("describe stream consumer: %w", err)
		case out.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive:
			return aws.ToString(out.ConsumerDescription.ConsumerARN), nil
		}
		if err := retry.Sleep(ctx, consumerPoll); err != nil {
			return "", err
		}
	}
}

func (f *fanOut) register(ctx context.Context, in *kinesis.DescribeStreamConsumerInput) error {
	_, err := f.api.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: in.StreamARN, ConsumerName: in.ConsumerName})
	var exists *types.ResourceInUseException
	switch {
	case errors.As(err, &exists): // another worker was first
		return retry.Sleep(ctx, consumerPoll)
	case err != nil:
		return fmt.Errorf("register stream consumer: %w", err)
	}
	f.log.Info().Str("stream_consumer", *in.ConsumerName).Msg("stream consumer registered")
	return nil
}

func (f *fanOut) streamARN(ctx context.Context) (string, error) {
	if f.src.cfg.StreamARN != "" {
		return f.src.cfg.StreamARN, nil
	}
	out, err := f.src.api.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &f.src.cfg.StreamName})
	if err != nil {
		return "", fmt.Errorf("describe stream: %w", err)
	}
	return aws.ToString(out.StreamDescriptionSummary.StreamARN), nil
}

func (f *fanOut) name() string {
	if f.src.cfg.ConsumerName != "" {
		return f.src.cfg.ConsumerName
	}
	return f.application
}
