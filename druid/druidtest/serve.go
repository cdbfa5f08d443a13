package druidtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

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
		out = c.locked(r.URL.Query().Get("datasource"), r.URL.Query().Get("state"))
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

// locked are the tasks of a datasource that wait for its lock.
func (c *Cluster) locked(datasource, state string) any {
	out := []map[string]string{}
	for _, id := range c.order {
		if t := c.tasks[id]; state == "waiting" && t.datasource == datasource && c.Locked[datasource] && !t.settled {
			out = append(out, map[string]string{"id": id, "dataSource": datasource, "statusCode": "RUNNING"})
		}
	}
	return out
}
