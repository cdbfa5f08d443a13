package kafka

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// metrics are the sink's counters. Nothing in them is touched per row but errors.
type metrics struct {
	rows, bytes, retries, waits, tooLarge prometheus.Counter
	written                               prometheus.Counter
	latency                               prometheus.Histogram
	flying                                prometheus.Gauge
	errors                                [classes]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_sink_kafka_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		rows:     counter("rows_total", "Rows acknowledged by all in-sync replicas."),
		bytes:    counter("encoded_bytes_total", "Encoded bytes of the blocks whose rows were all answered for, before compression."),
		written:  counter("written_bytes_total", "Bytes of acknowledged record batches after compression."),
		retries:  counter("retried_rows_total", "Rows produced again after the client had given them up."),
		waits:    counter("buffer_waits_total", "Writes that waited because every buffer was in use."),
		tooLarge: counter("too_large_rows_total", "Rows given to the dead letter because one record batch cannot hold them."),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dredge_sink_kafka_produce_seconds", Help: "Time from handing a block of rows to the client to its last answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 17),
		}),
		flying: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dredge_sink_kafka_in_flight_bytes", Help: "Encoded bytes handed to the client and not answered for.",
		}),
	}
	errs := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_sink_kafka_errors_total", Help: "Rows that the client gave up, by class of error.",
	}, []string{"class"})
	for c := range classes {
		m.errors[c] = errs.WithLabelValues(c.String())
	}
	reg.MustRegister(m.latency, m.flying, errs)
	return m
}

// watch registers the gauges of the pool.
func (m *metrics) watch(reg prometheus.Registerer, p *pool) {
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dredge_sink_kafka_buffer_used_bytes", Help: "Memory of the encoding buffers in use.",
		}, func() float64 { return float64(p.out()) * slabBytes }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dredge_sink_kafka_buffer_limit_bytes", Help: "Memory that encoding buffers may take.",
		}, func() float64 { return float64(p.limit) * slabBytes }),
	)
}

func (m *metrics) inFlight(bytes int) { m.flying.Add(float64(bytes)) }

// answered counts a block that is over: rows of it were acknowledged, bytes of it are in flight no more.
func (m *metrics) answered(rows, bytes int, took time.Duration) {
	m.rows.Add(float64(rows))
	m.bytes.Add(float64(bytes))
	m.flying.Sub(float64(bytes))
	m.latency.Observe(took.Seconds())
}

func (m *metrics) retried(rows int) { m.retries.Add(float64(rows)) }

// OnProduceBatchWritten counts what went over the wire. The client calls it for each batch that was acknowledged.
func (m *metrics) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, b kgo.ProduceBatchMetrics) {
	m.written.Add(float64(b.CompressedBytes))
}
