package store

import "sync/atomic"

// current is what the newest tenures of one address come to, kept beside its key so that nearly all look-ups wait for one line of
// memory: from since on only owner had the address and held it up to held; its traffic showed that from beaten less length to beaten, and at
// no other time from since on.
//
// Readers do not lock. A writer takes the sum away (change), writes it anew and then puts it back under another number (set); a reader
// takes what it read when state was the same before and after.
type current struct {
	// state: taken 1, known 1, primary 1, number of the change 19, since 42. 0 is a slot that is free.
	state atomic.Uint64
	// held: owner's low bits 22, held 42.
	held atomic.Uint64
	// beaten: length in seconds is exact 1, length 16, owner's high bits 5, beaten 42.
	beaten atomic.Uint64
}

const (
	currentTaken   = 1 << 63
	currentKnown   = 1 << 62
	currentPrimary = 1 << 61 // the address is owner's primary one
	currentNumber  = (1<<19 - 1) << timeBits

	beatenOwnerBits  = ownerHigh + ownerLow - (64 - timeBits)
	beatenOwnerMask  = 1<<beatenOwnerBits - 1
	beatenLengthAt   = timeBits + beatenOwnerBits
	beatenLengthMask = 1<<16 - 1
	beatenExact      = 1 << 63
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
	s, ok := list.sum()
	if !ok {
		return
	}
	c.held.Store(packTime(s.held) | uint64(s.owner)<<timeBits)
	length := min((s.beaten-s.beatenFrom)/second, beatenLengthMask)
	word := packTime(s.beaten) | uint64(s.owner)>>(64-timeBits)<<timeBits | uint64(length)<<beatenLengthAt
	if s.beaten-s.beatenFrom == length*second {
		word |= beatenExact
	}
	c.beaten.Store(word)
	state := c.state.Load()&^uint64(timeMask) | currentKnown | packTime(s.since)
	if s.primary {
		state |= currentPrimary
	}
	c.state.Store(state)
}

// read returns the three words as they were at one time; known is false when only the tenures can tell, of any window or of w.
func (c *current) read(w *span) (state, held, beaten uint64, known bool) {
	state = c.state.Load()
	held, beaten = c.held.Load(), c.beaten.Load()
	known = state&currentKnown != 0 && c.state.Load() == state && w.lo >= int64(state&timeMask) && w.end <= unpackTime(held)
	return state, held, beaten, known
}

// at returns the owner of an address in the whole of w, and up to when its traffic showed that without a gap from the begin of the flow; 0
// when only the tenures can tell.
func (c *current) at(w *span) (owner uint32, shown int64) {
	_, held, beaten, known := c.read(w)
	if !known {
		return 0, 0
	}
	owner, shown = currentOwner(held, beaten), int64(beaten&timeMask)
	if w.start >= shown-int64(beaten>>beatenLengthAt&beatenLengthMask)*second {
		return owner, shown
	}
	if beaten&beatenExact == 0 {
		return 0, 0
	}
	return owner, 0 // the flow began before
}

// holds says that owner held the address in the whole of w, and whether it is its primary one. False means nothing.
func (c *current) holds(owner uint32, w *span) (whole, isPrimary bool) {
	state, held, beaten, known := c.read(w)
	return known && currentOwner(held, beaten) == owner, state&currentPrimary != 0
}

func currentOwner(held, beaten uint64) uint32 {
	return uint32(held>>timeBits | beaten>>timeBits&beatenOwnerMask<<(64-timeBits))
}

// owner returns the newest owner, 0 when only the tenures can tell.
func (c *current) owner() uint32 {
	if c.state.Load()&currentKnown == 0 {
		return 0
	}
	return currentOwner(c.held.Load(), c.beaten.Load())
}

// sum is what the tenures of one address say of all windows from since on: current has the words.
type sum struct {
	owner                           uint32
	since, held, beatenFrom, beaten int64
	primary                         bool
}

// sum finds the newest owner of t and what is true of it. False means that there is no time from which on nobody else comes into
// question. What pods and tasks claimed, at any time, is for judge.go to weigh.
func (t tenures) sum() (s sum, ok bool) {
	if len(t) == 0 {
		return s, false
	}
	s.owner = t.at(len(t) - 1).owner // sorted by from
	for i := range t {
		switch v := t.at(i); {
		case v.flags&claim != 0, v.owner != s.owner && v.to == forever:
			return s, false
		case v.owner != s.owner:
			s.since = max(s.since, v.to+int64(v.accTo))
		default:
			s.held = max(s.held, v.to)
			s.primary = s.primary || v.flags&primary != 0
			if v.flags&beat == 0 {
				continue
			}
			if s.beaten != 0 {
				s.since = max(s.since, min(s.beaten, v.to)) // only one can be told
			}
			if v.to > s.beaten {
				s.beatenFrom, s.beaten = v.from, v.to
			}
		}
	}
	for i := range t {
		if v := t.at(i); v.owner == s.owner && v.to == s.held {
			s.since = max(s.since, v.from)
		}
	}
	return s, s.owner != 0 && s.since < timeMask
}
