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
	f(load{Shards: 100, Workers: 4, KBps: 4000, OwnKBps: 1000, Busy: 0.5}, 3, "4000 KB/s in all, 1400 KB/s per worker")
	f(load{Shards: 100, Workers: 4, KBps: 4000, OwnKBps: 1000, Busy: 0.95}, 6, "per worker")
	f(load{Shards: 5, Workers: 4, KBps: 4000, OwnKBps: 1000, Busy: 0.95}, 5, "more workers than shards would idle")
	// A worker that reads next to nothing can't tell what one could read.
	f(load{Shards: 100, Workers: 4, KBps: 4000, OwnKBps: 0, Busy: 0.5}, 4, "the number stays")
	// Behind: as many more as read the backlog in ten minutes.
	f(load{Shards: 100, Workers: 4, Behind: 10 * time.Minute}, 8, "10m0s behind")
	f(load{Shards: 100, Workers: 4, Behind: time.Minute}, 1, "one worker is enough")
	f(load{Shards: 6, Workers: 4, Behind: 10 * time.Minute}, 6, "would idle")
	f(load{Shards: 100, Workers: 4, MaxLeases: 10}, 10, "max_leases is 10")
	f(load{Shards: 3, Workers: 1, Behind: 100 * 24 * time.Hour}, 3, "would idle")
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
	}, 7, 0.5)
	want := load{Shards: 3, Workers: 2, MaxLeases: 7, Behind: time.Second, KBps: 30, OwnKBps: 10, Busy: 0.5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBusyMeter(t *testing.T) {
	start := time.Now()
	b := &busyMeter{at: start}
	if got := b.share(start.Add(time.Second), time.Second); got != 0 {
		t.Errorf("share over a second: %g, want none yet", got)
	}
	first := b.share(start.Add(10*time.Second), 5*time.Second)
	if again := b.share(start.Add(11*time.Second), 6*time.Second); first <= 0 || again != first {
		t.Errorf("share %g, then %g within the window", first, again)
	}
	if idle := b.share(start.Add(20*time.Second), 5*time.Second); idle != 0 {
		t.Errorf("share %g while nothing was used", idle)
	}
}
