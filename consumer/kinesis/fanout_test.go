package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// byFanOut is overSDK with workers that subscribe.
func byFanOut(t *testing.T, shards int, test func(*bench, *awsfake.Server)) {
	overSDK(t, shards, func(b *bench, server *awsfake.Server) {
		b.cfg.Reader = ReaderFanOut
		test(b, server)
		if n := server.Count("GetRecords") + server.Count("GetShardIterator"); n > 0 {
			t.Errorf("%d calls of polling", n)
		}
	})
}

func (b *bench) wantNoRepeats() {
	b.Helper()
	if _, repeats := b.sink.got(); repeats != 0 {
		b.Errorf("%d records were delivered twice", repeats)
	}
}

// Subscriptions end every five minutes, with records coming in all the time.
func TestFanOutResubscribesWithoutAGap(t *testing.T) {
	byFanOut(t, 2, func(b *bench, server *awsfake.Server) {
		w := b.start("dredge-a")
		for range 12 * 60 {
			b.putKeys(server, 1)
			b.advance(time.Second)
		}
		b.wantAll(10 * time.Second)
		b.wantNoRepeats()
		if n := w.metric("subscriptions_total"); n != 2*3 {
			t.Errorf("%v subscriptions of 2 shards in 12 minutes, want 6", n)
		}
		if n := w.metric("subscription_conflicts_total") + w.metric("read_errors_total") + w.metric("reader_restarts_total"); n != 0 {
			t.Errorf("%v conflicts, errors and restarts", n)
		}
		if n := server.Count("RegisterStreamConsumer"); n != 1 {
			t.Errorf("%d registrations", n)
		}
		if n := server.Count("DescribeStreamConsumer"); n > 5 {
			t.Errorf("%d descriptions of the consumer", n)
		}
	})
}

// Reshards and a crash: the new owner takes the dead one's subscriptions over, and a shard's end makes its children be read.
func TestFanOutReshardAndTakeOver(t *testing.T) {
	byFanOut(t, 3, func(b *bench, server *awsfake.Server) {
		a := b.start("dredge-a")
		b.start("dredge-b")
		for _, n := range []int{5, 2, 4} {
			b.putKeys(server, 5)
			if err := server.Kinesis().Reshard(b.cfg.StreamName, n); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				b.putKeys(server, 1)
				b.advance(time.Second)
			}
		}
		b.wantAll(time.Minute)
		b.wantNoRepeats()
		last := map[string]string{}
		for _, d := range b.sink.durable {
			key, n, _ := strings.Cut(d, "/")
			if n <= last[key] {
				t.Fatalf("record %s of %s was durable after %s", n, key, last[key])
			}
			last[key] = n
		}
		a.kill()
		b.putKeys(server, 5)
		b.wantAll(3 * b.cfg.FailoverTime)
	})
}

func TestFanOutFaults(t *testing.T) {
	for name, order := range map[string]awsfake.Fault{
		"limit exceeded":            {Op: "SubscribeToShard", Kind: awsfake.Throttle, Times: 5},
		"500":                       {Op: "SubscribeToShard", Kind: awsfake.InternalError, Times: 5},
		"503":                       {Op: "SubscribeToShard", Kind: awsfake.Unavailable, Times: 5},
		"reset":                     {Op: "SubscribeToShard", Kind: awsfake.Reset, Times: 5},
		"cut off within an event":   {Op: "SubscribeToShard", Kind: awsfake.TruncatedReply, Times: 3},
		"expired token":             {Op: "SubscribeToShard", Kind: awsfake.Failure, Code: "ExpiredTokenException", Times: 5},
		"hangs":                     {Op: "SubscribeToShard", Kind: awsfake.Delay, Delay: time.Hour, Times: 1},
		"stream not described":      {Op: "DescribeStreamSummary", Kind: awsfake.Throttle, Times: 5},
		"consumer not described":    {Op: "DescribeStreamConsumer", Kind: awsfake.InternalError, Times: 5},
		"consumer not registered":   {Op: "RegisterStreamConsumer", Kind: awsfake.Throttle, Times: 3},
		"registration's reply lost": {Op: "RegisterStreamConsumer", Kind: awsfake.LostReply, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
				struck := server.Inject(order)
				b.start("dredge-a")
				b.putKeys(server, 2)
				b.wantAll(2 * time.Minute)
				b.putKeys(server, 2)
				b.wantAll(10 * time.Second)
				b.wantNoRepeats()
				if struck.Struck() != order.Times {
					t.Errorf("the fault struck %d times, want %d", struck.Struck(), order.Times)
				}
			})
		})
	}
}

