package druid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Apply submits a supervisor. With an unchanged spec Druid (since 33) leaves the tasks alone; a changed one hands over: the running
// tasks publish what they have read, new ones go on from there.
func (c *Client) Apply(ctx context.Context, spec json.RawMessage) (id string, err error) {
	var answer struct {
		ID string `json:"id"`
	}
	err = c.do(ctx, c.overlord, http.MethodPost, overlordAPI+"supervisor?skipRestartIfUnmodified=true", spec, &answer)
	return answer.ID, err
}

// SupervisorSpec returns the spec as Druid keeps it; false when it has no such supervisor.
func (c *Client) SupervisorSpec(ctx context.Context, id string) (json.RawMessage, bool, error) {
	var spec json.RawMessage
	err := c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"supervisor/"+url.PathEscape(id), nil, &spec)
	if unknown(err) {
		return nil, false, nil
	}
	return spec, err == nil, err
}

// SupervisorStatus is what a supervisor says of itself. It says RUNNING and healthy while every one of its tasks fails.
type SupervisorStatus struct {
	Datasource string `json:"dataSource"`
	Topic      string `json:"stream"`
	// State and DetailedState are Druid's words.
	State         string `json:"state"`
	DetailedState string `json:"detailedState"`
	Healthy       bool   `json:"healthy"`
	Suspended     bool   `json:"suspended"`
	// Lag is the number of offsets not read yet, by partition; nil when it is not known.
	Lag          map[string]int64 `json:"minimumLag"`
	AggregateLag int64            `json:"aggregateLag"`
	ActiveTasks  []struct {
		ID      string           `json:"id"`
		Offsets map[string]int64 `json:"currentOffsets"`
	} `json:"activeTasks"`
	PublishingTasks []struct {
		ID string `json:"id"`
	} `json:"publishingTasks"`
	RecentErrors []struct {
		Timestamp string `json:"timestamp"`
		Class     string `json:"exceptionClass"`
		Message   string `json:"message"`
	} `json:"recentErrors"`
}

// Reading says whether a task has told its offsets: before that, no lag is known.
func (s *SupervisorStatus) Reading() bool {
	for _, t := range s.ActiveTasks {
		if len(t.Offsets) > 0 {
			return true
		}
	}
	return false
}

// lastError is the newest of the recent errors, as an addition to a sentence. Errors that are over stay in that list.
func (s *SupervisorStatus) lastError() string {
	if len(s.RecentErrors) == 0 {
		return ""
	}
	e := s.RecentErrors[len(s.RecentErrors)-1]
	return fmt.Sprintf(": %s %s", e.Timestamp, e.Message)
}

// SupervisorStatus returns the status; false when Druid has no such supervisor.
func (c *Client) SupervisorStatus(ctx context.Context, id string) (SupervisorStatus, bool, error) {
	var answer struct {
		Payload SupervisorStatus `json:"payload"`
	}
	err := c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"supervisor/"+url.PathEscape(id)+"/status", nil, &answer)
	if unknown(err) {
		return SupervisorStatus{}, false, nil
	}
	return answer.Payload, err == nil, err
}

// SupervisorRows returns the counts of the supervisor's running tasks, in sum.
func (c *Client) SupervisorRows(ctx context.Context, id string) (RowStats, error) {
	// group → task → phase → counts
	var answer map[string]map[string]struct {
		Totals map[string]RowStats `json:"totals"`
	}
	err := c.do(ctx, c.overlord, http.MethodGet, overlordAPI+"supervisor/"+url.PathEscape(id)+"/stats", nil, &answer)
	var sum RowStats
	for _, tasks := range answer {
		for _, t := range tasks {
			for _, n := range t.Totals {
				sum.Processed += n.Processed
				sum.ProcessedWithError += n.ProcessedWithError
				sum.ThrownAway += n.ThrownAway
				sum.Unparseable += n.Unparseable
			}
		}
	}
	return sum, err
}

// Suspend makes the tasks publish what they have and end. That it is so already is no error: an answer may have been lost.
func (c *Client) Suspend(ctx context.Context, id string) error {
	return c.supervisor(ctx, id, "suspend")
}

// Resume starts a suspended supervisor.
func (c *Client) Resume(ctx context.Context, id string) error { return c.supervisor(ctx, id, "resume") }

// Terminate makes the tasks publish what they have and forgets the supervisor, but not its offsets.
func (c *Client) Terminate(ctx context.Context, id string) error {
	return c.supervisor(ctx, id, "terminate")
}

func (c *Client) supervisor(ctx context.Context, id, verb string) error {
	err := c.do(ctx, c.overlord, http.MethodPost, overlordAPI+"supervisor/"+url.PathEscape(id)+"/"+verb, nil, nil)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusBadRequest && strings.Contains(e.Message, "] is already ") {
		return nil
	}
	return err
}
