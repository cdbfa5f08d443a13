package file

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dredge/sink/internal/ack"
	"dredge/stream"
)

var errClosed = errors.New("file sink closed")

// journal gathers lines in memory and commits them as blocks: compressed as one piece, written with one call, forced to the
// disk if that is asked for, then reported. A block that cannot be written whole is taken back from the file and stays in
// memory until it can. Meanwhile the next block fills; when that is full too, nothing more is taken in.
//
// There is no goroutine that writes: whoever fills the block, flushes, or is the timer, commits while holding the journal.
type journal struct {
	cfg     Config
	out     *output
	metrics *metrics
	log     zerolog.Logger

	// held is the lock of all fields below: one token in it. A channel, because waiting for it must end with a context: a
	// commit to a full disk may take for ever.
	held chan struct{}
	// writing is the block that is being written, unchanged until it is; filling takes new lines.
	writing, filling block
	err              error // the permanent error that ended the journal
	stuck            bool  // the latest write failed and is tried again

	timerMu sync.Mutex
	timer   *time.Timer // set while rows wait for the flush interval, or a file for its age
	due     time.Time
	ticks   sync.WaitGroup
	closing context.Context //nolint:containedctx // ends what the timer began
	stop    context.CancelFunc
}

// block is lines, and the Writes that are to be told of them.
type block struct {
	lines []byte
	rows  int
	acks  []*ack.Entry
}

// release reports b and empties it. done functions run here, with the journal held: they must not write to this sink.
func (b *block) release(err error) {
	for i, e := range b.acks {
		b.acks[i] = nil
		e.Release(err)
	}
	b.lines, b.rows, b.acks = b.lines[:0], 0, b.acks[:0]
}

func newJournal(cfg Config, open opener, m *metrics, log zerolog.Logger) *journal {
	j := &journal{cfg: cfg, out: newOutput(cfg, open, m), metrics: m, log: log, held: make(chan struct{}, 1)}
	j.closing, j.stop = context.WithCancel(context.Background())
	return j
}

func (j *journal) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case j.held <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-j.closing.Done():
		return errClosed
	}
	if j.closing.Err() != nil { // both were ready, and select chose the token
		j.unlock()
		return errClosed
	}
	return nil
}

func (j *journal) unlock() { <-j.held }

// append takes lines in, with the entry that is to be told when they are committed; e may be nil. It waits while the block is
// full and cannot be written.
func (j *journal) append(ctx context.Context, lines []byte, rows int, e *ack.Entry) error {
	if err := j.lock(ctx); err != nil {
		return err
	}
	defer j.unlock()
	if len(j.filling.lines) >= j.cfg.BlockBytes {
		if err := j.commit(ctx); err != nil {
			return err
		}
	}
	if j.err != nil {
		return j.err
	}
	j.filling.lines = append(j.filling.lines, lines...)
	j.filling.rows += rows
	j.gauge()
	if e != nil {
		e.Hold(1)
		j.filling.acks = append(j.filling.acks, e)
	}
	if len(j.filling.lines) < j.cfg.BlockBytes && j.cfg.FlushInterval > 0 {
		j.arm(j.cfg.FlushInterval)
		return nil
	}
	// The lines are taken in: a commit that does not succeed in time is tried again by the timer and the next caller.
	err := j.try()
	if err != nil {
		j.arm(j.cfg.RetryBackoff)
	}
	return permanent(err)
}

// flush commits what waits.
func (j *journal) flush(ctx context.Context) error {
	if err := j.lock(ctx); err != nil {
		return err
	}
	defer j.unlock()
	return j.commit(ctx)
}

// commit tries until it succeeds, is refused for good, or ctx is over. The journal is held.
func (j *journal) commit(ctx context.Context) error {
	for {
		err := j.try()
		if err == nil || permanent(err) != nil {
			return err
		}
		select {
		case <-time.After(j.cfg.RetryBackoff):
			j.metrics.retries.Inc()
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-j.closing.Done():
			return errors.Join(errClosed, err)
		}
	}
}

// try writes what waits, once. The journal is held.
func (j *journal) try() error {
	for j.err == nil {
		if len(j.writing.lines) == 0 {
			if len(j.filling.lines) == 0 {
				break
			}
			j.writing, j.filling = j.filling, j.writing
		}
		begin := time.Now()
		if err := j.out.write(j.writing.lines); err != nil {
			j.metrics.failed(err)
			if permanent(err) == nil {
				if !j.stuck {
					j.log.Warn().Err(err).Msg("rows wait until the file can be written")
				}
				j.stuck = true
				return err
			}
			j.fail(err)
			break
		}
		if j.stuck {
			j.log.Info().Str("path", j.cfg.Path).Msg("the file can be written again")
		}
		j.stuck = false
		j.metrics.committed(j.writing.rows, len(j.writing.lines), time.Since(begin))
		j.writing.release(nil)
		j.gauge()
		j.armRotation()
	}
	return j.err
}

// fail ends the journal. It is held.
func (j *journal) fail(err error) {
	j.err = err
	j.writing.release(err)
	j.filling.release(err)
	j.gauge()
}

func (j *journal) gauge() {
	j.metrics.waiting.Set(float64(len(j.writing.lines) + len(j.filling.lines)))
}

// arm makes the timer fire in d at the latest.
func (j *journal) arm(d time.Duration) {
	j.timerMu.Lock()
	defer j.timerMu.Unlock()
	due := time.Now().Add(d)
	if j.closing.Err() != nil || j.timer != nil && !due.Before(j.due) {
		return
	}
	if j.timer != nil && j.timer.Stop() {
		j.ticks.Done()
	}
	j.due = due
	j.ticks.Add(1)
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		defer j.ticks.Done()
		j.timerMu.Lock()
		if j.timer == t {
			j.timer = nil
		}
		j.timerMu.Unlock()
		j.tick()
	})
	j.timer = t
}

// armRotation makes the timer fire when the present file is old enough. The journal is held.
func (j *journal) armRotation() {
	if j.cfg.RotateAge > 0 && j.out.file != nil && j.out.size > 0 {
		j.arm(time.Until(j.out.opened.Add(j.cfg.RotateAge)))
	}
}

// tick commits once, and ends a file that is old enough.
func (j *journal) tick() {
	if j.lock(j.closing) != nil {
		return
	}
	defer j.unlock()
	err := j.try()
	if err == nil {
		if err = j.out.rotateIfOld(); err != nil {
			j.metrics.failed(err)
		}
	}
	switch {
	case err == nil:
		j.armRotation() // the timer may have come for something that was due earlier
	case permanent(err) != nil:
		j.fail(err)
	default:
		j.arm(j.cfg.RetryBackoff)
	}
}

// close tries once more to write what waits, ends the file and reports what is left.
func (j *journal) close() error {
	j.timerMu.Lock()
	j.stop()
	if j.timer != nil && j.timer.Stop() {
		j.ticks.Done()
	}
	j.timerMu.Unlock()
	j.ticks.Wait()
	j.held <- struct{}{} // for good: a closed journal is never unlocked
	var err error
	if j.err == nil {
		err = j.try()
		j.fail(errClosed)
	}
	return errors.Join(err, j.out.close())
}

// permanent returns err if no retry mends it.
func permanent(err error) error {
	if _, ok := errors.AsType[*stream.PermanentError](err); ok {
		return err
	}
	return nil
}
