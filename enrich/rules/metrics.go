package rules

import "github.com/prometheus/client_golang/prometheus"

// What a rule did to a row, as the metric's label says it.
const (
	effectDropped  = "dropped"
	effectSampled  = "sampled"
	effectTagged   = "tagged"
	effectRedacted = "redacted"
)

// effectOf is what a rule does to rows that stay; "" for one that leaves none.
func (r *rule) effectOf() string {
	switch r.action {
	case sample:
		return effectSampled
	case tag:
		return effectTagged
	case redact:
		return effectRedacted
	default:
		return ""
	}
}

// metrics has two counters for each rule, in their order: rows taken away and rows changed.
type metrics struct{ dropped, changed []prometheus.Counter }

func newRowsVec(reg prometheus.Registerer) *prometheus.CounterVec {
	rows := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "dredge", Subsystem: "rules", Name: "rows_total",
		Help: "Rows that a rule of the configuration was for, by rule and what it did: dropped them, or kept them sampled, tagged or redacted.",
	}, []string{"rule", "effect"})
	if reg != nil {
		reg.MustRegister(rows)
	}
	return rows
}

func newMetrics(rows *prometheus.CounterVec, list []rule) *metrics {
	m := &metrics{}
	for i := range list {
		r := &list[i]
		var dropped, changed prometheus.Counter
		if r.action == drop || r.action == sample {
			dropped = rows.WithLabelValues(r.name, effectDropped)
		}
		if effect := r.effectOf(); effect != "" {
			changed = rows.WithLabelValues(r.name, effect)
		}
		m.dropped, m.changed = append(m.dropped, dropped), append(m.changed, changed)
	}
	return m
}

// add takes over what a batch counted.
func (m *metrics) add(list []counts) {
	for i := range list {
		if list[i].dropped > 0 {
			m.dropped[i].Add(float64(list[i].dropped))
		}
		if list[i].changed > 0 {
			m.changed[i].Add(float64(list[i].changed))
		}
	}
}
