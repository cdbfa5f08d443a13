package pipeline

import "unsafe"

type edgeKey struct{ src, dst string }

type edgeSum struct{ bytes, flows int64 }

// edge is what was summed of an edge. The names keep their places from being used for anything else.
type edge struct {
	edgeKey
	edgeSum
}

// edges are sums of edges, told apart by where the two names lie, which saves reading them: they come from the identity tables, and of
// most of them the text is in no cache of the processor. The same name may lie at several places; summary unites those. The zero value is
// empty and ready.
type edges struct {
	// list is in the order in which they came.
	list []edge
	// places is open addressing: the low half of a place is one more than an index of list, 0 being free, the high half the hash's.
	places *[edgePlaces]uint32
}

const (
	edgeBits   = 12
	edgePlaces = 1 << edgeBits
	// maxEdges leaves half of the places free.
	maxEdges = edgePlaces / 2
)

func (s *edges) clear() {
	clear(s.list)
	s.list = s.list[:0]
	if s.places != nil {
		clear(s.places[:])
	}
}

// of returns the sum of an edge, made when there are fewer than most, which is at most maxEdges, and nil beyond; good until the next call.
func (s *edges) of(src, dst string, most int) *edge {
	if s.places == nil {
		s.places = new([edgePlaces]uint32)
	}
	hash := (place(src)*0x9e3779b97f4a7c15 ^ place(dst)) * 0xbf58476d1ce4e5b9
	tag := uint32(hash>>16) << 16
	for at := hash >> (64 - edgeBits); ; at = (at + 1) % edgePlaces {
		switch p := s.places[at]; {
		case p == 0:
			n := len(s.list)
			if n >= most {
				return nil
			}
			s.list = append(s.list, edge{edgeKey: edgeKey{src, dst}})
			s.places[at] = tag | uint32(n+1)
			return &s.list[n]
		case p>>16<<16 == tag:
			if e := &s.list[p&(1<<16-1)-1]; same(e.src, src) && same(e.dst, dst) {
				return e
			}
		}
	}
}

// place is where the text of a name lies.
func place(name string) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.StringData(name)))) }

// same says whether two names are one and the same text, not whether they read the same.
func same(a, b string) bool { return unsafe.StringData(a) == unsafe.StringData(b) && len(a) == len(b) }
