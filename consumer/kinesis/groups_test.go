package kinesis

import (
	"errors"
	"slices"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/retry"
	"dredge/stream"
)

// What KCL's own tests of its renewer, its cleanup and its wait for parents check, as far as no other test here does.

// A worker that is started again under its configured id goes on with what it had, without waiting for the expiry; so long as something
// else renews under that id, it does not.
func TestRestartUnderTheSameID(t *testing.T) {
	inBubble(t, 3, func(b *bench) {
		a := b.start("dredge-a")
		b.await("all held", 10*time.Second, func() bool { return b.owned()[a.id] == 3 })
		b.advance(5 * time.Second)
		a.kill()
		for i := range 3 {
			b.write(shardID(i), 2)
		}
		again := b.start("dredge-a")
		took := b.await("own leases are read again", b.cfg.FailoverTime, func() bool { return again.Status().Owned == 3 })
		if took < b.cfg.FailoverTime/2 {
			b.Errorf("leases were taken after %s: another process with this id could still have been alive", took)
		}
		b.wantAll(5 * time.Second)
	})
}

// No renewal brings a lease back to life that has expired by our own clock, even if nobody else took it.
func TestExpiredLeaseStaysDead(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		a := b.start("dredge-a")
		b.await("held", 5*time.Second, func() bool { return a.Status().Owned == 1 })
		hang := make(chan struct{})
		a.store.hang.Store(&hang)
		b.advance(b.cfg.FailoverTime + b.cfg.renewInterval())
		counter := b.lease(shardID(0)).Counter
		a.store.hang.Store(nil)
		close(hang) // the renewal lands now
		b.await("it lands", time.Second, func() bool { return b.lease(shardID(0)).Counter > counter })
		b.advance(100 * time.Millisecond)
		for _, s := range a.Status().Shards {
			if s.Mine && s.State == StateReading && a.metric("lease_moves_total") == 1 {
				b.Error("the shard is read on under a lease that had expired")
			}
		}
	})
}

// What keeps a finished lease, and what deletes it.
func TestCleanupRules(t *testing.T) {
	type rows []lease.Lease
	at := func(key, checkpoint string, parents ...string) lease.Lease {
		return lease.Lease{Key: key, Checkpoint: lease.Checkpoint{Sequence: checkpoint}, Parents: parents}
	}
	end := lease.ShardEnd
	f := func(why string, want []string, table rows) {
		t.Helper()
		inBubble(t, 1, func(b *bench) {
			x, y := b.kinesis.split(shardID(0))
			m := b.kinesis.merge(x, y)
			if x != shardID(1) || y != shardID(2) || m != shardID(3) {
				b.Fatal("the family has other names")
			}
			for _, l := range table {
				l.Key = "shardId-00000000000" + l.Key
				for i, p := range l.Parents {
					l.Parents[i] = "shardId-00000000000" + p
				}
				if _, err := b.store.Create(b.Context(), l); err != nil {
					b.Fatal(err)
				}
			}
			w := b.start("dredge-a", func(c *Config) { c.MaxLeases = 1 })
			b.sink.mu.Lock()
			b.sink.openErr = func(string) error { return errors.New("nothing is read in this test") }
			b.sink.mu.Unlock()
			b.advance(90 * time.Second)
			var got []string
			for _, l := range b.leases() {
				got = append(got, l.Key[len(l.Key)-1:])
			}
			if !slices.Equal(got, want) {
				b.Errorf("%s: rows %q left, want %q", why, got, want)
			}
			w.kill()
		})
	}
	f("child at TRIM_HORIZON", []string{"0", "1", "2"}, rows{at("0", end), at("1", lease.TrimHorizon, "0"), at("2", "500", "0")})
	f("children started", []string{"1", "2"}, rows{at("0", end), at("1", "500", "0"), at("2", "501", "0")})
	f("a child is missing", []string{"0", "1", "2"}, rows{at("0", end), at("1", "500", "0")}) // and is made
	f("parent's row is there", []string{"0", "1", "2", "3"}, rows{at("0", end), at("1", end, "0"), at("2", lease.TrimHorizon, "0"), at("3", lease.TrimHorizon, "1", "2")})
	f("merge started", []string{"3"}, rows{at("1", end, "0"), at("2", end, "0"), at("3", "600", "1", "2")})
	f("merge not started", []string{"1", "2", "3"}, rows{at("1", end, "0"), at("2", end, "0"), at("3", lease.TrimHorizon, "1", "2")})
}

// A child waits for each of its parents, in every state that they can be in.
func TestWaitForParents(t *testing.T) {
	for name, c := range map[string]struct {
		parents map[string]string // row of each parent that has one: its checkpoint
		starts  bool
	}{
		"no rows":                      {nil, true},
		"one ended, one without a row": {map[string]string{"p": lease.ShardEnd}, true},
		"both ended":                   {map[string]string{"p": lease.ShardEnd, "q": lease.ShardEnd}, true},
		"one at its horizon":           {map[string]string{"p": lease.ShardEnd, "q": lease.TrimHorizon}, false},
		"one under way":                {map[string]string{"p": "77", "q": lease.ShardEnd}, false},
		"both under way":               {map[string]string{"p": "77", "q": "78"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(b *bench) {
				for p, at := range c.parents {
					l := lease.Lease{Key: p, Checkpoint: lease.Checkpoint{Sequence: at}}
					if _, err := b.store.Create(b.Context(), l); err != nil {
						b.Fatal(err)
					}
					if at != lease.ShardEnd { // somebody else reads it
						owned, err := b.store.Take(b.Context(), l, "java-b")
						if err != nil {
							b.Fatal(err)
						}
						go func() {
							for retry.Sleep(b.Context(), time.Second) == nil {
								if owned, err = b.store.Renew(b.Context(), owned, lease.Renewal{}); err != nil {
									return
								}
							}
						}()
					}
				}
				if _, err := b.store.Create(b.Context(), lease.Lease{
					Key: shardID(0), Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}, Parents: []string{"p", "q"},
				}); err != nil {
					b.Fatal(err)
				}
				b.write(shardID(0), 3)
				w := b.start("dredge-a")
				b.advance(20 * time.Second)
				if got := len(b.sink.of(shardID(0))); (got == 3) != c.starts {
					b.Errorf("%d records of the child were read, want it to start: %t", got, c.starts)
				}
				if l := b.lease(shardID(0)); l.Owner != w.id || l.Counter < 5 {
					b.Errorf("the child's lease is not held and renewed: %+v", l)
				}
			})
		})
	}
}

// A position of another shard from the sink is refused, loudly, instead of being written into the row.
func TestSinkPositionOfAnotherShard(t *testing.T) {
	inBubble(t, 1, func(b *bench) {
		b.sink.positions[shardID(0)] = stream.Position("49680448671279063202069164182185263621581486078570790930") // of shard 1
		w := b.start("dredge-a")
		b.await("refused", 5*time.Second, func() bool { return w.metric("shard_stops_total") == 1 })
		if l := b.lease(shardID(0)); l.Checkpoint.IsSequence() {
			b.Errorf("checkpoint %s", l.Checkpoint)
		}
	})
}
