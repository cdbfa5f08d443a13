package kinesis

import (
	"time"

	"dredge/consumer/kinesis/lease"
)

// sighting is what one observer knows of one lease: the counter it last saw, and since when. The lease table holds no clock, so
// a lease has expired when an observer's own monotonic clock says that the counter has stood still for the failover time.
type sighting struct {
	counter int64
	since   time.Time
	never   bool // never seen with an owner: as good as expired long ago
}

// observer watches the whole table. It is used by the taking goroutine only.
type observer struct {
	seen map[string]sighting
}

func newObserver() *observer { return &observer{seen: map[string]sighting{}} }

// update takes in a scan that ended at end: a change was made at that time at the latest. Rows that vanished are forgotten.
func (o *observer) update(leases []lease.Lease, end time.Time) {
	next := make(map[string]sighting, len(leases))
	for _, l := range leases {
		s, known := o.seen[l.Key]
		switch {
		case !known:
			s = sighting{counter: l.Counter, since: end, never: l.ActualOwner() == ""}
		case s.counter != l.Counter:
			s = sighting{counter: l.Counter, since: end}
		}
		next[l.Key] = s
	}
	o.seen = next
}

// still returns how long the counter of l stood still, judged by the latest scan, which was begun at start. What happened
// while the scan ran counts for the owner.
func (o *observer) still(l lease.Lease, start time.Time) time.Duration {
	s := o.seen[l.Key]
	if s.never {
		return 1 << 62
	}
	return start.Sub(s.since)
}
