package druid

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	cluster "dredge/druid"
)

// What becomes of a task.
const (
	taskSucceeded = "succeeded"
	taskFailed    = "failed"    // and published nothing
	taskPublished = "published" // although Druid calls it failed
	taskTaken     = "taken"     // its id, by a task without rows: the batch was given up by whoever has one of its shards now
)

// Classes of errors that are tried again.
const (
	errorUnreachable = "unreachable"
	errorBusy        = "busy"
	errorOther       = "other"
)

type metrics struct {
	waiting, running prometheus.Gauge
	stored           prometheus.Counter
	resumed, reread  prometheus.Counter
	seconds, age     prometheus.Histogram
	rows             [tables]prometheus.Counter
	bytes            prometheus.Counter
	tasks            map[string]prometheus.Counter
	errors           map[string]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const prefix = "dredge_sink_druid_"
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	seconds := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: prometheus.ExponentialBuckets(1, 2, 12)})
		reg.MustRegister(h)
		return h
	}
	byLabel := func(name, help, label string, values ...string) map[string]prometheus.Counter {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, []string{label})
		reg.MustRegister(v)
		m := make(map[string]prometheus.Counter, len(values))
		for _, value := range values {
			m[value] = v.WithLabelValues(value)
		}
		return m
	}
	m := &metrics{
		waiting: gauge("waiting_rows", "Rows that wait for their batch."),
		running: gauge("running_tasks", "Tasks submitted and not settled."),
		stored:  counter("object_bytes_total", "Bytes of rows written to objects, compressed."),
		resumed: counter("resumed_batches_total", "Batches that a shard's opener found recorded and published, per shard."),
		reread:  counter("reread_batches_total", "Batches that a shard's opener found recorded and gave up, per shard: their rows are read again."),
		seconds: seconds("task_seconds", "Time from the submission of a task to its end."),
		age:     seconds("batch_age_seconds", "Age of a batch's oldest row, from its Write, when the batch was published."),
		bytes:   counter("row_bytes_total", "Bytes of rows in published batches, as JSON."),
		tasks:   byLabel("tasks_total", "Tasks by what became of them.", "result", taskSucceeded, taskFailed, taskPublished, taskTaken),
		errors:  byLabel("errors_total", "Requests that are tried again, by class.", "class", errorUnreachable, errorBusy, errorOther),
	}
	rows := byLabel("rows_total", "Rows in published batches, by table.", "table", tableNames[:]...)
	for t := range m.rows {
		m.rows[t] = rows[table(t).String()]
	}
	return m
}

// batch counts a batch that was published.
func (m *metrics) batch(b *batch, age time.Duration) {
	for _, l := range b.loads {
		m.rows[l.table].Add(float64(l.Rows))
	}
	for _, p := range b.parts {
		m.bytes.Add(float64(p.bytes))
	}
	m.age.Observe(age.Seconds())
}

// failed counts a request that is tried again.
func (m *metrics) failed(err error) {
	e, answered := errors.AsType[*cluster.Error](err)
	switch {
	case !answered:
		m.errors[errorUnreachable].Inc()
	case e.Transient() || e.Status == http.StatusInternalServerError:
		m.errors[errorBusy].Inc()
	default:
		m.errors[errorOther].Inc()
	}
}
