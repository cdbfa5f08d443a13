package kinesis

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/consumer/kinesis/lease"
	"dredge/stream"
)

// A worker that is cut off from the lease table stops by its own clock, before or when others may take its leases.
func TestCutOffWorkerStopsByItsOwnClock(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		a := b.start("dredge-a")
		b.await("both held", 5*time.Second, func() bool { return b.owned()["dredge-a"] == 2 })
		b.advance(7 * time.Second)
		a.store.cut.Store(true)
		at := b.await("both shards stopped", b.cfg.FailoverTime, func() bool { return a.Status().Owned == 0 })
		if at < b.cfg.FailoverTime-b.cfg.renewInterval()-time.Second {
			t.Errorf("shards stopped after %s, with tries to renew left", at)
		}
		b.write(shardID(0), 10)
		b.write(shardID(1), 10)
		b.advance(5 * time.Second)
		if got, _ := b.sink.got(); len(got) != 0 {
			t.Errorf("%d records were delivered under an expired lease", len(got))
		}
		b.start("dredge-b")
		b.wantAll(2 * b.cfg.FailoverTime)
		a.store.cut.Store(false)
		b.advance(b.cfg.FailoverTime)
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
	})
}

// The same for a lease that was never renewed: its clock runs from the take.
func TestCutOffRightAfterTheTake(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.sink.openErr = func(string) error { return errors.New("not yet") } // an opened shard renews at once
		a := b.start("dredge-a")
		b.await("held", 5*time.Second, func() bool { return a.Status().Owned == 1 })
		a.store.cut.Store(true)
		b.await("shard stopped", b.cfg.FailoverTime, func() bool { return a.Status().Owned == 0 })
		if n := a.metric("lease_renewals_total"); n != 0 {
			t.Errorf("%v renewals: the test did not test the take", n)
		}
	})
}

// A zombie's renewal, with its checkpoint, is under way for longer than the lease lives. It reaches the table after another has
// taken over, and its condition fails.
func TestZombieCheckpointFails(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		a := b.start("dredge-a")
		b.await("held", 5*time.Second, func() bool { return b.owned()["dredge-a"] == 1 })
		hang := make(chan struct{})
		a.store.hang.Store(&hang)
		b.write(shardID(0), 10)
		b.wantAll(5 * time.Second)
		b.advance(b.cfg.renewInterval()) // the write that carries the checkpoint is now under way
		b.start("dredge-b")
		b.await("take-over", 2*b.cfg.FailoverTime+5*time.Second, func() bool { return b.owned()["dredge-b"] == 1 })
		taken := b.lease(shardID(0))
		if taken.Checkpoint.IsSequence() {
			t.Fatalf("checkpoint %s before the zombie's write arrived", taken.Checkpoint)
		}
		a.store.hang.Store(nil)
		close(hang)
		b.await("taker has checkpointed", 10*time.Second, func() bool { return b.lease(shardID(0)).Checkpoint.IsSequence() })
		if l := b.lease(shardID(0)); l.Owner != "dredge-b" {
			t.Errorf("the zombie's write landed: %+v", l)
		}
		b.wantAll(time.Second)
	})
}

func TestTwoProcessesWithOneWorkerID(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		a := b.start("dredge-same")
		b.await("held", 5*time.Second, func() bool { return b.owned()["dredge-same"] == 2 })
		// Somebody else renews under the same id.
		l := b.lease(shardID(0))
		for range 5 {
			var err error
			if l, err = b.store.Renew(t.Context(), l, lease.Renewal{}); err != nil {
				t.Fatal(err)
			}
		}
		b.await("the worker stops", b.cfg.FailoverTime, func() bool {
			select {
			case <-a.done:
				return true
			default:
				return false
			}
		})
		if !errors.Is(a.err, ErrDuplicateWorkerID) {
			t.Errorf("Run = %v", a.err)
		}
	})
}

