package kinesis

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"dredge/consumer/kinesis/lease"
)

// balance is what one worker sees when it decides which leases to take.
type balance struct {
	me      string
	leases  []lease.Lease // those whose shard is not read to its end, and whose stream this worker reads
	held    func(key string) bool
	cooling func(key string) bool
	// own says that a lease was made by this worker at the end of a shard that it read.
	own func(key string) bool
	// still is how long a lease was not renewed, and free how long it was seen without a living owner.
	still, free func(lease.Lease) time.Duration
	failover    time.Duration
	max         int // 0: no bound
	// known says that others can see this worker in the table. One that can't takes a single lease, so that all who start together
	// know of each other before they divide the rest.
	known bool
	// moved says that leases were asked for a moment ago, so that the measured throughput is about to change.
	moved bool
}

// takePlan is what to do about it.
type takePlan struct {
	take      []lease.Lease // free ones
	steal     []lease.Lease // of live workers
	handOff   bool          // steal by asking the owner
	workers   []string      // that hold leases, and this one
	available int
	target    int
}

const (
	// veryOld times the failover time without a renewal makes a lease so urgent that the fair share no longer counts.
	veryOld = 3
	// baseKBps is what a shard weighs beside its throughput: its reads, renewals and buffers cost something even when it is idle.
	// While all are idle, weighing is counting.
	baseKBps = 10
	// Loads whose difference, as a share of the mean traffic, is less than this are as good as equal: throughput is measured,
	// and leases would wander after its noise.
	looseness, loosenessAfterMove = 0.1, 0.25
)

// scene is the table sorted by what can be done with each lease.
type scene struct {
	free, urgent []lease.Lease
	mine         int
	handOff      bool
	count        map[string]int           // leases of each worker
	loads        map[string]float64       // and what they weigh
	loaded       map[string][]lease.Lease // those that can be moved
}

func weight(l lease.Lease) float64 { return baseKBps + l.ThroughputKBps }

// survey sorts the leases.
func (b balance) survey() (s scene, available int) {
	s = scene{
		handOff: strings.HasPrefix(b.me, WorkerIDPrefix),
		count:   map[string]int{b.me: 0}, loads: map[string]float64{b.me: 0}, loaded: map[string][]lease.Lease{},
	}
	for _, l := range b.leases {
		switch {
		case b.held(l.Key):
			s.mine++
			s.count[b.me]++
			s.loads[b.me] += weight(l)
		case b.isFree(l):
			available++
			switch {
			case b.cooling(l.Key):
			case b.max > 0 && b.waits(l):
				// Room is scarce: a shard that must wait for its parents would take it from them.
			case b.own(l.Key) || b.free(l) > veryOld*b.failover:
				s.urgent = append(s.urgent, l)
			default:
				s.free = append(s.free, l)
			}
		default:
			// A lease that is being handed over counts for its next owner, so that others don't move it again.
			s.count[l.Owner]++
			s.loads[l.Owner] += weight(l)
			if !strings.HasPrefix(l.ActualOwner(), WorkerIDPrefix) {
				s.handOff = false
			}
			if !l.InHandOff() && l.Owner != b.me {
				s.loaded[l.Owner] = append(s.loaded[l.Owner], l)
			}
		}
	}
	return s, available
}

// isFree says whether nobody renews l. Rows under our own id that we do not hold are of an earlier run of this worker; so long as
// another process with the same id renews them, they are left alone.
func (b balance) isFree(l lease.Lease) bool {
	switch l.ActualOwner() {
	case "":
		return true
	case b.me:
		return b.still(l) > b.failover/2
	default:
		return b.still(l) > b.failover
	}
}

// waits says whether a parent of l is not read to its end.
func (b balance) waits(l lease.Lease) bool {
	return slices.ContainsFunc(b.leases, func(p lease.Lease) bool {
		return slices.Contains(l.Parents, p.Shard()) && p.StreamName == l.StreamName
	})
}

