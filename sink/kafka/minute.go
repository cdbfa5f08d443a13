package kafka

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/row"
	"dredge/row/rollup"
	"dredge/stream"
)

// MinuteEncoder writes rolled-up rows; encode.Minute is one. It is called by many goroutines at once.
type MinuteEncoder interface {
	rollup.Dimensions
	// Append appends the JSON of a rolled-up row.
	Append(dst []byte, minute int64, dims []byte, s *row.Sums) []byte
}

// newRollup is nil when no rolled-up rows are produced.
func (s *Sink) newRollup() *rollup.Aggregator {
	if s.minute == nil {
		return nil
	}
	return rollup.New(s.minute, s.rollups)
}

// rollUp adds the rows of b that stand in the topic of raw rows: not the late ones when those have a topic of their own, and not
// those in left, which went to the dead letter and may be produced later from there.
func (s *Sink) rollUp(to *rollup.Aggregator, b *row.Batch, left []int) {
	for i := range b.Rows {
		if b.Rows[i].Late && s.cfg.LateTopic != "" || len(left) > 0 && slices.Contains(left, i) {
			continue
		}
		to.AddRow(b, i)
	}
}

// addMinute adds a rolled-up row to s. One that no record batch can hold can't be set aside, as its lines are delivered already
// as far as raw rows go: it stops the shard.
func (s *slab) addMinute(r *rollup.Row, st *stamper) error {
	k := s.pool.sink
	start := len(s.buf)
	s.buf = k.minute.Append(s.buf, r.Minute, r.Dimensions, &r.Sums)
	if size := len(s.buf) - start; size > k.cfg.maxRow() {
		s.buf = s.buf[:start]
		return &stream.PermanentError{Err: fmt.Errorf("batch_max_bytes: a rolled-up row of %d bytes is above the limit of %d; write more, or fewer rows.minute_dimensions",
			size, k.cfg.maxRow())}
	}
	s.mark(st.key, kgo.Record{Topic: k.cfg.MinuteTopic, Timestamp: st.bounded(r.Minute)}, st.minuteHash(r))
	return nil
}

// produceMinute adds the rolled-up rows of tx to it. The caller has the turn.
func (w *txWriter) produceMinute(tx *transaction) (err error) {
	if w.rollup == nil || w.rollup.Len() == 0 {
		return nil
	}
	s := w.minute
	st := newStamper(&w.sink.cfg)
	s.minute, s.large, st.chunk = true, true, w.sink.chunks.Add(1)
	w.rollup.Drain(func(r *rollup.Row) {
		if err == nil {
			err = s.addMinute(r, &st)
		}
	})
	if err != nil {
		s.pool.put(s)
		return err
	}
	s.seal(st.key)
	s.tx = tx
	tx.expect(1)
	s.send()
	return nil
}
