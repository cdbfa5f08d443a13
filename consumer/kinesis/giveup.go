package kinesis

import (
	"math/rand/v2"
	"time"
)

// sinkWatch decides when a worker whose sink makes no progress must leave its shards to others. That is so when others do progress:
// then the fault lies between this worker and the sink, not in the sink, where it would be everybody's and giving up would help nobody.
type sinkWatch struct {
	after  time.Duration // jittered, so that not all workers of a bad network give up at once; 0: never
	stuck  time.Time     // since when something waits for the sink
	others time.Time     // when another worker last moved a checkpoint
	rest   time.Time     // until then nothing is tried
	gaveUp bool          // and the sink has not progressed since
}

func newSinkWatch(after time.Duration) sinkWatch {
	if after > 0 {
		after += rand.N(after/5 + 1)
	}
	return sinkWatch{after: after}
}

func (s *sinkWatch) othersMoved(now time.Time) { s.others = now }

func (s *sinkWatch) isResting(now time.Time) bool { return now.Before(s.rest) }

// isDue takes in whether rows wait for the sink at now, and when one was last durable. It says whether the worker must give up.
func (s *sinkWatch) isDue(now time.Time, waiting bool, progress time.Time) bool {
	switch {
	case !waiting || s.after == 0:
		s.stuck = time.Time{}
	case s.stuck.IsZero():
		s.stuck = now
	}
	if progress.After(s.stuck) && !s.stuck.IsZero() {
		s.stuck = progress
	}
	// Others' progress counts when it is recent: a checkpoint that they wrote as the sink stopped for all is no proof.
	if s.stuck.IsZero() || now.Sub(s.stuck) < s.after || s.others.IsZero() || now.Sub(s.others) > s.after/2 {
		return false
	}
	s.gaveUp, s.stuck, s.rest = true, time.Time{}, now.Add(s.after)
	return true
}

// watchSink gives all leases up when it is time to. It says whether the sink is in doubt: the worker has given up and no row was
// durable since.
func (t *taker) watchSink(now time.Time) bool {
	progress := t.lastProgress()
	if t.sink.gaveUp && progress.After(t.sink.rest) {
		t.sink.gaveUp = false
		t.log.Info().Msg("sink makes progress again")
	}
	if t.sink.isDue(now, t.waitsForSink(), progress) {
		t.m.stops[stopGaveUp].Inc()
		t.log.Error().Dur("without_progress", t.sink.after).Msg("the sink makes no progress here while other workers' do: all leases are given up")
		t.mu.Lock()
		for _, h := range t.held {
			h.stopWork(errGiveUp)
		}
		t.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gaveUp = t.sink.gaveUp
	return t.gaveUp
}

// waitsForSink says whether any shard has handed over what is not durable yet, or could not open the sink.
func (w *Worker) waitsForSink() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.held {
		if h.waitsForSink() {
			return true
		}
	}
	return false
}

func (h *held) waitsForSink() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state == StateOpening || h.window != nil && h.window.InFlight() > 0
}

// progressed notes that a row of some shard is durable.
func (w *Worker) progressed() { w.progress.Store(int64(time.Since(w.born))) }

func (w *Worker) lastProgress() time.Time { return w.born.Add(time.Duration(w.progress.Load())) }
