// Package awsfake is an AWS in memory: Kinesis, DynamoDB, SQS, S3, and the inventories of EC2 and ECS (with a little STS and
// CloudWatch) behind the wire protocols that the SDKs speak, with faults on order.
//
// It serves unmodified clients: aws-sdk-go-v2 and the Java KCL by polling, in JSON 1.0 and 1.1, in the CBOR that the Java
// SDK asks for, and in Smithy's RPC v2 CBOR. It is used by tests, by the demo and by benchmarks, so it is exact where a
// consumer's correctness depends on it (conditions, iterators, shard lineage, page tokens, limits) and absent elsewhere: an
// operation that is not built answers UnknownOperationException. Credentials are not checked and nothing is written to disk.
//
// Three doors lead in: Listen and Serve for real sockets, Transport for clients in the same process without any I/O, and
// the Go methods of Kinesis, DynamoDB, SQS and S3 for generators and assertions.
package awsfake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config sets up a Server. The zero value is usable: everything happens at once and without limits.
type Config struct {
	// Clock tells the time; nil means time.Now. All ages, expiries and limits follow it.
	Clock func() time.Time
	// Region and Account go into ARNs; empty means us-east-1 and 123456789012.
	Region, Account string
	// StreamDelay is how long a new stream stays CREATING and a deleted one DELETING.
	StreamDelay time.Duration
	// ReshardDelay is how long a stream stays UPDATING before a split, a merge or a new shard count takes effect.
	ReshardDelay time.Duration
	// ConsumerDelay is how long a registered stream consumer stays CREATING.
	ConsumerDelay time.Duration
	// TableDelay is how long a table stays CREATING, UPDATING or DELETING, and a new index CREATING.
	TableDelay time.Duration
	// ReadLag is how old an eventually consistent GetItem, Query or Scan may be: items changed within it are answered as
	// they were before the change. Zero makes every read consistent.
	ReadLag time.Duration
	// Limits are the per-shard limits that Kinesis holds.
	Limits Limits
	// Observe, if set, is called after each request. It must be quick and must not call the Server.
	Observe func(Request)
	// Policy, if set, says whether a request is allowed. One that is not is answered as IAM answers and does nothing else. It must be quick and must
	// not call the Server.
	Policy func(Request) bool
}

// Limits says which of Kinesis's per-shard limits are held. The zero value holds none.
type Limits struct {
	// WriteBytes refuses more than 1 MiB a second into one shard.
	WriteBytes bool
	// WriteRecords refuses more than 1,000 records a second into one shard.
	WriteRecords bool
	// ReadBytes refuses GetRecords until earlier answers of the shard fit into 2 MiB a second.
	ReadBytes bool
	// ReadCalls refuses more than 5 GetRecords a second per shard.
	ReadCalls bool
}

// AllLimits holds everything that AWS holds.
func AllLimits() Limits {
	return Limits{WriteBytes: true, WriteRecords: true, ReadBytes: true, ReadCalls: true}
}

// Request is what Observe is told about one request.
type Request struct {
	At        time.Time
	Service   string // kinesis, dynamodb, sqs, s3, ec2, ecs, sts, monitoring
	Account   string // whose credentials signed it
	Operation string
	Resource  string // stream, consumer, table or bucket, when the request names one
	Shard     string
	Error     string // error code; empty when the operation succeeded, even if its answer was then lost
}

// Server is the fake. It is safe for concurrent use. For a synctest bubble it must be made inside the bubble.
type Server struct {
	cfg      Config
	kinesis  *Kinesis
	dynamodb *DynamoDB
	sqs      *SQS
	s3       *S3
	faults   faults
	answers  answerBuffers
	services map[string]service

	ctx  context.Context //nolint:containedctx // ends streams and delays when the server is closed
	stop context.CancelFunc

	mu       sync.Mutex
	counts   map[string]int
	ec2      map[string]*EC2 // by account/region
	ecs      map[string]*ECS
	closed   bool
	listen   net.Listener
	http     *http.Server
	inflight sync.WaitGroup
	serving  sync.WaitGroup
	lastID   uint64
}

