package awsfake_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamoschemas "github.com/aws/aws-sdk-go-v2/service/dynamodb/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/smithy-go/transport/http/protocol/rpcv2"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/internal/awsfake/contract"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestKinesisContract(t *testing.T) {
	delays := awsfake.Config{StreamDelay: 3 * time.Second, ReshardDelay: 2 * time.Second, ConsumerDelay: time.Second}
	for name, tt := range map[string]struct {
		listen  bool
		cfg     awsfake.Config
		options func(*kinesis.Options)
	}{
		"in process": {},
		"http":       {listen: true},
		"delays":     {cfg: delays},
		"rpcv2": {options: func(o *kinesis.Options) {
			o.Protocol = rpcv2.NewCBOR(schemas.Kinesis_20131202)
		}},
		"http2": {listen: true, options: func(o *kinesis.Options) {
			tr := &http.Transport{Protocols: new(http.Protocols)}
			tr.Protocols.SetUnencryptedHTTP2(true)
			t.Cleanup(tr.CloseIdleConnections)
			o.HTTPClient = &http.Client{Transport: tr}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			tt.cfg.Clock = c.Now
			server := awsfaketest.NewServer
			if tt.listen {
				server = awsfaketest.NewListeningServer
			}
			s := server(t, tt.cfg)
			options := []func(*kinesis.Options){}
			if tt.options != nil {
				options = append(options, tt.options)
			}
			contract.Kinesis(t, awsfaketest.Kinesis(s, options...), contract.Options{Wait: c.Advance})
		})
	}
}

func TestDynamoDBContract(t *testing.T) {
	for name, tt := range map[string]struct {
		listen  bool
		cfg     awsfake.Config
		options []func(*dynamodb.Options)
	}{
		"in process": {},
		"http":       {listen: true},
		"delays":     {cfg: awsfake.Config{TableDelay: 3 * time.Second}},
		"rpcv2": {options: []func(*dynamodb.Options){func(o *dynamodb.Options) {
			o.Protocol = rpcv2.NewCBOR(dynamoschemas.DynamoDB_20120810)
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			tt.cfg.Clock = c.Now
			server := awsfaketest.NewServer
			if tt.listen {
				server = awsfaketest.NewListeningServer
			}
			client := awsfaketest.DynamoDB(server(t, tt.cfg), tt.options...)
			contract.DynamoDB(t, client, contract.Options{Wait: c.Advance})
		})
	}
}
