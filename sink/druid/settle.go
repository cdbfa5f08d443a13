package druid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	cluster "dredge/druid"
	"dredge/internal/retry"
	"dredge/stream"
)

// errUnpublished says that the rows of a batch are not in Druid, and that nobody can submit them any more.
var errUnpublished = errors.New("the batch was given up before it was published")

// wasBegun returns nil when the first task of a batch that was found recorded has been submitted, and errUnpublished when it never will
// be. Whoever finds a batch recorded for one partition can't know whether it was recorded for all of them, and it must not be published
// before. The first task says so, because only who made the batch submits it, and only after that. Everybody else finds that it is
// there, or takes its id with a task without rows.
func (s *Sink) wasBegun(ctx context.Context, batch string, loads []*load) error {
	first := *loads[0]
	first.Attempt, first.Object = first.First, ""
	return s.submit(ctx, batch, &first)
}

// settle returns nil when the rows of l are published. It submits them if it can, and tries again what failed, after record has returned
// without an error. It is called by whoever made the batch and by whoever finds it recorded, also at the same time: all that decides is
// asked from Druid, where an id is taken once.
//
// When the rows are known to nobody here, and their task was never submitted or published nothing, the error is errUnpublished.
func (s *Sink) settle(ctx context.Context, batch string, l *load, record func(context.Context) error) error {
	for tries := 1; ; tries++ {
		published, why, err := s.attempt(ctx, batch, l)
		if err != nil || published {
			return err
		}
		s.metrics.tasks[taskFailed].Inc()
		if l.Object == "" && l.inline == nil {
			return errUnpublished
		}
		if tries == s.cfg.MaxAttempts {
			return &stream.PermanentError{Err: fmt.Errorf("task %s and %d before it failed, the last with: %s", l.taskID(batch), tries-1, why)}
		}
		s.log.Warn().Str("task", l.taskID(batch)).Str("reason", why).Msg("task failed and published nothing, trying again")
		l.Attempt++
		if err := record(ctx); err != nil {
			return err
		}
	}
}

// attempt takes one task to its end. It says whether the rows are published, and if not, why the task failed.
func (s *Sink) attempt(ctx context.Context, batch string, l *load) (published bool, why string, err error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return false, "", context.Cause(ctx)
	}
	s.metrics.running.Inc()
	defer s.metrics.running.Dec()
	id, began := l.taskID(batch), time.Now()
	var status cluster.TaskStatus
	for known := false; !known; {
		if err := s.submit(ctx, batch, l); err != nil {
			return false, "", err
		}
		if l.begun != nil {
			l.begun()
		}
		// The overlord may have forgotten it again, or had not written it down.
		if status, known, err = s.poller.wait(ctx, id, l.Datasource); err != nil {
			return false, "", err
		}
	}
	s.metrics.seconds.Observe(time.Since(began).Seconds())
	if status.State == cluster.TaskFailed {
		published, err := s.published(ctx, batch, l)
		if published {
			s.metrics.tasks[taskPublished].Inc()
			s.log.Warn().Str("task", id).Str("reason", status.Error).Msg("druid calls the task failed, but it has published its rows")
		}
		return published, status.Error, err
	}
	if err := s.compare(ctx, batch, l); err != nil {
		return false, "", err
	}
	s.metrics.tasks[taskSucceeded].Inc()
	return true, "", nil
}

