package store

import "sync/atomic"

// current is what the newest tenures of one address come to, kept beside its key so that nearly all look-ups wait for one line of
// memory: from since on only owner had the address, held it up to held, and traffic showed that up to beaten.
//
// Readers do not lock. A writer takes the sum away (change), writes it anew and then puts it back under another number (set); a reader
// takes what it read when state was the same before and after.
type current struct {
	// state: taken 1, known 1, number of the change 20, since 42. 0 is a slot that is free.
	state atomic.Uint64
	// held and beaten are times; behind the time stand the owner's low and high bits.
	held, beaten atomic.Uint64
}

const (
	currentTaken  = 1 << 63
	currentKnown  = 1 << 62
	currentNumber = (1<<20 - 1) << timeBits
)

func (c *current) free() bool { return c.state.Load() == 0 }

// take makes the slot of c, which was free, that of the key which was written before.
func (c *current) take() { c.state.Store(currentTaken) }

// change takes the sum away. The shard's lock is held.
func (c *current) change() {
	state := c.state.Load()
	c.state.Store(currentTaken | (state+1<<timeBits)&currentNumber)
}

// copy makes c, which no reader sees yet, what old is.
func (c *current) copy(old *current) {
	c.held.Store(old.held.Load())
	c.beaten.Store(old.beaten.Load())
	c.state.Store(old.state.Load())
}

// set makes c the sum of list, the tenures of an address of which no single ports are claimed, or leaves it unknown when there is none. The
// shard's lock is held.
func (c *current) set(list tenures) {
	c.change()
	owner, since, held, beaten := list.sum()
	if owner == 0 {
		return
	}
	c.held.Store(packTime(held) | uint64(owner)<<timeBits)
	c.beaten.Store(packTime(beaten) | uint64(owner)>>(64-timeBits)<<timeBits)
	c.state.Store(c.state.Load()&^uint64(timeMask) | currentKnown | packTime(since))
}

// at returns the owner of an address in the whole of w, and up to when it was seen; 0 when only the tenures can tell.
func (c *current) at(w *span) (owner uint32, beaten int64) {
	state := c.state.Load()
	held, seen := c.held.Load(), c.beaten.Load()
	if state&currentKnown == 0 || c.state.Load() != state || w.lo < int64(state&timeMask) || w.end > unpackTime(held) {
		return 0, 0
	}
	return uint32(held>>timeBits | seen>>timeBits<<(64-timeBits)), unpackTime(seen)
}

// owner returns the newest owner, 0 when only the tenures can tell.
func (c *current) owner() uint32 {
	if c.state.Load()&currentKnown == 0 {
		return 0
	}
	return uint32(c.held.Load()>>timeBits | c.beaten.Load()>>timeBits<<(64-timeBits))
}

// sum finds the newest owner of t, and since when all that t says of any window is: only owner may have had the address, it held the
// address up to held, and traffic showed that up to beaten. Owner 0 means that there is no such time. What pods and tasks claimed, at any
// time, is for judge.go to weigh.
func (t tenures) sum() (owner uint32, since, held, beaten int64) {
	if len(t) == 0 {
		return 0, 0, 0, 0
	}
	owner = t.at(len(t) - 1).owner // sorted by from
	for i := range t {
		switch v := t.at(i); {
		case v.flags&claim != 0, v.owner != owner && v.to == forever:
			return 0, 0, 0, 0
		case v.owner != owner:
			since = max(since, v.to+int64(v.accTo))
		default:
			held = max(held, v.to)
			if v.flags&beat != 0 {
				beaten = max(beaten, v.to)
			}
		}
	}
	for i := range t {
		if v := t.at(i); v.owner == owner && (v.to == held || v.flags&beat != 0 && v.to == beaten) {
			since = max(since, v.from)
		}
	}
	if since >= timeMask {
		return 0, 0, 0, 0
	}
	return owner, since, held, beaten
}
