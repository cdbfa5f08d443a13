package store

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dredge/metadata"
)

// Owners and workloads are referred to by handle from everywhere, so what nobody refers to any more is found as a garbage collector
// finds it: marked through everything that remains, then swept. An owner goes when it had an address once and the retention has
// forgotten the last of them; a workload goes with the last owner that ran it. Scopes and places stay: an estate has few.
//
// Writers may make references meanwhile. Whatever they name from the begin of a sweep on counts as marked (owners.note), and they
// hold sweeper.writers for as long as they have a handle that nothing refers to yet. Readers hold nothing. Who found an owner just
// before it was swept still reads what it was: a page with many dead owners is replaced by a copy without them, and handles in it
// are given to other owners only after the next sweep, a 24th of the retention later. A workload's handle is never given out again.
type sweeper struct {
	writers sync.RWMutex
	// snapshots keeps sweeps out while a snapshot is read or written, which goes on for seconds with handles in hand.
	snapshots sync.RWMutex
	last      time.Time // when the last sweep began
	// dead are owners that were swept, by page, whose entries are not blank yet; blank are those that the next sweep gives out again.
	dead  map[uint32][]uint32
	blank []uint32
}

// sweptShare is which part of a page has to be dead before it is copied: that bounds both the waste and the work.
const sweptShare = pageSize / 4

// marks says what is referred to, a bit for each handle that was given out when the sweep began.
type marks struct{ owners, workloads []atomic.Uint64 }

func mark1(bits []atomic.Uint64, h uint32) {
	if int(h/64) < len(bits) {
		bits[h/64].Or(1 << (h % 64))
	}
}

func marked(bits []atomic.Uint64, h uint32) bool { return bits[h/64].Load()>>(h%64)&1 != 0 }

// note keeps an owner, and the interface that it is on, from a sweep that is going on. Whoever is about to refer to an owner calls it.
func (o *owners) note(h uint32) {
	if m := o.marks.Load(); m != nil {
		mark1(m.owners, h)
		mark1(m.owners, o.facts(h).node)
	}
}

// sweepOwners frees the owners and workloads that nothing refers to, unless a snapshot is being read or written. It locks writers
// out for a page of owners at a time.
func (s *Store) sweepOwners(now time.Time) {
	sw := &s.sweeper
	if now.Sub(sw.last) < s.cfg.Retention/24 || !sw.snapshots.TryLock() {
		return
	}
	defer sw.snapshots.Unlock()
	sw.last = now
	o := s.owners
	o.names.reuse(sw.blank)
	sw.blank = nil

	m := &marks{owners: make([]atomic.Uint64, o.names.end()/64+1), workloads: make([]atomic.Uint64, o.workloadEnd()/64+1)}
	sw.writers.Lock() // whoever wrote without marks has come to the end
	o.marks.Store(m)
	sw.writers.Unlock()
	s.markOwners(m)
	for first := uint32(0); first < uint32(len(m.owners)*64); first += pageSize {
		s.sweepPage(m, first)
	}
	s.markWorkloads(m)
	sw.writers.Lock()
	o.sweepWorkloads(m)
	o.marks.Store(nil)
	sw.writers.Unlock()
}

func (s *Store) markOwners(m *marks) {
	markEvidence(&s.v4, m)
	markEvidence(&s.wide, m)
	for sc := metadata.NoScope; sc == metadata.NoScope || s.ScopeName(sc) != ""; sc++ {
		s.scope(sc).nets.each(func(_ netip.Prefix, claims []*network) {
			for _, n := range claims {
				mark1(m.owners, s.owners.names.get("", n.owner))
			}
		})
	}
	s.owners.each(m, func(h uint32, ow *owner) {
		if ow.awaited() || marked(m.owners, h) {
			mark1(m.owners, h)
			mark1(m.owners, ow.facts.Load().node)
		}
	})
}

// awaited says whether ow was described and never had an address or network.
func (ow *owner) awaited() bool {
	f := ow.facts.Load()
	return ow.sole.Load() == 0 && (len(f.wl) > 0 || f.more != nil)
}

