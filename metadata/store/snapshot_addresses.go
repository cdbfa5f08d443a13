package store

import (
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// addressSection is one section of addresses. They are most of a snapshot and nothing in it refers to them, so several sections are taken
// in at once.
type addressSection struct {
	s *Store
	// scopes and owners are the handles here of those in the snapshot that stand before the section.
	scopes, owners []uint32
	told           []packed
}

// beside takes a section of addresses in while others are read, and returns a body for the next one. It waits when enough of them are
// being taken in.
func (in *snapshotReader) beside(kind byte, body []byte) (next []byte) {
	sec, number := &addressSection{s: in.s, scopes: in.scopes, owners: in.owners}, in.sections
	in.addresses.Go(func() error {
		defer func() {
			select {
			case in.spare <- body:
			default: // there are enough
			}
		}()
		c := &cursor{b: body}
		if sec.load(kind, c); c.bad {
			return fmt.Errorf("section %d: %w", number, bad("what it holds makes no sense"))
		}
		return nil
	})
	select {
	case next = <-in.spare:
	default:
	}
	return next
}

func (a *addressSection) load(kind byte, c *cursor) {
	for c.more() {
		if kind == sectionAddresses4 {
			k := c.u64()
			k = uint64(c.handle(a.scopes, k>>32))<<32 | k&(1<<32-1)
			if ports := a.evidence(c); !c.bad {
				load(a.s, &a.s.v4, key4(k), hashKey4, true, a.told, ports)
			}
			continue
		}
		var k key16
		copy(k.addr[:], c.bytes(16))
		k.scope, k.port = c.handle(a.scopes, uint64(c.u32())), c.u32()
		if ports := a.evidence(c); !c.bad {
			load(a.s, &a.s.wide, k, hashKey16, netip.AddrFrom16(k.addr).Is4In6(), a.told, ports)
		}
	}
}

// evidence reads the evidence of one address into a.told, with the owners' handles here.
func (a *addressSection) evidence(c *cursor) (ports bool) {
	count := c.u16()
	a.told = a.told[:0]
	for range count >> 1 {
		p := packed{c.u64(), c.u64()}
		e := p.evidence()
		if e.owner != 0 {
			e.owner = c.handle(a.owners, uint64(e.owner))
			c.bad = c.bad || e.owner == 0
		}
		a.told = append(a.told, packEvidence(&e))
	}
	return count&1 != 0
}

// filled gives back the room that the shards' tables were given while a snapshot was taken in.
func filled[K comparable](a *addresses[K], rehash func(K) uint64) {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range a.shards {
		sh := &a.shards[i]
		g.Go(func() error {
			sh.mu.Lock()
			defer sh.mu.Unlock()
			if sh.filling {
				sh.filling = false
				sh.rebuild(0, 0, rehash)
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
}

// load adds what was told of one address elsewhere to what was told of it here.
func load[K comparable](s *Store, a *addresses[K], k K, rehash func(K) uint64, v4 bool, told []packed, ports bool) {
	hash := rehash(k)
	sh := a.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.filling = true
	t, i := sh.slot(k, hash, rehash)
	st := sh.load(t, i)
	changed := ports && !st.ports
	st.ports = st.ports || ports
	for n := range told {
		e := told[n].evidence()
		if e.owner == 0 {
			changed = changed || e.from > st.since
			st.since = max(st.since, e.from)
			continue
		}
		changed = st.add(e) || changed
	}
	if !changed {
		return
	}
	if len(st.ev) > maxEvidence {
		s.metrics.forgotten.Add(float64(st.forget()))
	}
	noteKey(s.owners, k, st.ev)
	sh.publish(i, sh.derive(s, st, v4), st, rehash)
}
