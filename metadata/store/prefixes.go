package store

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
)

// prefixes finds values by prefix, one length at a time. Readers need no lock, writers hold their scope's: a change costs one entry
// however many prefixes there are. A reader sees each prefix as it was before or after a change. The zero value is empty.
type prefixes[V any] struct {
	// lens4 and lens6 are the lengths that ever occurred, from long to short.
	lens4, lens6 atomic.Pointer[[]int]
	// table is open addressing; it is replaced when it grows, and an entry when its value changes.
	table atomic.Pointer[[]atomic.Pointer[prefixEntry[V]]]
	used  int // entries, removed ones included
}

// netPrefix is a prefix as a key. IPv4 ones are their number: hi is their length and address, lo is 0.
type netPrefix struct{ hi, lo, bits uint64 }

type prefixEntry[V any] struct {
	netPrefix
	prefix netip.Prefix
	val    V
	// removed entries stay until the table grows, so that those behind them are found.
	removed bool
}

// v4Bits marks the lengths of IPv4 prefixes, so that none equals an IPv6 one.
const v4Bits = 1 << 8

// prefixOf is the prefix of ip with that length.
func prefixOf(ip netip.Addr, bits int) netPrefix {
	if ip.Is4() {
		b := ip.As4()
		return netPrefix{hi: uint64(binary.BigEndian.Uint32(b[:])) >> (32 - bits), bits: uint64(bits) | v4Bits}
	}
	b := ip.As16()
	k := netPrefix{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), uint64(bits)}
	if bits < 64 {
		k.hi, k.lo = k.hi>>(64-bits)<<(64-bits), 0
	} else {
		k.lo = k.lo >> (128 - bits) << (128 - bits)
	}
	return k
}

func (k *netPrefix) hash() uint64 { return mix(k.hi ^ mix(k.lo+k.bits)) }

// lens returns the lengths that may cover ip.
func (t *prefixes[V]) lens(ip netip.Addr) []int {
	lens := &t.lens6
	if ip.Is4() {
		lens = &t.lens4
	}
	if list := lens.Load(); list != nil {
		return *list
	}
	return nil
}

// get returns the value of the prefix of ip with that length, which lens gave.
func (t *prefixes[V]) get(ip netip.Addr, bits int) (v V) {
	k := prefixOf(ip, bits)
	table := *t.table.Load()
	mask := uint64(len(table) - 1)
	for i := k.hash() & mask; ; i = (i + 1) & mask {
		e := table[i].Load()
		if e == nil {
			return v
		}
		if e.netPrefix == k {
			return e.val
		}
	}
}

// at is get for one prefix.
func (t *prefixes[V]) at(p netip.Prefix) (v V) {
	if t.table.Load() == nil {
		return v
	}
	return t.get(p.Addr(), p.Bits())
}

// set gives p the value v. The scope's lock is held.
func (t *prefixes[V]) set(p netip.Prefix, v V) { t.put(p, v, false) }

// remove takes p out. The scope's lock is held.
func (t *prefixes[V]) remove(p netip.Prefix) {
	var none V
	t.put(p, none, true)
}

func (t *prefixes[V]) put(p netip.Prefix, v V, removed bool) {
	p = p.Masked()
	e := &prefixEntry[V]{prefixOf(p.Addr(), p.Bits()), p, v, removed}
	if table := t.table.Load(); table == nil || (t.used+1)*2 > len(*table) {
		t.rebuild()
	}
	if insert(*t.table.Load(), e) {
		t.used++
	}
	lens := &t.lens6
	if p.Addr().Is4() {
		lens = &t.lens4
	}
	// After the table: who sees a length finds a table.
	if list := t.lens(p.Addr()); !slices.Contains(list, p.Bits()) {
		longer := append(slices.Clone(list), p.Bits())
		slices.SortFunc(longer, func(a, b int) int { return b - a })
		lens.Store(&longer)
	}
}

// insert says whether e's prefix is new in table.
func insert[V any](table []atomic.Pointer[prefixEntry[V]], e *prefixEntry[V]) bool {
	mask := uint64(len(table) - 1)
	for i := e.hash() & mask; ; i = (i + 1) & mask {
		old := table[i].Load()
		if old == nil || old.netPrefix == e.netPrefix {
			table[i].Store(e)
			return old == nil
		}
	}
}

// rebuild makes a table with room for as many prefixes again.
func (t *prefixes[V]) rebuild() {
	t.used = 0
	t.each(func(netip.Prefix, V) { t.used++ })
	size := 8
	for size < 4*t.used {
		size *= 2
	}
	grown := make([]atomic.Pointer[prefixEntry[V]], size)
	if old := t.table.Load(); old != nil {
		for i := range *old {
			if e := (*old)[i].Load(); e != nil && !e.removed {
				insert(grown, e)
			}
		}
	}
	t.table.Store(&grown)
}

// each calls do for every prefix, in no order; do may set and remove that prefix.
func (t *prefixes[V]) each(do func(p netip.Prefix, v V)) {
	table := t.table.Load()
	if table == nil {
		return
	}
	for i := range *table {
		if e := (*table)[i].Load(); e != nil && !e.removed {
			do(e.prefix, e.val)
		}
	}
}
