package kafka

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/stream"
)

func TestClassify(t *testing.T) {
	f := func(err error, want class) {
		t.Helper()
		if got := classify(err); got != want {
			t.Errorf("classify(%v) = %s, want %s", err, got, want)
		}
		if got := classify(fmt.Errorf("produce: %w", err)); got != want {
			t.Errorf("classify(wrapped %v) = %s, want %s", err, got, want)
		}
	}
	f(kerr.NotLeaderForPartition, classTransient)
	f(kerr.NotEnoughReplicas, classTransient)
	f(kerr.RequestTimedOut, classTransient)
	f(kerr.KafkaStorageError, classTransient)
	f(kerr.CorruptMessage, classTransient)
	f(kerr.OutOfOrderSequenceNumber, classTransient)
	f(kerr.InvalidProducerEpoch, classTransient)
	f(kerr.UnknownServerError, classTransient)
	f(kgo.ErrRecordRetries, classTransient)
	f(io.ErrUnexpectedEOF, classTransient)
	f(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, classTransient)
	f(&net.DNSError{Name: "kafka-0", IsNotFound: true}, classTransient)
	f(errors.New("never seen"), classTransient)

	f(kgo.ErrClientClosed, classClosed)
	f(context.Canceled, classClosed)
	f(errClosed, classClosed)

	f(kerr.TopicAuthorizationFailed, classAuth)
	f(kerr.ClusterAuthorizationFailed, classAuth)
	f(kerr.SaslAuthenticationFailed, classAuth)
	f(kerr.UnknownTopicOrPartition, classTopic)
	f(kerr.UnknownTopicID, classTopic)
	f(kerr.InvalidTopicException, classTopic)
	f(kerr.MessageTooLarge, classTooLarge)
	f(kerr.RecordListTooLarge, classTooLarge)
	f(x509.UnknownAuthorityError{}, classTLS)
	f(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "kafka-0"}, classTLS)
	f(kerr.InvalidTimestamp, classRefused)
	f(kerr.InvalidRecord, classRefused)
	f(kerr.UnsupportedCompressionType, classRefused)
	f(kerr.PolicyViolation, classRefused)
}

// Every class but the two that are no refusal makes a permanent error that names the topic and keeps its cause.
func TestRefusal(t *testing.T) {
	for c := range classes {
		err := refusal(c, "flows_raw", kerr.PolicyViolation)
		_, permanent := errors.AsType[*stream.PermanentError](err)
		if want := c != classClosed; permanent != want {
			t.Errorf("refusal of class %s = %v, permanent is %t, want %t", c, err, permanent, want)
		}
		if !errors.Is(err, kerr.PolicyViolation) {
			t.Errorf("refusal of class %s lost its cause: %v", c, err)
		}
		if permanent && !strings.Contains(err.Error(), `"flows_raw"`) {
			t.Errorf("refusal of class %s does not name the topic: %v", c, err)
		}
	}
}
