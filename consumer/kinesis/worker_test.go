package kinesis

import (
	"slices"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
)

func TestReadsEverythingAndReleases(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.write(shardID(0), 25)
		b.write(shardID(1), 5)
		w := b.start("dredge-a")
		b.wantAll(5 * time.Second)
		b.write(shardID(0), 5)
		b.wantAll(3 * time.Second)
		if took := w.stop(); took > time.Second {
			t.Errorf("drain of an idle sink took %s", took)
		}
		if w.err != nil {
			t.Errorf("Run = %v", w.err)
		}
		for _, l := range b.leases() {
			last := b.kinesis.shard(l.Key).records
			if want := *last[len(last)-1].SequenceNumber; l.Owner != "" || l.Checkpoint.Sequence != want {
				t.Errorf("%s: owner %q checkpoint %s, want none and %s", l.Key, l.Owner, l.Checkpoint, want)
			}
		}
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
		// The next worker goes on where the last one stopped.
		b.write(shardID(1), 3)
		b.start("dredge-b")
		b.wantAll(5 * time.Second)
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice after a restart", repeats)
		}
	})
}

func TestThreeWorkersShareTwelveShards(t *testing.T) {
	for name, ids := range map[string][]string{
		"hand-off": {"dredge-a", "dredge-b", "dredge-c"},
		"theft":    {"dredge-a", "java-b", "java-c"}, // one id without the prefix, and leases can only be stolen
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 12, func(b *bench) {
				for i := range 12 {
					b.write(shardID(i), 10)
				}
				for _, id := range ids {
					b.start(id)
				}
				fair := func() bool {
					n := b.owned()
					return n[ids[0]] == 4 && n[ids[1]] == 4 && n[ids[2]] == 4
				}
				b.await("4 leases each", 2*time.Minute, fair)
				b.advance(time.Minute)
				if !fair() {
					t.Errorf("the balance did not last:\n%s", b.dump())
				}
				moves := 0.0
				for _, w := range b.running {
					moves += w.metric("lease_moves_total")
				}
				b.advance(time.Minute)
				for _, w := range b.running {
					moves -= w.metric("lease_moves_total")
				}
				if moves != 0 {
					t.Errorf("%v leases moved although all had their share", -moves)
				}
				b.wantAll(time.Second)
				if b.sink.maxOpen > 1 && name == "hand-off" {
					t.Error("a hand-off had two workers on one shard at once")
				}
				if _, repeats := b.sink.got(); repeats > 0 && name == "hand-off" {
					t.Errorf("hand-offs delivered %d records twice", repeats)
				}
			})
		})
	}
}

func TestFailOver(t *testing.T) {
	inBubble(t, 6, func(b *bench) {
		a := b.start("dredge-a")
		b.start("dredge-b")
		b.await("3 leases each", time.Minute, func() bool { n := b.owned(); return n["dredge-a"] == 3 && n["dredge-b"] == 3 })
		for i := range 6 {
			b.write(shardID(i), 10)
		}
		b.wantAll(5 * time.Second)
		a.kill()
		for i := range 6 {
			b.write(shardID(i), 10)
		}
		took := b.await("take-over", 2*b.cfg.FailoverTime, func() bool { return b.owned()["dredge-b"] == 6 })
		if took < b.cfg.FailoverTime-b.cfg.renewInterval() {
			t.Errorf("leases of a crashed worker were taken after %s, before they can have expired", took)
		}
		b.wantAll(5 * time.Second)
	})
}

// A worker that stops right after it asked for leases does not keep them from others until they expire.
func TestStopWhileLeasesAreOnTheirWay(t *testing.T) {
	inBubble(t, 4, func(b *bench) {
		b.start("dredge-a")
		b.await("all taken", 5*time.Second, func() bool { return b.owned()["dredge-a"] == 4 })
		late := b.start("dredge-b")
		b.await("leases asked for", 10*time.Second, func() bool {
			return slices.ContainsFunc(b.leases(), func(l lease.Lease) bool { return l.InHandOff() })
		})
		late.stop()
		b.await("back with the first", b.cfg.FailoverTime-time.Second, func() bool { return b.owned()["dredge-a"] == 4 })
	})
}

func TestDrainMovesLeasesWithinSeconds(t *testing.T) {
	inBubble(t, 4, func(b *bench) {
		a := b.start("dredge-a")
		b.start("dredge-b")
		b.await("2 leases each", time.Minute, func() bool { return b.owned()["dredge-b"] == 2 })
		a.stop()
		b.await("take-over", 6*time.Second, func() bool { return b.owned()["dredge-b"] == 4 })
	})
}

