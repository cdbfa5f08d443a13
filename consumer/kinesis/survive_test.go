package kinesis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// Faults that a worker must survive. Those of readers stand in fault_test.go.

// The table is deleted under a running worker: it says so and stops, and makes no new one, which would have no checkpoints. Started again, it
// reads everything once more.
func TestTableDeletedUnderUs(t *testing.T) {
	overSDK(t, 2, func(b *bench, server *awsfake.Server) {
		w := b.start("dredge-a")
		b.putKeys(server, 2)
		b.wantAll(20 * time.Second)
		client := awsfaketest.DynamoDB(server)
		if _, err := client.DeleteTable(b.Context(), &dynamodb.DeleteTableInput{TableName: aws.String(b.cfg.Table())}); err != nil {
			b.Fatal(err)
		}
		b.await("the worker stops", 15*time.Second, func() bool {
			select {
			case <-w.done:
				return true
			default:
				return false
			}
		})
		if !errors.Is(w.err, lease.ErrNoTable) || !strings.Contains(w.err.Error(), `"app"`) {
			b.Errorf("Run = %v, want ErrNoTable with the table's name", w.err)
		}
		b.advance(10 * time.Second)
		if _, err := client.DescribeTable(b.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(b.cfg.Table())}); err == nil {
			b.Error("the worker made the table anew")
		}
		b.putKeys(server, 2)
		b.start("dredge-b")
		b.wantAll(20 * time.Second)
	})
}

// The network of one worker is broken: its sink takes everything and nothing becomes durable. It gives its shards up when others get on.
func TestGiveUpWhileOthersProgress(t *testing.T) {
	for name, healthy := range map[string]bool{"others progress": true, "nobody progresses": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 4, func(b *bench) {
				good := b.sink
				bad := newFakeSink()
				b.sink = bad
				a := b.start("dredge-a")
				b.sink = good
				c := b.start("dredge-c")
				b.await("2 leases each", time.Minute, func() bool { return b.owned()[a.id] == 2 && b.owned()[c.id] == 2 })
				feed := func(d time.Duration) {
					for range int(d / time.Second) {
						for i := range 4 {
							b.write(shardID(i), 1)
						}
						b.advance(time.Second)
					}
				}
				feed(10 * time.Second)
				bad.refuse(true)
				good.refuse(!healthy)
				feed(b.cfg.GiveUp - 20*time.Second)
				if a.Status().GaveUp || b.owned()[a.id] != 2 {
					b.Fatalf("gave up before %s:\n%s", b.cfg.GiveUp, b.dump())
				}
				feed(b.cfg.GiveUp/5 + time.Minute)
				if !healthy {
					if a.Status().GaveUp || b.owned()[a.id] != 2 {
						b.Errorf("a worker gave up although no other progresses:\n%s", b.dump())
					}
					bad.refuse(false)
					good.refuse(false)
					return
				}
				if !a.Status().GaveUp || b.owned()[a.id] != 0 || b.owned()[c.id] != 4 {
					b.Fatalf("GaveUp = %t:\n%s", a.Status().GaveUp, b.dump())
				}
				// What the other reads is everything after the last durable position.
				got := func() int {
					sum := 0
					for _, s := range []*fakeSink{good, bad} {
						u, _ := s.got()
						sum += len(u)
					}
					return sum
				}
				b.await("nothing is lost", 30*time.Second, func() bool { return got() >= len(b.written) })
				// The network comes back: one lease tells, then the balance does the rest.
				bad.refuse(false)
				feed(3 * b.cfg.GiveUp)
				b.await("2 leases each again", time.Minute, func() bool { return b.owned()[a.id] == 2 && !a.Status().GaveUp })
			})
		})
	}
}

// The wall clock jumps by hours, back and forth. Ownership does not know of it; only dates do.
func TestClockJumps(t *testing.T) {
	inBubble(t, 4, func(b *bench) {
		a, c := b.start("dredge-a"), b.start("dredge-c")
		b.await("2 leases each", time.Minute, func() bool { least, most := b.spread(); return least == 2 && most == 2 })
		b.advance(20 * time.Second)
		moves := b.moves()
		for i, jump := range []time.Duration{5 * time.Hour, -72 * time.Hour, 0, time.Minute} {
			now := func() time.Time { return time.Now().Add(jump) }
			[]*runningWorker{a, c}[i%2].jump(now)
			b.write(shardID(i), 5)
			b.advance(time.Minute)
		}
		if n := b.moves() - moves; n != 0 {
			b.Errorf("%v leases moved because a clock jumped", n)
		}
		b.wantAll(time.Second)
	})
}

