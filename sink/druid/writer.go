package druid

import (
	"context"
	"fmt"

	"dredge/row"
	"dredge/row/rollup"
	"dredge/sink/internal/ack"
	"dredge/stream"
)

// Writer takes the rows of one partition into the batches of its group.
type Writer struct {
	sink      *Sink
	group     *group
	partition string
	// burnt is the highest attempt of a task of a range that begins where this Writer did, and was given up.
	burnt   int
	acks    ack.Queue
	scratch []byte
	rollup  *rollup.Aggregator // nil without rolled-up rows
	encoded int64

	// life ends with Close or the first failure.
	life context.Context //nolint:containedctx // ends what the group does for this Writer
	end  context.CancelCauseFunc
	// recording has an element while a batch is recorded for the partition: when Close has returned, no batch of this Writer is recorded
	// any more, or whoever opens the partition next could read the same rows as well. It is a channel because it is held over a call.
	recording chan struct{}

	// The rest is the group's, under its lock. ready are the rows that may be cut off, up to last; tail are those of a payload that is
	// not complete.
	last        stream.Position
	after       stream.Position // where ready begins
	ready, tail piece
}

// piece are rows and the Writes that they came from.
type piece struct {
	rows    stack
	entries []*ack.Entry
}

func (p *piece) add(o *piece) error {
	p.entries = append(p.entries, o.entries...)
	return p.rows.add(&o.rows)
}

// Write encodes the rows of b and adds them to the batch that is being filled. It waits while that is full and the one before is with
// Druid.
func (w *Writer) Write(ctx context.Context, b *row.Batch, last stream.Position, done func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.group.room(ctx, w); err != nil {
		return err
	}
	e, err := w.acks.Add(done)
	if err != nil {
		return err
	}
	p, err := w.encode(b)
	if err == nil {
		err = w.group.add(w, &p, last, e)
	}
	if err != nil {
		e.Abort()
		return err
	}
	return e.Handed()
}

// encode makes rows of b for every table.
func (w *Writer) encode(b *row.Batch) (p piece, err error) {
	s := w.sink
	for t := raw; t <= late; t++ {
		r := &p.rows[t]
		w.scratch = w.scratch[:0]
		for i := range b.Rows {
			if isLate := s.cfg.Late && b.Rows[i].Late; isLate != (t == late) {
				continue
			}
			w.scratch = append(s.encoder.Append(w.scratch, b, i), '\n')
			r.saw(s.timeOf(b, &b.Rows[i]))
			r.n++
		}
		r.count = r.n
		if err := r.take(w.scratch); err != nil {
			return p, err
		}
		w.encoded += r.size()
	}
	if w.rollup == nil {
		return p, nil
	}
	r := &p.rows[minute]
	w.scratch = w.scratch[:0]
	if s.cfg.Late {
		w.rollup.AddTimely(b)
	} else {
		w.rollup.Add(b)
	}
	w.rollup.Drain(func(m *rollup.Row) {
		w.scratch = append(s.minute.Append(w.scratch, m.Minute, m.Dimensions, &m.Sums), '\n')
		r.saw(m.Minute)
		r.n++
		r.count += m.Sums.RowsIn
	})
	err = r.take(w.scratch)
	w.encoded += r.size()
	return p, err
}

// take makes a copy of text the rows of r, which has none yet.
func (r *rows) take(text []byte) (err error) {
	r.bytes = int64(len(text))
	if len(text) >= memberBytes {
		m, err := compress(text)
		r.members = [][]byte{m}
		return err
	}
	r.plain = append(r.plain, text...)
	return nil
}

// EncodedBytes is what all rows since Open take in memory, which is what they take of the process's budget while they wait for Druid.
func (w *Writer) EncodedBytes() int64 { return w.encoded }

// Flush cuts the batch now and waits until it is published.
func (w *Writer) Flush(ctx context.Context) error {
	if w.acks.Len() > 0 {
		w.group.hurry()
	}
	return w.acks.Flush(ctx)
}

// Close takes what is not recorded yet out of the batches. What is with Druid stays there; the next Open asks what became of it.
func (w *Writer) Close(context.Context) error {
	w.fail(errWriterClosed(w.partition))
	w.group.leave(w)
	// Whoever records for this Writer has been told to stop.
	w.recording <- struct{}{}
	defer func() { <-w.recording }()
	w.acks.Close(context.Cause(w.life))
	return nil
}

// fail ends the Writer: everything not yet reported gets err, unless it had failed before.
func (w *Writer) fail(err error) {
	w.end(err)
	w.acks.Fail(err)
}

// ended says whether the Writer was closed or has failed.
func (w *Writer) ended() bool { return w.life.Err() != nil }

func errWriterClosed(partition string) error {
	return fmt.Errorf("partition %q: writer closed before its rows were published", partition)
}
