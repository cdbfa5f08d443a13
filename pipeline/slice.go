package pipeline

import (
	"context"
	"reflect"
	"time"

	"dredge/flowlog"
	"dredge/stream"
)

// slice is some megabytes of decoded lines: what is gated together and counted in the budget as one.
type slice struct {
	batch *flowlog.Batch
	// ends are the payloads that end in this slice, in order. Records after the last of them belong to one that goes on.
	ends []end
	// oldest is the earliest arrival of its payloads.
	oldest time.Time
	tally  tally
	// lines is the sum of the lengths of its lines, cost what it holds of memory, room what it holds of the budget.
	lines, cost, room int64
}

// end is where a payload ends.
type end struct {
	records int // how many records of the slice lie before
	at      stream.Position
	letters bool // lines of it, or it as a whole, are in the dead letter
}

// recordCost is the size of a Record with the places of its fields.
//
//nolint:gochecknoglobals // read-only, from the type
var recordCost = int64(reflect.TypeFor[flowlog.Record]().Size()) + 4*24

func (s *slice) reset(partition string) {
	s.batch.Reset()
	s.batch.Partition = partition
	s.ends = s.ends[:0]
	s.oldest = time.Time{}
	s.tally.reset()
	s.lines, s.cost = 0, 0
}

// enoughLines is how many bytes of lines are enough for a slice: their Records are some two megabytes, which the processor's second
// cache still holds when they are observed, gated and joined. Only a larger payload makes a larger slice.
const enoughLines = 512 << 10

// full says that no further payload should begin.
func (s *slice) full(c *Config) bool {
	return s.lines >= min(int64(c.Slice), enoughLines) || s.cost >= c.sliceCost()*3/4
}

// newSlice waits for room.
func (h *handler) newSlice(ctx context.Context) (*slice, error) {
	room := h.p.cfg.sliceCost()
	if err := h.p.budget.acquire(ctx, classSlice, room); err != nil {
		return nil, err
	}
	s := &slice{batch: h.p.batches.get(), room: room}
	s.reset(h.partition)
	return s, nil
}

func (h *handler) dropSlice(s *slice) {
	s.batch.Reset()
	h.p.batches.put(s.batch)
	s.batch = nil
	h.p.budget.release(classSlice, s.room)
}

// trim gives back the room that a slice turned out not to need.
func (h *handler) trim(s *slice) {
	need := min(s.room, s.cost+scratchCost)
	h.p.budget.release(classSlice, s.room-need)
	s.room = need
}

// intake is how far a chunk was decoded.
type intake struct {
	chunk stream.Chunk
	next  int  // the payload to go on with
	open  bool // that payload is partly decoded
	line  uint32
}

// fill decodes lines into s until it is full or the chunk ends. A slice ends where a payload ends, unless that payload alone
// is larger than the room of a slice.
func (h *handler) fill(ctx context.Context, u *unfolder, in *intake, s *slice) error {
	spread, limit := h.p.gate.spread(), h.p.cfg.sliceCost()
	for in.next < len(in.chunk.Payloads) {
		p := &in.chunk.Payloads[in.next]
		if !in.open {
			if len(s.ends) > 0 && (s.full(&h.p.cfg) || spread > 0 && p.Arrived.Sub(s.oldest) > spread && h.p.gate.waits(p.Arrived)) {
				break
			}
			u.begin(p)
			in.open, in.line = true, 0
			h.p.metrics.payloadBytes.Add(float64(len(p.Data)))
		}
		if s.oldest.IsZero() || p.Arrived.Before(s.oldest) {
			s.oldest = p.Arrived
		}
		ended, err := h.decode(ctx, u, in, s, limit)
		if err != nil {
			return err
		}
		if !ended {
			break
		}
		in.open = false
		in.next++
		s.ends = append(s.ends, end{records: len(s.batch.Records), at: p.At, letters: h.takeLetters()})
	}
	if !in.open {
		h.trim(s)
	}
	return nil
}