func markEvidence[K comparable](a *addresses[K], m *marks) {
	for n := range a.shards {
		sh := &a.shards[n]
		sh.mu.Lock()
		t := sh.tab.Load()
		for i := range t.slots {
			for _, p := range t.evidence(i) {
				mark1(m.owners, unpackOwner(p[0], p[1]))
			}
		}
		sh.mu.Unlock()
	}
}

func (s *Store) markWorkloads(m *marks) {
	s.owners.each(m, func(_ uint32, ow *owner) {
		for _, v := range ow.facts.Load().wl {
			mark1(m.workloads, uint32(v.val))
		}
	})
}

// each calls do for the handles that m knows; swept ones are blank.
func (o *owners) each(m *marks, do func(h uint32, ow *owner)) {
	end := min(uint32(len(m.owners)*64), o.names.end())
	for h := uint32(1); h < end; h++ {
		do(h, o.list.at(h))
	}
}

// sweepPage frees what is dead among the owners of one page.
func (s *Store) sweepPage(m *marks, first uint32) {
	o, sw := s.owners, &s.sweeper
	sw.writers.Lock()
	defer sw.writers.Unlock()
	dead := sw.dead[first]
	for h := max(first, 1); h < min(first+pageSize, o.names.end(), uint32(len(m.owners)*64)); h++ {
		ow := o.list.at(h)
		if marked(m.owners, h) || ow.facts.Load().ep.Owner == "" { // in use, or swept before
			continue
		}
		o.names.remove(h)
		ow.free(o.facts(0))
		dead = append(dead, h)
	}
	switch {
	case len(dead) == 0:
	case len(dead) < sweptShare:
		sw.dead[first] = dead
	default:
		o.blank(first, dead)
		delete(sw.dead, first)
		sw.blank = append(sw.blank, dead...)
	}
}

// free makes ow the owner of nothing.
func (ow *owner) free(nothing *facts) {
	ow.set(nothing)
	ow.sole.Store(0)
	ow.unsee()
}

// blank replaces the page of first by one in which the dead have no texts. Writers are locked out.
func (o *owners) blank(first uint32, dead []uint32) {
	o.names.mu.Lock()
	defer o.names.mu.Unlock()
	names := *o.names.names.page(first)
	list := new([pageSize]owner)
	old := o.list.page(first)
	for i := range old {
		list[i].copy(&old[i])
	}
	for _, h := range dead {
		names[h&(pageSize-1)] = named{}
	}
	o.names.names.replace(first, &names)
	o.list.replace(first, list)
}

// copy leaves out what is only remembered to save time: seen.
func (ow *owner) copy(from *owner) {
	ow.facts.Store(from.facts.Load())
	ow.onlyFrom.Store(from.onlyFrom.Load())
	ow.onlyWorkload.Store(from.onlyWorkload.Load())
	ow.scope.Store(from.scope.Load())
	ow.has.Store(from.has.Load())
	ow.sole.Store(from.sole.Load())
}

// sweepWorkloads frees the workloads without a mark. Writers are locked out.
func (o *owners) sweepWorkloads(m *marks) {
	o.workloadMu.Lock()
	defer o.workloadMu.Unlock()
	for first := uint32(0); first < uint32(len(m.workloads)*64); first += pageSize {
		alive, page := 0, o.workloads.page(first)
		if page == o.noWorkloads {
			continue
		}
		for i := range page {
			h := first + uint32(i)
			w := page[i].Load()
			switch {
			case w == nil:
			case h < uint32(len(m.workloads)*64) && !marked(m.workloads, h):
				delete(o.workloadID, *w)
				page[i].Store(nil)
			default:
				alive++
			}
		}
		if alive == 0 && first+pageSize <= o.workloads.n {
			o.workloads.replace(first, o.noWorkloads)
		}
	}
	if len(o.workloadID) == 0 { // a map keeps the room that it had
		o.workloadID = map[metadata.Workload]uint32{}
	}
}
