// Package s3 reads flow logs that AWS delivers to S3.
//
// S3 announces each new file in an SQS queue. A Gatherer groups the files into mouthfuls of a tuned size, notes them in a ledger
// in DynamoDB, and puts one message for each mouthful into a second queue. A Worker takes one mouthful at a time per slot and
// reads its files into a stream.Processor, as the Kinesis consumer does with shards. A file is a partition of its own: what its
// rows are called depends on bucket, key, version and place in the file, never on the mouthful.
//
// Both may die at any step. The order of a gatherer's writes is: files into the ledger, seal, send, mark sent, delete the
// notifications; whatever is sealed but not marked sent is sent again by any gatherer. A mouthful is claimed by a conditional
// write, and its progress is kept in the ledger, so that who takes over goes on where the other was last known to be.
package s3

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// SQS is what is needed of *sqs.Client.
type SQS interface {
	ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, opts ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	SendMessage(ctx context.Context, in *sqs.SendMessageInput, opts ...func(*sqs.Options)) (*sqs.SendMessageOutput, error)
	DeleteMessage(ctx context.Context, in *sqs.DeleteMessageInput, opts ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
	DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput, opts ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibility(ctx context.Context, in *sqs.ChangeMessageVisibilityInput, opts ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
	ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, opts ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
	GetQueueAttributes(ctx context.Context, in *sqs.GetQueueAttributesInput, opts ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
}

// Store is what is needed of *s3.Client.
type Store interface {
	GetObject(ctx context.Context, in *s3.GetObjectInput, opts ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// batchSize is the most entries in one call of SQS.
const batchSize = 10

// longPoll is the longest that a receive call waits for a message.
const longPoll = 20 * time.Second

// grace is a context for what must not be cut short by the end of ctx: it ends d after that.
func grace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}
