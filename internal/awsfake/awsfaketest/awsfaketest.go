// Package awsfaketest connects aws-sdk-go-v2 clients to an awsfake.Server. It is apart from awsfake so that the fake itself
// does not need the SDK.
package awsfaketest

import (
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/internal/awsfake"
)

// endpoint is where in-process clients believe the server to be; nothing is dialled.
const endpoint = "http://awsfake.invalid"

// AWSConfig is a configuration for clients of s with static credentials. Clients use s's listener if it has one, and
// otherwise run in process without sockets (which is what a synctest bubble needs).
func AWSConfig(s *awsfake.Server) aws.Config {
	cfg := aws.Config{
		Region:       s.Region(),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDAWSFAKE", "awsfake", ""),
		BaseEndpoint: aws.String(s.URL()),
	}
	if s.URL() == "" {
		cfg.BaseEndpoint = aws.String(endpoint)
		cfg.HTTPClient = &http.Client{Transport: s.Transport()}
		return cfg
	}
	cfg.HTTPClient = &http.Client{Transport: plainBodies{&http.Transport{MaxIdleConnsPerHost: 64}}}
	return cfg
}

// plainBodies hides the WriteTo method of the SDK's request bodies. smithy-go closes a request's body as soon as the answer's
// header is there, and from then on that method reports io.EOF. If net/http's write loop is only then about to look whether
// the body has more bytes than announced, it takes the EOF for a failed write and closes the connection, under the answer
// that is still being read. Over the internet the loop is always first; on a busy machine's loopback it is not.
type plainBodies struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (p plainBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.WithContext(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.next.RoundTrip(r)
}

// NewServer is a Server without a listener that is closed when the test ends.
func NewServer(t testing.TB, cfg awsfake.Config) *awsfake.Server {
	t.Helper()
	s := awsfake.New(cfg)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the fake AWS: %v", err)
		}
	})
	return s
}

// NewListeningServer is NewServer with a listener on a free port of the loopback interface.
func NewListeningServer(t testing.TB, cfg awsfake.Config) *awsfake.Server {
	t.Helper()
	s := NewServer(t, cfg)
	if err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return s
}

// Kinesis is an SDK client of s.
func Kinesis(s *awsfake.Server, options ...func(*kinesis.Options)) *kinesis.Client {
	return kinesis.NewFromConfig(AWSConfig(s), options...)
}

// DynamoDB is an SDK client of s.
func DynamoDB(s *awsfake.Server, options ...func(*dynamodb.Options)) *dynamodb.Client {
	return dynamodb.NewFromConfig(AWSConfig(s), options...)
}
