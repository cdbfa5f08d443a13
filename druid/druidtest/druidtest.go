// Package druidtest is a Druid cluster in memory, as far as batch tasks need one: it takes tasks, ends them after a while, publishes their
// rows, and answers what package druid asks. It can be told to misbehave in the ways that real clusters do. Answers have the form of
// Druid 33.0.0's.
package druidtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
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
	// Object reads an object that is no file.
	Object func(uri string) ([]byte, error)

	mu     sync.Mutex
	tasks  map[string]*task
	order  []string
	tables map[string][]segment
	met    int
	most   int
}

type segment struct {
	id       string
	from, to time.Time
	rows     []Row
	served   time.Time
	gone     bool // replaced
}

type task struct {
	id, datasource, batch string
	rows                  []Row
	empty                 bool
	replaces              []string // intervals
	begins                time.Time
	ends                  time.Time
	outcome               Outcome
	settled               bool
	fault                 string
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
	case DropAfter:
		c.ServeHTTP(answer, req)
		return nil, errors.New("read: connection reset by peer")
	default:
		c.ServeHTTP(answer, req)
		return answer.Result(), nil
	}
}

// ServeHTTP serves the overlord, the coordinator and the broker.
func (c *Cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	var out any
	const tasks = "/druid/indexer/v1/task/"
	const metadata = "/druid/coordinator/v1/metadata/datasources/"
	switch path := r.URL.Path; {
	case path == "/druid/indexer/v1/task":
		c.take(w, body)
		return
	case path == "/druid/indexer/v1/taskStatus":
		out = c.statuses(body)
	case path == "/druid/indexer/v1/totalWorkerCapacity":
		out = map[string]int{"currentClusterCapacity": c.Slots, "maximumCapacityWithAutoScale": -1, "usedClusterCapacity": c.unended()}
	case path == "/druid/indexer/v1/tasks":
		out = []any{}
	case strings.HasPrefix(path, tasks) && strings.HasSuffix(path, "/status"):
		id := strings.TrimSuffix(strings.TrimPrefix(path, tasks), "/status")
		t := c.tasks[id]
		if t == nil {
			http.Error(w, "Cannot find any task with id: ["+id+"]", http.StatusNotFound)
			return
		}
		out = map[string]any{"task": id, "status": map[string]any{
			"id": id, "type": "index_parallel", "statusCode": t.state(), "dataSource": t.datasource, "errorMsg": t.fault,
		}}
	case strings.HasPrefix(path, tasks) && strings.HasSuffix(path, "/reports"):
		t := c.tasks[strings.TrimSuffix(strings.TrimPrefix(path, tasks), "/reports")]
		if t == nil || !t.settled || t.outcome == LosesReport {
			http.Error(w, "No task reports were found for this task.", http.StatusNotFound)
			return
		}
		out = t.report()
	case strings.HasPrefix(path, tasks):
		t := c.tasks[strings.TrimPrefix(path, tasks)]
		if t == nil {
			http.Error(w, "Cannot find any task", http.StatusNotFound)
			return
		}
		out = map[string]any{"task": t.id, "payload": map[string]any{"context": map[string]bool{"dredgeEmpty": t.empty}}}
	case strings.HasPrefix(path, metadata):
		out = c.published(strings.TrimSuffix(strings.TrimPrefix(path, metadata), "/segments"), body)
	case path == "/druid/v2/sql":
		c.query(w, body)
		return
	default:
		http.NotFound(w, r)
		return
	}
	answer(w, out)
}

func answer(w http.ResponseWriter, out any) {
	if err := json.NewEncoder(w).Encode(out); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// spec is what of a task's spec matters here.
type spec struct {
	ID   string `json:"id"`
	Spec struct {
		DataSchema struct {
			DataSource      string `json:"dataSource"`
			GranularitySpec struct {
				Intervals []string `json:"intervals"`
			} `json:"granularitySpec"`
			TransformSpec struct {
				Filter     *struct{} `json:"filter"`
				Transforms []struct {
					Expression string `json:"expression"`
				} `json:"transforms"`
			} `json:"transformSpec"`
		} `json:"dataSchema"`
		IOConfig struct {
			AppendToExisting bool `json:"appendToExisting"`
			InputSource      struct {
				Data  string   `json:"data"`
				URIs  []string `json:"uris"`
				Files []string `json:"files"`
			} `json:"inputSource"`
		} `json:"ioConfig"`
	} `json:"spec"`
}

// take takes a task, once.
func (c *Cluster) take(w http.ResponseWriter, body []byte) {
	var s spec
	if err := json.Unmarshal(body, &s); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if c.tasks[s.ID] != nil {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]string{"error": "druidException", "errorCode": "entryAlreadyExists", "errorMessage": "Task[" + s.ID + "] already exists"})
		return
	}
	c.insert(s)
	answer(w, map[string]string{"task": s.ID})
}

