package store

import (
	"net/netip"
	"sync/atomic"

	"dredge/metadata"
)

// A heartbeat that lies within what is known already changes nothing, and nearly all do. Finding that out takes the address's
// evidence, which is the writer's, under its lock. So the ranges of some known sightings of an interface's only address lie
// beside its handle as well, each in one word: the begin in milliseconds, then the length in whole seconds. What the words say is
// never more than what the evidence says:
//
//   - they are written under the shard's lock, from evidence that is there;
//   - evidence goes when it is too old (Trim), and no question about such times is answered from the words; or when an address has
//     too much of it, which clears the words of all its owners;
//   - an interface that is found to be in another scope has its words cleared, before or after which the writer looks at the scope.

const (
	seenBits = 22
	seenMask = 1<<seenBits - 1
)

// noteSeen notes the sighting among told that holds e, when e is one of the owner's only address in its own scope.
func noteSeen[K comparable, E any](s *Store, k K, e *evidence, told []E, read func(*E) evidence) {
	k4, ok := any(k).(key4)
	if !ok || e.kind != beatSight || e.flags&primary == 0 {
		return
	}
	ow := s.owners.list.at(e.owner)
	if ow.sole.Load() != uint32(k4) || ow.scope.Load() != uint32(k4>>32) {
		return
	}
	for i := range told {
		b := read(&told[i])
		if b.kind != beatSight || b.owner != e.owner || b.flags&primary == 0 || b.from > e.from || b.to < e.to || b.from <= 0 {
			continue
		}
		word := ow.wordFor(&b)
		word.Store(uint64(b.from)<<seenBits | uint64(min((b.to-b.from)/second, seenMask)))
		if ow.scope.Load() != uint32(k4>>32) {
			word.Store(0)
		}
		return
	}
}

// wordFor returns the word that b should stand in: that of a range within b, a free one, or one by its time.
func (ow *owner) wordFor(b *evidence) *atomic.Uint64 {
	word := &ow.seen[b.from/(2*heartbeatAcc)&3]
	for i := range ow.seen {
		switch from := int64(ow.seen[i].Load() >> seenBits); {
		case from >= b.from && from < b.to:
			return &ow.seen[i]
		case from == 0:
			word = &ow.seen[i]
		}
	}
	return word
}

func (ow *owner) unsee() {
	for i := range ow.seen {
		ow.seen[i].Store(0)
	}
}

// unsee forgets what was noted of the owners of ev.
func unsee(o *owners, ev []evidence) {
	for i := range ev {
		o.list.at(ev[i].owner).unsee()
	}
}

// Sighted says that a record of interface id in sc (NoScope: where id is) with these addresses would tell Observe nothing new,
// whichever of them is the interface's own. False means nothing. It does not lock.
func (s *Store) Sighted(id metadata.EndpointID, sc metadata.Scope, src, dst netip.Addr, w metadata.Window) bool {
	ow, within := s.owners.list.at(uint32(id)), false
	for i := range ow.seen {
		seen := ow.seen[i].Load()
		from := int64(seen >> seenBits)
		within = within || w.Start >= from && w.End+second <= from+int64(seen&seenMask)*second
	}
	if !within || w.Start <= 0 || w.End < w.Start || w.Start < s.floor.Load() {
		return false
	}
	sole, in := ow.sole.Load(), ow.scope.Load()
	if sole == 0 || sole == soleNone || sc != metadata.NoScope && uint32(sc) != in {
		return false
	}
	isSrc, isDst := src.Is4() && soleOf(src) == sole, dst.Is4() && soleOf(dst) == sole
	// Where interfaces have prefixes of their own, the other address may be one of its own as well.
	return isSrc != isDst && !s.scopes.at(in).delegates.Load()
}