// Splits and merges come faster than the family can be read, while AWS fails: everything is read, in order.
func TestReshardStorm(t *testing.T) {
	overSDK(t, 4, func(b *bench, server *awsfake.Server) {
		for i, op := range []string{"ListShards", "GetRecords", "GetShardIterator", "Scan", "GetItem", "UpdateItem", "PutItem"} {
			server.Inject(awsfake.Fault{Op: op, Kind: awsfake.Reset, Probability: 0.05, Seed: uint64(i)})
			server.Inject(awsfake.Fault{Op: op, Kind: awsfake.Throttle, Probability: 0.05, Seed: uint64(100 + i)})
			server.Inject(awsfake.Fault{Op: op, Kind: awsfake.InternalError, Probability: 0.02, Seed: uint64(200 + i)})
		}
		for _, id := range []string{"dredge-a", "dredge-b", "dredge-c"} {
			b.start(id)
		}
		for _, n := range []int{8, 4, 7, 2, 6, 3} {
			b.putKeys(server, 2)
			if err := server.Kinesis().Reshard(b.cfg.StreamName, n); err != nil {
				b.Fatal(err)
			}
			b.putKeys(server, 2)
			b.advance(5 * time.Second)
		}
		b.wantAll(5 * time.Minute)
	})
}

// A table that answers slowly, or refuses all writes for 5 seconds in every 15, costs renewals but no lease.
func TestSlowAndThrottledTable(t *testing.T) {
	for name, fault := range map[string]awsfake.Fault{
		"slow":      {Op: "UpdateItem", Kind: awsfake.Delay, Delay: 1500 * time.Millisecond},
		"throttled": {Op: "UpdateItem", Kind: awsfake.Throttle},
	} {
		t.Run(name, func(t *testing.T) {
			overSDK(t, 4, func(b *bench, server *awsfake.Server) {
				b.start("dredge-a")
				b.start("dredge-b")
				b.advance(5 * time.Second) // the table is being made
				b.await("2 leases each", time.Minute, func() bool { least, most := b.spread(); return least == 2 && most == 2 })
				b.advance(10 * time.Second)
				var strikes *awsfake.Injection
				struck := 0
				moves := b.moves()
				for second := range 120 {
					switch {
					case second%15 == 0 && (second == 0 || fault.Kind == awsfake.Throttle):
						strikes = server.Inject(fault)
					case second%15 == 5 && fault.Kind == awsfake.Throttle:
						struck += strikes.Struck()
						strikes.Remove()
					}
					b.putKeys(server, 1)
					b.advance(time.Second)
				}
				struck += strikes.Struck()
				if n := b.moves() - moves; n != 0 {
					b.Errorf("%v leases moved", n)
				}
				if struck < 50 {
					b.Error("the fault hardly ever struck")
				}
				server.ClearFaults()
				b.wantAll(10 * time.Second)
			})
		})
	}
}

// Every reply to every kind of write is lost once in three times, while workers come, go and reshard: nothing is lost.
func TestLostRepliesOnEveryWrite(t *testing.T) {
	overSDK(t, 4, func(b *bench, server *awsfake.Server) {
		struck := map[string]*awsfake.Injection{}
		for i, op := range []string{"UpdateItem", "PutItem", "DeleteItem"} {
			struck[op] = server.Inject(awsfake.Fault{Op: op, Kind: awsfake.LostReply, Probability: 0.33, Seed: uint64(i)})
		}
		b.start("dredge-a")
		b.start("dredge-b")
		for round := range 4 {
			b.putKeys(server, 2)
			b.advance(20 * time.Second)
			if err := server.Kinesis().Reshard(b.cfg.StreamName, 3+round%2); err != nil {
				b.Fatal(err)
			}
			b.putKeys(server, 2)
			b.running[round].stop()
			b.start(fmt.Sprintf("dredge-%d", round))
		}
		b.advance(5 * time.Second)
		b.putKeys(server, 1) // a child without a checkpoint would keep its parent's lease
		b.wantAll(2 * time.Minute)
		b.await("finished leases are deleted", 15*b.cfg.ShardSyncInterval, func() bool {
			return len(b.leases()) == len(openShards(server, b.cfg.StreamName))
		})
		for op, s := range struck {
			if s.Struck() == 0 {
				b.Errorf("no reply to %s was lost", op)
			}
		}
	})
}