// submit returns nil when there is a task of this id that has the rows of l, by this call or an earlier one. It sends the rows, or the
// place of the object that has them. When neither is known here, it takes the id with a task without rows, so that nobody can submit them
// later: that, and finding one, is errUnpublished.
func (s *Sink) submit(ctx context.Context, batch string, l *load) error {
	task := cluster.Batch{TaskID: l.taskID(batch), ID: batch, Table: s.tables[l.table], Inline: l.inline}
	task.Table.Datasource = l.Datasource
	if l.Object != "" {
		place, err := s.cfg.place(l.Object)
		if err != nil || s.cfg.Objects == "" {
			return &stream.PermanentError{Err: fmt.Errorf("objects: %q is needed for a batch that an earlier run stored there; write the place of that time", l.Object)}
		}
		task.Objects = []cluster.Object{place}
	}
	var empty bool
	lookUp := func() (known bool, err error) {
		empty, known, err = s.cluster.IsEmpty(ctx, task.TaskID)
		return known, refused(err)
	}
	// Whether it is there is asked first where the rows are known to others, or are none.
	ask := l.inline == nil
	// Druid answers 500 to what it can't do now and also to what it never will. When it answers everything else, it is the latter.
	const mostFaults = 20
	faults := 0
	err := s.keepTrying(ctx, "submitting a task", func() error {
		if ask {
			if known, err := lookUp(); err != nil || known {
				return err
			}
		}
		err := s.cluster.SubmitBatch(ctx, task)
		refusal, answered := errors.AsType[*cluster.Error](err)
		switch {
		case err == nil:
			empty = l.inline == nil && l.Object == ""
			return nil
		case cluster.AlreadyExists(err):
			if known, other := lookUp(); other != nil || known {
				return other
			}
			return err
		case !answered || refusal.Transient():
			return err
		case refusal.Status != http.StatusInternalServerError:
			return &stream.PermanentError{Err: err}
		}
		ask = true // it may be there nevertheless, and an answer shows that the overlord is well
		if faults++; faults < mostFaults {
			return err
		}
		return &stream.PermanentError{Err: err}
	})
	if err == nil && empty {
		s.metrics.tasks[taskTaken].Inc()
		return errUnpublished
	}
	return err
}

// refused makes a permanent error of a refusal that no retry mends: wrong credentials, a wrong address.
func refused(err error) error {
	if e, ok := errors.AsType[*cluster.Error](err); ok && !e.Transient() && e.Status != http.StatusInternalServerError {
		return &stream.PermanentError{Err: err}
	}
	return err
}

// compare compares the report of a task that succeeded with what was recorded.
func (s *Sink) compare(ctx context.Context, batch string, l *load) error {
	id := l.taskID(batch)
	report, found, err := s.report(ctx, id)
	if err != nil {
		return err
	}
	if !found {
		// Reports are files; a cluster whose workers keep them to themselves has none to show.
		published, err := s.published(ctx, batch, l)
		if err == nil && !published {
			return &stream.PermanentError{Err: fmt.Errorf("task %s succeeded without a report, and its %d rows cannot be found", id, l.Count)}
		}
		return err
	}
	r := report.Rows
	if r.Processed != l.Rows || r.ThrownAway != 0 || r.Unparseable != 0 || r.ProcessedWithError != 0 {
		return &stream.PermanentError{Err: fmt.Errorf("task %s reports %d rows of %d, %d thrown away, %d unreadable: the rest is nowhere, so nothing is checkpointed",
			id, r.Processed+r.ProcessedWithError, l.Rows, r.ThrownAway, r.Unparseable+r.ProcessedWithError)}
	}
	return nil
}

// report returns what a task that ended says of its rows. It may come a little later than the end, so it is asked for several times.
func (s *Sink) report(ctx context.Context, id string) (report cluster.TaskReport, found bool, err error) {
	const asks = 5
	for i := range asks {
		err := s.keepTrying(ctx, "asking for a task's report", func() (err error) {
			report, found, err = s.cluster.TaskReport(ctx, id)
			return refused(err)
		})
		if found || err != nil {
			return report, found, err
		}
		if i < asks-1 {
			if err := retry.Sleep(ctx, s.cfg.PollInterval); err != nil {
				return report, false, err
			}
		}
	}
	return report, false, nil
}

// published says whether a task that did not succeed has published its rows nevertheless: a worker may be lost between publishing and
// saying so. First every segment of the hours must be in sight of queries, then the rows of the batch are counted.
func (s *Sink) published(ctx context.Context, batch string, l *load) (yes bool, err error) {
	from, to := l.hours()
	table := s.tables[l.table]
	table.Datasource = l.Datasource
	err = s.keepTrying(ctx, "looking for the rows of a failed task", func() error {
		segments, err := s.cluster.Published(ctx, l.Datasource, from, to)
		if err != nil {
			return err
		}
		hidden, err := s.cluster.Unserved(ctx, l.Datasource, segments)
		if err != nil {
			return err
		}
		if len(hidden) > 0 {
			return fmt.Errorf("%d published segments of %s cannot be queried yet, for example %s", len(hidden), l.Datasource, hidden[0])
		}
		n, err := s.cluster.CountBatch(ctx, table, batch, from, to)
		switch {
		case err != nil:
			return err
		case n == l.Count || n == 0:
			yes = n > 0
			return nil
		default:
			return &stream.PermanentError{Err: fmt.Errorf("%s holds %d rows of batch %s, and not all %d or none", l.Datasource, n, batch, l.Count)}
		}
	})
	return yes, err
}
