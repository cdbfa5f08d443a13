package kafka

import (
	"context"
	"fmt"

	"dredge/row"
	"dredge/row/rollup"
	"dredge/sink/internal/ack"
	"dredge/stream"
)

// ReasonRowTooLarge is why a row goes to the dead letter: it is larger than one record batch may be.
const ReasonRowTooLarge = "row_too_large"

// Writer takes the rows of one partition. Its methods are called by one goroutine; done runs on the client's promise goroutine,
// which serves all Writers, so done must not block.
type Writer struct {
	sink      *Sink
	partition string
	acks      ack.Queue
	rollup    *rollup.Aggregator // nil without rolled-up rows
	lettered
}

// Write encodes the rows of b and hands them to the client. It waits while the process-wide buffer is full. When it returns an
// error, some rows may already be on their way: the caller writes them again or gives the partition up.
func (w *Writer) Write(ctx context.Context, b *row.Batch, _ stream.Position, done func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	report, lettered := w.reporting(done)
	e, err := w.acks.Add(report)
	if err != nil {
		return err
	}
	letters, err := w.write(ctx, b, e)
	if err != nil {
		if w.rollup != nil {
			w.rollup.Reset()
		}
		e.Abort()
		return err
	}
	lettered(letters) // nothing is reported before Handed
	return e.Handed()
}

// write returns how many rows went to the dead letter.
func (w *Writer) write(ctx context.Context, b *row.Batch, e *ack.Entry) (letters int, err error) {
	k := w.sink
	st := newStamper(&k.cfg)
	var left []int
	tooLarge := func(i int, encoded []byte) error {
		left = append(left, i)
		return putLetter(ctx, k, b, i, encoded)
	}
	for next := 0; next < len(b.Rows); {
		s, err := k.slabs.take(ctx)
		if err != nil {
			return 0, err
		}
		st.chunk = k.chunks.Add(1)
		next, err = s.fill(b, next, k.cfg.maxRow(), &st, tooLarge)
		if err != nil || len(s.recs) == 0 {
			k.slabs.put(s)
			if err != nil {
				return 0, err
			}
			continue
		}
		s.entry = e
		e.Hold(1)
		s.send() //nolint:contextcheck // see send
	}
	if w.rollup != nil {
		k.rollUp(w.rollup, b, left)
		if err := w.produceMinute(ctx, e); err != nil {
			return 0, err
		}
	}
	if len(left) == 0 {
		return 0, nil
	}
	// done may run as soon as the other rows are acknowledged, and then the position passes the letters.
	if err := k.letters.Flush(ctx); err != nil {
		return 0, fmt.Errorf("flushing the dead letter: %w", err)
	}
	return len(left), nil
}

// produceMinute hands the rolled-up rows of one Write over. A Write is rolled up as a whole and alone, so what one done tells of
// stands in no other one's rows.
func (w *Writer) produceMinute(ctx context.Context, e *ack.Entry) (err error) {
	k := w.sink
	st := newStamper(&k.cfg)
	var s *slab
	send := func() {
		s.seal(st.key)
		s.entry = e
		e.Hold(1)
		s.send() //nolint:contextcheck // see send
		s = nil
	}
	w.rollup.Drain(func(r *rollup.Row) {
		if err == nil && s == nil {
			if s, err = k.slabs.take(ctx); err == nil {
				s.minute, st.chunk = true, k.chunks.Add(1)
			}
		}
		if err != nil {
			return // the rows are rolled up again when they are written again
		}
		if err = s.addMinute(r, &st); err == nil && s.full() {
			send()
		}
	})
	if s != nil && err == nil {
		send()
	}
	if s != nil {
		k.slabs.put(s)
	}
	return err
}

// Flush waits until every Write was reported. The linger is the longest time that rows wait in the client, so nothing is hurried.
func (w *Writer) Flush(ctx context.Context) error { return w.acks.Flush(ctx) }

// Close reports what is not acknowledged and returns at once. Its rows stay in the client, and their memory with the sink,
// until the broker answers or the sink is closed.
func (w *Writer) Close(context.Context) error {
	w.acks.Close(fmt.Errorf("partition %q: %w", w.partition, errWriterClosed))
	return nil
}
