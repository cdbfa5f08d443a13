package druidtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

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
		if t.settled || c.Locked[t.datasource] || time.Now().Before(t.ends) {
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
