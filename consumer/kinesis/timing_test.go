package kinesis

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dredge/internal/awsfake"
)

// The times that an operator waits, over the SDK and a fake AWS that takes 3 seconds to make a table.

func TestStartTimes(t *testing.T) {
	overSDK(t, 4, func(b *bench, server *awsfake.Server) {
		b.putKeys(server, 2)
		w := b.start("dredge-a")
		empty := b.await("first record from an empty table", 10*time.Second, func() bool { return len(b.sink.durable) > 0 })
		b.wantAll(10 * time.Second)
		w.stop()
		n := len(b.sink.durable)
		b.putKeys(server, 2)
		b.start("dredge-b")
		existing := b.await("first record with an existing table", 5*time.Second, func() bool { return len(b.sink.durable) > n })
		b.Logf("first record after %s with an empty table, %s with an existing one", empty, existing)
		b.wantAll(10 * time.Second)
		if _, repeats := b.sink.got(); repeats != 0 {
			b.Errorf("%d records were delivered twice", repeats)
		}
	})
}

// A child is read within 2 seconds of its parents' end, whoever has room.
func TestChildrenStartAtOnce(t *testing.T) {
	inBubble(t, 6, func(b *bench) {
		ids := []string{"dredge-a", "dredge-b", "dredge-c"}
		for _, id := range ids {
			b.start(id)
		}
		b.await("2 leases each", time.Minute, func() bool { least, most := b.spread(); return least == 2 && most == 2 })
		b.advance(10 * time.Second)
		want := func(children []string, parents ...string) {
			b.Helper()
			for _, c := range children {
				b.write(c, 3)
			}
			b.await("parents end", 10*time.Second, func() bool {
				return !slices.ContainsFunc(parents, func(p string) bool { return !b.lease(p).Checkpoint.IsShardEnd() })
			})
			took := b.await("children are read", 10*time.Second, func() bool {
				return !slices.ContainsFunc(children, func(c string) bool { return len(b.sink.of(c)) < 3 })
			})
			b.Logf("children of %v were read %s after their parents' end", parents, took)
			if took >= 2*time.Second {
				b.Errorf("children of %v were read %s after their parents' end was committed, want less than 2s", parents, took)
			}
		}
		x, y := b.kinesis.split(shardID(0))
		want([]string{x, y}, shardID(0))
		// The parents of this merge are with two workers, if the balance allows.
		p, q := shardID(1), shardID(2)
		for i := 2; i < 6; i++ {
			if b.lease(shardID(i)).Owner != b.lease(p).Owner {
				q = shardID(i)
				break
			}
		}
		if b.lease(p).Owner == b.lease(q).Owner {
			b.Fatal("both parents are with one worker: the test tests nothing")
		}
		want([]string{b.kinesis.merge(p, q)}, p, q)
	})
}

// What a worker that stops leaves, the others read within 5 seconds; what one that crashes leaves, within twice the failover time.
func TestHandOverTimes(t *testing.T) {
	for name, crash := range map[string]bool{"graceful": false, "crash": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 6, func(b *bench) {
				limit := 5 * time.Second
				if crash {
					limit = 2 * b.cfg.FailoverTime
				}
				worst := time.Duration(0)
				b.start("dredge-a")
				b.start("dredge-b")
				for round := range 10 {
					b.await("3 leases each", time.Minute, func() bool {
						n := b.owned()
						return n[b.running[round].id] == 3 && n[b.running[round+1].id] == 3
					})
					b.advance(time.Duration(1000+round*770) * time.Millisecond) // anywhere between two looks at the table
					leaving := b.running[round]
					if crash {
						leaving.kill()
					} else {
						leaving.stop()
					}
					before := map[string]int{}
					for i := range 6 {
						before[shardID(i)] = len(b.sink.of(shardID(i)))
						b.write(shardID(i), 1)
					}
					worst = max(worst, b.await("all shards go on", limit, func() bool {
						for s, n := range before {
							if len(b.sink.of(s)) == n {
								return false
							}
						}
						return true
					}))
					b.start(fmt.Sprintf("dredge-%d", round))
				}
				b.Logf("%s: the last shard went on at most %s after", name, worst)
				if worst >= limit {
					b.Errorf("the last shard went on %s after, want less than %s", worst, limit)
				}
				b.wantAll(limit)
			})
		})
	}
}
