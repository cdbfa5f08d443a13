package main

import (
	"strings"
	"testing"
	"time"

	"dredge/consumer/s3"
)

func TestDesiredWorkersOfS3(t *testing.T) {
	// A worker that reads 1,000 KB/s with half of its processors could read 1,400 with 70 %: 840,000 KB in ten minutes.
	own := usage{KBps: 1000, Busy: 0.5}
	f := func(l s3Load, want int, reason string) {
		t.Helper()
		l.Slots = 2
		n, why := l.desired()
		if n != want || !strings.Contains(why, reason) {
			t.Errorf("%+v: %d, %q; want %d, %q", l, n, why, want, reason)
		}
	}
	f(s3Load{Own: own}, 1, "one worker is enough")
	f(s3Load{Own: own, Backlog: s3.Backlog{Mouthfuls: 100, Bytes: 800_000 << 10}}, 1, "one worker is enough")
	f(s3Load{Own: own, Backlog: s3.Backlog{Mouthfuls: 100, Bytes: 8_000_000 << 10}}, 10, "7812 MB wait")
	f(s3Load{Own: own, Backlog: s3.Backlog{Mouthfuls: 5, Reading: 2, Bytes: 8_000_000 << 10}}, 4, "would idle")
	f(s3Load{Own: own, Backlog: s3.Backlog{Mouthfuls: 100, Reading: 8, Bytes: 1 << 20, Age: 10 * time.Minute}}, 8, "wait for 10m0s")
	f(s3Load{Own: own, Backlog: s3.Backlog{Mouthfuls: 100, Reading: 8, Bytes: 1 << 20, Age: time.Minute}}, 1, "one worker is enough")
	// Files that are in no mouthful yet are work for one more.
	f(s3Load{Own: own, Backlog: s3.Backlog{Files: 1e6, Coming: 1000, Bytes: 8_000_000 << 10}}, 10, "7812 MB wait")
}
