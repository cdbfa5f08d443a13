package kinesis

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"dredge/internal/awsfake"
)

// Whatever Kinesis answers to the calls of reading, nothing is lost or read twice.
func TestPollingFaults(t *testing.T) {
	for name, err := range map[string]error{
		"500":                 &types.InternalFailureException{},
		"throttled":           &types.ProvisionedThroughputExceededException{},
		"limit exceeded":      &types.LimitExceededException{},
		"expired iterator":    &types.ExpiredIteratorException{},
		"expired token":       &smithy.GenericAPIError{Code: "ExpiredTokenException"},
		"expired page token":  &types.ExpiredNextTokenException{},
		"KMS throttled":       &types.KMSThrottlingException{},
		"KMS access denied":   &types.KMSAccessDeniedException{},
		"connection reset":    fmt.Errorf("read: %w", syscall.ECONNRESET),
		"an unknown argument": &types.InvalidArgumentException{},
		"not found, wrongly":  &types.ResourceNotFoundException{Message: aws.String("eventual consistency")},
	} {
		for _, op := range []string{"GetRecords", "GetShardIterator", "ListShards"} {
			t.Run(name+" of "+op, func(t *testing.T) {
				inBubble(t, 1, func(b *bench) {
					b.start("dredge-a")
					b.write(shardID(0), 5)
					b.wantAll(10 * time.Second)
					failures := 0
					b.kinesis.mu.Lock()
					b.kinesis.fail = func(called, _ string) error {
						if called == op && failures < 4 {
							failures++
							return err
						}
						// So that there is something to open again; to list there is, because the end does not name its children.
						if called == "GetRecords" && op == "GetShardIterator" && failures == 0 {
							return &types.ExpiredIteratorException{}
						}
						return nil
					}
					b.kinesis.hideChildren = true
					b.kinesis.mu.Unlock()
					b.write(shardID(0), 5)
					x, _ := b.kinesis.split(shardID(0))
					b.write(x, 5)
					b.wantAll(90 * time.Second)
					b.wantNoRepeats()
					if failures == 0 {
						t.Error("nothing failed")
					}
				})
			})
		}
	}
}

// Handle blocks for longer than an iterator lives. One read is made ahead, none is lost, none is made twice.
func TestProcessingLongerThanAnIteratorLives(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		block := make(chan struct{})
		b.sink.blockHandle = block
		w := b.start("dredge-a")
		b.write(shardID(0), 5)
		b.await("handling", 5*time.Second, func() bool { return w.Status().Owned == 1 && b.kinesis.count("GetRecords") >= 2 })
		n := b.kinesis.count("GetRecords")
		for range 12 {
			b.write(shardID(0), 5)
			b.advance(time.Minute)
		}
		if got := b.kinesis.count("GetRecords") - n; got > 1 {
			t.Errorf("%d more reads while the first was being handled, want at most one ahead", got)
		}
		if w.metric("reader_restarts_total") != 0 {
			t.Error("handling was taken for a stall")
		}
		b.sink.mu.Lock()
		b.sink.blockHandle = nil
		b.sink.mu.Unlock()
		close(block)
		b.wantAll(10 * time.Second)
		b.wantNoRepeats()
		if n := w.metric("iterator_refreshes_total"); n != 1 {
			t.Errorf("%v iterator refreshes, want 1", n)
		}
	})
}

func TestWatchdogRestartsAStalledReader(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		w := b.start("dredge-a")
		b.write(shardID(0), 5)
		b.wantAll(5 * time.Second)
		b.kinesis.mu.Lock()
		b.kinesis.fail = func(op, _ string) error {
			if op == "GetRecords" {
				return errors.New("connection refused")
			}
			return nil
		}
		b.kinesis.mu.Unlock()
		n := b.kinesis.count("GetShardIterator")
		b.write(shardID(0), 5)
		took := b.await("restart", 2*b.cfg.StallTimeout, func() bool { return w.metric("reader_restarts_total") == 1 })
		if took < b.cfg.StallTimeout-2*time.Second || took > b.cfg.StallTimeout+5*time.Second {
			t.Errorf("restarted after %s", took)
		}
		if s := w.Status().Shards[0]; s.LastError == "" {
			t.Errorf("status does not tell: %+v", s)
		}
		b.advance(10 * time.Second)
		if b.kinesis.count("GetShardIterator") == n {
			t.Error("the reader did not begin anew")
		}
		b.kinesis.mu.Lock()
		b.kinesis.fail = nil
		b.kinesis.mu.Unlock()
		b.wantAll(10 * time.Second)
		b.wantNoRepeats()
		if b.lease(shardID(0)).Owner != "dredge-a" {
			t.Error("the lease was lost")
		}
		b.advance(10 * b.cfg.StallTimeout)
		if n := w.metric("reader_restarts_total"); n != 1 {
			t.Errorf("%v restarts of a healthy shard", n)
		}
	})
}

// Without room in memory no read is wanted, for however long.
func TestWatchdogDoesNotCountBackPressure(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		w := b.start("dredge-a")
		b.write(shardID(0), 5)
		b.wantAll(5 * time.Second)
		w.budget.setLimit(1)
		b.write(shardID(0), 5)
		b.advance(20 * b.cfg.StallTimeout)
		if n := w.metric("reader_restarts_total"); n != 0 {
			t.Errorf("%v restarts", n)
		}
		w.budget.setLimit(0)
		b.wantAll(10 * time.Second)
		b.wantNoRepeats()
	})
}

// Other applications take three of the shard's five reads a second: a worker that is behind learns to leave them theirs.
func TestThrottlingIsRemembered(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.kinesis.readLimit = 2
		for range 6 {
			b.write(shardID(0), 50_000)
		}
		w := b.start("dredge-a")
		b.wantAll(time.Minute)
		reads, throttled := w.metric("get_records_calls_total"), w.metric("throttled_reads_total")
		if reads < 30 || throttled > reads/4 {
			t.Errorf("%v of %v reads were throttled", throttled, reads)
		}
	})
}

// A backlog of large records is read at the 2 MB a second that Kinesis gives, without being throttled for it.
func TestBacklogAtTheByteRate(t *testing.T) {
	overSDK(t, 1, func(b *bench, server *awsfake.Server) {
		const mib = 1 << 20
		for i := range 60 {
			data := fmt.Sprintf("large/%04d", i) + strings.Repeat(".", mib-100)
			if _, _, err := server.Kinesis().Put(b.cfg.StreamName, "k", []byte(data)); err != nil {
				t.Fatal(err)
			}
			b.written = append(b.written, data)
		}
		w := b.start("dredge-a")
		b.await("reading", 20*time.Second, func() bool { return b.sink.chunks() > 0 })
		start := time.Now()
		b.wantAll(time.Minute)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("60 MiB took %s, want about 25s", took)
		}
		if n := w.metric("throttled_reads_total"); n != 0 {
			t.Errorf("%v reads were throttled", n)
		}
	})
}

// Polling and fan-out of the same application may follow each other: a shard goes on where the other way left it.
func TestChangeOfReader(t *testing.T) {
	overSDK(t, 2, func(b *bench, server *awsfake.Server) {
		for _, reader := range []string{ReaderPolling, ReaderFanOut, ReaderPolling} {
			w := b.start("dredge-"+reader+fmt.Sprint(len(b.running)), func(c *Config) { c.Reader = reader })
			b.putKeys(server, 3)
			b.wantAll(30 * time.Second)
			w.stop()
		}
		b.wantNoRepeats()
	})
}

var _ FanOutAPI = (*kinesis.Client)(nil)
