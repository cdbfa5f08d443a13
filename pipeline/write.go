package pipeline

import (
	"context"
	"reflect"
	"time"

	"dredge/flowlog"
	"dredge/row"
	"dredge/stream"
)

// partRecords is how many records are enriched and handed to the sink at a time. Rows are some five times the size of their
// lines, so they are made only for as many as it takes to make calls cheap.
const partRecords = 2048

// scratchCost is what the rows of one part hold.
//
//nolint:gochecknoglobals // read-only, from the type
var scratchCost = int64(reflect.TypeFor[row.Row]().Size()) * partRecords

// scratch is what one goroutine needs to make rows.
type scratch struct {
	rows  row.Batch
	local local
}

// unit is a run of records that is let into the budget at once: up to the end of a payload, so that what waits for room never
// leaves a payload half handed over, which the sink could not commit.
type unit struct {
	to       int
	at       stream.Position
	complete bool // to is the end of a payload, so at may be told
	last     bool // at is the end of the chunk
	letters  bool
}

// nextUnit cuts the next unit off: as many whole payloads as have at most partRecords records together, or one larger
// payload, or the beginning of a payload that goes on in the next slice.
func (h *handler) nextUnit(s *slice, from int, ends []end, in *intake) (u unit, rest []end) {
	if len(ends) == 0 {
		return unit{to: len(s.batch.Records), at: h.prev}, nil
	}
	n := 1
	for n < len(ends) && ends[n].records-from <= partRecords {
		n++
	}
	u = unit{to: ends[n-1].records, at: ends[n-1].at, complete: true}
	for _, e := range ends[:n] {
		u.letters = u.letters || e.letters
	}
	if n == len(ends) && !in.open && in.next == len(in.chunk.Payloads) {
		u.at, u.last = in.chunk.Last, true
	}
	return u, ends[n:]
}

// write enriches the records of s and hands their rows to the sink. It returns how many records it accounted for, which is
// all of them unless there is an error.
func (h *handler) write(ctx context.Context, s *slice, in intake, progress func(stream.Position, error)) (done int, err error) {
	w := h.p.writers.get()
	defer h.p.writers.put(w)
	defer w.rows.Reset()

	from, ends := 0, s.ends
	for from < len(s.batch.Records) || len(ends) > 0 {
		var u unit
		u, ends = h.nextUnit(s, from, ends, &in)
		left, err := h.enter(ctx, u.to-from, u.complete)
		if err != nil {
			return from, err
		}
		for {
			// The position is that of the payload before, until the payload's last part.
			to, at, whole := min(from+partRecords, u.to), h.prev, false
			if to == u.to {
				at, whole = u.at, u.complete
			}
			e := &entry{at: at, progress: progress, report: whole, letters: whole && u.letters}
			share := left
			if to < u.to {
				share = left * int64(to-from) / int64(u.to-from)
			}
			left -= share
			if err := h.writePart(ctx, w, s.batch, from, to, e, share); err != nil {
				h.p.budget.release(classUnacked, left)
				return from + int(e.rows), err // rows now counts those whose end is in the books
			}
			if h.cut = !whole; whole {
				h.prev = at
			}
			if from = to; from == u.to {
				break
			}
		}
		if u.complete {
			h.leaveLane()
		}
	}
	return from, nil
}

