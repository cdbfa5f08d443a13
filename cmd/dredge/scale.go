package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
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
	// coolDown is how long fewer workers must have been enough before fewer are asked for: the throughput of a stream comes and goes by the
	// minute, and each change of the number moves leases.
	coolDown = 5 * time.Minute
	// leastBusy and leastKBps are below what a worker's capacity can be told from.
	leastBusy = 0.02
	leastKBps = 1.0
)

// load is what the number of workers follows.
type load struct {
	// Shards are those that can be read now: not read to their end, and without a parent that is still to be read.
	Shards  int
	Workers int
	// MaxLeases bounds the shards of one worker; 0 is no bound.
	MaxLeases int
	// Behind is the greatest lag of this worker's shards.
	Behind time.Duration
	// KBps is what all workers read, by the lease table.
	KBps float64
	// Own is what this worker does.
	Own usage
	// Pace is how fast the shards of this worker were read, and by how many workers all were; nothing counts as without backlog.
	Pace pace
}

// capacity is what one worker could read with busyAim of its processors; 0 when too little is read to tell.
func (l load) capacity() float64 {
	if l.Own.KBps < leastKBps || l.Own.Busy < leastBusy {
		return 0
	}
	return l.Own.KBps / l.Own.Busy * busyAim
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
	// A lag that grows is not counted as less than the speed of the stream: it may have come with a lease.
	speed := max(l.Pace.Speed, 1)
	if c := l.capacity(); c > 0 {
		raise(l.KBps/speed/c, fmt.Sprintf("%.0f KB/s of traffic, %.0f KB/s per worker at %.0f%% of its processors", l.KBps/speed, c, busyAim*100))
	} else if l.Workers > 0 && l.KBps >= leastKBps {
		raise(float64(l.Workers), "this worker reads too little to tell what one could; the number stays")
	}
	if l.Behind > lagAllowed {
		// A backlog of t seconds is read within catchUp at a speed of 1+t/catchUp. Workers that read at it already are enough: asked for more at each
		// look, they would double at each look until there are as many as shards.
		readers := l.Pace.Workers
		if readers == 0 {
			readers = float64(l.Workers)
		}
		raise(max(readers, 1)*(1+l.Behind.Seconds()/catchUp.Seconds())/speed, fmt.Sprintf("%s behind, to be read within %s", l.Behind.Round(time.Second), catchUp))
		raise(float64(l.Workers), fmt.Sprintf("%s behind, read at %.1f times the speed of the traffic; the number stays", l.Behind.Round(time.Second), speed))
	}
	if n >= l.Shards {
		why += "; more workers than shards would idle"
	}
	return n, why
}

// newLoad takes the figures out of a worker's status.
func newLoad(st kinesis.Status, maxLeases int, own usage, pace pace) load {
	l := load{Shards: readable(st.Shards), Workers: len(st.Workers), MaxLeases: maxLeases, Behind: st.Behind, Own: own, Pace: pace}
	for _, sh := range st.Shards {
		if sh.Finished || sh.Owner == "" {
			continue // the throughput of an owner that is gone stays in the row
		}
		l.KBps += sh.KBps
	}
	return l
}

// readable counts the shards that somebody can read now. A child waits for its parents: counted beside them, a merge would ask for more workers
// than it has shards for.
func readable(shards []kinesis.ShardStatus) (n int) {
	unread := make(map[string]bool, len(shards))
	for _, sh := range shards {
		unread[sh.Key] = !sh.Finished
	}
	for _, sh := range shards {
		stream := sh.Key[:strings.LastIndexByte(sh.Key, ':')+1] // parents are named without their stream
		if !sh.Finished && !slices.ContainsFunc(sh.Parents, func(parent string) bool { return unread[stream+parent] }) {
			n++
		}
	}
	return n
}

// scaleMemory holds back answers that are lower than those of the last coolDown. Methods may be called at any time.
type scaleMemory struct {
	mu sync.Mutex
	// answers, each greater than all that came after it: the oldest is the greatest.
	answers []scaleNeed
}

// scaleNeed is a number of workers that were needed at a time.
type scaleNeed struct {
	at      time.Time
	workers int
}

