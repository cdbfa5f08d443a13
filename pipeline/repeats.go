package pipeline

import (
	"encoding/binary"
	"hash/maphash"
	"sync"

	"dredge/flowlog/envelope"
	"dredge/stream"
)

// repeats finds events of CloudWatch Logs that were put into the stream more than once: redelivered, or sent by a second subscription
// of their log group. They are rows of their own in every mode, as nobody may throw away what could be another event; so they are
// only counted. Safe for concurrent use.
//
// An event is known by its log group, log stream and id. What is read again from the same place of the stream is no repeat: that is
// this service's own doing, after a rewind or a take-over.
type repeats struct {
	seed    maphash.Seed
	stripes [repeatStripes]repeatStripe
}

// repeatStripes is a power of two: how many locks there are.
const repeatStripes = 64

// repeatStripe remembers two generations, of which the old one goes when the young one is full, so its memory is bounded.
type repeatStripe struct {
	mu sync.Mutex
	// most is the size of a generation. The keys are events with the place that they were first read from, and repeats that were
	// counted, with 0.
	most       int
	young, old map[uint64]uint64
}

// newRepeats remembers up to events events; nil when that is 0.
func newRepeats(events int) *repeats {
	if events == 0 {
		return nil
	}
	r := &repeats{seed: maphash.MakeSeed()}
	for i := range r.stripes {
		r.stripes[i].most = max(events/2/repeatStripes, 1)
		r.stripes[i].young = map[uint64]uint64{}
	}
	return r
}

// again says that the event was seen before, in another place of the stream than (partition, at).
func (r *repeats) again(partition string, at stream.Position, m *envelope.Meta, id []byte) bool {
	if len(id) == 0 {
		return false
	}
	var h maphash.Hash
	h.SetSeed(r.seed)
	writeText(&h, m.LogGroup)
	writeText(&h, m.LogStream)
	_, _ = h.Write(id) // a hash takes everything
	event := h.Sum64()
	h.Reset()
	writeText(&h, partition)
	writeText(&h, string(at))
	place := h.Sum64() | 1 // never 0

	s := &r.stripes[event%repeatStripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	first, known := s.get(event)
	switch {
	case !known:
		s.put(event, place)
		return false
	case first == place:
		return false
	}
	repeat := event ^ place*0x9e3779b97f4a7c15
	if _, counted := s.get(repeat); counted {
		return false
	}
	s.put(repeat, 0)
	return true
}

// writeText writes s so that no two lists of texts are written alike.
func writeText(h *maphash.Hash, s string) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(s)))
	_, _ = h.Write(size[:])
	_, _ = h.WriteString(s)
}

func (s *repeatStripe) get(key uint64) (place uint64, known bool) {
	if place, known = s.young[key]; known {
		return place, true
	}
	if place, known = s.old[key]; known {
		s.put(key, place) // still of use
	}
	return place, known
}

func (s *repeatStripe) put(key, place uint64) {
	if len(s.young) >= s.most {
		s.old, s.young = s.young, s.old
		clear(s.young)
		if s.young == nil {
			s.young = map[uint64]uint64{}
		}
	}
	s.young[key] = place
}
