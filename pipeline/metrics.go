package pipeline

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the pipeline's own counters; the books, the budget and the gate are collected from where they are kept.
type metrics struct {
	payloadBytes, lineBytes, rows prometheus.Counter
	repeats                       prometheus.Counter
	ends                          *prometheus.CounterVec
	handleSeconds, heldSeconds    prometheus.Histogram
	letterFailures                struct{ put, flush prometheus.Counter }
	swallowedLogs                 prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, p *Pipeline) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_pipeline_" + name, Help: help})
	}
	letters := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_pipeline_dead_letter_failures_total", Help: "Failures of the dead letter, by step; after a failed flush the partition stands still.",
	}, []string{"step"})
	m := &metrics{
		payloadBytes: counter("payload_bytes_total", "Bytes of payloads as they came, mostly compressed."),
		lineBytes:    counter("line_bytes_total", "Bytes of lines found in payloads, after inflating."),
		rows:         counter("rows_total", "Rows handed to the sink; rows that are read again after a failure count again."),
		repeats:      counter("repeated_events_total", "CloudWatch events that stood in the stream before, in another record; only with pipeline.count_repeats."),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dredge_pipeline_ends_total", Help: "Ends of rows handed to the sink, by grade: why the end is named, or why not.",
		}, []string{"end", "grade"}),
		handleSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dredge_pipeline_handle_seconds", Help: "Time from taking a chunk to having handed its last row to the sink, waiting included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		heldSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dredge_pipeline_held_seconds", Help: "Time that slices waited for identity to catch up; slices that did not wait are not in it.",
			Buckets: []float64{0.1, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300},
		}),
		swallowedLogs: counter("swallowed_log_lines_total", "Log lines about rejected input that were not written, because there were too many."),
	}
	m.letterFailures.put, m.letterFailures.flush = letters.WithLabelValues("put"), letters.WithLabelValues("flush")
	reg.MustRegister(m.payloadBytes, m.lineBytes, m.rows, m.repeats, m.ends, m.handleSeconds, m.heldSeconds, letters, m.swallowedLogs,
		newStateCollector(p))
	return m
}

// wrote counts the rows of one part. Grades are few and known in advance, so the label look-up is once per part and grade.
func (m *metrics) wrote(l *local, rows int64) {
	m.rows.Add(float64(rows))
	for _, c := range l.src {
		m.ends.WithLabelValues("src", c.name).Add(float64(c.n))
	}
	for _, c := range l.dst {
		m.ends.WithLabelValues("dst", c.name).Add(float64(c.n))
	}
}

// stateCollector shows the books, the budget and the gate. Each scrape takes one snapshot of the books, so the sums that a
// scrape shows balance, too.
type stateCollector struct {
	p *Pipeline

	lines, decoded, delivered, rejected, skipped, dropped, deadLettered, abandoned, inFlight, payloads *prometheus.Desc
	budget, held, waiting, heldSlices, oldestHeld, logGroup, app, unwatched                            *prometheus.Desc
}

func newStateCollector(p *Pipeline) *stateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("dredge_pipeline_"+name, help, labels, nil)
	}
	return &stateCollector{
		p:            p,
		lines:        desc("lines_total", "Lines found: the sum of decoded, rejected and skipped ones."),
		decoded:      desc("decoded_lines_total", "Flow records: the sum of delivered, dropped, dead-lettered, abandoned and in-flight ones."),
		delivered:    desc("delivered_lines_total", "Lines whose rows are durable in the sink."),
		rejected:     desc("rejected_lines_total", "Lines that could not be decoded, by reason.", "reason"),
		skipped:      desc("skipped_lines_total", "Lines that are no flows, by kind.", "kind"),
		dropped:      desc("dropped_lines_total", "Lines that a rule of the user dropped, by rule.", "rule"),
		deadLettered: desc("dead_lettered_lines_total", "Decoded lines whose rows the sink put into the dead letter, by reason.", "reason"),
		abandoned:    desc("abandoned_lines_total", "Decoded lines given up to be read again, by reason.", "reason"),
		inFlight:     desc("in_flight_lines", "Lines decoded and not yet delivered or given up."),
		payloads:     desc("payloads_total", "Payloads by outcome: ok, or the fault that cut one short.", "outcome"),
		budget:       desc("budget_bytes", "The memory budget."),
		held:         desc("budget_held_bytes", "Bytes of the memory budget in use, by what for.", "class"),
		waiting:      desc("budget_waiters", "Acquisitions that wait for room in the memory budget, by what for.", "class"),
		heldSlices:   desc("held_slices", "Slices that wait now for identity to catch up."),
		oldestHeld:   desc("oldest_held_seconds", "How long the longest held slice has waited."),
		logGroup:     desc("log_group_last_seen_timestamp_seconds", "When the last payload of a log group came; at most a thousand groups.", "log_group"),
		app:          desc("app_last_seen_timestamp_seconds", "When an application was last an end of a counted flow, to the minute; at most pipeline.watched_apps of them, each until a day after.", "app"),
		unwatched:    desc("unwatched_apps", "Applications of the last minutes that pipeline.watched_apps has no room for."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.lines, c.decoded, c.delivered, c.rejected, c.skipped, c.dropped, c.deadLettered, c.abandoned, c.inFlight, c.payloads,
		c.budget, c.held, c.waiting, c.heldSlices, c.oldestHeld, c.logGroup, c.app, c.unwatched,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	one := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	many := func(d *prometheus.Desc, m map[string]int64) {
		for _, k := range sorted(m) {
			one(d, prometheus.CounterValue, float64(m[k]), k)
		}
	}
	s := c.p.books.Snapshot()
	one(c.lines, prometheus.CounterValue, float64(s.Lines))
	one(c.decoded, prometheus.CounterValue, float64(s.Decoded))
	one(c.delivered, prometheus.CounterValue, float64(s.Delivered))
	one(c.inFlight, prometheus.GaugeValue, float64(s.InFlight))
	many(c.rejected, s.Rejected)
	many(c.skipped, s.Skipped)
	many(c.dropped, s.Dropped)
	many(c.deadLettered, s.DeadLettered)
	many(c.abandoned, s.Abandoned)
	many(c.payloads, s.Payloads)

	use := c.p.budget.use()
	one(c.budget, prometheus.GaugeValue, float64(c.p.budget.total))
	for k := range classes {
		one(c.held, prometheus.GaugeValue, float64(use.held[k]), k.String())
		one(c.waiting, prometheus.GaugeValue, float64(use.waiting[k]), k.String())
	}
	one(c.waiting, prometheus.GaugeValue, float64(c.p.laneWaiters.Load()), "lane")
	since, n := c.p.gate.oldest()
	age := 0.0
	if n > 0 {
		age = time.Since(since).Seconds()
	}
	one(c.heldSlices, prometheus.GaugeValue, float64(n))
	one(c.oldestHeld, prometheus.GaugeValue, age)
	c.p.groups.each(func(name string, last time.Time) {
		if name != "" { // lines outside an envelope have no group to miss
			one(c.logGroup, prometheus.GaugeValue, float64(last.UnixMilli())/1000, name)
		}
	})
	unwatched := c.p.traffic.eachApp(time.Now(), func(app string, last time.Time) {
		one(c.app, prometheus.GaugeValue, float64(last.Unix()), app)
	})
	one(c.unwatched, prometheus.GaugeValue, float64(unwatched))
}
