package enrich

import (
	"github.com/prometheus/client_golang/prometheus"

	"dredge/metadata"
	"dredge/row"
)

// grades is how many grades an end can have.
const grades = int(metadata.PublicEnd) + 1

// counts is what one batch adds to the metrics.
type counts struct {
	rows, unsure, notCounted, noDirection, noTime int
	taskMismatches, tagMismatches                 int
	serviceMismatches, late                       int
	grades                                        [grades]int
	statuses                                      [row.Statuses]int
	segments                                      [2][row.Segmentations]int // let through, rejected
}

func (c *counts) end(side *row.Side, g metadata.Grade) {
	if int(g) < grades {
		c.grades[g]++
	}
	c.statuses[side.Status()]++
}

func (c *counts) row(r *row.Row) {
	c.rows++
	if r.CountedHow == row.CountedUnsure {
		c.unsure++
	}
	if !r.Counted {
		c.notCounted++
	}
	if r.Late {
		c.late++
	}
	if r.Action == row.Reject {
		c.segments[1][r.Segmentation]++
	} else {
		c.segments[0][r.Segmentation]++
	}
	if r.Direction == row.DirectionUnknown {
		c.noDirection++
	}
	if r.Missing&row.MissingTime != 0 {
		c.noTime++
	}
}

type metrics struct {
	rows, unsure, notCounted, noDirection, noTime, taskMismatches, tagMismatches prometheus.Counter
	serviceMismatches, late                                                      prometheus.Counter
	grades                                                                       [grades]prometheus.Counter
	statuses                                                                     [row.Statuses]prometheus.Counter
	segments                                                                     [2][row.Segmentations]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "dredge", Subsystem: "enrich", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "dredge", Subsystem: "enrich", Name: name, Help: help}, []string{label})
		r.MustRegister(v)
		return v
	}
	m := &metrics{
		rows:              counter("rows_total", "Rows made, one for each flow-log record that is a flow."),
		unsure:            counter("unsure_rows_total", "Rows that are counted although another observation of the same flow may count too."),
		notCounted:        counter("duplicate_rows_total", "Rows that are not counted because another observation of the flow counts."),
		noDirection:       counter("undirected_rows_total", "Rows whose direction is not known."),
		noTime:            counter("untimed_rows_total", "Rows whose record has neither start nor end; their ends can't be named."),
		taskMismatches:    counter("task_mismatches_total", "Local ends that the record's ECS fields and identity name differently."),
		tagMismatches:     counter("tag_mismatches_total", "Named local ends whose record carries tags of which none is the name."),
		late:              counter("late_rows_total", "Rows whose line arrived later after the start of the flow than rows.late_after."),
		serviceMismatches: counter("service_mismatches_total", "Public ends of which the record and the published ranges name different AWS services; the record's name stands."),
	}
	ends := vector("graded_ends_total", "Ends of rows, two for each row, by grade.", "grade")
	for g := range grades {
		m.grades[g] = ends.WithLabelValues(metadata.Grade(g).String())
	}
	ends = vector("ends_total", "Ends of rows, two for each row, by what they were found to be.", "status")
	for s := range row.Statuses {
		m.statuses[s] = ends.WithLabelValues(row.Status(s).String())
	}
	segments := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "dredge", Subsystem: "enrich", Name: "segmentation_rows_total",
		Help: "Rows by what the declared edges say of their flow, and whether the traffic was accepted or rejected; nothing where no edges are declared.",
	}, []string{"segmentation", "action"})
	r.MustRegister(segments)
	for i, action := range [...]row.Action{row.Accept, row.Reject} {
		for s := range row.Segmentations {
			if s > 0 {
				m.segments[i][s] = segments.WithLabelValues(row.Segmentation(s).String(), action.String())
			}
		}
	}
	return m
}

// add takes over what a batch counted.
func (m *metrics) add(c *counts) {
	for _, x := range [...]struct {
		counter prometheus.Counter
		n       int
	}{
		{m.rows, c.rows},
		{m.unsure, c.unsure},
		{m.notCounted, c.notCounted},
		{m.noDirection, c.noDirection},
		{m.noTime, c.noTime},
		{m.taskMismatches, c.taskMismatches},
		{m.tagMismatches, c.tagMismatches},
		{m.serviceMismatches, c.serviceMismatches},
		{m.late, c.late},
	} {
		if x.n > 0 {
			x.counter.Add(float64(x.n))
		}
	}
	for g, n := range c.grades {
		if n > 0 {
			m.grades[g].Add(float64(n))
		}
	}
	for s, n := range c.statuses {
		if n > 0 {
			m.statuses[s].Add(float64(n))
		}
	}
	for i := range c.segments {
		for s, n := range c.segments[i] {
			if n > 0 && s > 0 {
				m.segments[i][s].Add(float64(n))
			}
		}
	}
}
