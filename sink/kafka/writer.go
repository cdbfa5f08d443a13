package kafka

import (
	"context"
	"fmt"

	"dredge/row"
	"dredge/sink"
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
}

// Write encodes the rows of b and hands them to the client. It waits while the process-wide buffer is full. When it returns an
// error, some rows may already be on their way: the caller writes them again or gives the partition up.
func (w *Writer) Write(ctx context.Context, b *row.Batch, _ stream.Position, done func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, err := w.acks.Add(done)
	if err != nil {
		return err
	}
	if err := w.write(ctx, b, e); err != nil {
		e.Abort()
		return err
	}
	return e.Handed()
}

func (w *Writer) write(ctx context.Context, b *row.Batch, e *ack.Entry) error {
	k := w.sink
	st := newStamper(&k.cfg)
	letters := 0
	tooLarge := func(i int, encoded []byte) error {
		letters++
		return w.deadLetter(ctx, b, i, encoded)
	}
	for next := 0; next < len(b.Rows); {
		s, err := k.slabs.take(ctx)
		if err != nil {
			return err
		}
		st.chunk = k.chunks.Add(1)
		next, err = s.fill(b, next, k.cfg.maxRow(), &st, tooLarge)
		if err != nil || len(s.recs) == 0 {
			k.slabs.put(s)
			if err != nil {
				return err
			}
			continue
		}
		s.entry = e
		e.Hold(1)
		s.send() //nolint:contextcheck // see send
	}
	if letters == 0 {
		return nil
	}
	// done may run as soon as the other rows are acknowledged, and then the position passes the letters.
	if err := k.letters.Flush(ctx); err != nil {
		return fmt.Errorf("flushing the dead letter: %w", err)
	}
	return nil
}

func (w *Writer) deadLetter(ctx context.Context, b *row.Batch, i int, encoded []byte) error {
	r := &b.Rows[i]
	l := sink.Letter{
		Partition: b.Partition,
		At:        stream.Position(b.Origins[r.Origin].Position),
		Index:     int(r.Index),
		Reason:    ReasonRowTooLarge,
		Detail:    fmt.Sprintf("encoded row of %d bytes is above the limit of %d set by batch_max_bytes", len(encoded), w.sink.cfg.maxRow()),
		Data:      encoded,
		Size:      len(encoded),
	}
	w.sink.metrics.tooLarge.Inc()
	if err := w.sink.letters.Put(ctx, l); err != nil {
		return fmt.Errorf("putting a row of %q at %q to the dead letter: %w", b.Partition, string(l.At), err)
	}
	return nil
}

// Flush waits until every Write was reported. The linger is the longest time that rows wait in the client, so nothing is hurried.
func (w *Writer) Flush(ctx context.Context) error { return w.acks.Flush(ctx) }

// Close reports what is not acknowledged and returns at once. Its rows stay in the client, and their memory with the sink,
// until the broker answers or the sink is closed.
func (w *Writer) Close(context.Context) error {
	w.acks.Close(fmt.Errorf("partition %q: %w", w.partition, errWriterClosed))
	return nil
}
