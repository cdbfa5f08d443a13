//go:build interop

package interop

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"dredge/internal/awsfake"
)

const stream = "flows"

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
	if err := k.CreateStream(stream, 4); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, k)

	a := startJava(t, "java-a", srv.URL(), stream, "compat", "--reader", reader)
	await(t, "the first worker to read all four shards", 3*time.Minute, func() bool { return shardsRead(t, a) >= 4 })
	b := startJava(t, "java-b", srv.URL(), stream, "compat", "--reader", reader)
	await(t, "the second worker to get a shard", 2*time.Minute, func() bool { return shardsRead(t, b) >= 1 })

	t.Log("kill -9 of the first worker")
	a.signal(syscall.SIGKILL)
	a.wait(t, 10*time.Second)
	await(t, "the second worker to take every shard", 2*time.Minute, func() bool { return shardsRead(t, b) >= 4 })

	t.Log("split and merge")
	open := openShards(k)
	if err := k.Split(stream, open[0]); err != nil {
		t.Fatal(err)
	}
	if err := k.Merge(stream, open[1], open[2]); err != nil {
		t.Fatal(err)
	}
	await(t, "the children to be read", 2*time.Minute, func() bool { return shardsRead(t, b) >= 7 })

	total := p.stop()
	await(t, fmt.Sprintf("all %d records", total), time.Minute, func() bool { return len(distinct(t, a, b)) >= total })
	b.signal(syscall.SIGTERM)
	b.wait(t, 40*time.Second)

	seen := distinct(t, a, b)
	lost := 0
	for id := range total {
		if !seen[fmt.Sprint("r", id)] {
			lost++
		}
	}
	da, _ := a.delivered(t)
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
	n      int
}

func startProducer(t *testing.T, k *awsfake.Kinesis) *producer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &producer{cancel: cancel}
	p.wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			id := fmt.Sprint("r", p.n)
			if _, _, err := k.Put(stream, id, []byte(id)); err != nil {
				t.Errorf("put: %v", err)
				return
			}
			p.n++
		}
	})
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *producer) stop() int {
	p.cancel()
	p.wg.Wait()
	return p.n
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

func shardsRead(t *testing.T, w *javaWorker) int {
	t.Helper()
	shards := map[string]bool{}
	records, _ := w.delivered(t)
	for _, d := range records {
		shards[d.shard] = true
	}
	return len(shards)
}

func distinct(t *testing.T, workers ...*javaWorker) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	for _, w := range workers {
		records, _ := w.delivered(t)
		for _, d := range records {
			seen[d.data] = true
		}
	}
	return seen
}

func openShards(k *awsfake.Kinesis) []string {
	var open []string
	for _, s := range k.Shards(stream) {
		if s.Closed.IsZero() {
			open = append(open, s.ID)
		}
	}
	return open
}

// checkOrder checks that a worker got each shard's records in the order of their sequence numbers. The same worker may read
// a shard again from its last checkpoint when it lost and regained the lease; then the run starts anew.
func checkOrder(t *testing.T, w *javaWorker) {
	t.Helper()
	records, _ := w.delivered(t)
	last := map[string]*big.Int{}
	seen := map[string]bool{}
	for _, d := range records {
		n, ok := new(big.Int).SetString(d.sequence, 10)
		if !ok {
			t.Fatalf("%s: %q is no sequence number", w.name, d.sequence)
		}
		if before := last[d.shard]; before != nil && n.Cmp(before) <= 0 && !seen[d.data] {
			t.Errorf("%s: %s out of order: %s after %s", w.name, d.shard, n, before)
		}
		last[d.shard] = n
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
	for _, s := range k.Shards(stream) {
		for _, parent := range s.Parents {
			start, read := first[s.ID]
			if end, ok := last[parent]; ok && read && start < end {
				t.Errorf("child %s was read before its parent %s ended", s.ID, parent)
			}
		}
	}
}
