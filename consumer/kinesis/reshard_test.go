package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
)

// wantOrder wants every record of parent to be durable before any of child.
func (b *bench) wantOrder(parent, child string) {
	b.Helper()
	b.sink.mu.Lock()
	defer b.sink.mu.Unlock()
	last := -1
	for i, d := range b.sink.durable {
		if strings.HasPrefix(d, parent+"/") {
			last = i
		}
	}
	first := slices.IndexFunc(b.sink.durable, func(d string) bool { return strings.HasPrefix(d, child+"/") })
	if first >= 0 && first < last {
		b.Errorf("a record of %s was durable before the last of its parent %s", child, parent)
	}
}

func TestSplit(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		w := b.start("dredge-a")
		b.write(shardID(0), 30)
		b.wantAll(5 * time.Second)
		x, y := b.kinesis.split(shardID(0))
		b.write(x, 10)
		b.write(y, 10)
		took := b.await("children are read", 10*time.Second, func() bool { return len(b.sink.of(x)) == 10 && len(b.sink.of(y)) == 10 })
		if took > 3*time.Second {
			t.Errorf("children were read %s after the split", took)
		}
		b.wantOrder(shardID(0), x)
		b.wantOrder(shardID(0), y)
		parent := b.lease(shardID(0))
		if !parent.Checkpoint.IsShardEnd() || parent.Owner != "" || !slices.Equal(parent.Children, []string{x, y}) {
			t.Errorf("parent's row = %+v", parent)
		}
		child := b.lease(x)
		if !slices.Equal(child.Parents, []string{shardID(0)}) || child.HashRange == nil || child.HashRange.Start != "0" {
			t.Errorf("child's row = %+v", child)
		}
		if n := w.metric("shard_ends_total"); n != 1 {
			t.Errorf("%v shard ends", n)
		}
		b.await("parent's lease is cleaned up", 3*b.cfg.ShardSyncInterval, func() bool { return len(b.leases()) == 2 })
		b.advance(10 * b.cfg.ShardSyncInterval)
		if n := len(b.leases()); n != 2 {
			t.Errorf("%d leases after ten syncs, want 2: a finished shard must not come back\n%s", n, b.dump())
		}
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
	})
}

// The parents of a merge are with two workers, and one of them is held up: the child waits for both.
func TestMergeWaitsForBothParents(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.start("dredge-a")
		b.start("dredge-b")
		b.await("one each", time.Minute, func() bool { n := b.owned(); return n["dredge-a"] == 1 && n["dredge-b"] == 1 })
		b.write(shardID(0), 10)
		b.write(shardID(1), 10)
		b.wantAll(5 * time.Second)

		throttled := true
		b.kinesis.mu.Lock()
		b.kinesis.fail = func(op, shard string) error {
			if throttled && op == "GetRecords" && shard == shardID(1) {
				return errCut
			}
			return nil
		}
		b.kinesis.mu.Unlock()
		b.write(shardID(1), 10)
		m := b.kinesis.merge(shardID(0), shardID(1))
		b.write(m, 10)
		b.await("first parent's end", 10*time.Second, func() bool { return b.lease(shardID(0)).Checkpoint.IsShardEnd() })
		b.advance(2 * time.Minute)
		if got := b.sink.of(m); len(got) != 0 {
			t.Fatalf("%d records of the merged shard were read before its second parent's end", len(got))
		}
		if owner := b.lease(m).Owner; owner == "" {
			t.Error("nobody holds the waiting child")
		}
		b.kinesis.mu.Lock()
		throttled = false
		b.kinesis.mu.Unlock()
		b.wantAll(15 * time.Second)
		b.wantOrder(shardID(0), m)
		b.wantOrder(shardID(1), m)
	})
}

// Splits and merges under way while workers come, crash and go: nothing is lost.
func TestReshardsWithCrashes(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		open := []string{shardID(0), shardID(1)}
		feed := func() {
			for _, s := range open {
				b.write(s, 7)
			}
		}
		workers := []*runningWorker{b.start("dredge-0"), b.start("dredge-1")}
		for round := range 6 {
			feed()
			b.advance(3 * time.Second)
			if round%3 == 2 {
				m := b.kinesis.merge(open[0], open[1])
				open = append(open[2:], m)
			} else {
				x, y := b.kinesis.split(open[0])
				open = append([]string{x, y}, open[1:]...)
			}
			feed()
			b.advance(time.Duration(round*37) * time.Millisecond)
			if round%2 == 0 {
				workers[round%2].kill()
			} else {
				workers[round%2].stop()
			}
			workers[round%2] = b.start(fmt.Sprintf("dredge-r%d", round))
		}
		b.wantAll(3 * time.Minute)
		for _, s := range b.kinesis.shards {
			for _, p := range s.parents {
				b.wantOrder(p, s.id)
			}
		}
	})
}

// A worker dies between making one child's lease and the other's; and the next one finishes the job.
func TestCrashInTheMiddleOfAShardEnd(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.write(shardID(0), 5)
		x, y := b.kinesis.split(shardID(0))
		b.write(x, 5)
		b.write(y, 5)
		for _, l := range []lease.Lease{
			{Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}},
			{Key: x, Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}, Parents: []string{shardID(0)}},
		} {
			if _, err := b.store.Create(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		b.start("dredge-a")
		b.wantAll(10 * time.Second)
		b.wantOrder(shardID(0), x)
	})
}

