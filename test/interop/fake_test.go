//go:build interop

package interop

import (
	"context"
	"crypto/md5" //nolint:gosec // Kinesis's hash
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dredge/consumer/kinesis/kpl"
	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/stream"
)

const streamName = "flows"

// limit is how long anything may take. Java takes up to a minute and a half for its first start; the rest is for a busy machine.
const limit = 5 * time.Minute

// aggregated is how many user records the producer puts into one aggregate.
const aggregated = 5

// worker is a worker of either kind.
type worker interface {
	// deliveries are the records that it was given, in order.
	deliveries(t *testing.T) []delivery
}

// TestFakeServesJavaKCL lets Amazon's Java KCL live through start, a second worker, kill, split, merge and stop on our fake.
// Every record that was put is delivered, in order within each shard, and no child is read before its parents' end.
func TestFakeServesJavaKCL(t *testing.T) {
	for _, reader := range []string{"polling", "fan-out"} {
		t.Run(reader, func(t *testing.T) { fakeServesJavaKCL(t, reader) })
	}
}

func fakeServesJavaKCL(t *testing.T, reader string) {
	srv := awsfake.New(awsfake.Config{Limits: awsfake.AllLimits()})
	if err := srv.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	k := srv.Kinesis()
	if err := k.CreateStream(streamName, 4); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, k, false)

	a := startJava(t, "java-a", srv.URL(), streamName, "compat", "--reader", reader)
	await(t, "the first worker to read all four shards", limit, func() bool { return len(shardsRead(t, a)) >= 4 })
	b := startJava(t, "java-b", srv.URL(), streamName, "compat", "--reader", reader)
	await(t, "the second worker to get a shard", limit, func() bool { return len(shardsRead(t, b)) >= 1 })

	t.Log("kill -9 of the first worker")
	a.signal(syscall.SIGKILL)
	a.wait(t, 10*time.Second)
	await(t, "the second worker to take every shard", limit, func() bool { return len(shardsRead(t, b)) >= 4 })

	t.Log("split and merge")
	open := openShards(k)
	if err := k.Split(streamName, open[0]); err != nil {
		t.Fatal(err)
	}
	if err := k.Merge(streamName, open[1], open[2]); err != nil {
		t.Fatal(err)
	}
	await(t, "the children to be read", limit, func() bool { return len(shardsRead(t, b)) >= 7 })

	total := p.stop()
	await(t, fmt.Sprintf("all %d records", total), limit, func() bool { return len(distinct(t, a, b)) >= total })
	b.signal(syscall.SIGTERM)
	b.wait(t, 40*time.Second)

	seen := distinct(t, a, b)
	lost := 0
	for id := range total {
		if !seen[fmt.Sprint("r", id)] {
			lost++
		}
	}
	da := a.deliveries(t)
	db, events := b.delivered(t)
	duplicates := len(da) + len(db) - len(seen)
	t.Logf("records %d, lost %d, duplicates %d, requests %v", total, lost, duplicates, srv.Counts())
	if n := srv.Count("GetRecords"); reader == "fan-out" && (n > 0 || srv.Count("SubscribeToShard") == 0) {
		t.Errorf("%d GetRecords, %d SubscribeToShard: the workers did not read by fan-out", n, srv.Count("SubscribeToShard"))
	}
	if lost > 0 {
		t.Errorf("%d of %d records were never delivered", lost, total)
	}
	if !slices.Contains(events, "stopped") {
		t.Errorf("the second worker did not stop cleanly: %v", events)
	}
	checkOrder(t, a)
	checkOrder(t, b)
	checkParentsFirst(t, k, db)
	for _, shard := range open[:3] {
		if !slices.Contains(events, "shard-ended "+shard) {
			t.Errorf("%s was closed by the reshard but never ended for the worker", shard)
		}
	}
}

// producer puts numbered records until it is stopped.
type producer struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	n      atomic.Int64
}

