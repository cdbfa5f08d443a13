package store

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

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

// A ref says where the intervals of a slot's key are and how much there is: ports bit, writing bit, number of pieces of evidence, number
// of intervals, place of these in the arena. No key has more than maxEvidence of either, and the mark of forgotten times.
const (
	refPorts   = 1 << 62
	refWriting = 1 << 61 // a key that a rebuild must keep although it holds nothing yet
	refBits    = 36
	countBits  = 12
	countMask  = 1<<countBits - 1
	toldShift  = refBits + countBits
)

// slot is one key and, beside it, what nearly all look-ups ask: 32 bytes for an IPv4 address, half a cache line. A key's home are the two
// slots of one line.
type slot[K comparable] struct {
	key K
	now current
}

// extent is where ref's intervals are.
func extent(ref uint64) (first, end uint64) {
	first = ref & (1<<refBits - 1)
	return first, first + ref>>refBits&countMask
}

// makeRef is the ref of a key with so many intervals from first on, and so many pieces of evidence.
func makeRef(first, intervals, evidence int) uint64 {
	return uint64(evidence)<<toldShift | uint64(intervals)<<refBits | uint64(first)
}

// table is one shard's address table together with the arenas that its slots point into: all live and die together, so a
// reader that holds one holds the other. Readers see slots, refs and the arena below published refs; the rest is the writer's.
// Nothing in it is a pointer, so the garbage collector has nothing to walk.
type table[K comparable] struct {
	slots []slot[K]
	// spread is another odd number for each size. Without it keys that come in the order of another table's slots, as those of a snapshot
	// do, would crowd at the begin of one that grows.
	spread uint64
	refs   []atomic.Uint64
	arena  []packed // derived tenures
	// told holds the evidence; toldAt says for each slot where, its ref how much.
	told   []packed
	toldAt []uint32
	used   int // slots
	next   int // in arena
	live   int // intervals that a ref points at
	// nextTold and liveTold are the same for told.
	nextTold, liveTold int
}

func newTable[K comparable](slots, intervals, evidence int) *table[K] {
	slots += slots & 1
	return &table[K]{
		slots: make([]slot[K], slots), spread: mix(uint64(slots)) | 1, refs: make([]atomic.Uint64, slots), toldAt: make([]uint32, slots),
		arena: make([]packed, intervals), told: make([]packed, evidence),
	}
}

// bytes is the memory that t takes.
func (t *table[K]) bytes() int {
	return len(t.slots)*int(unsafe.Sizeof(slot[K]{})+unsafe.Sizeof(t.refs[0])+unsafe.Sizeof(t.toldAt[0])) + (len(t.arena)+len(t.told))*int(unsafe.Sizeof(packed{}))
}

// home is the first of the two slots where a key with this hash belongs.
func (t *table[K]) home(hash uint64) int {
	place, _ := bits.Mul64(hash*t.spread, uint64(len(t.slots)))
	return int(place) &^ 1
}

// seek returns the place of k, or that of the free slot where it belongs. One slot in five is free at least.
func (t *table[K]) seek(k K, hash uint64) (i int, found bool) { return t.seekFrom(k, t.home(hash)) }

// seekFrom is seek for a key whose home is known.
func (t *table[K]) seekFrom(k K, home int) (i int, found bool) {
	for i = home; ; i++ {
		if i == len(t.slots) {
			i = 0
		}
		s := &t.slots[i]
		if s.now.free() {
			return i, false
		}
		if s.key == k {
			return i, true
		}
	}
}

// seek4 is seekFrom for an IPv4 address that is there. It takes the one of the two slots at home that has the key without a branch: which of
// them it is can't be guessed, and a wrong guess is found out only when the line has come from memory, so that the processor would
// not go on to what is asked next.
func seek4(t *table[key4], k key4, home int) (i int, found bool) {
	other := uint64(t.slots[home+1].key.load() ^ k)
	i = home + 1 - int((other|-other)>>63)
	if s := &t.slots[i]; s.key.load() == k && !s.now.free() {
		return i, true
	}
	return t.seekFrom(k, home)
}

