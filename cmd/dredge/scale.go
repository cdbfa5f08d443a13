package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"time"

	"dredge/consumer/kinesis"
)

const (
	// busyAim is the share of its processors that a worker should use: the rest is for catching up after a restart.
	busyAim = 0.7
	// lagAllowed is a lag that needs no further workers: reading twice a second and holding rows back for identity cost some.
	lagAllowed = 2 * time.Minute
	// catchUp is the time in which further workers should have read a backlog.
	catchUp = 10 * time.Minute
	// leastBusy and leastKBps are below what a worker's capacity can be told from.
	leastBusy = 0.02
	leastKBps = 1.0
)

// load is what the number of workers follows.
type load struct {
	// Shards are the leases that are not read to their end; during a reshard, parents beside their children.
	Shards  int
	Workers int
	// MaxLeases bounds the shards of one worker; 0 is no bound.
	MaxLeases int
	// Behind is the greatest lag of this worker's shards.
	Behind time.Duration
	// KBps is what all workers read, OwnKBps what this one reads, Busy the share of its processors that this one uses for that.
	KBps, OwnKBps, Busy float64
}

// capacity is what one worker could read with busyAim of its processors; 0 when too little is read to tell.
func (l load) capacity() float64 {
	if l.OwnKBps < leastKBps || l.Busy < leastBusy {
		return 0
	}
	return l.OwnKBps / l.Busy * busyAim
}

// desired returns how many workers there should be, and why.
func (l load) desired() (int, string) {
	if l.Shards == 0 {
		return 1, "no shard is left to read; one worker waits for new ones"
	}
	n, why := 1, "one worker is enough"
	raise := func(to float64, reason string) {
		if up := int(math.Ceil(min(to, float64(l.Shards)))); up > n {
			n, why = up, reason
		}
	}
	if l.MaxLeases > 0 {
		raise(float64(l.Shards)/float64(l.MaxLeases), fmt.Sprintf("max_leases is %d for %d shards", l.MaxLeases, l.Shards))
	}
	if c := l.capacity(); c > 0 {
		raise(l.KBps/c, fmt.Sprintf("%.0f KB/s in all, %.0f KB/s per worker at %.0f%% of its processors", l.KBps, c, busyAim*100))
	} else if l.Workers > 0 && l.KBps >= leastKBps {
		raise(float64(l.Workers), "this worker reads too little to tell what one could; the number stays")
	}
	if l.Behind > lagAllowed {
		// A backlog of t seconds at the present rate, read within catchUp, needs that much more than the present workers.
		raise(float64(max(l.Workers, 1))*(1+l.Behind.Seconds()/catchUp.Seconds()), fmt.Sprintf("%s behind, to be read within %s", l.Behind.Round(time.Second), catchUp))
	}
	if n >= l.Shards {
		why += "; more workers than shards would idle"
	}
	return n, why
}

// newLoad takes the figures out of a worker's status.
func newLoad(st kinesis.Status, maxLeases int, busy float64) load {
	l := load{Shards: st.Unfinished, Workers: len(st.Workers), MaxLeases: maxLeases, Behind: st.Behind, Busy: busy}
	for _, sh := range st.Shards {
		if sh.Finished || sh.Owner == "" {
			continue // the throughput of an owner that is gone stays in the row
		}
		l.KBps += sh.KBps
		if sh.Mine {
			l.OwnKBps += sh.KBps
		}
	}
	return l
}

// scaleAnswer is what GET /scale says. KEDA's metrics-api scaler reads desired_workers, with a target value of 1.
type scaleAnswer struct {
	DesiredWorkers int     `json:"desired_workers"`
	Reason         string  `json:"reason"`
	Shards         int     `json:"shards"`
	Workers        int     `json:"workers"`
	Owned          int     `json:"owned"`
	Target         int     `json:"target"`
	BehindSeconds  float64 `json:"behind_seconds"`
	KBps           float64 `json:"throughput_kbps"`
	CapacityKBps   float64 `json:"worker_capacity_kbps"`
	Busy           float64 `json:"worker_busy"`
}

// serveScale answers what an autoscaler asks: how many workers the stream deserves. It never answers more than the shards that
// are left to read. Lag and capacity are this worker's, throughput is everybody's, from the lease table. Before the table was
// read there is no answer: a guess would make an autoscaler stop workers.
func (s *service) serveScale(w http.ResponseWriter, _ *http.Request) {
	st := s.worker.Status()
	w.Header().Set("Content-Type", "application/json")
	if st.TableReadAt.IsZero() {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "the lease table was not read yet"}) // the client went away; there is nobody to tell
		return
	}
	l := newLoad(st, s.cfg.Kinesis.MaxLeases, s.busy.share(time.Now(), cpuTime()))
	n, why := l.desired()
	_ = json.NewEncoder(w).Encode(scaleAnswer{ // as above
		DesiredWorkers: n, Reason: why, Shards: l.Shards, Workers: l.Workers, Owned: st.Owned, Target: st.Target,
		BehindSeconds: st.Behind.Seconds(), KBps: l.KBps, CapacityKBps: l.capacity(), Busy: l.Busy,
	})
}

// busyMeter tells which share of its processors the process used since it was last asked, or earlier when that was just now.
type busyMeter struct {
	mu   sync.Mutex
	at   time.Time
	used time.Duration
	last float64
}

// busyWindow is the shortest time over which a share is measured.
const busyWindow = 5 * time.Second

func newBusyMeter() *busyMeter { return &busyMeter{at: time.Now(), used: cpuTime()} }

func (b *busyMeter) share(now time.Time, used time.Duration) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if elapsed := now.Sub(b.at); elapsed >= busyWindow {
		b.last = (used - b.used).Seconds() / elapsed.Seconds() / float64(runtime.GOMAXPROCS(0))
		b.at, b.used = now, used
	}
	return b.last
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // then capacity is unknown, which is an answer
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