// startProducer puts a record every 20 ms. With aggregate, nine of ten are aggregates; all records of one have the same hash key, so that
// it is whole after every reshard.
func startProducer(t *testing.T, k *awsfake.Kinesis, aggregate bool) *producer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &producer{cancel: cancel}
	p.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for round := 0; ; round++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			size := 1
			if aggregate && round%10 != 0 {
				size = aggregated
			}
			first := p.n.Load()
			hash := md5.Sum(fmt.Append(nil, first)) //nolint:gosec // Kinesis's hash
			hashKey := new(big.Int).SetBytes(hash[:]).String()
			records := make([]kpl.UserRecord, size)
			for i := range records {
				records[i] = kpl.UserRecord{PartitionKey: []byte("k"), ExplicitHashKey: []byte(hashKey), Data: fmt.Append(nil, "r", first+int64(i))}
			}
			data := records[0].Data
			if size > 1 {
				data = kpl.Append(nil, records...)
			}
			if _, _, err := k.PutExplicit(streamName, "a", hashKey, data); err != nil {
				t.Errorf("put: %v", err)
				return
			}
			p.n.Add(int64(size))
		}
	})
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *producer) count() int { return int(p.n.Load()) }

func (p *producer) stop() int {
	p.cancel()
	p.wg.Wait()
	return p.count()
}

// deliveredUpTo says whether the first n records were delivered.
func (p *producer) deliveredUpTo(t *testing.T, n int, workers ...worker) bool {
	t.Helper()
	seen := distinct(t, workers...)
	for id := range n {
		if !seen[fmt.Sprint("r", id)] {
			return false
		}
	}
	return true
}

func await(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("waited %s for %s", limit, what)
		}
		<-tick.C
	}
	t.Logf("%.1fs for %s", time.Since(start).Seconds(), what)
}

func shardsRead(t *testing.T, w worker) map[string]bool {
	t.Helper()
	shards := map[string]bool{}
	for _, d := range w.deliveries(t) {
		shards[d.shard] = true
	}
	return shards
}

func union(a, b map[string]bool) map[string]bool {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func distinct(t *testing.T, workers ...worker) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	for _, w := range workers {
		for _, d := range w.deliveries(t) {
			seen[d.data] = true
		}
	}
	return seen
}

func openShards(k *awsfake.Kinesis) []string {
	var open []string
	for _, s := range k.Shards(streamName) {
		if s.Closed.IsZero() {
			open = append(open, s.ID)
		}
	}
	return open
}

// adjacent says whether y's part of the key space follows x's.
func adjacent(x, y awsfake.Shard) bool {
	end, ok1 := new(big.Int).SetString(x.EndingHashKey, 10)
	start, ok2 := new(big.Int).SetString(y.StartingHashKey, 10)
	return ok1 && ok2 && start.Sub(start, end).Cmp(big.NewInt(1)) == 0
}

// checkOrder checks that a worker got each shard's records in the order of their positions. The same worker may read a shard again from
// its last checkpoint when it lost and regained the lease; then the run starts anew.
func checkOrder(t *testing.T, w worker) {
	t.Helper()
	last := map[string]lease.Checkpoint{}
	seen := map[string]bool{}
	for _, d := range w.deliveries(t) {
		at, err := lease.ParsePosition(stream.Position(d.sequence + ":" + d.sub))
		if err != nil {
			t.Fatalf("%+v: %v", d, err)
		}
		if before, ok := last[d.shard]; ok && at.Compare(before) <= 0 && !seen[d.data] {
			t.Errorf("%s out of order: %s after %s", d.shard, at, before)
		}
		last[d.shard] = at
		seen[d.data] = true
	}
}

// checkParentsFirst checks that the first record of a child came after the last first-time record of its parents.
func checkParentsFirst(t *testing.T, k *awsfake.Kinesis, records []delivery) {
	t.Helper()
	first, last := map[string]int{}, map[string]int{}
	for i, d := range records {
		if _, ok := first[d.shard]; !ok {
			first[d.shard] = i
		}
		last[d.shard] = i
	}
	for _, s := range k.Shards(streamName) {
		for _, parent := range s.Parents {
			start, read := first[s.ID]
			if end, ok := last[parent]; ok && read && start < end {
				t.Errorf("child %s was read before its parent %s ended", s.ID, parent)
			}
		}
	}
}
