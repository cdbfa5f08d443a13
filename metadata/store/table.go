package store

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"

	"dredge/metadata"
)

// forever is the end of an open tenure.
const forever = math.MaxInt64

// interval is one derived tenure: owner held the address in [from, to), and may have held it in [from − accFrom, to + accTo).
type interval struct {
	from, to       int64
	owner          uint32
	accFrom, accTo uint32
	flags          uint32
}

// The flags of an interval and of evidence.
const (
	// claim is the layer of pods and tasks; without it the layer is the interfaces'.
	claim = 1 << iota
	// beat was seen in traffic; without it a source told it.
	beat
	// primary is the interface's primary address.
	primary
	// bridged spans silences: not every instant of it was seen.
	bridged
	// beatPrimary: the very sightings of this interval were of a primary address.
	beatPrimary
)

// widened says whether the interval may meet [lo, hi).
func (v *interval) widened(lo, hi int64) bool {
	return v.from-int64(v.accFrom) < hi && (v.to == forever || v.to+int64(v.accTo) > lo)
}

// key4 is scope and IPv4 address; key16 serves IPv6 addresses and claims of single ports (port = proto<<16 | port).
type (
	key4  uint64
	key16 struct {
		addr        [16]byte
		scope, port uint32
	}
)

func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func makeKey4(s metadata.Scope, ip netip.Addr) (key4, uint64) {
	b := ip.As4()
	k := uint64(s)<<32 | uint64(binary.BigEndian.Uint32(b[:]))
	return key4(k), mix(k)
}

func makeKey16(s metadata.Scope, ip netip.Addr, port uint32) (key16, uint64) {
	k := key16{addr: ip.As16(), scope: uint32(s), port: port}
	hi, lo := binary.BigEndian.Uint64(k.addr[:8]), binary.BigEndian.Uint64(k.addr[8:])
	return k, mix(hi ^ mix(lo^mix(uint64(k.scope)<<32|uint64(port))))
}

// A slot's ref says where its intervals are: present bit, ports bit, count, place in the arena. A slot without the present bit is
// free; its key is written before ref and never changes, so that whoever sees ref may read key.
const (
	refPresent = 1 << 63
	refPorts   = 1 << 62
	refBits    = 40
)

type slot[K comparable] struct {
	key K
	ref atomic.Uint64
}

// table is one shard's address table together with the arena that its slots point into: both live and die together, so a
// reader that holds one holds the other. Readers see slots and the arena below published refs; state is the writer's.
type table[K comparable] struct {
	slots []slot[K]
	arena []interval
	state []keyState
	used  int // slots
	next  int // in arena
	live  int // intervals that a ref points at
}

type shard[K comparable] struct {
	mu sync.Mutex
	// tab is replaced by the writer when slots or arena are full.
	tab atomic.Pointer[table[K]]
	// scratch is the writer's.
	scratch deriver
}

const shardBits = 8

// addresses maps keys to intervals. get is wait-free; writers lock one shard.
type addresses[K comparable] struct {
	shards [1 << shardBits]shard[K]
}

func (a *addresses[K]) init() {
	for i := range a.shards {
		a.shards[i].tab.Store(&table[K]{slots: make([]slot[K], 4), state: make([]keyState, 4), arena: make([]interval, 8)})
	}
}

func (a *addresses[K]) shard(hash uint64) *shard[K] { return &a.shards[hash>>(64-shardBits)] }

// get returns the intervals of k in order of from, which nobody will change, and whether single ports of it are claimed.
func (a *addresses[K]) get(k K, hash uint64) (list []interval, ports, ok bool) {
	t := a.shard(hash).tab.Load()
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		ref := s.ref.Load()
		if ref == 0 {
			return nil, false, false
		}
		if s.key == k {
			at, n := ref&(1<<refBits-1), ref>>refBits&0xffff
			return t.arena[at : at+n : at+n], ref&refPorts != 0, true
		}
	}
}

// slot returns the place of k in the current table, made when it is not there. The shard's lock is held.
func (s *shard[K]) slot(k K, hash uint64, rehash func(K) uint64) (*table[K], int) {
	t := s.tab.Load()
	if (t.used+1)*4 > len(t.slots)*3 {
		t = s.rebuild(0, rehash)
	}
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		sl := &t.slots[i]
		if sl.ref.Load() == 0 {
			sl.key = k
			sl.ref.Store(refPresent)
			t.used++
			return t, int(i)
		}
		if sl.key == k {
			return t, int(i)
		}
	}
}

// publish makes list the intervals of the key at place i. The shard's lock is held.
func (s *shard[K]) publish(i int, list []interval, ports bool, rehash func(K) uint64) {
	t := s.tab.Load()
	old := t.slots[i].ref.Load()
	if t.next+len(list) > len(t.arena) {
		k := t.slots[i].key
		hash := rehash(k)
		t = s.rebuild(len(list), rehash)
		mask := uint64(len(t.slots) - 1)
		for i = int(hash & mask); t.slots[i].key != k || t.slots[i].ref.Load() == 0; i = int((uint64(i) + 1) & mask) {
		}
		old = t.slots[i].ref.Load()
	}
	copy(t.arena[t.next:], list)
	ref := uint64(refPresent) | uint64(len(list))<<refBits | uint64(t.next)
	if ports {
		ref |= refPorts
	}
	t.slots[i].ref.Store(ref)
	t.next += len(list)
	t.live += len(list) - int(old>>refBits&0xffff)
}

// rebuild copies what is live into a new table with room for one more key and extra more intervals, and swaps it in. Keys that
// hold nothing any more are left out, except the one that is being written: it has evidence. The shard's lock is held.
func (s *shard[K]) rebuild(extra int, rehash func(K) uint64) *table[K] {
	old := s.tab.Load()
	keys := 1
	for i := range old.slots {
		if old.kept(i) {
			keys++
		}
	}
	size := 1 << bits.Len(uint(keys*2-1))
	grown := &table[K]{
		slots: make([]slot[K], size),
		state: make([]keyState, size),
		arena: make([]interval, max(8, old.live+old.live/2+2*extra)),
	}
	mask := uint64(size - 1)
	for i := range old.slots {
		if !old.kept(i) {
			continue
		}
		from := &old.slots[i]
		ref := from.ref.Load()
		j := rehash(from.key) & mask
		for grown.slots[j].ref.Load() != 0 {
			j = (j + 1) & mask
		}
		at, n := ref&(1<<refBits-1), ref>>refBits&0xffff
		copy(grown.arena[grown.next:], old.arena[at:at+n])
		grown.slots[j].key = from.key
		grown.slots[j].ref.Store(ref&(refPresent|refPorts) | n<<refBits | uint64(grown.next))
		grown.state[j] = old.state[i]
		grown.next += int(n)
		grown.used++
	}
	grown.live = grown.next
	s.tab.Store(grown)
	return grown
}

// kept says whether the key at place i still holds something.
func (t *table[K]) kept(i int) bool {
	return t.slots[i].ref.Load() != 0 && (len(t.state[i].ev) > 0 || t.state[i].ports)
}

// publishShorter is publish for a list no longer than the present one, without ever moving the table. It takes fresh room when
// there is some, since readers may still hold the old list; otherwise a later call does the work.
func (s *shard[K]) publishShorter(i int, list []interval, ports bool) {
	t := s.tab.Load()
	if t.next+len(list) > len(t.arena) {
		return
	}
	s.publish(i, list, ports, nil)
}
