package rollup

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of the Aggregators of one sink. Safe for concurrent use.
type Metrics struct {
	in, out prometheus.Counter
	ratio   prometheus.Gauge
}

// NewMetrics registers the counters with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		in:  prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_rollup_rows_in_total", Help: "Raw rows that were rolled up."}),
		out: prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_rollup_rows_total", Help: "Rolled-up rows that were made of them."}),
		ratio: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dredge_rollup_ratio", Help: "Raw rows per rolled-up row in the last commit; over longer times divide the counters.",
		}),
	}
	r.MustRegister(m.in, m.out, m.ratio)
	return m
}

func (m *Metrics) drained(in, out int) {
	if out == 0 {
		return
	}
	m.in.Add(float64(in))
	m.out.Add(float64(out))
	m.ratio.Set(float64(in) / float64(out))
}