func (c *Cluster) insert(s spec) {
	t := &task{id: s.ID, datasource: s.Spec.DataSchema.DataSource}
	if tr := s.Spec.DataSchema.TransformSpec.Transforms; len(tr) > 0 {
		t.batch = strings.Trim(tr[0].Expression, "'")
	}
	if !s.Spec.IOConfig.AppendToExisting {
		t.replaces = s.Spec.DataSchema.GranularitySpec.Intervals
	}
	in := s.Spec.IOConfig.InputSource
	texts := []string{in.Data}
	for _, place := range append(slices.Clone(in.URIs), in.Files...) {
		text, err := c.read(place)
		if err != nil {
			t.fault = err.Error()
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			t.rows = append(t.rows, Row{Batch: t.batch, Line: strings.TrimSuffix(line, "\n"), Task: t.id})
		}
	}
	if s.Spec.DataSchema.TransformSpec.Filter != nil {
		t.empty, t.rows = true, nil
	}
	// The slot that is free first is taken.
	t.begins = time.Now()
	if ends := c.ends(); len(ends) >= c.Slots && c.Slots > 0 {
		t.begins = ends[len(ends)-c.Slots]
	}
	t.ends = t.begins.Add(c.TaskTime)
	if c.Outcome != nil {
		t.outcome = c.Outcome(t.id)
	}
	if t.fault != "" {
		t.outcome = Fails
	}
	c.tasks[t.id] = t
	c.order = append(c.order, t.id)
	c.most = max(c.most, c.unended())
}

// TakeLocked has a task without rows take the id, as a worker that gave a batch up does; for the functions that a Cluster calls.
func (c *Cluster) TakeLocked(id string) {
	var s spec
	s.ID = id
	s.Spec.IOConfig.AppendToExisting = true
	s.Spec.IOConfig.InputSource.Data = "{}\n"
	s.Spec.DataSchema.TransformSpec.Filter = &struct{}{}
	c.insert(s)
}

func (c *Cluster) read(place string) (string, error) {
	var data []byte
	var err error
	if strings.HasPrefix(place, "/") {
		data, err = os.ReadFile(place)
	} else {
		data, err = c.Object(place)
	}
	if err != nil {
		return "", err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(z)
	return string(text), err
}

func (c *Cluster) unended() (n int) { return len(c.ends()) }

// ends are when the tasks end that have not ended, in order.
func (c *Cluster) ends() (list []time.Time) {
	for _, t := range c.tasks {
		if !t.settled {
			list = append(list, t.ends)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return list
}

// settle ends the tasks whose time has come.
func (c *Cluster) settle() {
	for _, id := range c.order {
		t := c.tasks[id]
		if t.settled || time.Now().Before(t.ends) {
			continue
		}
		t.settled = true
		if t.outcome == Fails {
			if t.fault == "" {
				t.fault = "Task killed"
			}
			continue
		}
		if t.outcome == FailsPublished {
			t.fault = "Canceled: lost its worker"
		}
		c.publish(t)
	}
}

// publish makes one segment of an hour for each hour that t has rows in.
func (c *Cluster) publish(t *task) {
	for _, in := range t.replaces {
		from, to := parse(in)
		for i := range c.tables[t.datasource] {
			if s := &c.tables[t.datasource][i]; !s.from.Before(from) && !s.to.After(to) {
				s.gone = true
			}
		}
	}
	var order []time.Time
	hours := map[time.Time][]Row{}
	for _, r := range t.rows {
		var at struct {
			Time int64 `json:"time"`
		}
		_ = json.Unmarshal([]byte(r.Line), &at) // rows without a time are of the first hour
		h := time.UnixMilli(at.Time).UTC().Truncate(time.Hour)
		if hours[h] == nil {
			order = append(order, h)
		}
		hours[h] = append(hours[h], r)
	}
	for _, h := range order {
		rows := hours[h]
		c.tables[t.datasource] = append(c.tables[t.datasource], segment{
			id: fmt.Sprintf("%s_%s_%s", t.datasource, h.Format(time.RFC3339), t.id), from: h, to: h.Add(time.Hour), rows: rows, served: t.ends.Add(c.HandOff),
		})
	}
}

func parse(interval string) (from, to time.Time) {
	a, b, _ := strings.Cut(interval, "/")
	from, _ = time.Parse(time.RFC3339, a)
	to, _ = time.Parse(time.RFC3339, b)
	return from, to
}

func (t *task) state() string {
	switch {
	case !t.settled:
		return "RUNNING"
	case t.outcome == Fails || t.outcome == FailsPublished:
		return "FAILED"
	default:
		return "SUCCESS"
	}
}

func (t *task) report() any {
	processed, segments, thrown := len(t.rows), 0, 0
	if t.empty {
		thrown = 1
	}
	if processed > 0 {
		segments = 1
	}
	if t.outcome == Shortens {
		processed--
	}
	if t.outcome == Fails {
		processed, segments = 0, 0
	}
	return map[string]any{"ingestionStatsAndErrors": map[string]any{"payload": map[string]any{
		"ingestionState": "COMPLETED", "segmentsPublished": segments,
		"rowStats": map[string]any{"buildSegments": map[string]int{"processed": processed, "thrownAway": thrown}},
	}}}
}

func (c *Cluster) statuses(body []byte) any {
	var ids []string
	_ = json.Unmarshal(body, &ids) // no id is answered with nothing
	out := map[string]any{}
	for _, id := range ids {
		if t := c.tasks[id]; t != nil {
			out[id] = map[string]any{"id": id, "status": t.state(), "duration": -1, "errorMsg": t.fault}
		}
	}
	return out
}

func (c *Cluster) published(datasource string, body []byte) any {
	var intervals []string
	_ = json.Unmarshal(body, &intervals) // no interval is answered with nothing
	ids := []string{}
	name, err := url.PathUnescape(datasource)
	if err != nil {
		return ids
	}
	for _, in := range intervals {
		from, to := parse(in)
		for _, s := range c.tables[name] {
			if s.from.Before(to) && s.to.After(from) {
				ids = append(ids, s.id)
			}
		}
	}
	return ids
}
