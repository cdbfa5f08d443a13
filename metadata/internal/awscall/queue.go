package awscall

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/rs/zerolog"
)

// ErrAgain says that a message could not be dealt with now: it stays in the queue.
var ErrAgain = errors.New("the message stays in the queue")

// Queue takes messages from an SQS queue.
type Queue struct {
	API *sqs.Client
	URL string
	Log zerolog.Logger

	faults Faults
}

const (
	// pollWait is SQS's longest poll.
	pollWait = 20 * time.Second
	// faultPause is how long a queue that fails is left alone.
	faultPause = 5 * time.Second
	// MaxMessage bounds what is parsed; SQS holds no larger message.
	MaxMessage = 1 << 20
)

// Run hands every message to handle, and deletes it when handle returned nil, until ctx ends. A message for which handle returns
// ErrAgain comes again when its visibility times out; any other error ends Run with it.
func (q *Queue) Run(ctx context.Context, handle func(ctx context.Context, body string) error) error {
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, pollWait+Timeout)
		got, err := q.API.ReceiveMessage(bounded, &sqs.ReceiveMessageInput{
			QueueUrl: &q.URL, MaxNumberOfMessages: 10, WaitTimeSeconds: int32(pollWait / time.Second),
		})
		cancel()
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end has come
		}
		q.note(err)
		if err != nil {
			if Pause(ctx, faultPause) != nil {
				return nil //nolint:nilerr // the end has come
			}
			continue
		}
		var done []types.DeleteMessageBatchRequestEntry
		for i, m := range got.Messages {
			err := handle(ctx, aws.ToString(m.Body))
			switch {
			case ctx.Err() != nil:
				return nil //nolint:nilerr // the end has come
			case errors.Is(err, ErrAgain):
			case err != nil:
				return err
			default:
				done = append(done, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
			}
		}
		if len(done) == 0 {
			continue
		}
		// What is not deleted comes again, and telling it twice changes nothing.
		if _, err := q.API.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.URL, Entries: done}); err != nil && ctx.Err() == nil {
			q.note(err)
		}
	}
	return nil
}

func (q *Queue) note(err error) { q.faults.Note(q.Log, "queue "+q.URL, err) }

// Faults says why the queue cannot be read at present.
func (q *Queue) Faults() []string { return q.faults.List("") }

// Check makes one call.
func (q *Queue) Check(ctx context.Context) error {
	_, err := q.API.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &q.URL, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	if err != nil {
		return fmt.Errorf("queue_url %q: %w; check the URL and grant sqs:ReceiveMessage, sqs:DeleteMessage and sqs:GetQueueAttributes", q.URL, err)
	}
	return nil
}