func TestThrottlingBacksOff(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.kinesis.readLimit = 0
		until := time.Now().Add(30 * time.Second)
		b.kinesis.fail = func(op, _ string) error {
			if op == "GetRecords" && time.Now().Before(until) {
				return &types.ProvisionedThroughputExceededException{}
			}
			return nil
		}
		w := b.start("dredge-a")
		b.write(shardID(0), 10)
		b.advance(30 * time.Second)
		n := w.metric("throttled_reads_total")
		if n < 7 || n > 25 { // 0.25 s doubling to 5 s, each up to half shorter
			t.Errorf("%v throttled reads in 30 s", n)
		}
		b.wantAll(6 * time.Second)
		if w.metric("get_records_calls_total") < 1 || w.metric("read_errors_total") != 0 {
			t.Error("throttling was counted as an error")
		}
	})
}

// Two reads a second at the tip, one after an empty read, and five while behind: never more than Kinesis allows.
func TestPace(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		w := b.start("dredge-a")
		b.await("reading", 5*time.Second, func() bool { return b.kinesis.count("GetRecords") > 0 })
		n := b.kinesis.count("GetRecords")
		b.advance(20 * time.Second)
		if got := b.kinesis.count("GetRecords") - n; got < 19 || got > 21 {
			t.Errorf("%d reads in 20 s of an idle shard, want one a second", got)
		}
		n = b.kinesis.count("GetRecords")
		for range 40 {
			b.write(shardID(0), 1)
			b.advance(500 * time.Millisecond)
		}
		if got := b.kinesis.count("GetRecords") - n; got < 20 || got > 42 {
			t.Errorf("%d reads in 20 s of a busy shard, want at most two a second", got)
		}
		b.write(shardID(0), 60_000)
		n = b.kinesis.count("GetRecords")
		took := b.await("backlog is read", 10*time.Second, func() bool { return b.kinesis.count("GetRecords")-n >= 6 })
		if took > 3*time.Second {
			t.Errorf("6 full reads took %s, want five a second", took)
		}
		if n := w.metric("throttled_reads_total"); n != 0 {
			t.Errorf("%v reads were throttled: the pace is too fast", n)
		}
	})
}

func TestExpiredIterator(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.kinesis.iteratorTTL = 700 * time.Millisecond // less than the idle wait
		w := b.start("dredge-a")
		for range 5 {
			b.write(shardID(0), 5)
			b.advance(3 * time.Second)
		}
		b.wantAll(3 * time.Second)
		if n := w.metric("iterator_refreshes_total"); n < 5 {
			t.Errorf("%v iterator refreshes", n)
		}
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
		if !slices.Contains(b.kinesis.iterTypes, types.ShardIteratorTypeAfterSequenceNumber) {
			t.Errorf("iterators asked for: %v", b.kinesis.iterTypes)
		}
	})
}

func TestRewindKeepsTheLease(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		w := b.start("dredge-a")
		b.write(shardID(0), 10)
		b.wantAll(5 * time.Second)
		b.sink.refuse(true)
		b.write(shardID(0), 10)
		b.await("in flight", 5*time.Second, func() bool { return b.sink.chunks() == 2 })
		records := b.kinesis.shard(shardID(0)).records
		// The sink has the first 14, of which it had reported 10; what was in flight is lost.
		b.sink.mu.Lock()
		for _, r := range records[10:14] {
			b.sink.durable = append(b.sink.durable, string(r.Data))
		}
		b.sink.mu.Unlock()
		b.sink.fail(&stream.RewindError{To: stream.Position(*records[13].SequenceNumber), Err: errors.New("transaction aborted")})
		b.sink.refuse(false)
		b.wantAll(5 * time.Second)
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
		if got := w.metric("lease_moves_total"); got != 1 || w.metric("rewinds_total") != 1 {
			t.Errorf("%v lease moves and %v rewinds, want 1 and 1", got, w.metric("rewinds_total"))
		}
		if n := b.sink.maxOpen; n != 1 {
			t.Errorf("the handler was opened again")
		}
	})
}

