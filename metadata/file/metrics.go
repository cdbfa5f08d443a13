package file

import (
	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	lines, restarts, failures prometheus.Counter
	rejected                  map[event.Reason]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_metadata_file_rejected_lines_total", Help: "Lines of identity files that were not taken in, by reason.",
	}, []string{"reason"})
	m := &metrics{
		lines: prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_metadata_file_lines_total", Help: "Lines read from identity files."}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_metadata_file_restarts_total", Help: "Identity files read from their beginning again because they were truncated or replaced.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_metadata_file_failures_total", Help: "Polls in which an identity file was missing or could not be read.",
		}),
		rejected: map[event.Reason]prometheus.Counter{},
	}
	for _, reason := range event.Reasons() {
		m.rejected[reason] = rejected.WithLabelValues(string(reason))
	}
	if r != nil {
		r.MustRegister(m.lines, m.restarts, m.failures, rejected)
	}
	return m
}
