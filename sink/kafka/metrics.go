package kafka

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// metrics are the sink's counters. Nothing in them is touched per row but errors.
type metrics struct {
	rows, bytes, retries, waits, tooLarge prometheus.Counter
	minute, written                       prometheus.Counter
	latency                               prometheus.Histogram
	flying                                prometheus.Gauge
	errors                                [classes]prometheus.Counter
	tx                                    *txMetrics // nil in mode at-least-once
}

func newMetrics(reg prometheus.Registerer, mode Mode) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_sink_kafka_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		rows:     counter("rows_total", "Raw rows, late ones too, acknowledged by all in-sync replicas."),
		minute:   counter("minute_rows_total", "Rolled-up rows acknowledged by all in-sync replicas."),
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
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dredge_sink_kafka_mode", Help: "1 for the guarantee under which rows are produced.",
	}, []string{"mode"})
	info.WithLabelValues(string(mode)).Set(1)
	reg.MustRegister(info)
	if mode == ExactlyOnce {
		m.tx = newTxMetrics(reg)
	}
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
func (m *metrics) answered(rows int, minute bool, bytes int, took time.Duration) {
	if minute {
		m.minute.Add(float64(rows))
	} else {
		m.rows.Add(float64(rows))
	}
	m.bytes.Add(float64(bytes))
	m.flying.Sub(float64(bytes))
	m.latency.Observe(took.Seconds())
}

func (m *metrics) retried(rows int) { m.retries.Add(float64(rows)) }

// OnProduceBatchWritten counts what went over the wire. The client calls it for each batch that was acknowledged.
func (m *metrics) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, b kgo.ProduceBatchMetrics) {
	m.written.Add(float64(b.CompressedBytes))
}

// What became of a transaction.
const (
	txCommitted = "committed"
	txAborted   = "aborted"
	txUnknown   = "unknown"
)

// Why a Writer of mode exactly-once ended.
const (
	endRewind  = "rewind"
	endFenced  = "fenced"
	endRefused = "refused"
)

// txMetrics are the counters of mode exactly-once.
type txMetrics struct {
	outcomes  map[string]prometheus.Counter
	ends      map[string]prometheus.Counter
	commit    prometheus.Histogram
	takeOver  prometheus.Histogram
	adoptions prometheus.Counter
	fenced    prometheus.Counter
}

// fencedBy counts a producer whose transaction ended with err, if that says that it was fenced.
func (m *txMetrics) fencedBy(err error) {
	if fenced(err) {
		m.fenced.Inc()
	}
}

func newTxMetrics(reg prometheus.Registerer) *txMetrics {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_sink_kafka_transactions_total", Help: "Transactions ended, by outcome; unknown ones were looked up in the checkpoints topic.",
	}, []string{"outcome"})
	ends := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_sink_kafka_writer_ends_total", Help: "Writers of mode exactly-once that ended with an error, by kind.",
	}, []string{"kind"})
	m := &txMetrics{
		outcomes: map[string]prometheus.Counter{}, ends: map[string]prometheus.Counter{},
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dredge_sink_kafka_commit_seconds", Help: "Time from the decision to commit to the broker's answer: flush, checkpoint, end of transaction.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		takeOver: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dredge_sink_kafka_takeover_seconds", Help: "Time to fence a shard's former owner, prove the lease and read the committed position.",
			Buckets: prometheus.ExponentialBuckets(0.004, 2, 15),
		}),
		adoptions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_sink_kafka_adopted_positions_total", Help: "Positions of leases taken over into the checkpoints topic.",
		}),
	}
	m.fenced = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dredge_sink_kafka_fenced_producers_total", Help: "Producers that a broker refused because another has taken their shard over, or their transaction has timed out.",
	})
	for _, o := range []string{txCommitted, txAborted, txUnknown} {
		m.outcomes[o] = outcomes.WithLabelValues(o)
	}
	for _, e := range []string{endRewind, endFenced, endRefused} {
		m.ends[e] = ends.WithLabelValues(e)
	}
	reg.MustRegister(outcomes, ends, m.commit, m.takeOver, m.adoptions, m.fenced)
	return m
}