// An error that means nothing to us is never a reason to skip: what failed is read again.
func TestUnknownErrorReadsAgain(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		fails := 3
		b.sink.handleErr = func(string) error {
			if fails--; fails >= 0 {
				return errors.New("out of luck")
			}
			return nil
		}
		w := b.start("dredge-a")
		b.write(shardID(0), 10)
		b.wantAll(10 * time.Second)
		if n := w.metric("rewinds_total"); n != 3 {
			t.Errorf("%v rewinds, want 3", n)
		}
	})
}

func TestFencedAndPermanentGiveTheLeaseUp(t *testing.T) {
	for name, cause := range map[string]error{
		"fenced":    stream.ErrFenced,
		"permanent": &stream.PermanentError{Err: errors.New("topic missing")},
	} {
		for _, where := range []string{"open", "handle", "progress"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				inBubble(t, 1, func(b *bench) {
					refused := false
					refuse := func(string) error {
						if refused {
							return nil
						}
						refused = true
						return cause
					}
					switch where {
					case "open":
						b.sink.openErr = refuse
					case "handle":
						b.sink.handleErr = refuse
					case "progress":
						b.sink.refuse(true)
					}
					w := b.start("dredge-a")
					b.write(shardID(0), 10)
					if where == "progress" {
						b.await("in flight", 5*time.Second, func() bool { return b.sink.chunks() == 1 })
						b.sink.fail(cause)
						b.sink.refuse(false)
					}
					b.await("released", 5*time.Second, func() bool { return b.owned()[""] == 1 && w.Status().Owned == 0 })
					if l := b.lease(shardID(0)); l.Checkpoint.IsSequence() {
						t.Errorf("checkpoint %s was written past refused rows", l.Checkpoint)
					}
					b.advance(4 * time.Second)
					if w.Status().Owned != 0 {
						t.Error("the lease was taken back at once")
					}
					if n := w.metric("shard_stops_total"); n != 1 {
						t.Errorf("%v stops counted", n)
					}
					b.wantAll(20 * time.Second) // it is tried again, by whoever is there
				})
			})
		}
	}
}

func TestSinkPositionMovesTheStart(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.write(shardID(0), 20) // sequence numbers from 2 digits to 3
		records := b.kinesis.shard(shardID(0)).records
		b.sink.positions[shardID(0)] = stream.Position(*records[11].SequenceNumber)
		b.written = b.written[12:]
		if _, err := b.store.Create(t.Context(), lease.Lease{Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: *records[2].SequenceNumber}}); err != nil {
			t.Fatal(err)
		}
		b.start("dredge-a")
		b.wantAll(5 * time.Second)
	})
}

// Another program had the lease in between, a Java worker or dredge in another mode, and moved it past what the sink keeps: the
// later position wins, and nothing that the other one has read is read again.
func TestLeaseMovedByAnotherInBetween(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.write(shardID(0), 20)
		records := b.kinesis.shard(shardID(0)).records
		b.sink.positions[shardID(0)] = stream.Position(*records[2].SequenceNumber)
		b.written = b.written[12:]
		if _, err := b.store.Create(t.Context(), lease.Lease{Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: *records[11].SequenceNumber}}); err != nil {
			t.Fatal(err)
		}
		b.start("dredge-a")
		b.wantAll(5 * time.Second)
	})
}

func TestLatestLosesNothing(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.cfg.InitialPosition = lease.Latest
		b.kinesis.put(shardID(0), "old")
		b.advance(time.Second)
		b.sink.openErr = func(string) error { return errors.New("not yet") }
		a := b.start("dredge-a")
		b.advance(3 * time.Second)
		// The shards are known but not opened yet; then the worker crashes before its first checkpoint.
		b.write(shardID(0), 5)
		b.write(shardID(1), 5)
		a.kill()
		b.write(shardID(1), 5)
		b.sink.mu.Lock()
		b.sink.openErr = nil
		b.sink.mu.Unlock()
		b.start("dredge-b")
		b.wantAll(3 * b.cfg.FailoverTime)
		if l := b.lease(shardID(0)); l.StartedAt.IsZero() {
			t.Error("no startedAt in the row")
		}
	})
}

