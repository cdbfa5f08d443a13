package kinesis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
)

// Tests of the acceptance checks that the project set itself for the coordination of shards; L1 and L7 stand with the balance, L6 with the worker.

// TestL2FailOver: all shards of a killed worker go on within twice the failover time, and no record is missing.
func TestL2FailOver(t *testing.T) {
	inBubble(t, 12, func(b *bench) {
		for _, id := range []string{"dredge-a", "dredge-b", "dredge-c"} {
			b.start(id)
		}
		b.await("4 leases each", time.Minute, func() bool { least, most := b.spread(); return least == 4 && most == 4 })
		var lost []string
		for _, l := range b.leases() {
			if l.Owner == "dredge-a" {
				lost = append(lost, l.Key)
			}
		}
		feed := func() {
			for i := range 12 {
				b.write(shardID(i), 3)
			}
		}
		for range 20 {
			feed()
			b.advance(time.Second)
		}
		b.running[0].kill()
		before := map[string]int{}
		for _, s := range lost {
			before[s] = len(b.sink.of(s))
		}
		feed()
		took := b.await("all shards of the dead worker go on", 2*b.cfg.FailoverTime, func() bool {
			return !slices.ContainsFunc(lost, func(s string) bool { return len(b.sink.of(s)) == before[s] })
		})
		b.Logf("the last of %d shards went on after %s", len(lost), took)
		feed()
		b.wantAll(5 * time.Second)
	})
}

// frozen stops one worker's calls where they are, as SIGSTOP does, until thaw.
type frozen struct {
	lease.Store
	mu   sync.Mutex
	ice  chan struct{} // nil while nothing is frozen
	late []string      // calls that went out only after the thaw
}

func (f *frozen) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ice = make(chan struct{})
}

func (f *frozen) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.ice)
	f.ice = nil
}

func (f *frozen) wait(what string) {
	f.mu.Lock()
	ice := f.ice
	f.mu.Unlock()
	if ice == nil {
		return
	}
	<-ice
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = append(f.late, what)
}

// Renew of a frozen worker was sent before it noticed that its time is over: its context does not hold it back.
func (f *frozen) Renew(_ context.Context, l lease.Lease, r lease.Renewal) (lease.Lease, error) {
	what := "renewal"
	if !r.Checkpoint.IsZero() {
		what = "checkpoint"
	}
	f.wait(what)
	return f.Store.Renew(context.Background(), l, r)
}

func (f *frozen) List(ctx context.Context) (lease.Listing, error) {
	f.wait("scan")
	return f.Store.List(ctx)
}

// TestL3AStaleOwnerCannotCheckpoint: a worker is paused past the expiry of its lease with a checkpoint on its way; another takes over; the
// paused one goes on. Its write fails by its condition, its writer is closed, and the checkpoint never moves back.
func TestL3AStaleOwnerCannotCheckpoint(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		ice := &frozen{Store: b.store}
		table := b.store
		b.store = ice
		a := b.start("dredge-a")
		b.store = table
		b.await("held", 5*time.Second, func() bool { return b.owned()["dredge-a"] == 1 })
		b.write(shardID(0), 10)
		b.await("first checkpoint", 10*time.Second, func() bool { return b.lease(shardID(0)).Checkpoint.IsSequence() })

		highest := b.lease(shardID(0)).Checkpoint
		watch := func() lease.Lease {
			b.Helper()
			l := b.lease(shardID(0))
			if l.Checkpoint.Compare(highest) < 0 {
				b.Fatalf("the checkpoint moved back from %s to %s", highest, l.Checkpoint)
			}
			highest = l.Checkpoint
			return l
		}
		ice.freeze()
		b.write(shardID(0), 10)
		b.advance(b.cfg.renewInterval()) // the renewal with the checkpoint of these is under way now
		b.start("dredge-b")
		b.await("take-over", 2*b.cfg.FailoverTime+5*time.Second, func() bool { return watch().Owner == "dredge-b" })
		b.write(shardID(0), 10)
		b.await("the new owner checkpoints", 10*time.Second, func() bool { return watch().Checkpoint.Compare(highest) >= 0 && len(b.sink.of(shardID(0))) >= 30 })
		b.advance(b.cfg.renewInterval())
		owned := watch()

		ice.thaw()
		b.advance(3 * b.cfg.FailoverTime)
		now := watch()
		if now.Owner != "dredge-b" || now.Checkpoint.Compare(owned.Checkpoint) < 0 {
			b.Errorf("after the pause: %+v, want dredge-b at %s or later", now, owned.Checkpoint)
		}
		ice.mu.Lock()
		if !slices.Contains(ice.late, "checkpoint") {
			b.Errorf("no checkpoint of the paused worker arrived late, only %q: the test tests nothing", ice.late)
		}
		ice.mu.Unlock()
		if n := a.Status().Owned; n != 0 {
			b.Errorf("the paused worker still holds %d leases", n)
		}
		b.sink.mu.Lock()
		if !b.sink.handlers[0].closed {
			b.Error("the paused worker's writer is still open")
		}
		b.sink.mu.Unlock()
		b.wantAll(time.Second)
	})
}

