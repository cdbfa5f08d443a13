package kinesis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/window"
	"dredge/internal/retry"
	"dredge/stream"
)

// shard is the reading side of a held lease.
type shard struct {
	w   *Worker
	src *source
	h   *held
	log zerolog.Logger
	// handler is set once the sink was opened.
	handler stream.Handler
	// from is where the next reader starts: everything up to it is done with.
	from lease.Checkpoint
}

// runShard reads h's shard until its lease goes, one way or another, and leaves the row as it should be found.
func (w *Worker) runShard(h *held) {
	s := &shard{w: w, src: h.src, h: h, log: w.log.With().Str("shard", h.key).Logger(), from: h.current().Checkpoint}
	why := s.run()
	s.finish(why)
}

// run returns why the shard must stop.
func (s *shard) run() error {
	work := s.h.work
	if s.h.current().Checkpoint.IsShardEnd() {
		return errShardEnd // its owner died between the last checkpoint and the release
	}
	if err := s.awaitParents(work); err != nil {
		return err
	}
	if err := s.open(work); err != nil {
		return err
	}
	again := retry.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}
	for {
		started := s.from
		err := s.deliver(work)
		if work.Err() != nil {
			return err // the window stays: what is reported while the sink is flushed still counts
		}
		s.h.setWindow(nil)
		s.from = lease.Later(s.from, s.h.safe())
		if to, ok := errors.AsType[*stream.RewindError](err); ok {
			s.rewindTo(to.To)
		} else if final(err) {
			return err
		}
		if s.from.Compare(started) > 0 {
			again.Reset()
		}
		pause := again.Next()
		s.w.m.rewinds.Inc()
		s.log.Warn().Err(err).Str("position", s.from.String()).Dur("retry_in", pause).Msg("shard is read again from the last durable position")
		s.note(StateBackOff, err)
		if err := retry.Sleep(work, pause); err != nil {
			return err
		}
	}
}

// final says whether err ends a shard. What is not known to is tried again: the worst of that is work done twice.
func final(err error) bool {
	_, permanent := errors.AsType[*stream.PermanentError](err)
	return permanent || errors.Is(err, stream.ErrFenced) || errors.Is(err, errShardEnd) || errors.Is(err, errOtherParent)
}

// rewindTo moves on to where the sink stands. It never moves back behind what was checkpointed.
func (s *shard) rewindTo(to stream.Position) {
	if to == "" {
		return
	}
	c, err := lease.ParsePosition(to)
	if err != nil {
		s.log.Error().Err(err).Msg("sink rewinds to what is not a position of this shard")
		return
	}
	s.from = lease.Later(s.from, c)
	s.h.reached(s.from)
}

