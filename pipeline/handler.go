package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dredge/flowlog"
	"dredge/sink"
	"dredge/stream"
)

// handler works on one partition. Handle, Flush and Close are called by one goroutine.
type handler struct {
	p         *Pipeline
	partition string
	writer    sink.Writer
	delivery  *delivery
	// prev is the position of the last payload that was handed over as a whole; parts of the next one carry it.
	prev stream.Position
	// header is the layout that a header line gave for what follows outside of CloudWatch envelopes.
	header *flowlog.Format
	// letters says that lines were put into the dead letter that no entry waits for yet.
	letters bool
	// rowSize is the recent mean size of an encoded row.
	rowSize float64
	encoded func() int64
	// lane says that a lane is held and partial how many bytes were handed over of a payload not yet complete.
	lane    bool
	partial int64
	// cut says that the last part handed over was not its payload's end.
	cut bool

	cancel context.CancelFunc
	broken error
	closed bool
}

// firstRowSize is assumed until rows were encoded: the mean of the raw grain's JSON.
const firstRowSize = 700

func newHandler(ctx context.Context, p *Pipeline, partition string, w sink.Writer, at stream.Position) *handler {
	h := &handler{p: p, partition: partition, writer: w, prev: at, rowSize: firstRowSize}
	if s, ok := w.(EncodedSize); ok {
		h.encoded = s.EncodedBytes
	}
	var letters func() map[string]int64
	if l, ok := w.(RowLetters); ok {
		letters = l.TakeDeadLettered
	}
	h.delivery = newDelivery(p, letters)
	// Delivery outlives the call that opened the partition; Close ends it.
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go h.delivery.run(ctx) // joined by Close
	return h
}

// Handle implements stream.Handler. After an error the handler takes nothing more: a chunk must not be passed over.
func (h *handler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	if err := h.delivery.stop.err(); err != nil {
		return err
	}
	if h.broken != nil {
		return fmt.Errorf("an earlier chunk of %q was given up, open the partition anew: %w", h.partition, h.broken)
	}
	start := time.Now()
	err := h.handle(ctx, c, progress)
	if err != nil {
		h.broken = err
	}
	h.p.metrics.handleSeconds.Observe(time.Since(start).Seconds())
	return err
}

func (h *handler) handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	u := h.p.unfolders.get()
	defer h.p.unfolders.put(u)
	defer u.forget()
	defer h.leaveLane()

	if len(c.Payloads) == 0 {
		h.delivery.add(&entry{at: c.Last, progress: progress, report: true, letters: h.takeLetters(), settled: true})
		h.prev = c.Last
		return nil
	}
	in := intake{chunk: c}
	var s *slice
	defer func() {
		if s != nil {
			h.dropSlice(s)
		}
	}()
	for in.next < len(c.Payloads) {
		if s == nil {
			var err error
			if s, err = h.newSlice(ctx); err != nil {
				return err
			}
		} else {
			s.reset(h.partition)
		}
		err := h.fill(ctx, u, &in, s)
		h.p.books.decoded(&s.tally)
		done := 0
		if err == nil {
			done, err = h.pass(ctx, s, in, progress)
		}
		if err != nil {
			if left := len(s.batch.Records) - done; left > 0 {
				h.p.books.abandoned(reasonUnder(ctx, err), int64(left))
			}
			return err
		}
		// A payload that goes on keeps the slice and its room: whoever is in the middle of a payload must not wait for room
		// behind those who wait for him.
		if !in.open {
			h.dropSlice(s)
			s = nil
		}
	}
	return nil
}

// pass takes a filled slice through the gate and to the sink. It returns how many records it accounted for.
func (h *handler) pass(ctx context.Context, s *slice, in intake, progress func(stream.Position, error)) (int, error) {
	if h.p.deps.Observer != nil && len(s.batch.Records) > 0 {
		h.p.deps.Observer.Observe(s.batch)
	}
	held, err := h.p.gate.wait(ctx, s.batch, s.oldest, h.delivery.stop)
	if held > 0 {
		h.p.metrics.heldSeconds.Observe(held.Seconds())
	}
	if err != nil {
		return 0, err
	}
	return h.write(ctx, s, in, progress)
}

// Flush implements stream.Handler. When Handle was stopped in the middle of a payload, what was handed over of that one
// cannot be made durable, and Flush does not wait for it.
func (h *handler) Flush(ctx context.Context) error {
	if h.cut {
		return h.flushComplete(ctx)
	}
	if err := h.writer.Flush(ctx); err != nil {
		return err
	}
	return h.delivery.wait(ctx)
}

func (h *handler) flushComplete(ctx context.Context) error {
	enough, cancel := context.WithCancel(ctx)
	var flushed sync.WaitGroup
	flushed.Go(func() {
		// Its error is that of the entries, or says that enough was flushed.
		_ = h.writer.Flush(enough)
	})
	err := h.delivery.waitComplete(ctx)
	cancel()
	flushed.Wait()
	return err
}

// Close implements stream.Handler. A second call does nothing.
func (h *handler) Close(ctx context.Context) error {
	if h.closed {
		return nil
	}
	h.closed = true
	// Once ctx is over, waiting for the dead letter is, too.
	stop := context.AfterFunc(ctx, h.cancel)
	defer stop()
	defer h.cancel()
	err := h.writer.Close(ctx)
	h.delivery.finish()
	<-h.delivery.ended
	return err
}

// takeLetters says whether letters were put since it was asked last.
func (h *handler) takeLetters() bool {
	l := h.letters
	h.letters = false
	return l
}

// reasonUnder is abandonReason for work under ctx: whatever cause the source gave for ending it, it is no failure.
func reasonUnder(ctx context.Context, err error) string {
	reason := abandonReason(err)
	if reason == AbandonedFailed && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return AbandonedShutdown
	}
	return reason
}
