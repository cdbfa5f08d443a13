package kinesis

import (
	"time"

	"dredge/consumer/kinesis/lease"
)

// sighting is what one observer knows of one lease: the counter it last saw, and since when. The lease table holds no clock, so
// a lease has expired when an observer's own monotonic clock says that the counter has stood still for the failover time.
type sighting struct {
	counter    int64
	since      time.Time
	unowned    time.Time // since when it was seen without an owner; zero while it has one
	never      bool      // never seen with an owner: as good as expired long ago
	checkpoint lease.Checkpoint
}

// observer watches the whole table. It is used by the taking goroutine only.
type observer struct {
	seen map[string]sighting
}

func newObserver() *observer { return &observer{seen: map[string]sighting{}} }

// update takes in a scan that ended at end: a change was made at that time at the latest. Rows that vanished are forgotten. It says
// whether another worker than me has moved a checkpoint since the last scan.
func (o *observer) update(leases []lease.Lease, me string, end time.Time) (othersMoved bool) {
	next := make(map[string]sighting, len(leases))
	for _, l := range leases {
		s, known := o.seen[l.Key]
		owner := l.ActualOwner()
		if known && owner != "" && owner != me && s.checkpoint != l.Checkpoint {
			othersMoved = true
		}
		switch {
		case !known:
			s = sighting{counter: l.Counter, since: end, never: owner == ""}
		case s.counter != l.Counter:
			s = sighting{counter: l.Counter, since: end, unowned: s.unowned}
		}
		switch {
		case owner != "":
			s.unowned = time.Time{}
		case s.unowned.IsZero():
			s.unowned = end
		}
		s.checkpoint = l.Checkpoint
		next[l.Key] = s
	}
	o.seen = next
	return othersMoved
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

// free returns how long l is known to be anybody's: since it was first seen without an owner, or since it was last renewed if that is longer
// ago than the failover time.
func (o *observer) free(l lease.Lease, start time.Time, failover time.Duration) time.Duration {
	s := o.seen[l.Key]
	switch {
	case !s.unowned.IsZero():
		return start.Sub(s.unowned)
	case start.Sub(s.since) > failover:
		return start.Sub(s.since)
	default:
		return 0
	}
}

// nextExpiry returns the time from now on until the first of the leases that were not renewed between the last two scans expires. The latest
// scan was begun at start.
func (o *observer) nextExpiry(start time.Time, failover time.Duration) (wait time.Duration, pending bool) {
	for _, s := range o.seen {
		still := start.Sub(s.since)
		if s.unowned.IsZero() && still > 0 && still <= failover && (!pending || failover-still < wait) {
			wait, pending = failover-still, true
		}
	}
	return wait + 10*time.Millisecond, pending
}
