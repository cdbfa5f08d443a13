package file

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of one file.
type metrics struct {
	rows, bytes, written, retries, rotations prometheus.Counter
	waiting                                  prometheus.Gauge
	latency                                  prometheus.Histogram
	errors                                   map[class]prometheus.Counter
}

func newMetrics(prefix string, reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		rows:      counter("rows_total", "Lines written."),
		bytes:     counter("encoded_bytes_total", "Bytes of lines written, before compression."),
		written:   counter("written_bytes_total", "Bytes of lines written, after compression."),
		retries:   counter("retries_total", "Writes tried again while somebody waited for them."),
		rotations: counter("rotations_total", "Files completed and given their final name."),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "waiting_bytes", Help: "Bytes of lines in memory, not written yet.",
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "commit_seconds", Help: "Time to write one block, with its fsync where there is one.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}),
		errors: make(map[class]prometheus.Counter),
	}
	errs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "errors_total", Help: "Failed writes, by class of error."}, []string{"class"})
	for _, c := range []class{classFull, classAgain, classPipe, classRefused} {
		m.errors[c] = errs.WithLabelValues(string(c))
	}
	reg.MustRegister(m.waiting, m.latency, errs)
	return m
}

func (m *metrics) failed(err error) { m.errors[classify(err)].Inc() }

func (m *metrics) committed(rows, bytes int, took time.Duration) {
	m.rows.Add(float64(rows))
	m.bytes.Add(float64(bytes))
	m.latency.Observe(took.Seconds())
}
