// Package druidtest is a Druid cluster in memory, as far as batch tasks need one: it takes tasks, ends them after a while, publishes their
// rows, and answers what package druid asks. It can be told to misbehave in the ways that real clusters do. Answers have the form of
// Druid 33.0.0's.
//
// druidtest.go is what tests set and see, and how requests fail; serve.go answers them, query.go those in SQL; task.go is the life of a task.
package druidtest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"
)

// Fault is how a request fails.
type Fault int

// The faults.
const (
	None Fault = iota
	// Unavailable is answered 503, Internal 500 with a page of HTML, Busy 429, Forbidden 403.
	Unavailable
	Internal
	Busy
	Forbidden
	// Unauthorized is answered 401.
	Unauthorized
	// NotFound is answered 404, as what is not there yet.
	NotFound
	// Hang never answers; Refuse refuses the connection.
	Hang
	Refuse
	// DropAfter does what was asked and drops the connection before the answer.
	DropAfter
)

// Outcome is how a task ends.
type Outcome int

// The outcomes.
const (
	Succeeds Outcome = iota
	// Fails publishes nothing.
	Fails
	// FailsPublished publishes, and is called failed.
	FailsPublished
	// Shortens says success and reports a row less than there were.
	Shortens
	// LosesReport succeeds and leaves no report.
	LosesReport
)

// Row is one published row.
type Row struct {
	// Batch is the value that the task's transform gives to the column of batches.
	Batch string
	// Line is the row as it was sent.
	Line string
	// Task is the id of the task that published it.
	Task string
}

// Cluster is the cluster. Set the fields before the first request, or with Change.
type Cluster struct {
	// Slots is how many tasks run at once; the others wait.
	Slots int
	// TaskTime is how long a task runs; HandOff how long after its end its segments can be queried.
	TaskTime, HandOff time.Duration
	// Fault says what becomes of a request; path has no query. nil is None for all.
	Fault func(method, path string) Fault
	// Outcome says how a task ends; nil is Succeeds for all.
	Outcome func(task string) Outcome
	// Locked has the datasources to which another task writes for ever: no other begins.
	Locked map[string]bool
	// Object reads an object that is no file.
	Object func(uri string) ([]byte, error)

	mu     sync.Mutex
	tasks  map[string]*task
	order  []string
	tables map[string][]segment
	met    int
	most   int
}

// New returns a cluster of four slots whose tasks take 5 s.
func New() *Cluster {
	return &Cluster{Slots: 4, TaskTime: 5 * time.Second, HandOff: 3 * time.Second, tasks: map[string]*task{}, tables: map[string][]segment{}}
}

// Change calls f while no request is served.
func (c *Cluster) Change(f func(*Cluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

// Faults is how many requests have met a fault.
func (c *Cluster) Faults() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.met
}

// MostRunning is how many tasks were running or waiting at once.
func (c *Cluster) MostRunning() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

// Tasks are the ids of all tasks, in the order in which they were taken.
func (c *Cluster) Tasks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}

// Rows are the published rows of a datasource, in the order of their publication, whether they can be queried yet or not.
func (c *Cluster) Rows(datasource string) []Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	var rows []Row
	for _, s := range c.tables[datasource] {
		if !s.gone {
			rows = append(rows, s.rows...)
		}
	}
	return rows
}

// RoundTrip serves req in this process; a Cluster is the transport of a client.
func (c *Cluster) RoundTrip(req *http.Request) (*http.Response, error) {
	fault := None
	c.mu.Lock()
	if c.Fault != nil {
		fault = c.Fault(req.Method, req.URL.Path)
	}
	if fault != None {
		c.met++
	}
	c.mu.Unlock()
	answer := httptest.NewRecorder()
	page := func(status int, body string) (*http.Response, error) {
		answer.WriteHeader(status)
		_, _ = answer.WriteString(body)
		return answer.Result(), nil
	}
	switch fault {
	case Hang:
		<-req.Context().Done()
		return nil, req.Context().Err()
	case Refuse:
		return nil, errors.New("connect: connection refused")
	case Unavailable:
		return page(http.StatusServiceUnavailable, "")
	case Internal:
		return page(http.StatusInternalServerError, "<html><body><h2>HTTP ERROR 500</h2></body></html>")
	case Busy:
		return page(http.StatusTooManyRequests, `{"error":"druidException","errorCode":"capacityExceeded","errorMessage":"Task queue already contains 10 tasks."}`)
	case Forbidden:
		return page(http.StatusForbidden, `{"Access-Check-Result":"Unauthorized."}`)
	case NotFound:
		return page(http.StatusNotFound, "Not found.")
	case Unauthorized:
		return page(http.StatusUnauthorized, "<html><body><h2>HTTP ERROR 401 Unauthorized</h2>")
	case DropAfter:
		c.ServeHTTP(answer, req)
		return nil, errors.New("read: connection reset by peer")
	default:
		c.ServeHTTP(answer, req)
		return answer.Result(), nil
	}
}