// plan decides. Leases nobody renews are taken up to this worker's fair share; when there are none, and a worker has more than its
// share, some of its leases are stolen.
//
// Beside workers that are not dredge the share is a number of leases, as theirs is. Among dredge workers it is a weight: an equal part of
// the throughput.
func (b balance) plan() takePlan {
	s, available := b.survey()
	p := takePlan{handOff: s.handOff, available: available, workers: slices.Sorted(maps.Keys(s.count)), target: 1}
	if n := len(p.workers); n < len(b.leases) {
		p.target = (len(b.leases) + n - 1) / n
	}
	limit := len(b.leases)
	if b.max > 0 {
		p.target, limit = min(p.target, b.max), b.max
	}
	room := max(0, limit-s.mine)
	if !b.known {
		room = min(room, 1)
	}
	if room == 0 {
		return p
	}

	shuffle(s.urgent)
	shuffle(s.free)
	p.take = s.urgent[:min(len(s.urgent), room)]
	for _, l := range p.take {
		s.loads[b.me] += weight(l)
	}
	room -= len(p.take)
	var mean float64
	for _, l := range b.leases {
		mean += weight(l) / float64(len(p.workers))
	}
	for _, l := range s.free {
		if room == 0 || s.handOff && s.loads[b.me] >= mean || !s.handOff && s.mine+len(p.take) >= p.target {
			break
		}
		p.take = append(p.take, l)
		s.loads[b.me] += weight(l)
		room--
	}
	switch {
	case p.available > 0 || room == 0:
	case s.handOff:
		p.steal = b.pull(s, mean, room)
	default:
		p.steal = b.rob(s, p.target-s.mine, p.target)
	}
	return p
}

// rob picks a lease of the most loaded worker, as KCL does: one at a time, since each theft repeats what the owner has in flight. A difference of one
// is no reason, or leases would wander for ever.
func (b balance) rob(s scene, need, target int) []lease.Lease {
	if need <= 0 || len(s.loaded) == 0 {
		return nil
	}
	victim := slices.MaxFunc(slices.Sorted(maps.Keys(s.loaded)), func(x, y string) int { return cmp.Compare(s.count[x], s.count[y]) })
	over := s.count[victim] - target
	// With nobody over the share, someone who lacks two or more still takes one: the rounding up left others short.
	if over < 0 || over == 0 && need < 2 {
		return nil
	}
	return []lease.Lease{s.loaded[victim][rand.IntN(len(s.loaded[victim]))]}
}

// pull picks leases to ask others for, until this worker carries its part. Each one makes the greater of the two loads smaller, so the
// fleet comes to rest.
func (b balance) pull(s scene, mean float64, room int) []lease.Lease {
	loose := looseness
	if b.moved {
		loose = loosenessAfterMove
	}
	traffic := 0.0
	for _, l := range b.leases {
		traffic += l.ThroughputKBps / float64(len(s.count))
	}
	slack := loose * traffic
	if mean-s.loads[b.me] <= slack {
		return nil
	}
	var out []lease.Lease
	for len(out) < room && s.loads[b.me] < mean {
		victim, i := s.mostUseful(b.me, slack)
		if i < 0 {
			break
		}
		l := s.loaded[victim][i]
		s.loaded[victim] = slices.Delete(s.loaded[victim], i, i+1)
		s.loads[victim] -= weight(l)
		s.loads[b.me] += weight(l)
		out = append(out, l)
	}
	return out
}

// mostUseful returns the lease of the most loaded worker possible that brings it and me closest together; -1 when there is none.
func (s scene) mostUseful(me string, slack float64) (victim string, index int) {
	victims := slices.SortedFunc(maps.Keys(s.loaded), func(x, y string) int {
		return cmp.Or(cmp.Compare(s.loads[y], s.loads[x]), strings.Compare(x, y))
	})
	for _, v := range victims {
		gap := s.loads[v] - s.loads[me]
		best, index := math.Inf(1), -1
		// From a random place on: of leases that weigh the same, workers that choose at the same time shall choose different ones.
		ls := s.loaded[v]
		for n, from := 0, rand.IntN(len(ls)+1); n < len(ls); n++ {
			i := (from + n) % len(ls)
			w := weight(ls[i])
			if d := math.Abs(gap/2 - w); w < gap-slack && d < best {
				best, index = d, i
			}
		}
		if index >= 0 {
			return v, index
		}
	}
	return "", -1
}

func shuffle(ls []lease.Lease) {
	rand.Shuffle(len(ls), func(i, j int) { ls[i], ls[j] = ls[j], ls[i] })
}
