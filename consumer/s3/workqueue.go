package s3

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// workQueue is a queue of mouthfuls in memory, for a backfill: as much of SQS as a Worker and the forming of mouthfuls use.
type workQueue struct {
	mu       sync.Mutex
	messages map[string]*workMessage // by body
	order    []*workMessage
	changed  chan struct{} // closed, and made anew, when something may be received or was deleted
}

type workMessage struct {
	body    string
	visible time.Time
}

var errNoQueue = errors.New("BUG: a backfill has no such queue")

func newWorkQueue() *workQueue {
	return &workQueue{messages: map[string]*workMessage{}, changed: make(chan struct{})}
}

func (q *workQueue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// knows says whether a mouthful is in the queue.
func (q *workQueue) knows(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for body := range q.messages {
		if named, _ := mouthfulNamed(body); named == id {
			return true
		}
	}
	return false
}

// await returns when at most n mouthfuls are left.
func (q *workQueue) await(ctx context.Context, n int) error {
	for {
		q.mu.Lock()
		left, changed := len(q.messages), q.changed
		q.mu.Unlock()
		if left <= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *workQueue) SendMessage(_ context.Context, in *sqs.SendMessageInput, _ ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := &workMessage{body: *in.MessageBody}
	q.messages[m.body] = m
	q.order = append(q.order, m)
	q.wake()
	return &sqs.SendMessageOutput{}, nil
}

// take returns a message that is visible, else when to look again.
func (q *workQueue) take(now time.Time, hide time.Duration) (*workMessage, time.Time) {
	var next time.Time
	for _, m := range q.order {
		if !m.visible.After(now) {
			m.visible = now.Add(hide)
			return m, next
		}
		if next.IsZero() || m.visible.Before(next) {
			next = m.visible
		}
	}
	return nil, next
}

func (q *workQueue) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	until := time.Now().Add(time.Duration(in.WaitTimeSeconds) * time.Second)
	for {
		now := time.Now()
		q.mu.Lock()
		m, next := q.take(now, time.Duration(in.VisibilityTimeout)*time.Second)
		changed := q.changed
		q.mu.Unlock()
		if m != nil {
			return &sqs.ReceiveMessageOutput{Messages: []types.Message{{Body: &m.body, ReceiptHandle: &m.body, MessageId: aws.String("")}}}, nil
		}
		if !now.Before(until) {
			return &sqs.ReceiveMessageOutput{}, nil
		}
		if next.IsZero() || next.After(until) {
			next = until
		}
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func (q *workQueue) DeleteMessage(_ context.Context, in *sqs.DeleteMessageInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m := q.messages[*in.ReceiptHandle]; m != nil {
		delete(q.messages, m.body)
		for i := range q.order {
			if q.order[i] == m {
				q.order = append(q.order[:i:i], q.order[i+1:]...)
				break
			}
		}
		q.wake()
	}
	return &sqs.DeleteMessageOutput{}, nil
}

func (q *workQueue) ChangeMessageVisibility(_ context.Context, in *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m := q.messages[*in.ReceiptHandle]; m != nil {
		m.visible = time.Now().Add(time.Duration(in.VisibilityTimeout) * time.Second)
		q.wake()
	}
	return &sqs.ChangeMessageVisibilityOutput{}, nil
}

func (*workQueue) DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	return nil, errNoQueue
}

func (*workQueue) ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	return nil, errNoQueue
}

func (*workQueue) GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	return nil, errNoQueue
}
