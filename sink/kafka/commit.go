package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/internal/retry"
	"dredge/stream"
)

// run ends transactions when they are due, until Close.
func (w *txWriter) run() {
	defer close(w.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-w.closing.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		select {
		case w.turn <- struct{}{}:
		case <-w.closing.Done():
			return
		}
		if w.tx != nil && w.tx.due(w) {
			w.end(w.closing, w.tx)
		}
		// A transaction that is overdue because its payload goes on is looked at again by the Write that ends the payload.
		if wait := time.Hour; w.tx != nil {
			if left := w.sink.cfg.ExactlyOnce.CommitInterval - time.Since(w.tx.since); left > 0 {
				wait = left
			}
			timer.Reset(wait)
		}
		<-w.turn
	}
}

// end commits tx, or finds out what became of it. Only run calls it, with the turn.
func (w *txWriter) end(ctx context.Context, tx *transaction) {
	start := time.Now()
	attempted, err := w.commit(ctx, tx)
	if err != nil && ctx.Err() != nil {
		if attempted {
			tx.fail("", err) // it may be committed, so Close must not try to abort it
		}
		return // Close sees to the rest
	}
	w.tx = nil
	w.opened.Store(0)
	if w.rollup != nil {
		w.rollup.Reset()
	}
	defer func() {
		close(w.ends)
		w.ends = make(chan struct{})
	}()
	m := w.sink.metrics.tx
	if err != nil {
		w.recover(ctx, tx, attempted, err)
		return
	}
	m.outcomes[txCommitted].Inc()
	m.commit.Observe(time.Since(start).Seconds())
	w.settle(tx)
	if err := w.producer.renew(ctx); err != nil {
		w.recover(ctx, &transaction{w: w, last: w.at}, false, err)
	}
}

// commit adds the rolled-up rows, flushes, adds the position and ends the transaction. Once attempted is true, an error says nothing about
// whether it was committed.
func (w *txWriter) commit(ctx context.Context, tx *transaction) (attempted bool, err error) {
	if err := w.produceMinute(tx); err != nil {
		return false, err
	}
	if err := tx.flush(ctx); err != nil {
		return false, err
	}
	records, err := w.claim.records(tx.last)
	if err != nil {
		return false, err
	}
	return w.finish(ctx, tx, records)
}

// endTransaction commits what client has in its transaction. Every record in it must have been acknowledged.
//
// kgo 1.22 ends a transaction in the partitions that it knows of, and publishes those of a topic that is new to it a moment after
// it has sent the first records there. A commit inside that moment finds nothing to commit, aborts, and reports success.
// AbortBufferedRecords takes the lock under which they are published, and with nothing buffered it aborts nothing.
func endTransaction(ctx context.Context, client *kgo.Client) error {
	if n := client.BufferedProduceRecords(); n > 0 {
		return fmt.Errorf("BUG: %d records are not acknowledged at the end of a transaction", n)
	}
	if err := client.AbortBufferedRecords(ctx); err != nil {
		return err
	}
	return client.EndTransaction(ctx, kgo.TryCommit)
}

// checkpoint makes the record that says that everything up to at is in the topic.
func (s *Sink) checkpoint(id producerID, at stream.Position) (*kgo.Record, error) {
	value, err := json.Marshal(checkpoint{
		Format: checkpointFormat, Application: s.application, Name: id.name, Position: at, Time: time.Now().UTC(),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the checkpoint: %w", err)
	}
	return &kgo.Record{Topic: s.cfg.ExactlyOnce.CheckpointsTopic, Key: []byte(id.key), Value: value}, nil
}

// produce waits for the answers to records, without the linger.
func produce(ctx context.Context, client *kgo.Client, records ...*kgo.Record) error {
	answers := make(chan error, len(records))
	for _, rec := range records {
		client.Produce(ctx, rec, func(_ *kgo.Record, err error) { answers <- err })
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	for range records {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// settle reports what tx has committed.
func (w *txWriter) settle(tx *transaction) {
	w.at = tx.last
	w.claim.committed()
	for _, e := range tx.entries {
		e.Release(nil)
	}
}

// recover finds out where the shard stands after tx failed with cause, by a take-over. A commit without an answer may have
// landed; then its Writes are reported as if it had been answered. Otherwise the Writer is at its end: rewind, fenced or refused.
func (w *txWriter) recover(ctx context.Context, tx *transaction, attempted bool, cause error) {
	w.sink.metrics.tx.fencedBy(cause)
	m, log := w.sink.metrics.tx, w.sink.log.With().Str("partition", w.partition).Logger()
	if attempted {
		m.outcomes[txUnknown].Inc()
	} else {
		m.outcomes[txAborted].Inc()
		if err := w.refused(tx, cause); err != nil {
			abort, cancel := context.WithTimeout(ctx, abortTimeout)
			w.abort(abort)
			cancel()
			m.ends[endRefused].Inc()
			w.acks.Fail(err)
			return
		}
	}
	log.Warn().Err(cause).Bool("commit_attempted", attempted).Msg("transaction lost, looking up what was committed")
	for {
		p, at, err := w.claim.recover(ctx)
		_, permanent := errors.AsType[*stream.PermanentError](err)
		switch {
		case err == nil && attempted && at == tx.last:
			log.Info().Str("position", string(at)).Msg("the commit without an answer had landed")
			w.replace(p)
			w.settle(tx)
			return
		case err == nil && len(tx.entries) == 0 && at == tx.last:
			w.replace(p) // nothing was in flight
			return
		case err == nil:
			w.claim.giveBack(p, true)
			m.ends[endRewind].Inc()
			w.acks.Fail(&stream.RewindError{To: at, Err: cause})
			return
		case errors.Is(err, stream.ErrFenced):
			m.ends[endFenced].Inc()
			w.acks.Fail(err)
			return
		case permanent:
			m.ends[endRefused].Inc()
			w.acks.Fail(err)
			return
		}
		if ctx.Err() != nil {
			return
		}
		log.Warn().Err(err).Msg("committed position not known yet, trying again")
		if retry.Sleep(ctx, w.sink.cfg.RetryBackoff) != nil {
			return
		}
	}
}

// refused is what to tell when no retry mends cause; nil when one may.
func (w *txWriter) refused(tx *transaction, cause error) error {
	if _, ok := errors.AsType[*stream.PermanentError](cause); ok {
		return cause
	}
	c := classify(cause)
	if !c.final() || c == classClosed || endsTransaction(cause) {
		return nil
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return refusal(c, cmp.Or(tx.topic, w.sink.cfg.Topic), cause)
}

// replace puts a fresh producer in the place of the present one.
func (w *txWriter) replace(p *producer) {
	w.claim.giveBack(w.producer, false)
	w.producer = p
}
