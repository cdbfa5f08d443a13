package awsfake_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// A queue as the SDK sees it: the SDK checks the MD5 sums itself.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := awsfaketest.NewServer(t, awsfake.Config{})
		api := sqs.NewFromConfig(awsfaketest.AWSConfig(s))
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		dead, err := api.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("dead")})
		ok(err)
		q, err := api.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("work"), Attributes: map[string]string{
			"VisibilityTimeout": "10", "RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":2}`,
		}})
		ok(err)
		receive := func(url *string, wait int32) []types.Message {
			t.Helper()
			out, err := api.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait})
			ok(err)
			return out.Messages
		}
		depth := func(visible, inFlight int) {
			t.Helper()
			if v, f, _ := s.SQS().Depth("work"); v != visible || f != inFlight {
				t.Errorf("%d visible and %d in flight; want %d and %d", v, f, visible, inFlight)
			}
		}
		var entries []types.SendMessageBatchRequestEntry
		for i := range 3 {
			entries = append(entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(fmt.Sprint("body ", i))})
		}
		_, err = api.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: q.QueueUrl, Entries: entries})
		ok(err)
		_, err = api.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: q.QueueUrl, Entries: append(entries, entries...)})
		wantCode(t, err, "BatchEntryIdsNotDistinct")
		depth(3, 0)

		got := receive(q.QueueUrl, 0)
		if len(got) != 3 || *got[0].Body != "body 0" {
			t.Fatalf("received %d", len(got))
		}
		depth(0, 3)
		deleted, err := api.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: q.QueueUrl, Entries: []types.DeleteMessageBatchRequestEntry{
			{Id: aws.String("a"), ReceiptHandle: got[0].ReceiptHandle}, {Id: aws.String("b"), ReceiptHandle: aws.String("bogus")},
		}})
		ok(err)
		if len(deleted.Successful) != 1 || len(deleted.Failed) != 1 || *deleted.Failed[0].Code != "ReceiptHandleIsInvalid" {
			t.Errorf("%+v", deleted)
		}
		_, err = api.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: q.QueueUrl, ReceiptHandle: got[1].ReceiptHandle, VisibilityTimeout: 60})
		ok(err)

		// A long poll waits until a visibility ends, and no longer.
		began := time.Now()
		again := receive(q.QueueUrl, 20)
		if len(again) != 1 || *again[0].Body != "body 2" || time.Since(began) != 10*time.Second {
			t.Errorf("%d messages after %s", len(again), time.Since(began))
		}
		// A third receive would be one too many: it goes to the dead-letter queue.
		<-time.After(11 * time.Second)
		if got := receive(q.QueueUrl, 0); len(got) != 0 {
			t.Errorf("received a third time: %s", *got[0].Body)
		}
		if got := receive(dead.QueueUrl, 0); len(got) != 1 || *got[0].Body != "body 2" {
			t.Errorf("%d in the dead-letter queue", len(got))
		}
		// A long poll wakes when a message is sent, and ends empty when none is.
		began = time.Now()
		if got := receive(dead.QueueUrl, 5); len(got) != 0 || time.Since(began) != 5*time.Second {
			t.Errorf("%d messages after %s", len(got), time.Since(began))
		}
		_, err = api.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: q.QueueUrl, MaxNumberOfMessages: 11})
		wantCode(t, err, "InvalidParameterValue")
		_, err = api.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://awsfake.invalid/1/none")})
		wantCode(t, err, "QueueDoesNotExist")
	})
}

// SQS stops at 120,000 messages in flight.
func TestQueueInFlightLimit(t *testing.T) {
	s := awsfaketest.NewServer(t, awsfake.Config{})
	url := s.SQS().CreateQueue("full")
	s.SQS().SetInFlightLimit("full", 25)
	for range 40 {
		if err := s.SQS().Send("full", "x"); err != nil {
			t.Fatal(err)
		}
	}
	api := sqs.NewFromConfig(awsfaketest.AWSConfig(s))
	received := 0
	for {
		out, err := api.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10})
		if err != nil {
			wantCode(t, err, "OverLimit")
			break
		}
		received += len(out.Messages)
	}
	if received != 25 {
		t.Errorf("received %d; the bound is 25", received)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != code {
		t.Errorf("error %v; want %s", err, code)
	}
}
