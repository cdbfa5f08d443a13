package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/internal/certificate"
	"dredge/stream"
)

var errWriterClosed = errors.New("writer closed before its rows were acknowledged")

// class is what an error means for the rows it hit. Its text is a metric label.
type class int

const (
	// classTransient may pass: the rows are produced again.
	classTransient class = iota
	// classClosed is the end of the sink or of a context of ours.
	classClosed
	// The others are permanent: an operator has to act.
	classAuth
	classTopic
	classTooLarge
	classTLS
	classRefused
	classes
)

func (c class) String() string {
	switch c {
	case classTransient:
		return "transient"
	case classClosed:
		return "closed"
	case classAuth:
		return "authorization"
	case classTopic:
		return "topic"
	case classTooLarge:
		return "too_large"
	case classTLS:
		return "tls"
	default:
		return "refused"
	}
}

// final says that the rows will not be produced again.
func (c class) final() bool { return c != classTransient }

// classify decides what becomes of rows that the client gave up with err. The client retries most of what may pass by itself;
// what arrives here as transient is what it counts as fatal for a batch although a new batch may well succeed.
func classify(err error) class {
	switch {
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, context.Canceled), errors.Is(err, errClosed):
		return classClosed

	case is(err, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState):
		return classAuth

	// UNKNOWN_TOPIC is retriable in Kafka's own list, since a broker that has just started knows nothing. It comes here only
	// after the client has asked several times.
	case is(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException):
		return classTopic

	case is(err, kerr.MessageTooLarge, kerr.RecordListTooLarge):
		return classTooLarge

	// Sequence and epoch errors end the client's numbering, not the rows: the client has taken a new epoch by now. A corrupt
	// message was damaged on its way.
	case is(err, kerr.OutOfOrderSequenceNumber, kerr.DuplicateSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch,
		kerr.InvalidProducerIDMapping, kerr.CorruptMessage):
		return classTransient

	case certificate.Refused(err):
		return classTLS
	}
	// What remains of the broker's codes is as Kafka says; anything else is the network, the resolver or a dying connection.
	if e, ok := errors.AsType[*kerr.Error](err); ok && !e.Retriable && e.Code != kerr.UnknownServerError.Code {
		return classRefused
	}
	return classTransient
}

// endsTransaction says that err speaks of a producer's transaction or epoch and not of the rows: another producer has fenced
// this one, or the broker has aborted the transaction. What it was is found out by a take-over.
func endsTransaction(err error) bool {
	return is(err, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping,
		kerr.ConcurrentTransactions, kerr.TransactionAbortable, kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber,
		kerr.DuplicateSequenceNumber, kerr.TransactionCoordinatorFenced, kerr.OperationNotAttempted)
}

// fenced says that the broker took this producer for one whose place another has, or whose transaction has timed out.
func fenced(err error) bool {
	return is(err, kerr.ProducerFenced, kerr.InvalidProducerEpoch) || errors.Is(err, errEpochChanged)
}

func is(err error, targets ...*kerr.Error) bool {
	for _, e := range targets {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// certificateHint says what to do about brokers' certificates.
func certificateHint(err error) string {
	if certificate.Ended(err) {
		return "; the brokers' certificate has ended or is not good yet: have it renewed, or set the clocks right"
	}
	return "; set tls.ca_file to the authority that signed the brokers' certificates, and use the host names they are made out to"
}

// refusal is what done is told: for a permanent class, a stream.PermanentError that says what to do about it.
func refusal(c class, topic string, err error) error {
	if c == classClosed {
		return fmt.Errorf("%w: %w", errClosed, err)
	}
	hint := ""
	switch c {
	case classAuth:
		hint = "; grant the user Write and Describe on the topic and IdempotentWrite on the cluster; for exactly-once also Write and Describe on the transactional id"
	case classTopic:
		hint = "; create the topic, or set create_topic"
	case classTooLarge:
		hint = "; set batch_max_bytes to no more than the topic's max.message.bytes"
	case classTLS:
		hint = certificateHint(err)
	case classTransient, classClosed, classRefused, classes:
	}
	return &stream.PermanentError{Err: fmt.Errorf("producing to topic %q: %w%s", topic, err, hint)}
}
