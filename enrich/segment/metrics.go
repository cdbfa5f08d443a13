package segment

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	edges  prometheus.Gauge
	loads  prometheus.Counter
	faults prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		edges:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "dredge_segmentation_edges", Help: "Declared edges in force."}),
		loads:  prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_segmentation_loads_total", Help: "Files of declared edges that were taken into force."}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_segmentation_faults_total", Help: "Times that the file of declared edges could not be taken in; what was in force stays."}),
	}
	if r != nil {
		r.MustRegister(m.edges, m.loads, m.faults)
	}
	return m
}

func (m *metrics) loaded(edges int) {
	m.loads.Inc()
	m.edges.Set(float64(edges))
}