// A sink that never answers: the drain gives up at its deadline and releases the leases all the same.
func TestDrainGivesUpAtItsDeadline(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.write(shardID(0), 10)
		w := b.start("dredge-a")
		b.wantAll(5 * time.Second)
		b.advance(b.cfg.FailoverTime)
		want := b.lease(shardID(0))
		b.sink.refuse(true)
		b.write(shardID(0), 10)
		b.await("rows in flight", 5*time.Second, func() bool { return b.sink.chunks() > 1 })
		if took := w.stop(); took != b.cfg.ShutdownTimeout {
			t.Errorf("drain took %s, want exactly %s", took, b.cfg.ShutdownTimeout)
		}
		for _, l := range b.leases() {
			if l.Owner != "" {
				t.Errorf("%s still belongs to %q", l.Key, l.Owner)
			}
		}
		if got := b.lease(shardID(0)).Checkpoint; got != want.Checkpoint {
			t.Errorf("checkpoint %s, want %s: the rest was never durable", got, want.Checkpoint)
		}
		b.sink.refuse(false)
		b.start("dredge-b")
		b.wantAll(5 * time.Second)
	})
}

// TestL6SinkRefusesForAMinute: while the sink refuses, the checkpoint stands still and the lease is kept; when it takes the rows, the
// checkpoint moves and nothing was lost or read twice.
func TestL6SinkRefusesForAMinute(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		w := b.start("dredge-a")
		b.write(shardID(0), 10)
		b.wantAll(5 * time.Second)
		b.await("first checkpoint", 5*time.Second, func() bool { return b.lease(shardID(0)).Checkpoint.IsSequence() })
		frozen := b.lease(shardID(0))

		b.sink.refuse(true)
		for range 60 {
			b.write(shardID(0), 10)
			b.advance(time.Second)
			if now := b.lease(shardID(0)); now.Checkpoint != frozen.Checkpoint || now.Owner != w.id {
				t.Fatalf("while the sink refuses: checkpoint %s of %q, want %s of %q", now.Checkpoint, now.Owner, frozen.Checkpoint, w.id)
			}
		}
		if now := b.lease(shardID(0)); now.Counter < frozen.Counter+17 { // 60 s / 3.3 s
			t.Errorf("%d renewals in 60 s", now.Counter-frozen.Counter)
		}
		if n := b.sink.chunks(); n < 30 {
			t.Errorf("%d chunks were handed over in 60 s: reading should go on while the window has room", n)
		}

		b.sink.refuse(false)
		b.wantAll(2 * time.Second)
		last := b.kinesis.shard(shardID(0)).records
		want := *last[len(last)-1].SequenceNumber
		b.await("checkpoint moves", 5*time.Second, func() bool { return b.lease(shardID(0)).Checkpoint.Sequence == want })
		if _, repeats := b.sink.got(); repeats != 0 {
			t.Errorf("%d records were delivered twice", repeats)
		}
		if n := w.metric("rewinds_total"); n != 0 {
			t.Errorf("%v rewinds", n)
		}
	})
}

func TestRenewalGoesOnWhileAHandlerBlocks(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		b.sink.blockHandle = make(chan struct{})
		b.write(shardID(0), 10)
		b.write(shardID(1), 10)
		a := b.start("dredge-a")
		b.await("both shards read", 5*time.Second, func() bool { return a.Status().Owned == 2 && b.kinesis.count("GetRecords") >= 4 })
		other := b.start("java-b", func(c *Config) { c.MaxLeases = 1 })
		b.await("balance", time.Minute, func() bool { return b.owned()["java-b"] == 1 })
		held := slices.IndexFunc(b.leases(), func(l lease.Lease) bool { return l.Owner == "dredge-a" })
		key := b.leases()[held].Key
		before := b.lease(key)
		b.advance(7 * time.Minute) // longer than an iterator lives
		after := b.lease(key)
		if after.Owner != "dredge-a" || after.Counter < before.Counter+120 {
			t.Errorf("after 7 minutes: owner %q, %d renewals", after.Owner, after.Counter-before.Counter)
		}
		if got := a.metric("lease_moves_total"); got != 3 { // two taken, one lost
			t.Errorf("%v lease moves, want 3", got)
		}
		close(b.sink.blockHandle)
		b.sink.mu.Lock()
		b.sink.blockHandle = nil
		b.sink.mu.Unlock()
		b.write(key, 5)
		b.wantAll(20 * time.Second)
		if n := a.metric("iterator_refreshes_total") + other.metric("iterator_refreshes_total"); n < 1 {
			t.Error("no iterator was refreshed although they had expired")
		}
	})
}