// open claims the shard in the sink, then proves that the lease still is ours: a worker that lost it meanwhile may just have fenced its
// rightful owner, and must at least not go on from the position it was told.
func (s *shard) open(ctx context.Context) error {
	s.h.setState(StateOpening)
	again := retry.Backoff{Min: 250 * time.Millisecond, Max: 30 * time.Second}
	for {
		h, at, err := s.w.proc.Open(ctx, s.h.key)
		if err == nil {
			s.handler = h
			return s.start(at)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if final(err) {
			return fmt.Errorf("open sink: %w", err)
		}
		pause := again.Next()
		s.log.Warn().Err(err).Dur("retry_in", pause).Msg("sink not opened, trying again")
		s.note(StateOpening, err)
		if err := retry.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func (s *shard) start(at stream.Position) error {
	if at != "" {
		c, err := lease.ParsePosition(at)
		if err != nil {
			return &stream.PermanentError{Err: fmt.Errorf("the sink's position is none of this shard: %w", err)}
		}
		if err := c.CheckShard(s.h.current().Shard()); err != nil {
			return &stream.PermanentError{Err: fmt.Errorf("the sink's position is none of this shard: %w", err)}
		}
		if c.Compare(s.from) > 0 {
			s.from = c
			s.h.reached(c)
		}
	}
	for {
		err := s.w.renew(s.h)
		if err == nil || s.h.work.Err() != nil {
			return context.Cause(s.h.work)
		}
		if err := retry.Sleep(s.h.work, time.Second); err != nil {
			return err
		}
	}
}

// deliver reads from s.from and hands over what it reads, until something ends it. When it returns, nothing it read is with
// the handler any more, but rows made of it may still be on their way; the window knows which arrived.
func (s *shard) deliver(work context.Context) error {
	ctx, cancel := context.WithCancelCause(work)
	defer cancel(nil)
	win, err := window.New(s.w.cfg.MaxInFlight)
	if err != nil {
		return &stream.PermanentError{Err: err}
	}
	s.h.setWindow(win)
	box := newInbox()
	var reading sync.WaitGroup
	defer func() {
		cancel(nil)
		reading.Wait()
		s.w.budget.Release(box.drop())
	}()
	r, e := s.w.newReader(s.h, s.from, s.log), newExpander(s.w, s.h.current(), s.from, s.log)
	reading.Go(func() {
		if err := s.runReader(ctx, r, box); err != nil {
			cancel(err)
		}
	})
	reading.Go(func() {
		select {
		case <-s.h.restart:
			cancel(errRestart)
		case <-ctx.Done():
		}
	})
	for {
		s.h.setState(StateReading)
		rd, err := box.take(ctx)
		if err != nil {
			return err
		}
		s.observe(rd)
		last, err := e.expand(rd.records, func(payloads []stream.Payload, last lease.Checkpoint) error {
			return s.handle(ctx, cancel, win, stream.Chunk{Partition: s.h.key, Payloads: payloads, Last: last.Position(), Behind: rd.behind}, last)
		})
		s.w.budget.Release(rd.held)
		if err == nil && win.InFlight() == 0 && last.IsSequence() && win.Err() == nil {
			s.h.reached(last) // what was left out at the end is done with, too
		}
		if err != nil {
			return err
		}
		if rd.end {
			return s.end(ctx, win, rd.children)
		}
	}
}

func (s *shard) observe(rd read) {
	s.w.m.behind.WithLabelValues(s.h.key).Set(float64(rd.behind.Milliseconds()))
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.behind, s.h.lastRead = rd.behind, time.Now()
	s.h.bytes += rd.bytes
}

// handle hands one chunk over. An error that the sink reports later ends ctx with that error as its cause.
func (s *shard) handle(ctx context.Context, cancel context.CancelCauseFunc, win *window.Window, chunk stream.Chunk, last lease.Checkpoint) error {
	ticket, err := win.Open(ctx, chunk.Last)
	if err != nil {
		return window.CauseOr(ctx, err)
	}
	size := 0
	for i := range chunk.Payloads {
		size += len(chunk.Payloads[i].Data)
	}
	s.h.setState(StateHandling)
	err = s.handler.Handle(ctx, chunk, func(p stream.Position, err error) {
		if err == nil {
			err = checkProgress(p, last)
		}
		ticket.Progress(p, err)
		if err == nil {
			s.w.progressed()
		}
		if err != nil {
			cancel(err)
		} else if p == chunk.Last {
			s.w.warmUp(s.h.key)
		}
	})
	if err != nil {
		return window.CauseOr(ctx, err)
	}
	s.w.handled.Add(int64(size))
	return nil
}

// checkProgress keeps what is not a position of the chunk out of the lease table.
func checkProgress(p stream.Position, last lease.Checkpoint) error {
	if p == "" {
		return nil
	}
	c, err := lease.ParsePosition(p)
	if err != nil {
		return fmt.Errorf("BUG: progress was reported with a foreign position: %w", err)
	}
	if c.Compare(last) > 0 {
		return fmt.Errorf("BUG: progress was reported at %q, beyond its chunk's end %q", p, last)
	}
	return nil
}

// finish leaves the lease as the reason for stopping demands.
func (s *shard) finish(why error) {
	cause := context.Cause(s.h.life)
	if cause == nil {
		s.leave(why)
		cause = context.Cause(s.h.life) // it may have been lost meanwhile
	}
	switch {
	case errors.Is(cause, errExpired):
		s.w.m.moves[moveExpired].Inc()
	case errors.Is(cause, errLeaseLost):
		s.w.m.moves[moveLost].Inc()
	}
	if cause != nil {
		s.log.Warn().Err(cause).Msg("lease gone, shard stopped")
	}
	s.close()
}

// leave writes the last word of a lease that is still ours: the drain's final checkpoint, and the release.
func (s *shard) leave(why error) {
	_, permanent := errors.AsType[*stream.PermanentError](why)
	switch {
	case errors.Is(why, errShardEnd):
	case errors.Is(why, errGiveUp):
		s.checkpoint() // a flush would only wait for the sink
	case errors.Is(why, stream.ErrFenced):
		s.w.m.stops[stopFenced].Inc()
		s.w.coolDown(s.h.key)
		s.log.Warn().Err(why).Msg("another owner has claimed the shard in the sink, lease given up")
	case permanent:
		s.w.m.stops[stopPermanent].Inc()
		s.w.coolDown(s.h.key)
		s.log.Error().Err(why).Msg("the sink refuses this shard's rows for good, lease given up; nothing was passed over")
		s.checkpoint()
	case errors.Is(why, errOtherParent):
		s.w.coolDown(s.h.key)
		s.drain()
	default:
		s.drain()
	}
	if move := s.w.release(s.h); move != "" {
		s.w.m.moves[move].Inc()
		s.log.Info().Str("move", move).Str("reason", why.Error()).Str("checkpoint", s.h.current().Checkpoint.String()).Msg("lease released")
		if !errors.Is(why, errDrain) {
			kick(s.w.takeSoon)
		}
	}
}

// drain gives the sink its time to make what it has durable, and writes how far that came.
func (s *shard) drain() {
	s.h.setState(StateDraining)
	if s.handler != nil {
		ctx, cancel := context.WithTimeout(s.h.life, s.w.cfg.ShutdownTimeout)
		defer cancel()
		if err := s.handler.Flush(ctx); err != nil && s.h.life.Err() == nil {
			s.log.Warn().Err(err).Msg("sink not flushed in time, the rest is read again by the next owner")
		}
	}
	s.checkpoint()
}

// checkpoint writes how far the shard's rows are durable, if the row does not say so yet. A failure is logged and counted where
// it happens; the next owner then reads again what was not written.
func (s *shard) checkpoint() {
	if s.h.safe().Compare(s.h.current().Checkpoint) <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.h.life, s.w.cfg.callTimeout())
	defer cancel()
	_ = s.w.insist(ctx, func() error { return s.w.renew(s.h) })
}

// close gives the handler up. It has its own time limit, because the lease may be gone and the process must end.
func (s *shard) close() {
	if s.handler == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.h.life), s.w.cfg.callTimeout())
	defer cancel()
	if err := s.handler.Close(ctx); err != nil {
		s.log.Warn().Err(err).Msg("sink not closed")
	}
	s.h.setWindow(nil)
}

func (s *shard) note(state string, err error) {
	s.h.setState(state)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.lastError = err.Error()
}
