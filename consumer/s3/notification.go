package s3

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what is parsed: SQS's largest message, and S3's longest names.
const (
	maxNotification = 1 << 20
	maxObjects      = 10_000
	maxBucket       = 255
	maxKey          = 1024
	maxVersion      = 1024
	maxETag         = 128
	maxSize         = 50 << 40
	maxTopic        = 512
	maxToken        = 1024
	// maxWrapped is how often one message may hold another: S3 in EventBridge in SNS.
	maxWrapped = 3
)

// What is wrong with a message: values of the label "reason".
const (
	faultTooLarge = "too_large"  // longer than SQS's largest message, or too many records
	faultJSON     = "not_json"   // not one JSON object
	faultShape    = "shape"      // JSON, but none of the shapes that announce objects
	faultVersion  = "version"    // an event of another major version
	faultKey      = "key"        // bucket or key missing, too long or wrongly encoded
	faultSize     = "size"       // the size is missing, negative or no number
	faultIdentity = "version_id" // version id or etag too long
)

// Why part of a message announces no object: values of the label "reason".
const (
	skipTest     = "test_event"
	skipNotMade  = "not_created" // an event of another kind: removal, restore, tagging
	skipNotStore = "not_s3"      // an event of another service
	skipSNS      = "sns_control" // what SNS itself says about the queue's subscription to a topic
)

// NotificationError says why a message, or one record of it, was not understood.
type NotificationError struct {
	// Reason is a constant of the label "reason".
	Reason string
	Err    error
}

func (e *NotificationError) Error() string { return e.Reason + ": " + e.Err.Error() }

// Unwrap returns the details.
func (e *NotificationError) Unwrap() error { return e.Err }

func notificationFault(reason, format string, args ...any) *NotificationError {
	return &NotificationError{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Notification is what one SQS message says.
type Notification struct {
	// Objects are those that were created.
	Objects []Object
	// Skipped holds the reason of every part that announces none; such parts are acknowledged.
	Skipped []string
	// Faults are the records that were not understood. A message that has any is not acknowledged.
	Faults []*NotificationError
	// Subscription is what SNS says about the queue's subscription; nil when the message is none of that kind.
	Subscription *Subscription
}

// Subscription is a message of SNS's own. A queue of another account than the topic's gets one when it is subscribed.
type Subscription struct {
	// Topic is the ARN; Token is what confirms the subscription, or brings an ended one back, for three days.
	Topic, Token string
	// Ended says that the subscription is over; else it waits for somebody to confirm it.
	Ended bool
}

// message is every shape in one: S3's own, SNS's envelope and EventBridge's event.
type message struct {
	// S3.
	Records []json.RawMessage
	Event   string
	// SNS.
	Type, TopicArn, Token string
	Message               *string
	// EventBridge.
	DetailType string `json:"detail-type"`
	Source     string
	Time       time.Time
	Detail     json.RawMessage
}

// record is one of S3's own.
type record struct {
	EventVersion, EventSource, EventName string
	EventTime                            time.Time
	S3                                   struct {
		Bucket struct{ Name string }
		Object struct {
			Key, ETag, VersionID string
			Size                 *int64
		}
	}
}

// detail is EventBridge's.
type detail struct {
	Bucket struct{ Name string }
	Object struct {
		Key, ETag string
		VersionID string `json:"version-id"`
		Size      *int64
	}
}

// ParseNotification reads the body of an SQS message: an S3 event notification, plain or in an SNS message, or an EventBridge
// event. Nothing of body is kept.
func ParseNotification(body []byte) Notification {
	var n Notification
	n.parse(body, 0)
	return n
}

func (n *Notification) fault(err *NotificationError) { n.Faults = append(n.Faults, err) }

func (n *Notification) parse(body []byte, depth int) {
	if len(body) > maxNotification {
		n.fault(notificationFault(faultTooLarge, "%d bytes are more than an SQS message can have", len(body)))
		return
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		n.fault(notificationFault(faultJSON, "read message: %w", err))
		return
	}
	switch {
	case m.Records != nil:
		if len(m.Records) > maxObjects {
			n.fault(notificationFault(faultTooLarge, "%d records are more than %d", len(m.Records), maxObjects))
			return
		}
		for _, r := range m.Records {
			n.record(r)
		}
	case m.Event == "s3:TestEvent":
		n.Skipped = append(n.Skipped, skipTest)
	case m.DetailType != "":
		n.event(m)
	case m.Type == "Notification" && m.Message != nil:
		if depth == maxWrapped {
			n.fault(notificationFault(faultShape, "messages are wrapped in each other more than %d times", maxWrapped))
			return
		}
		n.parse([]byte(*m.Message), depth+1)
	case m.Type == "SubscriptionConfirmation" || m.Type == "UnsubscribeConfirmation":
		n.Skipped = append(n.Skipped, skipSNS)
		n.Subscription = &Subscription{Topic: clipAt(m.TopicArn, maxTopic), Token: clipAt(m.Token, maxToken), Ended: m.Type == "UnsubscribeConfirmation"}
	default:
		n.fault(notificationFault(faultShape, "neither an S3 notification, nor one in an SNS message, nor an EventBridge event"))
	}
}

func (n *Notification) record(raw json.RawMessage) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		n.fault(notificationFault(faultShape, "read record: %w", err))
		return
	}
	switch major, _, _ := strings.Cut(r.EventVersion, "."); {
	case r.EventSource != "aws:s3":
		n.Skipped = append(n.Skipped, skipNotStore)
		return
	case major != "2":
		n.fault(notificationFault(faultVersion, "event version %q; 2.x is known", clip(r.EventVersion)))
		return
	case !strings.HasPrefix(r.EventName, "ObjectCreated:"):
		n.Skipped = append(n.Skipped, skipNotMade)
		return
	}
	// Keys are encoded as in a form: + is a space.
	key, err := url.QueryUnescape(r.S3.Object.Key)
	if err != nil {
		n.fault(notificationFault(faultKey, "key %q: %w", clip(r.S3.Object.Key), err))
		return
	}
	n.add(Object{Bucket: r.S3.Bucket.Name, Key: key, Version: r.S3.Object.VersionID, ETag: r.S3.Object.ETag, Time: r.EventTime}, r.S3.Object.Size)
}