func TestAtTimestamp(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.kinesis.put(shardID(0), "old")
		b.advance(time.Minute)
		b.cfg.InitialPosition, b.cfg.InitialTimestamp = lease.AtTimestamp, time.Now()
		b.write(shardID(0), 5)
		b.start("dredge-a")
		b.wantAll(5 * time.Second)
	})
}

func TestServerThatIgnoresShardFilters(t *testing.T) {
	for _, at := range []string{lease.TrimHorizon, lease.Latest} {
		t.Run(at, func(t *testing.T) {
			inBubble(t, 2, func(b *bench) {
				b.kinesis.ignoreFilter = true
				b.cfg.InitialPosition = at
				x, y := b.kinesis.split(shardID(0))
				b.start("dredge-a")
				b.await("filled", 10*time.Second, func() bool { return len(b.leases()) > 0 })
				b.advance(5 * time.Second)
				for _, s := range []string{x, y, shardID(1)} {
					b.write(s, 5)
				}
				b.wantAll(10 * time.Second)
			})
		})
	}
}

func TestJavaLeaderSuspendsTaking(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.store = versionStore{b.store}
		w := b.start("dredge-a")
		b.advance(30 * time.Second)
		if n := b.owned()[""]; n != 2 {
			t.Errorf("leases were taken although Java's leader assigns them:\n%s", b.dump())
		}
		if w.metric("taking_suspended") != 1 {
			t.Error("the metric does not tell")
		}
	})
}

type versionStore struct{ lease.Store }

func (v versionStore) List(ctx context.Context) (lease.Listing, error) {
	l, err := v.Store.List(ctx)
	l.ClientVersion = lease.Version3x
	return l, err
}

func TestBudgetIsTakenBeforeEachRead(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		w := b.start("dredge-a")
		b.write(shardID(0), 10)
		b.wantAll(5 * time.Second)
		w.stop()
		w.budget.mu.Lock()
		defer w.budget.mu.Unlock()
		if w.budget.acquired < b.kinesis.calls["GetRecords"] || w.budget.top != reserve {
			t.Errorf("%d reservations for %d reads, at most %d bytes at once, want %d", w.budget.acquired, b.kinesis.calls["GetRecords"], w.budget.top, reserve)
		}
	})
}

func TestRunRefusesToStart(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.store = brokenStore{b.store, lease.ErrForeignTable}
		w := b.start("dredge-a")
		<-w.done
		if !errors.Is(w.err, lease.ErrForeignTable) {
			t.Errorf("Run = %v", w.err)
		}
		b.store = brokenStore{b.store, errCut}
		w = b.start("dredge-b")
		<-w.done
		if !errors.Is(w.err, errCut) {
			t.Errorf("Run = %v after tries to reach the table", w.err)
		}
	})
}

type brokenStore struct {
	lease.Store
	err error
}

func (s brokenStore) Init(context.Context) error { return s.err }

// An operator may have one shard read anew: what is not durable comes again, the other shards go on, the lease stays.
func TestRestartOfOneShard(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		w := b.start("dredge-a")
		b.await("both held", 5*time.Second, func() bool { return b.owned()["dredge-a"] == 2 })
		if err := w.Restart("shardId-nowhere"); !errors.Is(err, ErrNotHeld) {
			t.Errorf("a shard of nobody: %v", err)
		}
		b.sink.refuse(true)
		b.write(shardID(0), 10)
		b.write(shardID(1), 10)
		b.await("in flight", 5*time.Second, func() bool { return b.sink.chunks() >= 2 })
		if err := w.Restart(shardID(0)); err != nil {
			t.Fatal(err)
		}
		b.await("restarted", 5*time.Second, func() bool { return w.metric("rewinds_total") == 1 })
		b.sink.refuse(false)
		b.wantAll(10 * time.Second)
		if n := w.metric("rewinds_total"); n != 1 {
			t.Errorf("%v rewinds, want 1", n)
		}
		if got := b.owned()["dredge-a"]; got != 2 {
			t.Errorf("%d leases are held", got)
		}
	})
}
