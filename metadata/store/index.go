package store

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// eniPrefix marks owners that are network interfaces.
const eniPrefix = "eni:"

// index gives texts small handles. Reading is wait-free and allocates nothing; handles start at 1 and are never given back.
type index struct {
	mu    sync.Mutex
	seed  maphash.Seed
	names paged[named]
	// table is open addressing: the high half of a slot is the hash's, the low half the handle, 0 is free. It is replaced when
	// it grows; slots are only ever filled.
	table atomic.Pointer[[]atomic.Uint64]
}

// named is a text that has a handle. What nearly all look-ups compare lies in the entry itself: a text elsewhere would cost
// one more cache miss.
type named struct {
	text string
	// bare begins with the text without eniPrefix when that is short enough: n is its length then, else tooLong.
	bare [23]byte
	n    uint8
}

const tooLong = 255

func (e *named) set(text string) {
	e.text = text
	bare := strings.TrimPrefix(text, eniPrefix)
	e.n = tooLong
	if len(bare) <= len(e.bare) {
		e.n = uint8(copy(e.bare[:], bare))
	}
}

// is says whether e is the text whose bare form is bare and which is size bytes long in all.
func (e *named) is(bare string, size int) bool {
	if len(e.text) != size {
		return false
	}
	if e.n != tooLong {
		return string(e.bare[:e.n]) == bare
	}
	return strings.TrimPrefix(e.text, eniPrefix) == bare
}

func newIndex() *index {
	x := &index{seed: maphash.MakeSeed()}
	x.names.add()
	slots := make([]atomic.Uint64, 64)
	x.table.Store(&slots)
	return x
}

// hash leaves eniPrefix out, so that an interface is found by its bare id without building a string.
func (x *index) hash(s string) uint64 {
	return maphash.String(x.seed, strings.TrimPrefix(s, eniPrefix))
}

// get returns the handle of prefix+s, 0 when it has none. prefix is eniPrefix or empty.
func (x *index) get(prefix, s string) uint32 {
	bare := s
	if prefix == "" {
		bare = strings.TrimPrefix(s, eniPrefix)
	}
	h := maphash.String(x.seed, bare)
	slots := *x.table.Load()
	mask := uint64(len(slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		v := slots[i].Load()
		if v == 0 {
			return 0
		}
		if v>>32 == h>>32 && x.names.at(uint32(v)).is(bare, len(prefix)+len(s)) {
			return uint32(v)
		}
	}
}

// guess returns the handle that get(eniPrefix, s) would most likely return, without comparing the text; 0 when there is none.
func (x *index) guess(s string) uint32 {
	h := maphash.String(x.seed, s)
	slots := *x.table.Load()
	mask := uint64(len(slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		if v := slots[i].Load(); v == 0 || v>>32 == h>>32 {
			return uint32(v)
		}
	}
}

// intern returns the handle of s and whether it is new. prepare runs before a new handle can be found.
func (x *index) intern(s string, prepare func(h uint32, name string)) uint32 {
	if h := x.get("", s); h != 0 {
		return h
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if h := x.get("", s); h != 0 {
		return h
	}
	s = strings.Clone(s) // callers lend us parts of lines
	h, name := x.names.add()
	name.set(s)
	if prepare != nil {
		prepare(h, s)
	}
	slots := *x.table.Load()
	if int(h)*2 > len(slots) {
		grown := make([]atomic.Uint64, 2*len(slots))
		for old := uint32(1); old < h; old++ {
			put(grown, x.hash(x.names.at(old).text), old)
		}
		put(grown, x.hash(s), h)
		x.table.Store(&grown)
	} else {
		put(slots, x.hash(s), h)
	}
	return h
}

func put(slots []atomic.Uint64, hash uint64, h uint32) {
	mask := uint64(len(slots) - 1)
	i := hash & mask
	for slots[i].Load() != 0 {
		i = (i + 1) & mask
	}
	slots[i].Store(hash>>32<<32 | uint64(h))
}

// name returns the text of a handle.
func (x *index) name(h uint32) string {
	if p := x.names.find(h); p != nil {
		return p.text
	}
	return ""
}

// len returns the number of handles.
func (x *index) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return int(x.names.n) - 1
}
