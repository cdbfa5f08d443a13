package geo

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The kinds of content, as label values.
const (
	kindRanges    = "ip_ranges"
	kindDatabases = "databases"
)

type metrics struct {
	entries, published map[string]prometheus.Gauge
	loads              map[string]prometheus.Counter
	faults             map[string]map[Reason]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	entries := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dredge_metadata_geo_networks", Help: "Networks of public addresses in force, by kind of content.",
	}, []string{"kind"})
	published := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dredge_metadata_geo_published_timestamp_seconds", Help: "When the oldest content in force was published, by kind; its age is now less this. 0 while there is none.",
	}, []string{"kind"})
	loads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_metadata_geo_loads_total", Help: "Contents that were taken into force, by kind.",
	}, []string{"kind"})
	faults := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_metadata_geo_faults_total", Help: "Files and single entries that were not taken in, by kind and reason; what was in force stays.",
	}, []string{"kind", "reason"})
	m := &metrics{
		entries: map[string]prometheus.Gauge{}, published: map[string]prometheus.Gauge{}, loads: map[string]prometheus.Counter{},
		faults: map[string]map[Reason]prometheus.Counter{},
	}
	for _, kind := range [...]string{kindRanges, kindDatabases} {
		m.entries[kind] = entries.WithLabelValues(kind)
		m.published[kind] = published.WithLabelValues(kind)
		m.loads[kind] = loads.WithLabelValues(kind)
		m.faults[kind] = map[Reason]prometheus.Counter{}
		for _, reason := range Reasons() {
			m.faults[kind][reason] = faults.WithLabelValues(kind, string(reason))
		}
	}
	if r != nil {
		r.MustRegister(entries, published, loads, faults)
	}
	return m
}

func (m *metrics) loaded(kind string, networks int, published time.Time) {
	m.loads[kind].Inc()
	m.entries[kind].Set(float64(networks))
	sec := 0.0
	if !published.IsZero() {
		sec = float64(published.Unix())
	}
	m.published[kind].Set(sec)
}
