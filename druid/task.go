package druid

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const overlordAPI = "/druid/indexer/v1/"

// MaxTaskID is the longest task id that is safe, in bytes. Druid accepts longer ones and then hangs: the worker makes a file name of it,
// and while the overlord waits for the task to appear it assigns nobody else's.
const MaxTaskID = 200

// CheckTaskID says why id can't be a task's id.
func CheckTaskID(id string) error {
	switch {
	case id == "" || len(id) > MaxTaskID:
		return fmt.Errorf("task id %q has %d bytes; 1 to %d are safe", id, len(id), MaxTaskID)
	case strings.HasPrefix(id, ".") || strings.ContainsAny(id, "/\\\x00\r\n\t "):
		return fmt.Errorf("task id %q starts with a dot, or has a slash or space in it", id)
	default:
		return nil
	}
}

// TaskState is how far a task is.
type TaskState string

// The states.
const (
	TaskRunning TaskState = "RUNNING"
	TaskSuccess TaskState = "SUCCESS"
	TaskFailed  TaskState = "FAILED"
)

// TaskStatus is what the overlord knows of a task.
type TaskStatus struct {
	ID         string    `json:"id"`
	Type       string    `json:"type"`
	Datasource string    `json:"dataSource"`
	State      TaskState `json:"statusCode"`
	// Error is the reason of a failure.
	Error   string    `json:"errorMsg"`
	Created time.Time `json:"createdTime"`
}

// SubmitTask submits a task spec that carries its own id. AlreadyExists tells whether the error says that the id is known.
func (c *Client) SubmitTask(ctx context.Context, spec json.RawMessage) error {
	return c.do(ctx, c.overlord, http.MethodPost, overlordAPI+"task", spec, nil)
}

// TaskStatus returns the state of a task; false when the overlord knows none of that id.
func (c *Client) TaskStatus(ctx context.Context, id string) (TaskStatus, bool, error) {
	var answer struct {
		Status TaskStatus `json:"status"`
	}
	err := c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"task/"+url.PathEscape(id)+"/status", nil, &answer)
	if unknown(err) {
		return TaskStatus{}, false, nil
	}
	return answer.Status, err == nil, err
}

// TaskStatuses returns the states of many tasks at once; unknown ones are left out. Of each it tells ID, State and Error.
func (c *Client) TaskStatuses(ctx context.Context, ids []string) (map[string]TaskStatus, error) {
	// This is the one answer that names the state "status".
	var answer map[string]*struct {
		State TaskState `json:"status"`
		Error string    `json:"errorMsg"`
	}
	if err := c.do(ctx, c.overlord, http.MethodPost, overlordAPI+"taskStatus", ids, &answer); err != nil {
		return nil, err
	}
	known := make(map[string]TaskStatus, len(answer))
	for id, s := range answer {
		if s != nil {
			known[id] = TaskStatus{ID: id, State: s.State, Error: s.Error}
		}
	}
	return known, nil
}

// WaitingTasks returns the ids of the tasks of a datasource that wait for a lock that another task has.
func (c *Client) WaitingTasks(ctx context.Context, datasource string) ([]string, error) {
	query := url.Values{"state": {"waiting"}, "datasource": {datasource}}
	var tasks []TaskStatus
	if err := c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"tasks?"+query.Encode(), nil, &tasks); err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(tasks))
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	return ids, nil
}

// TaskSlots returns how many tasks can run at once in the whole cluster, and how many do.
func (c *Client) TaskSlots(ctx context.Context) (slots, used int, err error) {
	var answer struct {
		Now  int `json:"currentClusterCapacity"`
		Most int `json:"maximumCapacityWithAutoScale"`
		Used int `json:"usedClusterCapacity"`
	}
	err = c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"totalWorkerCapacity", nil, &answer)
	return max(answer.Now, answer.Most), answer.Used, err
}

// FinishedTasks returns the tasks of a datasource that ended lately (druid.indexer.storage.recentlyFinishedThreshold, a day), newest
// first, at most limit.
func (c *Client) FinishedTasks(ctx context.Context, datasource string, limit int) ([]TaskStatus, error) {
	query := url.Values{"state": {"complete"}, "datasource": {datasource}, "max": {strconv.Itoa(limit)}}
	var tasks []TaskStatus
	err := c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"tasks?"+query.Encode(), nil, &tasks)
	return tasks, err
}

// RowStats are a task's counts of rows.
type RowStats struct {
	Processed          int64 `json:"processed"`
	ProcessedWithError int64 `json:"processedWithError"`
	ThrownAway         int64 `json:"thrownAway"`
	Unparseable        int64 `json:"unparseable"`
}

// TaskReport is what a task says about its work when it has ended.
type TaskReport struct {
	// State is COMPLETED when all rows were read.
	State string
	Rows  RowStats
	// Segments is the number of segments it published.
	Segments int64
	Error    string
}

// TaskReport returns the report of a task; false when there is none.
func (c *Client) TaskReport(ctx context.Context, id string) (TaskReport, bool, error) {
	var answer json.RawMessage
	err := c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"task/"+url.PathEscape(id)+"/reports", nil, &answer)
	if unknown(err) {
		return TaskReport{}, false, nil
	}
	if err != nil {
		return TaskReport{}, false, err
	}
	return readReport(id, answer)
}

// readReport reads the reports of a task; false when the one that counts is not among them.
func readReport(id string, answer []byte) (TaskReport, bool, error) {
	wrong := func(err error) error {
		return fmt.Errorf("the report of task %s is not what it should be: %w", id, err)
	}
	var reports map[string]struct {
		Payload struct {
			State    string          `json:"ingestionState"`
			Error    string          `json:"errorMsg"`
			Segments int64           `json:"segmentsPublished"`
			Rows     json.RawMessage `json:"rowStats"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(answer, &reports); err != nil {
		return TaskReport{}, false, wrong(err)
	}
	p, ok := reports["ingestionStatsAndErrors"]
	if !ok {
		return TaskReport{}, false, nil
	}
	report := TaskReport{State: p.Payload.State, Error: p.Payload.Error, Segments: p.Payload.Segments}
	// A parallel task reports its rows plainly, a sequential one by phase.
	var phases struct {
		Build *RowStats `json:"buildSegments"`
		RowStats
	}
	if len(p.Payload.Rows) > 0 {
		if err := json.Unmarshal(p.Payload.Rows, &phases); err != nil {
			return TaskReport{}, false, wrong(err)
		}
	}
	report.Rows = phases.RowStats
	if phases.Build != nil {
		report.Rows = *phases.Build
	}
	return report, true, nil
}

// KillTask asks a task to end.
func (c *Client) KillTask(ctx context.Context, id string) error {
	return c.do(ctx, c.overlord, http.MethodPost, overlordAPI+"task/"+url.PathEscape(id)+"/shutdown", nil, nil)
}
