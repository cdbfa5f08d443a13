package druid

import (
	"context"
	"fmt"
	"time"
)

// TableStatus is how a datasource is doing.
type TableStatus struct {
	Datasource string `json:"datasource"`
	// State is the supervisor's own word; "missing" when there is none.
	State string `json:"state"`
	// Reading says that a task has told its offsets; before that no lag is known.
	Reading bool `json:"reading"`
	// Lag is the number of offsets behind the end of the topic, without the marker that a transaction leaves in each partition.
	Lag int64 `json:"lag"`
	// Tasks is the number of tasks at work, FailedTasks that of those that failed since the time asked for.
	Tasks       int `json:"tasks"`
	FailedTasks int `json:"failed_tasks"`
	// Rows are the counts of the running tasks and of those that ended since the time asked for.
	Rows RowStats `json:"rows"`
	// Segments is the number of published segments, Unavailable that of those that no historical serves yet.
	Segments    int64 `json:"segments"`
	Unavailable int64 `json:"unavailable"`
	// Problems say what is wrong and what to do; empty means well.
	Problems []string `json:"problems"`
}

// maxTaskReports bounds the finished tasks that are looked into.
const maxTaskReports = 50

// TableStatus asks for everything about t since a time. A supervisor's own status is no health check: Druid says RUNNING while every
// task fails, so failed tasks and rows that were not taken are looked for as well.
func (c *Client) TableStatus(ctx context.Context, t Table, since time.Time) (TableStatus, error) {
	s := TableStatus{Datasource: t.Datasource, State: "missing", Problems: []string{}}
	problem := func(format string, args ...any) { s.Problems = append(s.Problems, fmt.Sprintf(format, args...)) }
	sup, ok, err := c.SupervisorStatus(ctx, t.Datasource)
	if err != nil {
		return s, err
	}
	if !ok {
		problem("there is no supervisor %s; make it with `dredge druid apply`", t.Datasource)
	} else {
		s.State, s.Reading, s.Tasks = sup.DetailedState, sup.Reading(), len(sup.ActiveTasks)
		for _, lag := range sup.Lag {
			s.Lag += max(0, lag-1)
		}
		switch {
		case sup.Suspended:
			problem("the supervisor is suspended; rows wait in topic %s until its retention ends", sup.Topic)
		case sup.State != "RUNNING" && sup.State != "PENDING":
			problem("the supervisor is %s%s", sup.DetailedState, sup.lastError())
		case !sup.Healthy:
			problem("the supervisor is unhealthy%s", sup.lastError())
		}
		if s.Rows, err = c.SupervisorRows(ctx, t.Datasource); err != nil {
			return s, err
		}
	}
	tasks, err := c.FinishedTasks(ctx, t.Datasource, maxTaskReports)
	if err != nil {
		return s, err
	}
	reason := ""
	for _, task := range tasks {
		if task.Created.Before(since) {
			continue
		}
		if task.State == TaskFailed {
			s.FailedTasks++
			if reason == "" {
				reason = fmt.Sprintf("%s: %s", task.ID, task.Error)
			}
		}
		report, ok, err := c.TaskReport(ctx, task.ID)
		if err != nil {
			return s, err
		}
		if ok {
			s.Rows.Processed += report.Rows.Processed
			s.Rows.ProcessedWithError += report.Rows.ProcessedWithError
			s.Rows.ThrownAway += report.Rows.ThrownAway
			s.Rows.Unparseable += report.Rows.Unparseable
		}
	}
	if s.FailedTasks > 0 {
		problem("%d tasks failed, last %s", s.FailedTasks, reason)
	}
	if n := s.Rows.ThrownAway + s.Rows.Unparseable; n > 0 {
		problem("%d rows were thrown away and %d could not be read: they are in the topic, but not in the table", s.Rows.ThrownAway, s.Rows.Unparseable)
	}
	segments, err := c.Query(ctx, `SELECT COUNT(*), SUM(CASE WHEN is_available = 0 THEN 1 ELSE 0 END) FROM sys.segments WHERE datasource = ? AND is_published = 1 AND is_overshadowed = 0`, Text(t.Datasource))
	if err != nil {
		return s, err
	}
	if len(segments.Rows) == 1 {
		s.Segments, s.Unavailable = integer(segments.Rows[0][0]), integer(segments.Rows[0][1])
	}
	return s, nil
}

// integer reads a number of an answer; 0 when it is absent.
func integer(v any) int64 {
	f, _ := v.(float64)
	return int64(f)
}
