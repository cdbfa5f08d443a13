package store

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// eniPrefix marks owners that are network interfaces.
const eniPrefix = "eni:"

// index gives texts small handles. Reading is wait-free and allocates nothing; handles start at 1. One whose text was removed may
// be given to another text later (sweep.go says when).
type index struct {
	mu    sync.Mutex
	seed  maphash.Seed
	names paged[named]
	// table is open addressing: the high half of a slot is the hash's, the low half the handle, 0 is free, removed was not always.
	// It is replaced when it grows.
	table atomic.Pointer[[]atomic.Uint64]
	used  int // slots that are not free
	count int // texts that have a handle
	// spare are handles that may be given out again.
	spare []uint32
}

// removed is in a slot whose text was removed: a look-up goes on behind it. Handle 0 is no text's.
const removed = 1 << 32

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

// intern returns the handle of s, made when it has none. prepare runs before a new handle can be found.
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
	h, name := x.handle()
	name.set(s)
	if prepare != nil {
		prepare(h, s)
	}
	x.count++
	if slots := *x.table.Load(); (x.used+1)*2 > len(slots) {
		x.rehash()
	}
	if put(*x.table.Load(), x.hash(s), h) {
		x.used++
	}
	return h
}

// handle returns a handle that is no text's. x.mu is held.
func (x *index) handle() (uint32, *named) {
	n := len(x.spare) - 1
	if n < 0 {
		return x.names.add()
	}
	h := x.spare[n]
	x.spare = x.spare[:n]
	return h, x.names.at(h)
}

// rehash replaces the table by one with room for as many texts again. x.mu is held.
func (x *index) rehash() {
	size := 64
	for size < 4*x.count {
		size *= 2
	}
	grown := make([]atomic.Uint64, size)
	x.used = 0
	old := *x.table.Load()
	for i := range old {
		if h := uint32(old[i].Load()); h != 0 {
			put(grown, x.hash(x.names.at(h).text), h)
			x.used++
		}
	}
	x.table.Store(&grown)
}

// put says whether it took a slot that was always free.
func put(slots []atomic.Uint64, hash uint64, h uint32) bool {
	mask := uint64(len(slots) - 1)
	i := hash & mask
	for uint32(slots[i].Load()) != 0 {
		i = (i + 1) & mask
	}
	free := slots[i].Load() == 0
	slots[i].Store(hash>>32<<32 | uint64(h))
	return free
}

// remove takes the text of h out: nobody finds it any more. What h stood for stays readable for those who have it already.
func (x *index) remove(h uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	slots := *x.table.Load()
	mask := uint64(len(slots) - 1)
	for i := x.hash(x.names.at(h).text) & mask; ; i = (i + 1) & mask {
		switch v := slots[i].Load(); {
		case v == 0:
			return
		case uint32(v) == h:
			slots[i].Store(removed)
			x.count--
			return
		}
	}
}

// reuse gives handles, whose texts were removed and whose entries are blank, to other texts from now on.
func (x *index) reuse(handles []uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.spare = append(x.spare, handles...)
}

// name returns the text of a handle.
func (x *index) name(h uint32) string {
	if p := x.names.find(h); p != nil {
		return p.text
	}
	return ""
}

// end is one more than the largest handle that was ever given out.
func (x *index) end() uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.names.n
}

// len returns the number of texts.
func (x *index) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count
}
