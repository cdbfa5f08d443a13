package druid

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	cluster "dredge/druid"
	"dredge/internal/retry"
	"dredge/row"
	"dredge/row/rollup"
	"dredge/sink"
	"dredge/stream"
)

// Replacement is a sink for doing it again: its rows take the place of all that Druid holds of some hours, in every table at once for its
// readers of one table. Nothing changes in Druid before Publish. A row counts as delivered when it was taken; only Publish makes it durable.
type Replacement struct {
	sink     *Sink
	from, to time.Time

	mu      sync.Mutex
	rows    stack
	objects [tables][]cluster.Object
	taken   [tables]int64
	outside int64
}

// replaceBytes is how many bytes of JSON lie in memory before they go into an object.
const replaceBytes = 64 << 20

// NewReplacement makes a Replacement of the hours [from, to) of the tables of deps. A Late table loses those hours: what is done again is in
// the raw one.
func NewReplacement(cfg Config, deps Deps, from, to time.Time) (*Replacement, error) {
	if !from.Before(to) || !from.Equal(from.Truncate(time.Hour)) || !to.Equal(to.Truncate(time.Hour)) {
		return nil, fmt.Errorf("replacing %s to %s: only whole hours can be replaced", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	s, err := New(cfg, deps)
	if err != nil {
		return nil, err
	}
	return &Replacement{sink: s, from: from, to: to}, nil
}

// Check is Sink.Check.
func (r *Replacement) Check(ctx context.Context) error { return r.sink.Check(ctx) }

// Outside is how many rows were left out because they are of other hours.
func (r *Replacement) Outside() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outside
}

// Open makes a Writer.
func (r *Replacement) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	w := &replacer{r: r}
	if r.sink.minute != nil {
		w.rollup = rollup.New(r.sink.minute, r.sink.rollups)
	}
	return w, "", nil
}

// replacer is the Writer of a Replacement.
type replacer struct {
	r       *Replacement
	rollup  *rollup.Aggregator
	scratch []byte
}

// Write takes the rows of b that are of the hours.
func (w *replacer) Write(ctx context.Context, b *row.Batch, _ stream.Position, done func(error)) error {
	s, from, to := w.r.sink, w.r.from.UnixMilli(), w.r.to.UnixMilli()
	var p stack
	outside := int64(0)
	w.scratch = w.scratch[:0]
	for i := range b.Rows {
		at := s.timeOf(b, &b.Rows[i])
		if at < from || at >= to {
			outside++
			continue
		}
		w.scratch = append(s.encoder.Append(w.scratch, b, i), '\n')
		p[raw].saw(at)
		p[raw].n++
		if w.rollup != nil {
			w.rollup.AddRow(b, i)
		}
	}
	if err := p[raw].take(w.scratch); err != nil {
		return err
	}
	if w.rollup != nil {
		if err := w.drain(&p[minute]); err != nil {
			return err
		}
	}
	if err := w.r.take(ctx, &p, outside); err != nil {
		return err
	}
	done(nil)
	return nil
}

// drain makes the rolled-up rows those of m.
func (w *replacer) drain(m *rows) error {
	w.scratch = w.scratch[:0]
	w.rollup.Drain(func(r *rollup.Row) {
		w.scratch = append(w.r.sink.minute.Append(w.scratch, r.Minute, r.Dimensions, &r.Sums), '\n')
		m.saw(r.Minute)
		m.n++
	})
	return m.take(w.scratch)
}

// Flush has nothing to do.
func (*replacer) Flush(context.Context) error { return nil }

// Close has nothing to do.
func (*replacer) Close(context.Context) error { return nil }

// take adds p, and puts what has gathered into objects when it is much.
func (r *Replacement) take(ctx context.Context, p *stack, outside int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outside += outside
	if err := r.rows.add(p); err != nil {
		return err
	}
	if r.sink.cfg.Objects == "" {
		if n := r.rows.bytes(); n > maxInlineBatch {
			return &stream.PermanentError{Err: fmt.Errorf("sink.druid.objects: is empty, and the hours have more rows than the %d bytes that the spec of a task may hold; write objects: s3://bucket/prefix", maxInlineBatch)}
		}
		return nil
	}
	if r.rows.bytes() < replaceBytes {
		return nil
	}
	return r.store(ctx)
}

