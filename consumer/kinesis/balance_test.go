package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// spread is the least and the most leases that a worker owns; a worker without any counts.
func (b *bench) spread() (least, most int) {
	owned := b.owned()
	least = len(b.leases())
	for _, w := range b.running {
		n := owned[w.id]
		least, most = min(least, n), max(most, n)
	}
	if owned[""] > 0 {
		return 0, most
	}
	return least, most
}

// lazily keeps the readers of a big fleet from dominating the test.
func lazily(c *Config) { c.ReadsPerSecond, c.IdleWait = 0.1, time.Minute }

// A thousand leases are divided within three times the failover time: by 20 workers that start together at an empty table, and when
// the last of 20 joins the others.
func TestThousandLeasesConverge(t *testing.T) {
	const leases, workers = 1000, 20
	limit := 3 * DefaultConfig().FailoverTime
	// Fair is the whole number next to the mean.
	fair := func(b *bench) func() bool {
		return func() bool {
			least, most := b.spread()
			n := leases / len(b.running)
			return least >= n && most <= n+1
		}
	}
	t.Run("from an empty table", func(t *testing.T) {
		inBubble(t, leases, func(b *bench) {
			b.kinesis.pageSize = leases
			for i := range workers {
				b.start(fmt.Sprintf("dredge-%02d", i), lazily)
			}
			took := b.await("50 leases each", limit, fair(b))
			b.Logf("20 workers divide 1,000 leases of an empty table in %s", took)
		})
	})
	t.Run("the 20th joins", func(t *testing.T) {
		inBubble(t, leases, func(b *bench) {
			b.kinesis.pageSize = leases
			for i := range workers - 1 {
				b.start(fmt.Sprintf("dredge-%02d", i), lazily)
			}
			b.await("52 or 53 leases each", 2*limit, fair(b))
			b.advance(10 * time.Second)
			b.start("dredge-19", lazily)
			took := b.await("50 leases each", limit, fair(b))
			b.Logf("the 20th worker has its 50 leases after %s", took)
		})
	})
}

// TestL1OneOwnerPerShard is also the test of rest: 3 workers, 12 shards, 4 each; for 10 minutes no lease moves, whether the shards are idle or
// their traffic comes in bursts.
func TestL1OneOwnerPerShard(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "bursts": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 12, func(b *bench) {
				ids := []string{"dredge-a", "dredge-b", "dredge-c"}
				for _, id := range ids {
					b.start(id)
				}
				burst := strings.Repeat("x", 64<<10)
				feed := func(second int) {
					for i := 0; busy && i < 12; i++ {
						if (second+i)%15 == 0 { // 60 to 100 kB every 15 seconds, each shard at its own time
							b.kinesis.put(shardID(i), burst[:60<<10], burst[:(second*7919+i*104729)%(40<<10)])
						}
					}
				}
				b.await("4 leases each", time.Minute, func() bool { least, most := b.spread(); return least == 4 && most == 4 })
				for s := range 120 { // the throughput gets known
					feed(s)
					b.advance(time.Second)
				}
				if least, most := b.spread(); least != 4 || most != 4 {
					b.Fatalf("from %d to %d leases per worker once the traffic is known\n%s", least, most, b.dump())
				}
				moves := b.moves()
				for s := range 600 {
					feed(s)
					b.advance(time.Second)
				}
				if n := b.moves() - moves; n != 0 {
					b.Errorf("%v leases moved in 10 minutes at rest", n)
				}
				rows := b.leases()
				if len(rows) != 12 {
					b.Errorf("%d rows, want 12", len(rows))
				}
				for _, l := range rows {
					if !slices.Contains(ids, l.Owner) || l.InHandOff() {
						b.Errorf("%s is owned by %q -> %q", l.Key, l.CheckpointOwner, l.Owner)
					}
				}
			})
		})
	}
}

func (b *bench) moves() float64 {
	n := 0.0
	for _, w := range b.running {
		n += w.metric("lease_moves_total")
	}
	return n
}

// TestL7BalanceByThroughput: one shard carries ten times the traffic of each other. After 5 minutes the busiest worker reads at most 1.3 times
// the mean; by number of leases it would be 1.55.
func TestL7BalanceByThroughput(t *testing.T) {
	const shards, workers = 24, 3
	inBubble(t, shards, func(b *bench) {
		for i := range workers {
			b.start(fmt.Sprintf("dredge-%c", 'a'+i))
		}
		record := strings.Repeat("x", 20<<10)
		read := map[string]float64{}
		second := func() {
			for i := range shards {
				n := 1
				if i == 0 {
					n = 10
				}
				for range n {
					b.kinesis.put(shardID(i), record)
				}
			}
			b.advance(time.Second)
		}
		for range 300 {
			second()
		}
		for _, w := range b.running {
			read[w.id] = -w.metric("read_bytes_total")
		}
		for range 60 {
			second()
		}
		busiest, sum := 0.0, 0.0
		for _, w := range b.running {
			read[w.id] += w.metric("read_bytes_total")
			busiest, sum = max(busiest, read[w.id]), sum+read[w.id]
		}
		mean := sum / workers
		b.Logf("after 5 minutes the busiest worker reads %.2f times the mean; leases %v", busiest/mean, b.owned())
		if sum < 60*(shards+9)*20<<10*0.9 {
			b.Errorf("only %.0f bytes were read in a minute", sum)
		}
		if busiest > 1.3*mean {
			b.Errorf("the busiest worker reads %.2f times the mean, want at most 1.3:\n%s", busiest/mean, b.dump())
		}
		moves := b.moves()
		for range 120 {
			second()
		}
		if n := b.moves() - moves; n != 0 {
			b.Errorf("%v leases moved in two minutes after that", n)
		}
	})
}
