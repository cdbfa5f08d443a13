package pipeline

import (
	"context"
	"errors"
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
	// session is what ends with the sink's Writer; nil while there is none.
	*session
	// header is the layout that a header line gave for what follows outside of CloudWatch envelopes.
	header *flowlog.Format
	// letters says that lines were put into the dead letter that no entry waits for yet.
	letters bool
	// rowSize is the recent mean size of an encoded row.
	rowSize float64
	// lane says that a lane is held and partial how many bytes were handed over of a payload not yet complete.
	lane    bool
	partial int64
	// broken is the error that Handle returned, until the sink was opened anew.
	broken error
}

// session is the time with one Writer of the sink: from Open to Close, or to the first error, after which a Writer takes
// nothing more.
type session struct {
	writer   sink.Writer
	delivery *delivery
	cancel   context.CancelFunc
	encoded  func() int64
	// prev is the position of the last payload that was handed over as a whole; parts of the next one carry it.
	prev stream.Position
	// cut says that the last part handed over was not its payload's end.
	cut bool
}

// firstRowSize is assumed until rows were encoded: the mean of the raw grain's JSON.
const firstRowSize = 700

func newSession(ctx context.Context, p *Pipeline, w sink.Writer, at stream.Position) *session {
	s := &session{writer: w, prev: at, encoded: func() int64 { return 0 }}
	if e, ok := w.(EncodedSize); ok {
		s.encoded = e.EncodedBytes
	}
	var letters func() map[string]int64
	if l, ok := w.(RowLetters); ok {
		letters = l.TakeDeadLettered
	}
	s.delivery = newDelivery(p, letters)
	// Delivery outlives the call that opened the partition; close ends it.
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go s.delivery.run(ctx) // joined by close
	return s
}

// close ends the session; everything is told when it returns.
func (s *session) close(ctx context.Context) error {
	// Once ctx is over, waiting for the dead letter is, too.
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	defer s.cancel()
	err := s.writer.Close(ctx)
	s.delivery.finish()
	<-s.delivery.ended
	return err
}

// Handle implements stream.Handler.
//
// After an error nothing may be passed over, so the source has to know of it before it may go on: what went wrong behind
// its back (and was told to progress) is returned by the following call, whatever its chunk. The call after that is taken
// for the source reading on from the last durable position, and opens the sink anew. When the sink then stands elsewhere
// than a RewindError said, that is a RewindError of its own. A partition that another owner has, or that the sink will never
// take, stays as it is until Close.
func (h *handler) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	start := time.Now()
	var err error
	if h.broken != nil {
		err = h.reopen(ctx)
	} else if err = h.delivery.stop.err(); err != nil {
		h.broken = err
	}
	if err != nil {
		return err
	}
	if err = h.handle(ctx, c, progress); err != nil {
		h.broken = err
	}
	h.p.metrics.handleSeconds.Observe(time.Since(start).Seconds())
	return err
}

// reopen ends the session that broke and begins another.
func (h *handler) reopen(ctx context.Context) error {
	if reason := abandonReason(h.broken); reason == AbandonedLeaseLost || reason == AbandonedRefused {
		return h.broken
	}
	if h.session != nil {
		if err := h.close(ctx); err != nil {
			h.p.log.Warn().Err(err).Str("partition", h.partition).Msg("writer that failed did not close cleanly")
		}
		h.session = nil
	}
	w, at, err := h.p.deps.Sink.Open(ctx, h.partition)
	if err != nil {
		return err
	}
	cause := h.broken
	h.session, h.broken, h.letters = newSession(ctx, h.p, w, at), nil, false
	if rewind, ok := errors.AsType[*stream.RewindError](cause); at == "" || ok && rewind.To == at {
		return nil
	}
	return &stream.RewindError{To: at, Err: cause}
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
	if h.session == nil {
		return h.broken
	}
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
	if h.session == nil {
		return nil
	}
	s := h.session
	h.session, h.broken = nil, errClosed
	return s.close(ctx)
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