// hold returns the greatest number of the last coolDown, n included, but never more than shards.
func (m *scaleMemory) hold(now time.Time, n, shards int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers = slices.DeleteFunc(m.answers, func(a scaleNeed) bool { return a.workers <= n || now.Sub(a.at) >= coolDown })
	m.answers = append(m.answers, scaleNeed{now, n})
	return max(n, min(m.answers[0].workers, shards))
}

// answer returns how many workers there should be, and why.
func (m *scaleMemory) answer(now time.Time, l load) (int, string) {
	n, why := l.desired()
	held := m.hold(now, n, l.Shards)
	if held > n {
		why = fmt.Sprintf("%d were needed within the last %s; now %d: %s", held, coolDown, n, why)
	}
	return held, why
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
	Speed          float64 `json:"read_speed"`
	// S3 is what waits there; nil when nothing is read from it.
	S3 *s3Scale `json:"s3,omitempty"`
}

// serveScale answers what an autoscaler asks: how many workers the stream, and what lies in S3, deserve. It never answers more than find work,
// and lowers its answer only after coolDown. Lag and capacity are this worker's, throughput is everybody's, from the lease table. Before the
// table was read, or while a queue doesn't answer, there is no answer: a guess would make an autoscaler stop workers.
func (s *service) serveScale(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := json.NewEncoder(w)
	now := time.Now()
	var a scaleAnswer
	if s.worker != nil {
		st := s.worker.Status()
		if st.TableReadAt.IsZero() {
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = answer.Encode(map[string]string{"error": "the lease table was not read yet"}) // the client went away; there is nobody to tell
			return
		}
		l := newLoad(st, s.cfg.Kinesis.MaxLeases, s.usage.measure(now, cpuTime(), st.HandledBytes), s.pace.measure(now, st))
		n, why := s.needed.answer(now, l)
		a = scaleAnswer{
			DesiredWorkers: n, Reason: why, Shards: l.Shards, Workers: l.Workers, Owned: st.Owned, Target: st.Target,
			BehindSeconds: st.Behind.Seconds(), KBps: l.KBps, CapacityKBps: l.capacity(), Busy: l.Own.Busy, Speed: l.Pace.Speed,
		}
	}
	if s.mouthfuls != nil {
		n, why, of, err := s.scaleS3(r.Context(), now)
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = answer.Encode(map[string]string{"error": err.Error()}) // as above
			return
		}
		a.S3 = of
		if s.worker == nil {
			a.DesiredWorkers, a.Reason = n, why
		} else { // the same workers do both, and one of them is enough for little of each
			a.DesiredWorkers, a.Reason = a.DesiredWorkers+n-1, a.Reason+"; "+why
		}
	}
	_ = answer.Encode(a) // as above
}

// usage is what a worker did in a stretch of time: bytes and processor time of the same stretch, or their ratio would say nothing while traffic
// or leases change.
type usage struct {
	KBps float64 // of data taken through; what was only read ahead has not cost its time yet
	Busy float64 // share of its processors, of all that the process does
}

// usageMeter tells what the process did since it was last asked, or earlier when that was just now.
type usageMeter struct {
	mu   sync.Mutex
	at   time.Time
	cpu  time.Duration
	done int64
	last usage
}

// usageWindow is the shortest time over which usage is measured.
const usageWindow = 5 * time.Second

func newUsageMeter() *usageMeter { return &usageMeter{at: time.Now(), cpu: cpuTime()} }

// measure is given the processor time that was used and the bytes that were taken through since the process started.
func (m *usageMeter) measure(now time.Time, cpu time.Duration, done int64) usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	if elapsed := now.Sub(m.at); elapsed >= usageWindow {
		m.last = usage{
			KBps: float64(done-m.done) / 1024 / elapsed.Seconds(),
			Busy: (cpu - m.cpu).Seconds() / elapsed.Seconds() / float64(runtime.GOMAXPROCS(0)),
		}
		m.at, m.cpu, m.done = now, cpu, done
	}
	return m.last
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // then capacity is unknown, which is an answer
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
