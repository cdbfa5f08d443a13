package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Deviations of SQS emulators.
const (
	// StaleReceiptRefused: a receipt handle from an earlier receive is refused; with AWS it mostly still works.
	StaleReceiptRefused Deviation = "a stale receipt handle is refused"
)

// SQS runs the suite. It makes queues of its own and deletes them.
func SQS(t *testing.T, client *sqs.Client, o Options) {
	s := &sqsTest{api: client, o: o}
	for _, tt := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"DeliversAndDeletes", s.deliversAndDeletes},
		{"ShowsAgain", s.showsAgain},
		{"ChangesVisibility", s.changesVisibility},
		{"StaleReceipt", s.staleReceipt},
		{"Redrives", s.redrives},
		{"CountsAndAnswersBatches", s.batches},
	} {
		t.Run(tt.name, tt.run)
	}
}

type sqsTest struct {
	api *sqs.Client
	o   Options
}

// hidden is how long messages of the suite's queues stay hidden.
const hidden = 2 * time.Second

func (s *sqsTest) queue(t *testing.T, attributes map[string]string) *string {
	t.Helper()
	all := map[string]string{"VisibilityTimeout": strconv.Itoa(int(hidden / time.Second))}
	maps.Copy(all, attributes)
	name := fmt.Sprintf("%sq%d", s.o.Prefix, time.Now().UnixNano())
	url := must(s.api.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: all}))(t).QueueUrl
	t.Cleanup(func() {
		if _, err := s.api.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: url}); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return url
}

func (s *sqsTest) send(t *testing.T, url *string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		must(s.api.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}))(t)
	}
}

func (s *sqsTest) receive(t *testing.T, url *string) []types.Message {
	t.Helper()
	return must(s.api.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: 10, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}))(t).Messages
}

// one receives exactly one message, within some time.
func (s *sqsTest) one(t *testing.T, url *string) (m types.Message) {
	t.Helper()
	s.o.until(t, "a message", func() bool {
		got := s.receive(t, url)
		if len(got) == 1 {
			m = got[0]
		}
		return len(got) == 1
	})
	return m
}

func (s *sqsTest) depth(t *testing.T, url *string) (visible, inFlight string) {
	t.Helper()
	out := must(s.api.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}}))(t)
	return out.Attributes["ApproximateNumberOfMessages"], out.Attributes["ApproximateNumberOfMessagesNotVisible"]
}

func (s *sqsTest) deliversAndDeletes(t *testing.T) {
	url := s.queue(t, nil)
	s.send(t, url, "a", "b", "c")
	var bodies []string
	for len(bodies) < 3 {
		for _, m := range s.receive(t, url) {
			bodies = append(bodies, *m.Body)
			must(s.api.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: m.ReceiptHandle}))(t)
		}
	}
	slices.Sort(bodies)
	if !slices.Equal(bodies, []string{"a", "b", "c"}) {
		t.Errorf("received %v", bodies)
	}
	s.o.Wait(hidden + time.Second)
	if got := s.receive(t, url); len(got) != 0 {
		t.Errorf("%d messages after they were deleted", len(got))
	}
}

func (s *sqsTest) showsAgain(t *testing.T) {
	url := s.queue(t, nil)
	s.send(t, url, "a")
	first := s.one(t, url)
	if got := s.receive(t, url); len(got) != 0 {
		t.Errorf("%d messages while the one is hidden", len(got))
	}
	if visible, inFlight := s.depth(t, url); visible != "0" || inFlight != "1" {
		t.Errorf("%s visible, %s in flight", visible, inFlight)
	}
	s.o.Wait(hidden + time.Second)
	again := s.one(t, url)
	if *again.MessageId != *first.MessageId || again.Attributes["ApproximateReceiveCount"] != "2" {
		t.Errorf("%s comes again as %s, for the %s. time", *first.MessageId, *again.MessageId, again.Attributes["ApproximateReceiveCount"])
	}
}

func (s *sqsTest) changesVisibility(t *testing.T) {
	url := s.queue(t, nil)
	s.send(t, url, "a")
	m := s.one(t, url)
	change := func(seconds int32) {
		t.Helper()
		must(s.api.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds}))(t)
	}
	change(60)
	s.o.Wait(hidden + time.Second)
	if got := s.receive(t, url); len(got) != 0 {
		t.Fatal("the message shows although it is kept hidden")
	}
	change(0)
	s.one(t, url)
}

func (s *sqsTest) staleReceipt(t *testing.T) {
	if s.o.deviates(t, StaleReceiptRefused) {
		return
	}
	url := s.queue(t, nil)
	s.send(t, url, "a")
	stale := s.one(t, url)
	s.o.Wait(hidden + time.Second)
	s.one(t, url)
	must(s.api.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: stale.ReceiptHandle}))(t)
}

func (s *sqsTest) redrives(t *testing.T) {
	dead := s.queue(t, nil)
	arn := must(s.api.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: dead, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}}))(t).Attributes["QueueArn"]
	policy, err := json.Marshal(map[string]string{"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
	if err != nil {
		t.Fatal(err)
	}
	url := s.queue(t, map[string]string{"RedrivePolicy": string(policy)})
	s.send(t, url, "poison")
	for range 2 {
		s.one(t, url)
		s.o.Wait(hidden + time.Second)
	}
	s.o.until(t, "the message in the dead-letter queue", func() bool {
		if got := s.receive(t, url); len(got) != 0 {
			t.Fatalf("received for the third time: %s", *got[0].Body)
		}
		got := s.receive(t, dead)
		return len(got) == 1 && *got[0].Body == "poison"
	})
}

func (s *sqsTest) batches(t *testing.T) {
	url := s.queue(t, nil)
	var entries []types.SendMessageBatchRequestEntry
	for i := range 10 {
		entries = append(entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String("x")})
	}
	sent := must(s.api.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries}))(t)
	if len(sent.Successful) != 10 || len(sent.Failed) != 0 {
		t.Errorf("%d sent, %d failed", len(sent.Successful), len(sent.Failed))
	}
	in := &sqs.DeleteMessageBatchInput{QueueUrl: url}
	for len(in.Entries) < 10 {
		for _, m := range s.receive(t, url) {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(len(in.Entries))), ReceiptHandle: m.ReceiptHandle})
		}
	}
	in.Entries[9].ReceiptHandle = aws.String("no receipt")
	out := must(s.api.DeleteMessageBatch(t.Context(), in))(t)
	if len(out.Successful) != 9 || len(out.Failed) != 1 || *out.Failed[0].Id != "9" {
		t.Errorf("%d deleted, %d failed", len(out.Successful), len(out.Failed))
	}
}