func (n *Notification) event(m message) {
	switch {
	case m.Source != "aws.s3":
		n.Skipped = append(n.Skipped, skipNotStore)
		return
	case m.DetailType != "Object Created":
		n.Skipped = append(n.Skipped, skipNotMade)
		return
	}
	var d detail
	if err := json.Unmarshal(m.Detail, &d); err != nil {
		n.fault(notificationFault(faultShape, "read detail: %w", err))
		return
	}
	n.add(Object{Bucket: d.Bucket.Name, Key: d.Object.Key, Version: d.Object.VersionID, ETag: d.Object.ETag, Time: m.Time}, d.Object.Size)
}

func (n *Notification) add(o Object, size *int64) {
	o.ETag = strings.Trim(o.ETag, `"`)
	if o.Version == "null" { // what S3 calls the version of objects from before versions were kept
		o.Version = ""
	}
	switch {
	case o.Bucket == "" || len(o.Bucket) > maxBucket || strings.ContainsAny(o.Bucket, "/?#"):
		n.fault(notificationFault(faultKey, "bucket %q is no bucket's name", clip(o.Bucket)))
	case o.Key == "" || len(o.Key) > maxKey:
		n.fault(notificationFault(faultKey, "key %q has %d bytes; it must have 1 to %d", clip(o.Key), len(o.Key), maxKey))
	case !utf8.ValidString(o.Key):
		n.fault(notificationFault(faultKey, "key %q is no UTF-8", clip(o.Key)))
	case len(o.Version) > maxVersion || len(o.ETag) > maxETag:
		n.fault(notificationFault(faultIdentity, "version id of %d and etag of %d bytes", len(o.Version), len(o.ETag)))
	case size == nil || *size < 0 || *size > maxSize:
		n.fault(notificationFault(faultSize, "key %q has no size from 0 to 50 TB", clip(o.Key)))
	default:
		o.Size = *size
		n.Objects = append(n.Objects, o)
	}
}

// clip shortens s for messages.
func clip(s string) string { return clipAt(s, 80) }

func clipAt(s string, most int) string {
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