// TestL4Resharding: one shard is split in two, then the two are merged, under load. The records of each key stay in order and none is lost; the
// parent's lease is removed only after its children have started.
func TestL4Resharding(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.start("dredge-a")
		b.start("dredge-b")
		keys := []string{"k0", "k1", "k2", "k3"}
		// The upper half of the keys goes to the second child.
		shardOf := func(int) string { return shardID(0) }
		n := 0
		feed := func() {
			for i, k := range keys {
				n++
				data := fmt.Sprintf("%s/%08d", k, n)
				b.written = append(b.written, data)
				b.kinesis.put(shardOf(i), data)
			}
		}
		started := func(shard string) bool {
			return b.lease(shard).Checkpoint.IsSequence() || b.lease(shard).Checkpoint.IsShardEnd()
		}
		children := map[string][]string{}
		watch := func(d time.Duration) {
			for range int(d / time.Second) {
				feed()
				b.advance(time.Second)
				rows := b.leases()
				for parent, ids := range children {
					if slices.ContainsFunc(rows, func(l lease.Lease) bool { return l.Key == parent }) {
						continue
					}
					for _, c := range ids {
						if slices.ContainsFunc(rows, func(l lease.Lease) bool { return l.Key == c }) && !started(c) {
							b.Fatalf("the lease of %s was removed before its child %s had started", parent, c)
						}
					}
				}
			}
		}
		watch(10 * time.Second)
		x, y := b.kinesis.split(shardID(0))
		children[shardID(0)] = []string{x, y}
		shardOf = func(i int) string { return []string{x, y}[i/2] }
		watch(3 * time.Minute)
		m := b.kinesis.merge(x, y)
		children[x], children[y] = []string{m}, []string{m}
		shardOf = func(int) string { return m }
		watch(3 * time.Minute)
		b.wantAll(10 * time.Second)
		if rows := b.leases(); len(rows) != 1 || rows[0].Key != m {
			b.Errorf("after both reshards:\n%s", b.dump())
		}
		last := map[string]string{}
		for _, d := range b.sink.durable {
			key, n, _ := strings.Cut(d, "/")
			if n <= last[key] {
				b.Fatalf("record %s of %s was durable after %s", n, key, last[key])
			}
			last[key] = n
		}
	})
}

// TestL5RollingRestart: three workers are restarted one after the other under load. Nothing is lost, and each hand-over repeats at most one
// unflushed batch.
func TestL5RollingRestart(t *testing.T) {
	const shards, batch = 12, 5
	inBubble(t, shards, func(b *bench) {
		feed := func(d time.Duration) {
			for range int(d / time.Second) {
				for i := range shards {
					b.write(shardID(i), batch)
				}
				b.advance(time.Second)
			}
		}
		for _, id := range []string{"dredge-a", "dredge-b", "dredge-c"} {
			b.start(id)
		}
		feed(time.Minute)
		moves := b.moves()
		for i := range 3 {
			b.running[i].cancel(context.Canceled)
			feed(20 * time.Second)
			select {
			case <-b.running[i].done:
			default:
				b.Fatal("the worker did not stop")
			}
			b.start(fmt.Sprintf("dredge-new-%c", 'a'+i))
			feed(40 * time.Second)
		}
		b.wantAll(10 * time.Second)
		_, repeats := b.sink.got()
		b.Logf("%d records, %d repeated, over %v lease moves", len(b.written), repeats, b.moves()-moves)
		if most := int(b.moves()-moves) * batch; repeats > most {
			b.Errorf("%d records were delivered twice, want at most %d", repeats, most)
		}
		// A hand-over drains first: on a sink that answers, nothing at all is repeated.
		if repeats != 0 {
			b.Errorf("%d records were delivered twice although the sink had time to flush", repeats)
		}
	})
}
