package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/consumer/kinesis"
)

func TestDesiredWorkers(t *testing.T) {
	f := func(l load, want int, reason string) {
		t.Helper()
		n, why := l.desired()
		if n != want || !strings.Contains(why, reason) {
			t.Errorf("%+v: %d, %q; want %d, %q", l, n, why, want, reason)
		}
	}
	f(load{}, 1, "no shard")
	f(load{Shards: 8, Workers: 1}, 1, "one worker is enough")
	// A worker that reads 1,000 KB/s with half of its processors could read 1,400 with 70 %.
	f(load{Shards: 100, Workers: 4, KBps: 4000, Own: usage{KBps: 1000, Busy: 0.5}}, 3, "4000 KB/s of traffic, 1400 KB/s per worker")
	f(load{Shards: 100, Workers: 4, KBps: 4000, Own: usage{KBps: 1000, Busy: 0.95}}, 6, "per worker")
	f(load{Shards: 5, Workers: 4, KBps: 4000, Own: usage{KBps: 1000, Busy: 0.95}}, 5, "more workers than shards would idle")
	// A worker that reads next to nothing can't tell what one could read.
	f(load{Shards: 100, Workers: 4, KBps: 4000, Own: usage{KBps: 0, Busy: 0.5}}, 4, "the number stays")
	// Behind: as many more as read the backlog in ten minutes.
	f(load{Shards: 100, Workers: 4, Behind: 10 * time.Minute}, 8, "10m0s behind")
	f(load{Shards: 100, Workers: 4, Behind: time.Minute}, 1, "one worker is enough")
	f(load{Shards: 6, Workers: 4, Behind: 10 * time.Minute}, 6, "would idle")
	f(load{Shards: 100, Workers: 4, MaxLeases: 10}, 10, "max_leases is 10")
	f(load{Shards: 3, Workers: 1, Behind: 100 * 24 * time.Hour}, 3, "would idle")
	// What is read of a backlog is more than the traffic: twice its speed is half of it, and soon enough for 10 minutes of it.
	f(load{Shards: 100, Workers: 8, KBps: 4000, Own: usage{KBps: 500, Busy: 1}, Pace: pace{Speed: 2, Workers: 8}}, 6, "2000 KB/s of traffic")
	f(load{Shards: 100, Workers: 8, Behind: 10 * time.Minute, Pace: pace{Speed: 2, Workers: 8}}, 8, "10m0s behind")
	f(load{Shards: 100, Workers: 8, Behind: 20 * time.Minute, Pace: pace{Speed: 2, Workers: 8}}, 12, "20m0s behind")
	f(load{Shards: 100, Workers: 8, Behind: 20 * time.Minute, Pace: pace{Speed: 1.5, Workers: 4}}, 8, "20m0s behind") // four of them have just come
	f(load{Shards: 100, Workers: 8, Behind: 3 * time.Minute, Pace: pace{Speed: 2.6, Workers: 8}}, 8, "read at 2.6 times the speed of the traffic; the number stays")
	f(load{Shards: 100, Workers: 8, Behind: 10 * time.Minute, Pace: pace{Speed: 0.2, Workers: 8}}, 16, "10m0s behind")
}

func TestLoadCountsLiveOwnersOnly(t *testing.T) {
	got := newLoad(kinesis.Status{
		Unfinished: 3, Workers: []string{"a", "b"}, Behind: time.Second,
		Shards: []kinesis.ShardStatus{
			{Key: "1", Owner: "a", Mine: true, KBps: 10},
			{Key: "2", Owner: "b", KBps: 20},
			{Key: "3", KBps: 40},
			{Key: "4", Owner: "a", Mine: true, Finished: true, KBps: 80},
		},
	}, 7, usage{KBps: 10, Busy: 0.5}, pace{Speed: 1, Workers: 2})
	want := load{Shards: 3, Workers: 2, MaxLeases: 7, Behind: time.Second, KBps: 30, Own: usage{KBps: 10, Busy: 0.5}, Pace: pace{Speed: 1, Workers: 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUsageMeter(t *testing.T) {
	start := time.Now()
	m := &usageMeter{at: start}
	if got := m.measure(start.Add(time.Second), time.Second, 1<<20); got != (usage{}) {
		t.Errorf("usage over a second: %+v, want none yet", got)
	}
	first := m.measure(start.Add(10*time.Second), 5*time.Second, 10<<20)
	if again := m.measure(start.Add(11*time.Second), 6*time.Second, 20<<20); first.Busy <= 0 || first.KBps != 1024 || again != first {
		t.Errorf("usage %+v, then %+v within the window", first, again)
	}
	if idle := m.measure(start.Add(20*time.Second), 5*time.Second, 10<<20); idle != (usage{}) {
		t.Errorf("usage %+v while nothing was done", idle)
	}
}

// What was needed a while ago is still asked for, but not for shards that are gone.
func TestScaleMemory(t *testing.T) {
	var m scaleMemory
	start := time.Now()
	f := func(after time.Duration, n, shards, want int) {
		t.Helper()
		if got := m.hold(start.Add(after), n, shards); got != want {
			t.Errorf("after %s: %d, want %d", after, got, want)
		}
	}
	f(0, 2, 16, 2)
	f(time.Minute, 8, 16, 8)
	f(2*time.Minute, 3, 16, 8)
	f(3*time.Minute, 5, 16, 8)
	f(4*time.Minute, 1, 4, 4)
	f(5*time.Minute+59*time.Second, 1, 16, 8)
	f(6*time.Minute, 1, 16, 5)
	f(8*time.Minute, 1, 16, 1)
	f(8*time.Minute, 1, 0, 1)
}

func TestReadableShards(t *testing.T) {
	shards := []kinesis.ShardStatus{
		{Key: "a"},
		{Key: "b", Finished: true},               // a is still read
		{Key: "ab", Parents: []string{"a", "b"}}, // waits for a
		{Key: "b1", Parents: []string{"b"}},
		{Key: "c1", Parents: []string{"gone"}},
		// The same of another stream: its a is read to its end.
		{Key: "1:s:7:a", Finished: true},
		{Key: "1:s:7:ab", Parents: []string{"a"}},
	}
	if n := readable(shards); n != 4 {
		t.Errorf("%d shards can be read, want a, b1, c1 and 1:s:7:ab", n)
	}
}
