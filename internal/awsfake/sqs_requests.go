package awsfake

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (q *SQS) createQueue(c *call) (any, error) {
	var in struct {
		QueueName  string
		Attributes map[string]string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.QueueName == "" || len(in.QueueName) > 80 || strings.HasSuffix(in.QueueName, ".fifo") {
		return nil, failure("InvalidParameterValue", "awsfake has standard queues only, of a name of 1 to 80 characters; got %q", in.QueueName)
	}
	url := q.CreateQueue(in.QueueName)
	if err := q.set(in.QueueName, in.Attributes); err != nil {
		return nil, err
	}
	return object{{"QueueUrl", url}}, nil
}

func (q *SQS) set(name string, attributes map[string]string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	u, err := q.find(name)
	if err != nil {
		return err
	}
	seconds := func(text string, to *time.Duration) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return failure("InvalidAttributeValue", "Invalid value %q", text)
		}
		*to = time.Duration(n) * time.Second
		return nil
	}
	for key, value := range attributes {
		switch key {
		case "VisibilityTimeout":
			err = seconds(value, &u.visibility)
		case "ReceiveMessageWaitTimeSeconds":
			err = seconds(value, &u.wait)
		case "DelaySeconds":
			err = seconds(value, &u.delay)
		case "RedrivePolicy":
			if json.Unmarshal([]byte(value), &u.redrive) != nil {
				err = failure("InvalidAttributeValue", "Invalid value for the parameter RedrivePolicy.")
			}
		case "MessageRetentionPeriod", "MaximumMessageSize", "Policy", "SqsManagedSseEnabled":
		default:
			err = failure("InvalidAttributeName", "Unknown Attribute %s.", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// withQueue decodes in, which must have a member QueueUrl, and calls f with the queue locked.
func (q *SQS) withQueue(c *call, in any, f func(u *queue) (any, error)) (any, error) {
	var head struct {
		QueueUrl string //nolint:revive // AWS's name
	}
	if err := c.decode(&head); err != nil {
		return nil, err
	}
	if in != nil {
		if err := c.decode(in); err != nil {
			return nil, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u, err := q.find(head.QueueUrl)
	if err != nil {
		return nil, err
	}
	return f(u)
}

func (q *SQS) setAttributes(c *call) (any, error) {
	var in struct {
		QueueUrl   string //nolint:revive // AWS's name
		Attributes map[string]string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return object{}, q.set(in.QueueUrl, in.Attributes)
}

func (q *SQS) getAttributes(c *call) (any, error) {
	var in struct{ AttributeNames []string }
	return q.withQueue(c, &in, func(u *queue) (any, error) {
		u.settle(q, c.now)
		all := [][2]string{
			{"QueueArn", "arn:aws:sqs:" + q.server.cfg.Region + ":" + q.server.cfg.Account + ":" + u.name},
			{"ApproximateNumberOfMessages", strconv.Itoa(u.visible())},
			{"ApproximateNumberOfMessagesNotVisible", strconv.Itoa(u.received)},
			{"ApproximateNumberOfMessagesDelayed", strconv.Itoa(u.delayed)},
			{"VisibilityTimeout", strconv.Itoa(int(u.visibility / time.Second))},
			{"ReceiveMessageWaitTimeSeconds", strconv.Itoa(int(u.wait / time.Second))},
			{"DelaySeconds", strconv.Itoa(int(u.delay / time.Second))},
		}
		out := object{}
		for _, a := range all {
			if slices.Contains(in.AttributeNames, "All") || slices.Contains(in.AttributeNames, a[0]) {
				out = append(out, member{a[0], a[1]})
			}
		}
		return object{{"Attributes", out}}, nil
	})
}

func (q *SQS) queueURL(c *call) (any, error) {
	var in struct{ QueueName string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u, err := q.find(in.QueueName)
	if err != nil {
		return nil, err
	}
	return object{{"QueueUrl", q.url(u.name)}}, nil
}

func (q *SQS) listQueues(c *call) (any, error) {
	var in struct{ QueueNamePrefix string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	urls := []string{}
	for name := range q.queues {
		if strings.HasPrefix(name, in.QueueNamePrefix) {
			urls = append(urls, q.url(name))
		}
	}
	slices.Sort(urls)
	return object{{"QueueUrls", urls}}, nil
}

func (q *SQS) deleteQueue(c *call) (any, error) {
	return q.withQueue(c, nil, func(u *queue) (any, error) {
		delete(q.queues, u.name)
		q.wake()
		return object{}, nil
	})
}

func (q *SQS) purge(c *call) (any, error) {
	return q.withQueue(c, nil, func(u *queue) (any, error) {
		clear(u.messages)
		u.ready, u.later, u.received, u.delayed = nil, nil, 0, 0
		return object{}, nil
	})
}

// sqsEntry is one message of a send, one receipt of a delete or of a change of visibility.
type sqsEntry struct {
	Id                string //nolint:revive // AWS's name
	MessageBody       string
	DelaySeconds      *int
	ReceiptHandle     string
	VisibilityTimeout int
}

func (q *SQS) sendOne(u *queue, e sqsEntry, now time.Time) (*message, error) {
	if e.MessageBody == "" || len(e.MessageBody) > sqsMaxBody {
		return nil, failure("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be between 1 and %d bytes.", sqsMaxBody)
	}
	delay := u.delay
	if e.DelaySeconds != nil {
		delay = time.Duration(*e.DelaySeconds) * time.Second
	}
	return q.put(u, e.MessageBody, delay, now), nil
}

func (q *SQS) send(c *call) (any, error) {
	var in sqsEntry
	return q.withQueue(c, &in, func(u *queue) (any, error) {
		m, err := q.sendOne(u, in, c.now)
		if err != nil {
			return nil, err
		}
		return object{{"MessageId", messageID(m.id)}, {"MD5OfMessageBody", md5Hex(m.body)}}, nil
	})
}

func (q *SQS) deleteMessage(c *call) (any, error) {
	var in sqsEntry
	return q.withQueue(c, &in, func(u *queue) (any, error) { return object{}, u.delete(in.ReceiptHandle) })
}

func (q *SQS) changeVisibility(c *call) (any, error) {
	var in sqsEntry
	return q.withQueue(c, &in, func(u *queue) (any, error) {
		return object{}, u.change(q, in.ReceiptHandle, time.Duration(in.VisibilityTimeout)*time.Second, c.now)
	})
}

// batch answers each entry on its own; one that fails costs the others nothing.
func (q *SQS) batch(c *call, one func(u *queue, e sqsEntry) (object, error)) (any, error) {
	var in struct{ Entries []sqsEntry }
	return q.withQueue(c, &in, func(u *queue) (any, error) {
		switch {
		case len(in.Entries) == 0:
			return nil, failure("EmptyBatchRequest", "There should be at least one entry in the request.")
		case len(in.Entries) > 10:
			return nil, failure("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent %d.", len(in.Entries))
		}
		seen, size := map[string]bool{}, 0
		for _, e := range in.Entries {
			if seen[e.Id] {
				return nil, failure("BatchEntryIdsNotDistinct", "Id %s repeated.", e.Id)
			}
			seen[e.Id] = true
			size += len(e.MessageBody)
		}
		if size > sqsMaxBody {
			return nil, failure("BatchRequestTooLong", "Batch requests cannot be longer than %d bytes.", sqsMaxBody)
		}
		done, failed := list{}, list{}
		for i, e := range in.Entries {
			var doc object
			var err error = failure("InternalError", "not done, on order")
			if !c.partial || i%2 == 0 {
				doc, err = one(u, e)
			}
			if err != nil {
				fault := asFault(err)
				failed = append(failed, object{{"Id", e.Id}, {"Code", fault.Code}, {"Message", fault.Message}, {"SenderFault", fault.Code != "InternalError"}})
				continue
			}
			done = append(done, append(object{{"Id", e.Id}}, doc...))
		}
		return object{{"Successful", done}, {"Failed", failed}}, nil
	})
}

func (q *SQS) sendBatch(c *call) (any, error) {
	return q.batch(c, func(u *queue, e sqsEntry) (object, error) {
		m, err := q.sendOne(u, e, c.now)
		if err != nil {
			return nil, err
		}
		return object{{"MessageId", messageID(m.id)}, {"MD5OfMessageBody", md5Hex(m.body)}}, nil
	})
}

func (q *SQS) deleteBatch(c *call) (any, error) {
	return q.batch(c, func(u *queue, e sqsEntry) (object, error) { return nil, u.delete(e.ReceiptHandle) })
}

func (q *SQS) changeVisibilityBatch(c *call) (any, error) {
	return q.batch(c, func(u *queue, e sqsEntry) (object, error) {
		return nil, u.change(q, e.ReceiptHandle, time.Duration(e.VisibilityTimeout)*time.Second, c.now)
	})
}
