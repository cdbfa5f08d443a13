package awsfake

import (
	"context"
	"crypto/md5" //nolint:gosec // SQS tells MD5 sums and clients check them
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sqsInFlight is how many messages of a standard queue may be received and not yet deleted.
const sqsInFlight = 120_000

// sqsMaxBody is the largest message, and the largest batch, in bytes.
const sqsMaxBody = 1 << 20

// SQS holds standard queues: at least once, in no promised order, with visibility timeouts, dead-letter queues, long polling
// and the limit of messages in flight.
type SQS struct {
	server *Server

	mu     sync.Mutex
	queues map[string]*queue
	lastID uint64
	// changed is closed and replaced whenever a waiting receiver should look again.
	changed chan struct{}
}

// queue is one queue. Messages lie in order of arrival; visible ones are found by a scan that starts at first.
type queue struct {
	name       string
	visibility time.Duration
	wait       time.Duration
	delay      time.Duration
	inFlight   int // the bound
	redrive    redrivePolicy

	messages map[uint64]*message
	ready    []uint64  // visible now, oldest first
	later    []uint64  // delayed or in flight
	due      time.Time // no message of later becomes visible before
	received int       // in flight at present
	delayed  int       // not yet visible for the first time
}

type redrivePolicy struct {
	Target string      `json:"deadLetterTargetArn"`
	Max    json.Number `json:"maxReceiveCount"`
}

type message struct {
	id        uint64
	body      string
	sent      time.Time
	first     time.Time
	visibleAt time.Time
	receipt   string
	receives  int
	inFlight  bool
}

func newSQS(s *Server) *SQS {
	return &SQS{server: s, queues: map[string]*queue{}, changed: make(chan struct{})}
}

func (q *SQS) operations() map[string]operation {
	return map[string]operation{
		"CreateQueue": q.createQueue, "GetQueueUrl": q.queueURL, "DeleteQueue": q.deleteQueue, "ListQueues": q.listQueues, "PurgeQueue": q.purge,
		"GetQueueAttributes": q.getAttributes, "SetQueueAttributes": q.setAttributes,
		"SendMessage": q.send, "SendMessageBatch": q.sendBatch, "ReceiveMessage": q.receive,
		"DeleteMessage": q.deleteMessage, "DeleteMessageBatch": q.deleteBatch,
		"ChangeMessageVisibility": q.changeVisibility, "ChangeMessageVisibilityBatch": q.changeVisibilityBatch,
	}
}

// CreateQueue makes a queue, if there is none of that name, and returns its URL.
func (q *SQS) CreateQueue(name string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queues[name] == nil {
		q.queues[name] = &queue{name: name, visibility: 30 * time.Second, inFlight: sqsInFlight, messages: map[uint64]*message{}}
	}
	return q.url(name)
}

// SetInFlightLimit replaces the bound of messages in flight (120,000), for tests that want to meet it sooner.
func (q *SQS) SetInFlightLimit(name string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u := q.queues[name]; u != nil {
		u.inFlight = n
	}
}

// Send puts a message into a queue.
func (q *SQS) Send(name, body string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	u, err := q.find(name)
	if err != nil {
		return err
	}
	q.put(u, body, 0, q.server.now())
	return nil
}

// Depth returns how many messages of a queue are visible, in flight, and delayed.
func (q *SQS) Depth(name string) (visible, inFlight, delayed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.queues[name]
	if u == nil {
		return 0, 0, 0
	}
	u.settle(q, q.server.now())
	return u.visible(), u.received, u.delayed
}

// url is where the SDK believes a queue to be. Only its last part matters.
func (q *SQS) url(name string) string {
	base := q.server.cfg.Account + "/" + name
	if served := q.server.URL(); served != "" {
		return served + "/" + base
	}
	return "http://awsfake.invalid/" + base
}

// find takes a name, an URL or an ARN.
func (q *SQS) find(ref string) (*queue, error) {
	name := ref[strings.LastIndexAny(ref, "/:")+1:]
	if u := q.queues[name]; u != nil {
		return u, nil
	}
	return nil, failure("QueueDoesNotExist", "The specified queue does not exist.")
}

func (q *SQS) put(u *queue, body string, delay time.Duration, now time.Time) *message {
	q.lastID++
	m := &message{id: q.lastID, body: body, sent: now, visibleAt: now.Add(delay)}
	u.messages[m.id] = m
	if delay > 0 {
		u.delayed++
		u.putAside(m.id, m.visibleAt)
	} else {
		u.ready = append(u.ready, m.id)
	}
	q.wake()
	return m
}

func (q *SQS) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// visible counts the messages that a receiver may have.
func (u *queue) visible() int { return len(u.messages) - u.received - u.delayed }

// putAside keeps a message that becomes visible at at.
func (u *queue) putAside(id uint64, at time.Time) {
	if len(u.later) == 0 || at.Before(u.due) {
		u.due = at
	}
	u.later = append(u.later, id)
}

// settle makes visible what has become so by now. It looks at all that is put aside only when there is reason to: 120,000
// messages may be in flight.
func (u *queue) settle(q *SQS, now time.Time) {
	if len(u.later) == 0 || u.due.After(now) && len(u.later) < 2*u.received+1000 {
		return
	}
	kept := u.later[:0]
	u.due = time.Time{}
	for _, id := range u.later {
		m := u.messages[id]
		switch {
		case m == nil: // deleted
		case m.visibleAt.After(now):
			if len(kept) == 0 || m.visibleAt.Before(u.due) {
				u.due = m.visibleAt
			}
			kept = append(kept, id)
		default:
			if m.inFlight {
				m.inFlight = false
				u.received--
			} else {
				u.delayed--
			}
			if most, err := u.redrive.Max.Int64(); err == nil && most > 0 && int64(m.receives) >= most {
				if dead, err := q.find(u.redrive.Target); err == nil {
					delete(u.messages, id)
					dead.messages[id] = m
					m.receives = 0
					dead.ready = append(dead.ready, id)
					continue
				}
			}
			u.ready = append(u.ready, id)
		}
	}
	u.later = kept
}

// take receives up to most messages.
func (u *queue) take(q *SQS, most int, visibility time.Duration, now time.Time) ([]*message, error) {
	u.settle(q, now)
	if u.received >= u.inFlight {
		return nil, &apiError{Code: "OverLimit", Message: "Too many messages in flight", Status: 403}
	}
	var out []*message
	for len(out) < most && len(u.ready) > 0 && u.received < u.inFlight {
		m := u.messages[u.ready[0]]
		u.ready = u.ready[1:]
		if m == nil {
			continue
		}
		if m.receives++; m.first.IsZero() {
			m.first = now
		}
		m.inFlight, m.visibleAt = true, now.Add(visibility)
		m.receipt = fmt.Sprintf("%d.%d", m.id, m.receives)
		u.received++
		u.putAside(m.id, m.visibleAt)
		out = append(out, m)
	}
	return out, nil
}

// byReceipt returns the message of a receipt handle; nil when it was deleted. A stale handle still works, as with AWS mostly.
func (u *queue) byReceipt(receipt string) (*message, error) {
	id, _, ok := strings.Cut(receipt, ".")
	n, err := strconv.ParseUint(id, 10, 64)
	if !ok || err != nil {
		return nil, failure("ReceiptHandleIsInvalid", "The input receipt handle %q is invalid.", receipt)
	}
	return u.messages[n], nil
}

func (u *queue) delete(receipt string) error {
	m, err := u.byReceipt(receipt)
	if err != nil || m == nil {
		return err
	}
	if m.inFlight {
		u.received--
	}
	delete(u.messages, m.id)
	return nil
}

func (u *queue) change(q *SQS, receipt string, visibility time.Duration, now time.Time) error {
	m, err := u.byReceipt(receipt)
	if err != nil {
		return err
	}
	u.settle(q, now)
	if m == nil || !m.inFlight {
		return failure("MessageNotInflight", "The specified message isn't in flight.")
	}
	m.visibleAt = now.Add(visibility)
	if m.visibleAt.Before(u.due) {
		u.due = m.visibleAt
	}
	q.wake()
	return nil
}

func (q *SQS) receive(c *call) (any, error) {
	var in struct {
		QueueUrl                           string //nolint:revive // AWS's name
		MaxNumberOfMessages                int
		VisibilityTimeout, WaitTimeSeconds *int
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.MaxNumberOfMessages < 0 || in.MaxNumberOfMessages > 10 {
		return nil, failure("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", in.MaxNumberOfMessages)
	}
	until := time.Time{}
	for {
		q.mu.Lock()
		u, err := q.find(in.QueueUrl)
		if err != nil {
			q.mu.Unlock()
			return nil, err
		}
		now := q.server.now()
		visibility, wait := u.visibility, u.wait
		if in.VisibilityTimeout != nil {
			visibility = time.Duration(*in.VisibilityTimeout) * time.Second
		}
		if in.WaitTimeSeconds != nil {
			wait = time.Duration(*in.WaitTimeSeconds) * time.Second
		}
		if wait > 20*time.Second || visibility > 12*time.Hour {
			q.mu.Unlock()
			return nil, failure("InvalidParameterValue", "WaitTimeSeconds must be at most 20 and VisibilityTimeout at most 43200.")
		}
		got, err := u.take(q, max(1, in.MaxNumberOfMessages), visibility, now)
		if until.IsZero() {
			until = now.Add(wait)
		}
		left, changed, next := until.Sub(now), q.changed, u.next()
		documents := list{}
		for _, m := range got {
			documents = append(documents, m.document())
		}
		q.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if len(got) > 0 || left <= 0 {
			return object{{"Messages", documents}}, nil
		}
		if !next.IsZero() {
			left = min(left, next.Sub(now))
		}
		if q.await(c.ctx, changed, left) != nil {
			return nil, errAbort
		}
	}
}

// next is when the queue should be looked at again; zero when there is nothing to come.
func (u *queue) next() time.Time {
	if len(u.later) == 0 {
		return time.Time{}
	}
	return u.due
}

func (q *SQS) await(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.server.ctx.Done():
		return q.server.ctx.Err()
	}
}

func (m *message) document() object {
	return object{
		{"MessageId", messageID(m.id)},
		{"ReceiptHandle", m.receipt},
		{"Body", m.body},
		{"MD5OfBody", md5Hex(m.body)},
		{"Attributes", object{
			{"SentTimestamp", strconv.FormatInt(m.sent.UnixMilli(), 10)},
			{"ApproximateReceiveCount", strconv.Itoa(m.receives)},
			{"ApproximateFirstReceiveTimestamp", strconv.FormatInt(m.first.UnixMilli(), 10)},
		}},
	}
}

func messageID(n uint64) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

func md5Hex(body string) string {
	h := md5.Sum([]byte(body)) //nolint:gosec // as above
	return hex.EncodeToString(h[:])
}