// load reads a key that a writer may be about to write: until the slot is taken, what it reads means nothing.
func (k *key4) load() key4 { return key4(atomic.LoadUint64((*uint64)(k))) }

// setKey writes the key of a slot that is free, so that seek4 may read it meanwhile.
func (s *slot[K]) setKey(k K) {
	if k4, ok := any(&s.key).(*key4); ok {
		atomic.StoreUint64((*uint64)(k4), uint64(any(k).(key4)))
		return
	}
	s.key = k
}

// tenures returns the intervals of the key at place i.
func (t *table[K]) tenures(i int) tenures {
	first, end := extent(t.refs[i].Load())
	return t.arena[first:end:end]
}

// evidence returns what was told of the key at place i. It is the writer's.
func (t *table[K]) evidence(i int) []packed {
	first := uint64(t.toldAt[i])
	end := first + t.refs[i].Load()>>toldShift&countMask
	return t.told[first:end:end]
}

func (t *table[K]) ports(i int) bool { return t.refs[i].Load()&refPorts != 0 }

// known says whether evidence e adds nothing to what was told of the key at place i.
func (t *table[K]) known(i int, e *evidence) bool {
	if e.kind != beatSight {
		return slices.Contains(t.evidence(i), packEvidence(e))
	}
	list := t.evidence(i)
	for k := range list {
		if kind(list[k][0]>>extraShift&kindMask) != beatSight {
			continue
		}
		if b := list[k].evidence(); b.owner == e.owner && b.from <= e.from && b.to >= e.to && b.flags|e.flags == b.flags {
			return true
		}
	}
	return false
}

type shard[K comparable] struct {
	mu sync.Mutex
	// tab is replaced by the writer when slots or arena are full.
	tab atomic.Pointer[table[K]]
	// filling is set while a snapshot is taken in: more is about to come, so what grows grows by half.
	filling bool
	// scratch, state and list are the writer's.
	scratch deriver
	state   keyState
	list    []interval
}

const shardBits = 8

// addresses maps keys to intervals. get is wait-free; writers lock one shard.
type addresses[K comparable] struct {
	shards [1 << shardBits]shard[K]
}

func (a *addresses[K]) init() {
	for i := range a.shards {
		a.shards[i].tab.Store(newTable[K](4, 8, 8))
	}
}

func (a *addresses[K]) shard(hash uint64) *shard[K] { return &a.shards[hash>>(64-shardBits)] }

// get returns the intervals of k in order of from, and whether single ports of it are claimed.
func (a *addresses[K]) get(k K, hash uint64) (list tenures, ports bool) {
	t := a.shard(hash).tab.Load()
	i, found := t.seek(k, hash)
	if !found {
		return nil, false
	}
	ref := t.refs[i].Load()
	first, end := extent(ref)
	return t.arena[first:end:end], ref&refPorts != 0
}

// slot returns the place of k in the current table, made when it is not there. The shard's lock is held.
func (s *shard[K]) slot(k K, hash uint64, rehash func(K) uint64) (*table[K], int) {
	t := s.tab.Load()
	if (t.used+1)*5 > len(t.slots)*4 {
		t = s.rebuild(0, 0, rehash)
	}
	i, found := t.seek(k, hash)
	if !found {
		t.slots[i].setKey(k)
		t.slots[i].now.take()
		t.used++
	}
	return t, i
}

// load reads what was told of the key at place i into the shard's scratch space.
func (s *shard[K]) load(t *table[K], i int) *keyState {
	st := &s.state
	st.ev, st.since = st.ev[:0], 0
	for _, p := range t.evidence(i) {
		e := p.evidence()
		if e.owner == 0 { // the mark of forgotten times
			st.since = e.from
			continue
		}
		st.ev = append(st.ev, e)
	}
	st.ports = t.ports(i)
	return st
}

// publish makes st what was told of the key at place i, and list its intervals. The shard's lock is held.
func (s *shard[K]) publish(i int, list []interval, st *keyState, rehash func(K) uint64) {
	t := s.tab.Load()
	evidence := st.size()
	if t.next+len(list) > len(t.arena) || t.nextTold+evidence > len(t.told) {
		k := t.slots[i].key
		hash := rehash(k)
		s.keep(i, st)
		t = s.rebuild(len(list), evidence, rehash)
		i, _ = t.seek(k, hash)
	}
	s.write(t, i, list, st)
}