// The last read does not name the children, as after a wrong end: the list of shards does, or the shard is read on.
func TestNullIteratorAloneIsNoEnd(t *testing.T) {
	t.Run("children in the list", func(t *testing.T) {
		inBubble(t, 1, func(b *bench) {
			b.kinesis.hideChildren = true
			b.start("dredge-a")
			b.write(shardID(0), 5)
			x, y := b.kinesis.split(shardID(0))
			b.write(x, 5)
			b.write(y, 5)
			b.wantAll(10 * time.Second)
		})
	})
	t.Run("no children", func(t *testing.T) {
		inBubble(t, 1, func(b *bench) {
			w := b.start("dredge-a")
			b.write(shardID(0), 5)
			b.wantAll(5 * time.Second)
			s := b.kinesis.shard(shardID(0))
			b.kinesis.mu.Lock()
			b.kinesis.close(s)
			b.kinesis.mu.Unlock()
			b.advance(20 * time.Second)
			if l := b.lease(shardID(0)); l.Checkpoint.IsShardEnd() || l.Owner != w.id {
				t.Errorf("a null iterator without children made %s of %q", l.Checkpoint, l.Owner)
			}
			b.kinesis.mu.Lock()
			s.closed = time.Time{}
			b.kinesis.mu.Unlock()
			b.write(shardID(0), 5)
			b.wantAll(10 * time.Second)
			if w.metric("iterator_refreshes_total") == 0 {
				t.Error("the shard was not opened again")
			}
		})
	})
}

// A parent older than the stream's retention is finished without being read, and its children are.
func TestParentTrimmedAway(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		x, y := b.kinesis.split(shardID(0))
		if _, err := b.store.Create(t.Context(), lease.Lease{Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: "50"}}); err != nil {
			t.Fatal(err)
		}
		b.kinesis.shard(shardID(0)).forgot = true
		b.write(x, 5)
		b.write(y, 5)
		w := b.start("dredge-a")
		b.wantAll(20 * time.Second)
		if n := w.metric("trimmed_positions_total"); n != 1 {
			t.Errorf("%v trimmed positions counted, want 1", n)
		}
		b.await("its lease is deleted", 3*time.Minute, func() bool { return len(b.leases()) == 2 })
	})
}

func TestPositionOlderThanRetention(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.write(shardID(0), 10)
		s := b.kinesis.shard(shardID(0))
		if _, err := b.store.Create(t.Context(), lease.Lease{Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: *s.records[2].SequenceNumber}}); err != nil {
			t.Fatal(err)
		}
		s.keepFrom = 6
		b.written = b.written[6:]
		w := b.start("dredge-a")
		b.wantAll(10 * time.Second)
		if n := w.metric("trimmed_positions_total"); n != 1 {
			t.Errorf("%v trimmed positions counted, want 1", n)
		}
	})
}

// A shard that no lease covers is found, and read from its beginning.
func TestHoleIsFilled(t *testing.T) {
	inBubble(t, 3, func(b *bench) {
		b.cfg.InitialPosition = lease.Latest
		for i := range 3 {
			b.write(shardID(i), 5)
		}
		for _, i := range []int{0, 2} {
			s := b.kinesis.shard(shardID(i))
			l := (&source{}).newLease(newShardInfo(s.describe()), lease.TrimHorizon)
			if _, err := b.store.Create(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		w := b.start("dredge-a")
		b.advance(2 * time.Second)
		if n := w.metric("uncovered_shards"); n != 1 {
			t.Errorf("uncovered shards = %v, want 1", n)
		}
		b.wantAll(time.Minute)
		if n := w.metric("coverage_holes_filled_total"); n != 1 {
			t.Errorf("%v holes filled, want 1", n)
		}
	})
}

// Two workers with room for one shard each work their way through a family in which each merge waits for the other side.
func TestReshardWithRoomForOne(t *testing.T) {
	inBubble(t, 3, func(b *bench) {
		for i := range 3 {
			b.write(shardID(i), 5)
		}
		x, y := b.kinesis.split(shardID(1)) // x lies beside 0
		b.write(x, 5)
		b.write(y, 5)
		m := b.kinesis.merge(shardID(0), x)
		b.write(m, 5)
		n := b.kinesis.merge(m, y)
		b.write(n, 5)
		// 2 and n stay open: each needs one worker in the end.
		for _, id := range []string{"dredge-a", "dredge-b"} {
			b.start(id, func(c *Config) { c.MaxLeases = 1 })
		}
		b.wantAll(10 * time.Minute)
		for _, s := range b.kinesis.shards {
			for _, p := range s.parents {
				b.wantOrder(p, s.id)
			}
		}
	})
}

// The other parent of a merge lost its row: the child must not hide that.
func TestMergeWithAParentWithoutLease(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.write(shardID(0), 5)
		b.write(shardID(1), 5)
		m := b.kinesis.merge(shardID(0), shardID(1))
		b.write(m, 5)
		l := (&source{}).newLease(newShardInfo(b.kinesis.shard(shardID(0)).describe()), lease.TrimHorizon)
		if _, err := b.store.Create(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		b.start("dredge-a")
		b.wantAll(30 * time.Second)
		b.wantOrder(shardID(1), m)
	})
}