// writePart hands the rows of one part over. When it fails, e.rows is the number of records that are in the books as ended,
// and share was given back.
func (h *handler) writePart(ctx context.Context, w *scratch, in *flowlog.Batch, from, to int, e *entry, share int64) error {
	rows := &w.rows
	rows.Reset()
	if to > from {
		part := *in // a view: the records still borrow from in
		part.Records = in.Records[from:to]
		h.p.deps.Enricher.Enrich(&part, rows)
		h.complete(&part, rows)
	}
	made, dropped := int64(len(rows.Rows)), int64(to-from-len(rows.Rows))
	if dropped > 0 {
		h.p.books.dropped(rows.Dropped, dropped)
	}
	if err := h.delivery.stop.err(); err != nil {
		h.p.budget.release(classUnacked, share)
		e.rows = dropped
		return err
	}
	// Letters without rows go through the sink, too: one that keeps letters in its commits needs their position. And so does the end of a
	// payload of which parts were handed over: the sink does not commit those before it hears of a position behind them.
	if made == 0 && !e.letters && (!e.report || !h.cut) {
		h.p.budget.release(classUnacked, share)
		if e.report {
			e.settled = true
			h.delivery.add(e)
		}
		return nil
	}
	w.local.sum(rows.Rows)
	if h.p.deps.Tap != nil {
		h.p.deps.Tap(rows)
	}

	e.rows, e.bytes = made, share
	d := h.delivery // of this opening: done may run when there is another
	d.add(e)
	before := h.encoded()
	if err := h.writer.Write(ctx, rows, e.at, func(err error) { d.done(e, err) }); err != nil {
		d.take(e)
		h.p.budget.release(classUnacked, share)
		e.rows = dropped
		return err
	}
	h.learn(h.encoded()-before, made)
	h.p.metrics.wrote(&w.local, made)
	h.p.traffic.add(&w.local, made, time.Now())
	return nil
}

// complete fills what an enricher left to us.
func (h *handler) complete(in *flowlog.Batch, out *row.Batch) {
	if out.Partition == "" {
		out.Partition = in.Partition
	}
	if len(out.Origins) == 0 {
		for i := range in.Origins {
			o := &in.Origins[i]
			out.Origins = append(out.Origins, row.Origin{Position: o.Position, Arrived: o.Arrived, LogGroup: o.LogGroup})
		}
	}
}

// learn follows the mean size of encoded rows, the last few parts counting most.
func (h *handler) learn(bytes, rows int64) {
	if bytes > 0 && rows > 0 {
		h.rowSize += (float64(bytes)/float64(rows) - h.rowSize) / 4
	}
}

// enter waits for room for the encoded rows of n records and returns how many bytes it got.
//
// Rows that end with a payload are let in as a whole and can be committed, so they come back by themselves. A payload larger
// than a slice is let in piece by piece, and none of it can be committed before its end. Many of those at once could fill
// the budget with pieces that all wait for room, for ever. So a handler in the middle of a payload holds one of a few lanes,
// and each lane has a share of the reserve for itself: it waits for room within that share, which the others always leave
// or give back, and goes beyond it without waiting. The budget is exceeded then, by no more than what the rows of one
// payload for each lane have beyond its share. What the handler wrote before is flushed first, because a sink that commits
// in order could not commit it while the payload is unfinished.
//
// The order is slice, lane, room; the slice is kept until the payload ends, so nobody waits for an earlier one while holding
// a later one.
func (h *handler) enter(ctx context.Context, n int, complete bool) (int64, error) {
	if n == 0 {
		return 0, nil
	}
	need := int64(float64(n) * h.rowSize)
	most := h.p.budget.largest[classUnacked]
	if !complete && !h.lane {
		// What came before must not be caught behind parts that cannot be committed yet.
		if err := h.writer.Flush(ctx); err != nil {
			return 0, err
		}
		h.p.laneWaiters.Add(1)
		defer h.p.laneWaiters.Add(-1)
		select {
		case h.p.lanes <- struct{}{}:
			h.lane = true
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-h.delivery.stop.happened:
			return 0, h.delivery.stop.err()
		}
	}
	if h.lane {
		most = max(h.p.laneShare-h.partial, 0)
		h.partial += need
	}
	waited := min(need, most)
	if err := h.p.budget.acquire(ctx, classUnacked, waited); err != nil {
		return 0, err
	}
	h.p.budget.adopt(classUnacked, need-waited)
	return need, nil
}

// leaveLane ends the time in the middle of a payload.
func (h *handler) leaveLane() {
	if h.lane {
		<-h.p.lanes
		h.lane, h.partial = false, 0
	}
}