// New makes an empty AWS. It starts nothing.
func New(cfg Config) *Server {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Account == "" {
		cfg.Account = "123456789012"
	}
	s := &Server{cfg: cfg, counts: map[string]int{}, ec2: map[string]*EC2{}, ecs: map[string]*ECS{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.kinesis = newKinesis(s)
	s.dynamodb = newDynamoDB(s)
	s.sqs = newSQS(s)
	s.s3 = newS3(s)
	s.services = map[string]service{
		"Kinesis_20131202":                   {name: "kinesis", operations: s.kinesis.operations()},
		"DynamoDB_20120810":                  {name: "dynamodb", errorPrefix: "com.amazonaws.dynamodb.v20120810#", operations: s.dynamodb.operations()},
		"AmazonSQS":                          {name: "sqs", errorPrefix: "com.amazonaws.sqs#", operations: s.sqs.operations()},
		s3Target:                             {name: "s3", operations: s.s3.operations()},
		"AmazonEC2ContainerServiceV20141113": {name: "ecs", operations: s.ecsOperations()},
		"GraniteServiceVersion20100801":      {name: "monitoring", operations: map[string]operation{"PutMetricData": accept}},
		"AWSSecurityTokenServiceV20110615":   {name: "sts", operations: nil},
	}
	return s
}

// Kinesis is the direct way to the streams.
func (s *Server) Kinesis() *Kinesis { return s.kinesis }

// SQS is the direct way to the queues.
func (s *Server) SQS() *SQS { return s.sqs }

// S3 is the direct way to the buckets.
func (s *Server) S3() *S3 { return s.s3 }

// DynamoDB is the direct way to the tables.
func (s *Server) DynamoDB() *DynamoDB { return s.dynamodb }

// Listen serves on addr ("127.0.0.1:0" takes a free port) until Close.
func (s *Server) Listen(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", addr, err)
	}
	return s.start(l)
}

// Serve serves on l until ctx ends, then closes the server and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.start(l); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

func (s *Server) start(l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.listen != nil {
		return errors.Join(fmt.Errorf("serve on %q: the server is closed or already has a listener", l.Addr()), l.Close())
	}
	s.listen = l
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	s.http.Protocols.SetHTTP1(true)
	// Netty-based Java clients of Kinesis speak HTTP/2 with prior knowledge to a plain endpoint.
	s.http.Protocols.SetUnencryptedHTTP2(true)
	srv := s.http
	s.serving.Go(func() {
		// The only outcome besides ErrServerClosed is a broken listener, which every client sees for itself.
		_ = srv.Serve(l)
	})
	return nil
}

// URL is the base of the served endpoint, such as http://127.0.0.1:40123; empty before Listen or Serve.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listen == nil {
		return ""
	}
	return "http://" + s.listen.Addr().String()
}

// Region is the region in every ARN.
func (s *Server) Region() string { return s.cfg.Region }

// Close ends all requests, streams and connections and waits for them. The data stays readable through Kinesis and
// DynamoDB.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	srv := s.http
	s.mu.Unlock()
	s.stop()
	var err error
	if srv != nil {
		err = srv.Close()
	}
	s.inflight.Wait()
	s.serving.Wait()
	return err
}

// Count is how many requests for the operation arrived, refused and faulted ones included.
func (s *Server) Count(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[operation]
}

// Counts is Count of every operation that was asked for.
func (s *Server) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// ResetCounts sets every counter to zero.
func (s *Server) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
}

func (s *Server) now() time.Time { return s.cfg.Clock() }

// admit registers one request; release ends it.
func (s *Server) admit() (id uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, false
	}
	s.inflight.Add(1)
	s.lastID++
	return s.lastID, true
}

func (s *Server) release() { s.inflight.Done() }

func (s *Server) count(operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[operation]++
}

// wait sleeps for d, or until the request or the server ends.
func (s *Server) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}
