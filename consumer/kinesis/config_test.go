package kinesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"dredge/consumer/kinesis/lease"
)

func TestConfig(t *testing.T) {
	if err := testConfig().Validate(); err != nil {
		t.Errorf("defaults with application and stream: %v", err)
	}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := testConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want an error with %q", err, want)
		}
	}
	f(`application: "" is empty`, func(c *Config) { c.Application = "" })
	f(`application: "net/flows" is no name of a table; write up to 255`, func(c *Config) { c.Application = "net/flows" })
	f(`stream_name: "vpc flows" is no name of a stream; write up to 128`, func(c *Config) { c.StreamName = "vpc flows" })
	f(`stream_name: "arn:aws:kinesis:us-east-1:123456789012:stream/flows" is no name`, func(c *Config) { c.StreamName = "arn:aws:kinesis:us-east-1:123456789012:stream/flows" })
	f(`stream_name: "" is empty`, func(c *Config) { c.StreamName = "" })
	f("write only one", func(c *Config) { c.StreamARN = "arn:aws:kinesis:us-east-1:123456789012:stream/flows" })
	f(`worker_id: "Leader"`, func(c *Config) { c.WorkerID = "Leader" })
	f("failover_time: 10ms", func(c *Config) { c.FailoverTime = 10 * time.Millisecond })
	f("take_interval: 1m0s", func(c *Config) { c.TakeInterval = time.Minute })
	f(`initial_position: "newest"`, func(c *Config) { c.InitialPosition = "newest" })
	f("initial_timestamp: is missing", func(c *Config) { c.InitialPosition = lease.AtTimestamp })
	f("has no meaning with initial_position TRIM_HORIZON", func(c *Config) { c.InitialTimestamp = time.Now() })
	f("max_leases: -1", func(c *Config) { c.MaxLeases = -1 })
	f("reads_per_second: 6", func(c *Config) { c.ReadsPerSecond = 6 })
	f(`reader: "push" is unknown`, func(c *Config) { c.Reader = "push" })
	f(`consumer_name: "x" has no meaning`, func(c *Config) { c.ConsumerName = "x" })
	f("write only one of them", func(c *Config) { c.Reader, c.ConsumerName, c.ConsumerARN = ReaderFanOut, "x", "arn/consumer/y:1" })
	f(`consumer_arn: "x" is not the ARN`, func(c *Config) { c.Reader, c.ConsumerARN = ReaderFanOut, "x" })
	f(`streams[0].reader: "x"`, func(c *Config) { c.StreamName, c.Streams = "", []StreamConfig{{StreamName: "a", Reader: "x"}} })
	f("stall_timeout: 1s", func(c *Config) { c.StallTimeout = time.Second })
	f(`kpl_out_of_range: "skip"`, func(c *Config) { c.KPLOutOfRange = "skip" })
	f("idle_wait: -1s", func(c *Config) { c.IdleWait = -time.Second })
	f("max_in_flight: 0", func(c *Config) { c.MaxInFlight = 0 })
	f("shutdown_timeout: 0s", func(c *Config) { c.ShutdownTimeout = 0 })
	f("shard_sync_interval: 1ms", func(c *Config) { c.ShardSyncInterval = time.Millisecond })
	_, err := New(Config{}, Deps{})
	for _, want := range []string{"application:", "stream_name:", "Kinesis", "Leases", "Processor", "Budget", "Metrics"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New with nothing = %v, want all faults, also %q", err, want)
		}
	}
}

func TestWorkerIDIsNewAtEachStart(t *testing.T) {
	a, b := newWorkerID(), newWorkerID()
	if a == b || !strings.HasPrefix(a, WorkerIDPrefix) {
		t.Errorf("ids %q and %q", a, b)
	}
}

func TestFaultOf(t *testing.T) {
	for want, errs := range map[fault][]error{
		faultThrottled: {&types.ProvisionedThroughputExceededException{}, &types.LimitExceededException{}, &types.KMSThrottlingException{}, &smithy.GenericAPIError{Code: "ThrottlingException"}},
		faultExpired:   {&types.ExpiredIteratorException{}},
		faultGone:      {&types.ResourceNotFoundException{}},
		faultArgument:  {&types.InvalidArgumentException{}},
		faultOther:     {errors.New("connection reset"), context.Canceled, &types.InternalFailureException{}, &smithy.GenericAPIError{Code: "AccessDeniedException"}},
	} {
		for _, err := range errs {
			if got := faultOf(fmt.Errorf("operation error Kinesis: %w", err)); got != want {
				t.Errorf("faultOf(%T) = %s, want %s", err, got, want)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		w := b.start("dredge-a")
		b.write(shardID(0), 10)
		b.wantAll(5 * time.Second)
		b.await("table read", 10*time.Second, func() bool { return len(w.Status().Shards) == 2 && w.Status().Owned == 2 })
		s := w.Status()
		if s.Application != "app" || s.Stream != "flows" || s.WorkerID != "dredge-a" || s.Unfinished != 2 || s.Owned != 2 || len(s.Workers) != 1 {
			t.Errorf("status = %+v", s)
		}
		last := b.kinesis.shard(shardID(0)).records
		sh := s.Shards[0]
		if !sh.Mine || sh.Owner != "dredge-a" || sh.State != StateReading || sh.Position != *last[len(last)-1].SequenceNumber || sh.LastRead.IsZero() {
			t.Errorf("shard = %+v", sh)
		}
	})
}