// store puts the rows in memory into objects. r.mu is held: who writes meanwhile waits.
func (r *Replacement) store(ctx context.Context) error {
	for t := range r.rows {
		data, err := r.rows[t].file()
		if err != nil {
			return err
		}
		if r.rows[t].n == 0 {
			continue
		}
		key := "dredge-replace-" + table(t).String() + "-" + r.sink.nonce() + ".json.gz"
		place, err := r.sink.cfg.place(key)
		if err != nil {
			return err
		}
		if err := r.sink.create(ctx, key, data); err != nil {
			return fmt.Errorf("sink.druid.%w", err)
		}
		r.objects[t] = append(r.objects[t], place)
		r.taken[t] += r.rows[t].n
		r.rows[t] = rows{}
	}
	return nil
}

// Publish replaces the hours, one table after the other, and returns how many raw rows they now have. When it fails, some tables may have the
// new rows and some the old ones; doing it again mends that.
func (r *Replacement) Publish(ctx context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sink.cfg.Objects != "" {
		if err := r.store(ctx); err != nil {
			return 0, err
		}
	}
	for t := range tables {
		if r.sink.tables[t].Datasource == "" {
			continue
		}
		if err := r.replace(ctx, t); err != nil {
			return 0, fmt.Errorf("replacing %s to %s of %s: %w", r.from.Format(time.RFC3339), r.to.Format(time.RFC3339), r.sink.tables[t].Datasource, err)
		}
	}
	return r.taken[raw] + r.rows[raw].n, nil
}

// replace runs the task of one table. It may run more than once: what it replaces is then its own.
func (r *Replacement) replace(ctx context.Context, t table) error {
	b := cluster.Batch{Table: r.sink.tables[t], Objects: r.objects[t], From: r.from, To: r.to}
	want := r.taken[t] + r.rows[t].n
	if len(b.Objects) == 0 && want > 0 {
		var err error
		if b.Inline, err = r.rows[t].text(); err != nil {
			return err
		}
	}
	var last error
	for range r.sink.cfg.MaxAttempts {
		b.TaskID = "dredge-replace-" + t.String() + "-" + r.sink.nonce()
		if last = r.attempt(ctx, b, want); last == nil {
			return nil
		}
		if _, permanent := errors.AsType[*stream.PermanentError](last); permanent || ctx.Err() != nil {
			return last
		}
		r.sink.log.Warn().Err(last).Str("task", b.TaskID).Msg("task failed, trying again")
	}
	return last
}

func (r *Replacement) attempt(ctx context.Context, b cluster.Batch, want int64) error {
	s := r.sink
	err := s.keepTrying(ctx, "submitting a task", func() error {
		if err := s.cluster.SubmitBatch(ctx, b); err != nil && !cluster.AlreadyExists(err) {
			return refused(err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var status cluster.TaskStatus
	for status.State != cluster.TaskSuccess && status.State != cluster.TaskFailed {
		if err := retry.Sleep(ctx, s.cfg.PollInterval); err != nil {
			return err
		}
		err := s.keepTrying(ctx, "asking for a task", func() (err error) {
			status, _, err = s.cluster.TaskStatus(ctx, b.TaskID)
			return refused(err)
		})
		if err != nil {
			return err
		}
	}
	if status.State == cluster.TaskFailed {
		return fmt.Errorf("task %s failed: %s", b.TaskID, status.Error)
	}
	report, found, err := s.report(ctx, b.TaskID)
	if err != nil || want == 0 {
		return err
	}
	if !found { // a cluster whose workers keep their reports to themselves; what succeeded has replaced the hours all the same
		s.log.Warn().Str("task", b.TaskID).Int64("rows", want).Msg("hours replaced, and no report says how many rows they have; `dredge druid reconcile` compares the sums")
		return nil
	}
	if report.Rows.Processed != want {
		return &stream.PermanentError{Err: fmt.Errorf("task %s reports %d rows of %d", b.TaskID, report.Rows.Processed, want)}
	}
	return nil
}
