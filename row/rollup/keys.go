package rollup

import (
	"math/bits"
	"unsafe"

	"dredge/row"
)

// keys finds groups by what stands for their dimensions, by open addressing. Several keys may lead to one group: what is equal in text need
// not be in the key.
type keys struct {
	slots []keyed // a power of two
	used  int
}

// keyed is one key of a group; group is one more than its place, 0 in a free slot.
type keyed struct {
	row.DimensionKey
	minute int64
	group  uint32
}

const (
	minKeys = 1 << 6
	// maxKeys bounds what an Aggregator keeps beside its groups; what finds no room is found by its text.
	maxKeys = 1 << 14
)

// find returns the slot of a key, or a free one where it belongs.
func (k *keys) find(key *row.DimensionKey, minute int64) *keyed {
	if k.slots == nil {
		k.slots = make([]keyed, minKeys)
	}
	mask := uint64(len(k.slots) - 1)
	for i := hashOf(key, minute) & mask; ; i = (i + 1) & mask {
		if s := &k.slots[i]; s.group == 0 || s.minute == minute && s.DimensionKey == *key {
			return s
		}
	}
}

// put fills a free slot that find returned, and makes room before three quarters are in use.
func (k *keys) put(at *keyed, key *row.DimensionKey, minute int64, group int) {
	if 4*k.used >= 3*maxKeys {
		return
	}
	at.DimensionKey, at.minute, at.group = *key, minute, uint32(group+1)
	if k.used++; 4*k.used <= 3*len(k.slots) || len(k.slots) == maxKeys {
		return
	}
	old := k.slots
	k.slots = make([]keyed, 2*len(old))
	for i := range old {
		if s := &old[i]; s.group != 0 {
			*k.find(&s.DimensionKey, s.minute) = *s
		}
	}
}

func (k *keys) clear() {
	clear(k.slots)
	k.used = 0
}

// hashOf mixes where the renderings lie, which stay there, with the rest.
func hashOf(key *row.DimensionKey, minute int64) uint64 {
	h := uint64(uintptr(unsafe.Pointer(key.Src)))*0x9e3779b97f4a7c15 + uint64(uintptr(unsafe.Pointer(key.Dst)))*0xbf58476d1ce4e5b9
	h = (bits.RotateLeft64(h, 29) ^ key.Codes ^ key.Number<<40 ^ uint64(minute)) * 0x94d049bb133111eb
	return h ^ h>>32
}
