package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"

	"dredge/consumer/s3"
)

// assumedKBps is what a worker is taken to read for each processor, of files as they lie in S3, before it has shown what it can
// (docs/performance.md has what was measured).
const assumedKBps = 4000

// s3Load is what the number of workers that read S3 follows.
type s3Load struct {
	s3.Backlog
	// Slots is how many mouthfuls a worker reads at once.
	Slots int
	Own   usage
}

// capacity is what one worker can read with busyAim of its processors.
func (l s3Load) capacity() float64 {
	if l.Own.KBps < leastKBps || l.Own.Busy < leastBusy {
		return assumedKBps * float64(runtime.GOMAXPROCS(0)) * busyAim
	}
	return l.Own.KBps / l.Own.Busy * busyAim
}

// most is how many workers find work: those that have some, and a slot for each mouthful that waits.
func (l s3Load) most() int {
	waiting := l.Mouthfuls + l.Reading + l.Coming
	return max(1, int(math.Ceil(float64(waiting)/float64(max(l.Slots, 1)))))
}

// desired returns how many workers there should be, and why: as many as read what waits within catchUp, and more of them when work has
// waited for longer than is allowed although they are at it.
func (l s3Load) desired() (int, string) {
	n, why := 1, "S3: one worker is enough"
	if need := float64(l.Bytes) / 1024 / (l.capacity() * catchUp.Seconds()); need > float64(n) {
		n = int(math.Ceil(need))
		why = fmt.Sprintf("S3: %d MB wait, to be read within %s at %.0f KB/s per worker", l.Bytes>>20, catchUp, l.capacity())
	}
	if l.Age > lagAllowed {
		present := math.Ceil(float64(l.Reading) / float64(max(l.Slots, 1)))
		if need := int(math.Ceil(max(present, 1) * (1 + l.Age.Seconds()/catchUp.Seconds()))); need > n {
			n, why = need, fmt.Sprintf("S3: mouthfuls wait for %s", l.Age.Round(time.Second))
		}
	}
	if most := l.most(); n > most {
		n, why = most, why+"; more workers than slots for what waits would idle"
	}
	return n, why
}

// s3Scale is the part of an answer that S3 has.
type s3Scale struct {
	Mouthfuls  int64   `json:"mouthfuls"`
	Reading    int64   `json:"reading"`
	Files      int64   `json:"files"`
	Bytes      int64   `json:"bytes"`
	AgeSeconds float64 `json:"age_seconds"`
}

// scaleS3 asks the queues how many workers S3 needs.
func (s *service) scaleS3(ctx context.Context, now time.Time) (int, string, *s3Scale, error) {
	w := s.mouthfuls.worker
	b, err := w.Backlog(ctx)
	if err != nil {
		return 0, "", nil, err
	}
	l := s3Load{Backlog: b, Slots: w.Slots(), Own: s.usageS3.measure(now, cpuTime(), w.ReadBytes())}
	n, why := l.desired()
	if held := s.neededS3.hold(now, n, max(n, l.most())); held > n {
		n, why = held, fmt.Sprintf("%d were needed within the last %s; now %d: %s", held, coolDown, n, why)
	}
	return n, why, &s3Scale{Mouthfuls: b.Mouthfuls, Reading: b.Reading, Files: b.Files, Bytes: b.Bytes, AgeSeconds: b.Age.Seconds()}, nil
}