func TestFanOutBrokenConnections(t *testing.T) {
	byFanOut(t, 2, func(b *bench, server *awsfake.Server) {
		w := b.start("dredge-a")
		for range 20 {
			b.putKeys(server, 1)
			b.advance(3 * time.Second)
			if err := server.Kinesis().BreakSubscriptions(b.cfg.StreamName); err != nil {
				t.Fatal(err)
			}
		}
		b.wantAll(20 * time.Second)
		b.wantNoRepeats()
		if n := w.metric("subscriptions_total"); n < 10 {
			t.Errorf("%v subscriptions", n)
		}
	})
}

// Handle blocks while much comes in: the subscription is closed after 5 s, memory stays bounded, and it goes on where it was.
func TestFanOutBackPressure(t *testing.T) {
	const mib = 1 << 20
	for name, budget := range map[string]int64{"the shard's bound": 0, "the process's budget": 4 * mib} {
		t.Run(name, func(t *testing.T) {
			byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
				w := b.start("dredge-a")
				b.putKeys(server, 1)
				b.wantAll(20 * time.Second)
				block := make(chan struct{})
				b.sink.mu.Lock()
				b.sink.blockHandle = block
				b.sink.mu.Unlock()
				w.budget.setLimit(budget)
				for i := range 30 {
					data := fmt.Sprintf("large/%04d", i) + strings.Repeat(".", mib-100)
					if _, _, err := server.Kinesis().Put(b.cfg.StreamName, "k", []byte(data)); err != nil {
						t.Fatal(err)
					}
					b.written = append(b.written, data)
				}
				b.advance(time.Minute)
				if n := w.metric("subscriptions_closed_for_room_total"); n != 1 {
					t.Errorf("%v subscriptions closed for lack of room, want 1", n)
				}
				n := w.metric("subscriptions_total")
				b.advance(10 * time.Minute)
				if more := w.metric("subscriptions_total") - n; more != 0 {
					t.Errorf("%v subscriptions were made without room", more)
				}
				if w.metric("reader_restarts_total") != 0 {
					t.Error("time without room was taken for a stall")
				}
				w.budget.mu.Lock()
				if most := int64(2*inboxBytes + mib); w.budget.top > most {
					t.Errorf("%d bytes at most were held, want at most %d", w.budget.top, most)
				}
				w.budget.mu.Unlock()
				w.budget.setLimit(0)
				b.sink.mu.Lock()
				b.sink.blockHandle = nil
				b.sink.mu.Unlock()
				close(block)
				b.wantAll(2 * time.Minute)
				b.wantNoRepeats()
			})
		})
	}
}

// Somebody else subscribes as our consumer. Our worker proves its lease, then takes its shard back.
func TestFanOutForeignSubscription(t *testing.T) {
	byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
		w := b.start("dredge-a")
		b.putKeys(server, 1)
		b.wantAll(20 * time.Second)
		b.advance(subscribeGuard)
		client := awsfaketest.Kinesis(server)
		arn, err := w.sources[0].fanOut.consumer(b.Context())
		if err != nil {
			t.Fatal(err)
		}
		renewals := w.metric("lease_renewals_total")
		out, err := client.SubscribeToShard(b.Context(), &kinesis.SubscribeToShardInput{
			ConsumerARN: &arn, ShardId: aws.String(shardID(0)), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest},
		}, func(o *kinesis.Options) { o.Protocol = awsjson.New11(schemas.Kinesis_20131202) })
		if err != nil {
			t.Fatal(err)
		}
		b.await("conflict", time.Second, func() bool { return w.metric("subscription_conflicts_total") > 0 })
		if w.metric("lease_renewals_total") == renewals {
			t.Error("the lease was not proved")
		}
		b.putKeys(server, 1)
		b.wantAll(15 * time.Second)
		b.wantNoRepeats()
		for range out.GetStream().Events() {
		}
		var taken *types.ResourceInUseException
		if err := out.GetStream().Close(); !errors.As(err, &taken) {
			t.Errorf("the foreign subscription ended by %v", err)
		}
	})
}

