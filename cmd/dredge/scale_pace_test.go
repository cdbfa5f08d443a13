package main

import (
	"fmt"
	"math"
	"testing"
	"time"

	"dredge/consumer/kinesis"
)

func TestPace(t *testing.T) {
	start := time.Now()
	status := func(workers int, shards ...kinesis.ShardStatus) kinesis.Status {
		return kinesis.Status{Workers: make([]string, workers), Shards: shards}
	}
	mine := func(key string, behind time.Duration) kinesis.ShardStatus {
		return kinesis.ShardStatus{Key: key, Mine: true, Behind: behind}
	}
	var m paceMeter
	f := func(after time.Duration, st kinesis.Status, speed, workers float64) {
		t.Helper()
		got := m.measure(start.Add(after), st)
		if math.Abs(got.Speed-speed) > 0.01 || math.Abs(got.Workers-workers) > 0.01 {
			t.Errorf("after %s: %+v, want speed %.2f of %.2f workers", after, got, speed, workers)
		}
	}
	f(0, status(2, mine("a", time.Hour), mine("b", time.Hour)), 1, 2)
	f(time.Second, status(2, mine("a", time.Minute), mine("b", time.Minute)), 1, 2) // too soon
	// Two minutes of lag less in a minute are a speed of 3, and of 2 for both shards.
	f(time.Minute, status(4, mine("a", 58*time.Minute), mine("b", time.Hour)), 1+1*(1-1/math.E), 2+2*(1-1/math.E))
	f(time.Hour, status(4, mine("a", 0), mine("b", time.Hour)), 1.49, 4)
	// Shards that come, go, end or are another's say nothing.
	f(2*time.Hour, status(4, mine("c", 24*time.Hour), kinesis.ShardStatus{Key: "a", Behind: 9 * time.Hour}, kinesis.ShardStatus{Key: "b", Mine: true, Finished: true}), 1.49, 4)
	// A shard that is read anew stands still at most.
	f(3*time.Hour, status(4, mine("c", 90*24*time.Hour)), 0, 4)
}

// TestScaleWhileCatchingUp: ten workers of a stream of 200 shards begin a quarter of an hour late. They read as fast as they can, which is neither
// the traffic nor too slow at each look: what is asked for is what reads the backlog in time, and not as many workers as there are shards.
func TestScaleWhileCatchingUp(t *testing.T) {
	const (
		shards   = 200
		capacity = 1000.0 // KB/s of a worker
		traffic  = 7000.0
		every    = 15 * time.Second
		starting = 45 * time.Second // of a worker, until it reads
	)
	var (
		meter   paceMeter
		memory  scaleMemory
		smooth  = traffic // KB/s, as the lease table has it
		behind  = 15 * time.Minute
		most    int
		caught  time.Duration
		begin   = time.Now()
		desired = 10
		asked   []int
	)
	for at := time.Duration(0); at < time.Hour; at += every {
		asked = append(asked, desired)
		working := asked[max(0, len(asked)-1-int(starting/every))]
		working = min(working, desired)
		read := math.Min(float64(working)*capacity, traffic*(1+behind.Seconds()/every.Seconds()))
		behind -= time.Duration((read/traffic - 1) * float64(every))
		smooth += (read - smooth) * (1 - math.Exp(-every.Seconds()/paceWindow.Seconds()))
		st := kinesis.Status{Workers: make([]string, working), Behind: behind}
		for i := range shards {
			st.Shards = append(st.Shards, kinesis.ShardStatus{Key: fmt.Sprint(i), Owner: "w", Mine: i < shards/working, Behind: behind, KBps: smooth / shards})
		}
		now := begin.Add(at)
		own := read / float64(working)
		n, why := memory.answer(now, newLoad(st, 0, usage{KBps: own, Busy: own / capacity}, meter.measure(now, st)))
		if n != desired {
			t.Logf("%5s: %3d workers, %4.0f s behind: %d: %s", at, working, behind.Seconds(), n, why)
		}
		desired = n
		most = max(most, n)
		if caught == 0 && behind <= lagAllowed {
			caught = at
		}
	}
	// 15 minutes in 10 are a speed of 2.5: 17.5 workers with all their processors; of those at first, who read at 1.4, it is known a minute later.
	if most > 25 {
		t.Errorf("up to %d workers for a traffic that needs 10, and a backlog that needs 18", most)
	}
	if caught == 0 || caught > catchUp+5*time.Minute {
		t.Errorf("the backlog was read after %s, want about %s", caught, catchUp)
	}
	if desired != 10 {
		t.Errorf("%d workers at rest, want 10", desired)
	}
}
