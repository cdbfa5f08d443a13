package idlog

import "github.com/prometheus/client_golang/prometheus"

type writerMetrics struct {
	segments, bytes, snapshots, failures, swept prometheus.Counter
	snapshotBytes                               prometheus.Gauge
	snapshotSeconds                             prometheus.Summary
}

func newWriterMetrics(r prometheus.Registerer) *writerMetrics {
	m := &writerMetrics{
		segments: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_log_written_segments_total", Help: "Segments of the identity log that were published.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_log_written_bytes_total", Help: "Bytes of the published segments, compressed.",
		}),
		snapshots: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_log_written_snapshots_total", Help: "Snapshots of the identity log that were published.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_log_write_failures_total", Help: "Attempts to write the identity log that failed; they are repeated.",
		}),
		swept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_identity_log_swept_streams_total", Help: "Streams of processes long gone that were deleted, being held by snapshots.",
		}),
		snapshotBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dredge_identity_log_snapshot_bytes", Help: "Size of the newest snapshot that this process wrote, compressed.",
		}),
		snapshotSeconds: prometheus.NewSummary(prometheus.SummaryOpts{
			Name: "dredge_identity_log_snapshot_seconds", Help: "Time that writing a snapshot took.",
		}),
	}
	if r != nil {
		r.MustRegister(m.segments, m.bytes, m.snapshots, m.failures, m.swept, m.snapshotBytes, m.snapshotSeconds)
	}
	return m
}

type readerMetrics struct {
	snapshots, segments, events, refused, sightings, unknown, failures prometheus.Counter
	damagedManifests, damagedSegments, damagedSnapshots                prometheus.Counter
	delay                                                              prometheus.Histogram
}

// newReaderMetrics registers with the label log: a process may read several.
func newReaderMetrics(url string, r prometheus.Registerer) *readerMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_identity_log_" + name, Help: help})
	}
	damaged := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_identity_log_damaged_objects_total", Help: "Objects of the identity log that were damaged or gone, by what they were.",
	}, []string{"object"})
	m := &readerMetrics{
		snapshots:        counter("loaded_snapshots_total", "Snapshots of the identity log that were loaded."),
		segments:         counter("read_segments_total", "Segments of the identity log that were read."),
		events:           counter("read_events_total", "Events read from the identity log."),
		refused:          counter("refused_events_total", "Lines of the identity log that were no event, or that the store refused."),
		sightings:        counter("read_sightings_total", "Sightings of other workers read from the identity log."),
		unknown:          counter("unknown_sections_total", "Sections and snapshots of the identity log of a kind that this version does not know."),
		failures:         counter("read_failures_total", "Looks at the identity log that failed; they are repeated."),
		damagedManifests: damaged.WithLabelValues("manifest"),
		damagedSegments:  damaged.WithLabelValues("segment"),
		damagedSnapshots: damaged.WithLabelValues("snapshot"),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dredge_identity_log_read_delay_seconds", Help: "Time from the writing of a manifest to the moment its segments were applied here.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2, 5, 15, 60, 300},
		}),
	}
	if r != nil {
		prometheus.WrapRegistererWith(prometheus.Labels{"log": url}, r).MustRegister(m.snapshots, m.segments, m.events, m.refused,
			m.sightings, m.unknown, m.failures, damaged, m.delay)
	}
	return m
}