// A table of ten thousand leases takes several pages, all of which are seen.
func TestTenThousandLeases(t *testing.T) {
	overSDK(t, 1, func(b *bench, server *awsfake.Server) {
		if err := b.store.Init(b.Context()); err != nil {
			b.Fatal(err)
		}
		const rows = 10_000
		client := awsfaketest.DynamoDB(server)
		for at := 0; at < rows; at += 25 {
			var batch []types.WriteRequest
			for i := at; i < at+25; i++ {
				batch = append(batch, types.WriteRequest{PutRequest: &types.PutRequest{Item: map[string]types.AttributeValue{
					"leaseKey": s(fmt.Sprintf("shardId-%012d", 100+i)), "leaseCounter": &types.AttributeValueMemberN{Value: "7"}, "leaseOwner": s("java-b"),
					"checkpoint": s(lease.ShardEnd), "checkpointSubSequenceNumber": &types.AttributeValueMemberN{Value: "0"},
					"startingHashKey": s("0"), "endingHashKey": s("340282366920938463463374607431768211455"), "childShardIds": &types.AttributeValueMemberSS{Value: []string{"x"}},
				}}})
			}
			if _, err := client.BatchWriteItem(b.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{b.cfg.Table(): batch}}); err != nil {
				b.Fatal(err)
			}
		}
		b.cfg.CleanupCompleted = false
		w := b.start("dredge-a")
		b.advance(2 * time.Second)
		if n := w.metric("leases_completed"); n != rows {
			b.Errorf("%v completed leases seen, want %d", n, rows)
		}
		if n := server.Count("Scan"); n < 2 {
			b.Errorf("%d Scan requests: the table fits one page and the test tests nothing", n)
		}
	})
}

// The stream's description is limited to 20 calls a second and account. While it is refused nothing is lost, only later.
func TestDescriptionLimitExceeded(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.cfg.Streams, b.cfg.StreamName = []StreamConfig{{StreamName: "flows"}}, ""
		refused := 5
		b.kinesis.fail = func(op, _ string) error {
			if refused--; op == "DescribeStreamSummary" && refused >= 0 {
				return &kinesistypes.LimitExceededException{}
			}
			return nil
		}
		w := b.start("dredge-a")
		b.write(shardID(0), 5)
		b.write(shardID(1), 5)
		b.wantAll(30 * time.Second)
		if n := w.metric("shard_sync_errors_total"); n < 3 {
			b.Errorf("%v comparisons failed: the test tests nothing", n)
		}
	})
}

// Malformed rows and rows of other entities lie in the table: they are counted, left alone, and the others are worked on.
func TestStrangeRowsInTheTable(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		f.cfg.Mode = Mode2x
		strange := []map[string]types.AttributeValue{
			{"leaseKey": s("shardId-broken"), "checkpoint": s("TRIM_HORIZON")},
			{"leaseKey": s("shardId-nonsense"), "leaseCounter": &types.AttributeValueMemberN{Value: "1"}, "checkpoint": s("yesterday")},
			{"leaseKey": s("java-b"), "entityType": s("WORKER_METRIC_STATS"), "lut": &types.AttributeValueMemberN{Value: "1"}},
		}
		for _, it := range strange {
			if _, err := f.client.PutItem(f.Context(), &dynamodb.PutItemInput{TableName: aws.String(f.cfg.Table()), Item: it}); err != nil {
				f.Fatal(err)
			}
		}
		w := f.start("dredge-a")
		f.putKeysTo(3)
		f.wantAll(20 * time.Second)
		f.advance(5 * time.Minute)
		if m, o := w.metric("malformed_lease_rows"), w.metric("foreign_lease_rows"); m != 2 || o != 1 {
			f.Errorf("%v malformed and %v foreign rows counted, want 2 and 1", m, o)
		}
		for _, it := range strange {
			if got := f.row(it["leaseKey"].(*types.AttributeValueMemberS).Value); len(got) != len(it) {
				f.Errorf("row %v became %v", it, got)
			}
		}
	})
}

// jump gives a running worker another wall clock.
func (r *runningWorker) jump(now func() time.Time) { r.wallClock.Store(&now) }

// A worker that crashed between being asked for a lease and handing it over does not keep it.
func TestCrashDuringAHandOff(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		a := b.start("dredge-a")
		b.await("both held", 10*time.Second, func() bool { return b.owned()[a.id] == 2 })
		b.start("dredge-b")
		b.await("asked for", 10*time.Second, func() bool {
			return slices.ContainsFunc(b.leases(), func(l lease.Lease) bool { return l.InHandOff() })
		})
		a.kill()
		b.write(shardID(0), 3)
		b.write(shardID(1), 3)
		b.wantAll(2 * b.cfg.FailoverTime)
	})
}
