package flowlog

// Interner turns bytes into strings and gives the same string for the same bytes while it remembers them. Its memory is
// bounded whatever it is fed: it keeps two generations, and when the young one is full the old one is forgotten. A string
// may be kept for ever. Not safe for concurrent use. The zero value is ready.
//
// Two generations, not an LRU: a hit in the young one is a single map look-up, and clearing a map keeps its memory, so a
// working set that fits costs no allocation at all.
type Interner struct {
	young, old map[string]string
	bytes      int
}

// Bounds of one generation. A region's interfaces, instances and log streams number some ten thousands; an id has about
// twenty bytes.
const (
	internEntries = 1 << 16
	internBytes   = 8 << 20
	internLength  = 512
)

// String returns b as a string. Longer texts than 512 bytes are not remembered.
func (t *Interner) String(b []byte) string {
	if s, ok := t.young[string(b)]; ok {
		return s
	}
	s, ok := t.old[string(b)]
	if !ok {
		s = string(b)
		if len(s) > internLength {
			return s
		}
	}
	if t.young == nil {
		t.young = make(map[string]string)
	}
	if len(t.young) >= internEntries || t.bytes+len(s) > internBytes {
		t.young, t.old = t.old, t.young
		if t.young == nil {
			t.young = make(map[string]string)
		}
		clear(t.young)
		t.bytes = 0
	}
	t.young[s] = s
	t.bytes += len(s)
	return s
}

// Len is the number of strings remembered; one that is in both generations counts twice.
func (t *Interner) Len() int { return len(t.young) + len(t.old) }