func TestFanOutConsumer(t *testing.T) {
	t.Run("deregistered", func(t *testing.T) {
		byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
			w := b.start("dredge-a")
			b.putKeys(server, 1)
			b.wantAll(20 * time.Second)
			arn, err := w.sources[0].fanOut.consumer(b.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := awsfaketest.Kinesis(server).DeregisterStreamConsumer(b.Context(), &kinesis.DeregisterStreamConsumerInput{ConsumerARN: &arn}); err != nil {
				t.Fatal(err)
			}
			b.putKeys(server, 1)
			b.wantAll(30 * time.Second)
			b.wantNoRepeats()
			if n := server.Count("RegisterStreamConsumer"); n != 2 {
				t.Errorf("%d registrations, want 2", n)
			}
		})
	})
	t.Run("given by ARN", func(t *testing.T) {
		byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
			client := awsfaketest.Kinesis(server)
			stream, err := client.DescribeStreamSummary(b.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: &b.cfg.StreamName})
			if err != nil {
				t.Fatal(err)
			}
			out, err := client.RegisterStreamConsumer(b.Context(), &kinesis.RegisterStreamConsumerInput{
				StreamARN: stream.StreamDescriptionSummary.StreamARN, ConsumerName: aws.String("given"),
			})
			if err != nil {
				t.Fatal(err)
			}
			b.cfg.ConsumerARN = *out.Consumer.ConsumerARN
			b.start("dredge-a")
			b.putKeys(server, 1)
			b.wantAll(20 * time.Second)
			if n := server.Count("RegisterStreamConsumer"); n != 1 {
				t.Errorf("%d registrations, want only ours", n)
			}
		})
	})
}

func TestFanOutPositionOlderThanRetention(t *testing.T) {
	byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
		b.putKeys(server, 1)
		// A position of a stream of the same name that was deleted.
		if err := b.store.Init(b.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.store.Create(b.Context(), lease.Lease{Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: "50"}}); err != nil {
			t.Fatal(err)
		}
		w := b.start("dredge-a")
		b.wantAll(30 * time.Second)
		if n := w.metric("trimmed_positions_total"); n != 1 {
			t.Errorf("%v trimmed positions counted, want 1", n)
		}
	})
}

func TestFanOutLatestLosesNothing(t *testing.T) {
	byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
		b.putKeys(server, 1)
		b.written = nil
		b.advance(time.Second)
		b.cfg.InitialPosition = lease.Latest
		w := b.start("dredge-a")
		b.await("subscribed", 20*time.Second, func() bool { return w.metric("subscriptions_total") == 1 })
		b.putKeys(server, 1)
		b.wantAll(10 * time.Second)
		// A row that another worker made says no more than LATEST.
		w.stop()
	})
}

// stalling lets answers stop in the middle, as a connection does whose other end has gone without a word.
type stalling struct {
	http.RoundTripper
	on atomic.Bool
}

func (s *stalling) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err == nil && resp.ContentLength < 0 {
		resp.Body = &stallingBody{ReadCloser: resp.Body, stalled: &s.on, ended: r.Context()}
	}
	return resp, err
}

type stallingBody struct {
	io.ReadCloser
	stalled *atomic.Bool
	ended   context.Context //nolint:containedctx // the request's
}

func (b *stallingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.stalled.Load() {
		<-b.ended.Done()
		return 0, b.ended.Err()
	}
	return n, err
}

// Connections die without a word: silence is noticed, and when it lasts the watchdog tells.
func TestFanOutSilence(t *testing.T) {
	byFanOut(t, 1, func(b *bench, server *awsfake.Server) {
		line := &stalling{RoundTripper: server.Transport()}
		b.api = awsfaketest.Kinesis(server, func(o *kinesis.Options) { o.HTTPClient = &http.Client{Transport: line} })
		w := b.start("dredge-a")
		b.putKeys(server, 1)
		b.wantAll(20 * time.Second)
		line.on.Store(true)
		b.putKeys(server, 1)
		b.advance(quietTimeout + 15*time.Second)
		if n := server.Count("SubscribeToShard"); n < 2 {
			t.Errorf("%d subscriptions: the silence was not noticed", n)
		}
		b.await("watchdog", 2*b.cfg.StallTimeout, func() bool { return w.metric("reader_restarts_total") > 0 })
		line.on.Store(false)
		b.wantAll(quietTimeout + 15*time.Second)
		b.wantNoRepeats()
		if !slices.Contains([]string{StateReading, StateHandling}, w.Status().Shards[0].State) {
			t.Errorf("state %s after the stall", w.Status().Shards[0].State)
		}
	})
}
