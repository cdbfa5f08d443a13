package store

import (
	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
)

// maxSourceSeries bounds the series of the lag by source; the sources beyond it share the label value "other".
const maxSourceSeries = 200

type metrics struct {
	events    map[event.Op]prometheus.Counter
	refused   map[event.Reason]prometheus.Counter
	forgotten prometheus.Counter
	sightings prometheus.Counter
	disagreements,
	sightingsInvalid, sightingsScopeless, sightingsFuture prometheus.Counter
}

func newMetrics(s *Store, r prometheus.Registerer) *metrics {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_metadata_events_total", Help: "Identity events applied, by op; the same event told again counts again.",
	}, []string{"op"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_metadata_rejected_events_total", Help: "Identity events refused by the store, by reason.",
	}, []string{"reason"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_metadata_dropped_sightings_total", Help: "Sightings of an address in traffic that could not be used, by reason.",
	}, []string{"reason"})
	m := &metrics{
		events: map[event.Op]prometheus.Counter{}, refused: map[event.Reason]prometheus.Counter{},
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_metadata_forgotten_evidence_total", Help: "Pieces of evidence dropped because one address had too many.",
		}),
		sightings: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_metadata_sightings_total", Help: "Sightings of an address in traffic that added to what was known.",
		}),
		disagreements: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_metadata_disagreements_total", Help: "Sightings in traffic that contradicted an open tenure told by a source.",
		}),
		sightingsInvalid:   dropped.WithLabelValues("invalid"),
		sightingsScopeless: dropped.WithLabelValues("scope-unknown"),
		sightingsFuture:    dropped.WithLabelValues("future-time"),
	}
	for _, op := range []event.Op{
		event.Assign, event.Release, event.Observe, event.Describe, event.Progress, event.SnapBegin, event.SnapEnd, event.Coverage, event.Topology,
	} {
		m.events[op] = events.WithLabelValues(string(op))
	}
	for _, reason := range event.Reasons() {
		m.refused[reason] = refused.WithLabelValues(string(reason))
	}
	if r != nil {
		r.MustRegister(events, refused, dropped, m.forgotten, m.sightings, m.disagreements, newCollector(s))
	}
	return m
}

func (m *metrics) applied(op event.Op) { m.events[op].Inc() }

func (m *metrics) rejected(r event.Reason) { m.refused[r].Inc() }

// collector computes what would be costly to keep up to date.
type collector struct {
	store                                                    *Store
	keys, tenures, bytes, huge, owners, workloads, lag, idle *prometheus.Desc
}

func newCollector(s *Store) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("dredge_metadata_"+name, help, labels, nil)
	}
	return &collector{
		store:     s,
		keys:      desc("addresses", "Addresses, and claimed ports of addresses, of which something is known."),
		tenures:   desc("tenures", "Tenures of owners over addresses, past ones included."),
		bytes:     desc("table_bytes", "Memory of the address tables in bytes: slots, tenures and evidence, without owners."),
		huge:      desc("huge_page_bytes", "Memory of the address and owner tables in bytes that lies in pages of 2 MiB; 0 when the system has none or huge_pages is off."),
		owners:    desc("endpoints", "Interfaces, pods and tasks of which something is known."),
		workloads: desc("workloads", "Distinct workloads of which something is known."),
		lag:       desc("watermark_lag_seconds", "How far behind the clock a source has told everything; sources that never say are absent.", "source"),
		idle:      desc("idle_sources", "Sources that have been silent for longer than idle_after."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.keys, c.tenures, c.bytes, c.huge, c.owners, c.workloads, c.lag, c.idle} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	size := c.store.Size()
	gauge(c.keys, float64(size.Addresses))
	gauge(c.tenures, float64(size.Tenures))
	gauge(c.bytes, float64(size.TableBytes))
	gauge(c.huge, float64(c.store.hugeBytes.Load()))
	gauge(c.owners, float64(size.Endpoints))
	gauge(c.workloads, float64(size.Workloads))
	now := c.store.now()
	idle, other, others := 0, 0.0, false
	for i, src := range c.store.Sources() {
		if src.Idle {
			idle++
		}
		if src.Progress == 0 {
			continue
		}
		lag := 0.0
		if src.Progress != forever {
			lag = max(0, float64(now.UnixMilli()-src.Progress)/1000)
		}
		if i < maxSourceSeries {
			gauge(c.lag, lag, src.Name)
			continue
		}
		other, others = max(other, lag), true
	}
	if others {
		gauge(c.lag, other, "other")
	}
	gauge(c.idle, float64(idle))
}

// Size is how much a Store holds.
type Size struct{ Addresses, Tenures, TableBytes, Endpoints, Workloads int }

// Size counts what the store holds. It locks each shard for a moment.
func (s *Store) Size() Size {
	out := Size{Endpoints: s.owners.names.len(), Workloads: s.owners.workloadCount()}
	measure(&s.v4, &out)
	measure(&s.wide, &out)
	return out
}

func measure[K comparable](a *addresses[K], out *Size) {
	for i := range a.shards {
		sh := &a.shards[i]
		sh.mu.Lock()
		t := sh.tab.Load()
		out.Addresses += t.used
		out.Tenures += t.live
		out.TableBytes += t.bytes()
		sh.mu.Unlock()
	}
}