// write is publish for a table that has room.
func (s *shard[K]) write(t *table[K], i int, list []interval, st *keyState) {
	old := t.refs[i].Load()
	for n := range list {
		t.arena[t.next+n] = packInterval(&list[n])
	}
	ref := makeRef(t.next, len(list), st.size())
	if st.ports {
		ref |= refPorts
	}
	t.tell(i, st)
	t.slots[i].now.change()
	t.refs[i].Store(ref)
	if !st.ports {
		t.slots[i].now.set(t.tenures(i))
	}
	t.next += len(list)
	t.live += len(list) - int(old>>refBits&countMask)
}

// tell writes st as the evidence of the key at place i: where the old one was when there is room. The caller's ref says how much.
func (t *table[K]) tell(i int, st *keyState) {
	n, had, first := st.size(), len(t.evidence(i)), int(t.toldAt[i])
	t.liveTold += n - had
	if had < n {
		first = t.nextTold
		t.nextTold += n
	}
	t.toldAt[i] = uint32(first)
	if st.since != 0 {
		t.told[first] = packEvidence(&evidence{kind: begin, from: st.since})
		first++
	}
	for k := range st.ev {
		t.told[first+k] = packEvidence(&st.ev[k])
	}
}

// keep marks the key at place i as one that rebuild must not drop: it is being written.
func (s *shard[K]) keep(i int, st *keyState) {
	t := s.tab.Load()
	if !t.kept(i) && (len(st.ev) > 0 || st.ports) {
		t.refs[i].Store(t.refs[i].Load() | refWriting)
	}
}

// rebuild copies what is live into a new table with room for one more key, extra more intervals and evidence more pieces of
// evidence, and swaps it in. Keys that hold nothing any more are left out. The shard's lock is held.
func (s *shard[K]) rebuild(extra, evidence int, rehash func(K) uint64) *table[K] {
	old := s.tab.Load()
	keys := 1
	for i := range old.slots {
		if old.kept(i) {
			keys++
		}
	}
	room := roomFor
	if s.filling {
		keys += keys / 2
		room = func(live, comes int) int { return max(8, live+live/2+2*comes) }
	}
	grown := newTable[K](keys+keys/2+3, room(old.live, extra), room(old.liveTold, evidence))
	for i := range old.slots {
		if !old.kept(i) {
			continue
		}
		k, ref := old.slots[i].key, old.refs[i].Load()
		j, _ := grown.seek(k, rehash(k))
		list, told := old.tenures(i), old.evidence(i)
		copy(grown.arena[grown.next:], list)
		copy(grown.told[grown.nextTold:], told)
		grown.slots[j].key = k
		grown.slots[j].now.copy(&old.slots[i].now)
		grown.refs[j].Store(ref&refPorts | makeRef(grown.next, len(list), len(told)))
		grown.toldAt[j] = uint32(grown.nextTold)
		grown.next += len(list)
		grown.nextTold += len(told)
		grown.used++
	}
	grown.live, grown.liveTold = grown.next, grown.nextTold
	s.tab.Store(grown)
	return grown
}

// roomFor is the size of an arena in which so much is live and so much comes now. Large ones have less to spare: it costs more there.
func roomFor(live, comes int) int {
	return max(8, live+max(live/8, min(live/4, 4096))+2*comes)
}

// kept says whether the key at place i still holds something.
func (t *table[K]) kept(i int) bool {
	ref := t.refs[i].Load()
	return ref&(refPorts|refWriting|countMask<<toldShift) != 0
}

// publishShorter is publish for knowledge no larger than the present one, without ever moving the table. It takes fresh room,
// since readers may still hold the old list, and says whether there was some.
func (s *shard[K]) publishShorter(i int, list []interval, st *keyState) bool {
	t := s.tab.Load()
	if t.next+len(list) > len(t.arena) {
		return false
	}
	s.write(t, i, list, st)
	return true
}
