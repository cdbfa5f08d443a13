package main

import (
	"math"
	"sync"
	"time"

	"dredge/consumer/kinesis"
)

// paceWindow is the time constant of pace, that of the throughputs in the lease table: divided by each other they give the traffic.
const paceWindow = time.Minute

// pace is how fast shards were read lately. A backlog is read faster than it was written, so neither is the throughput the traffic then, nor are the
// workers of the moment too few for it.
type pace struct {
	// Speed is how many seconds of the stream a second read: 1 without backlog, more while one is read, less while one grows.
	Speed float64
	// Workers is how many did that.
	Workers float64
}

// paceMeter tells the pace of this worker's shards. Its zero value is ready.
type paceMeter struct {
	mu     sync.Mutex
	at     time.Time
	behind map[string]time.Duration // of this worker's shards, at the last look
	last   pace
}

// measure looks at the lags of st, unless the last look was less than usageWindow ago.
func (m *paceMeter) measure(now time.Time, st kinesis.Status) pace {
	m.mu.Lock()
	defer m.mu.Unlock()
	elapsed := now.Sub(m.at)
	switch {
	case m.at.IsZero():
		m.last = pace{Speed: 1, Workers: float64(len(st.Workers))}
	case elapsed < usageWindow:
		return m.last
	}
	behind := make(map[string]time.Duration, st.Owned)
	var sum, both float64
	for _, sh := range st.Shards {
		if !sh.Mine || sh.Finished {
			continue
		}
		behind[sh.Key] = sh.Behind
		if before, ok := m.behind[sh.Key]; ok {
			sum += max(0, 1+(before-sh.Behind).Seconds()/elapsed.Seconds()) // below 0 it went back to an earlier position
			both++
		}
	}
	if both > 0 {
		weight := 1 - math.Exp(-elapsed.Seconds()/paceWindow.Seconds())
		m.last.Speed += (sum/both - m.last.Speed) * weight
		m.last.Workers += (float64(len(st.Workers)) - m.last.Workers) * weight
	}
	m.at, m.behind = now, behind
	return m.last
}
