package kinesis

import "github.com/prometheus/client_golang/prometheus"

// Ways in which a lease comes and goes: values of the label "move".
const (
	moveAssigned = "assigned" // the leader of a KCL 3.x fleet gave it to us
	moveTaken    = "taken"    // nobody had it, or its owner had stopped renewing it
	moveStolen   = "stolen"   // taken from a live worker that has more than its share
	moveReceived = "received" // a live worker handed it over on request
	moveHanded   = "handed"   // we handed it over on request
	moveLost     = "lost"     // another worker took it from us
	moveExpired  = "expired"  // we could not renew it in time
	moveReleased = "released" // we gave it up
)

// Why a shard was stopped although its lease was ours: values of the label "reason".
const (
	stopFenced    = "fenced"
	stopPermanent = "permanent"
	stopGaveUp    = "gave_up" // counted once for all shards of the worker
)

// Why an aggregate was passed on whole: values of the label "reason".
const (
	kplChecksum  = "checksum"
	kplMalformed = "malformed"
)

// What happened to user records outside their shard's hash range: values of the label "outcome".
const (
	outOfRangeKept    = "kept"
	outOfRangeDropped = "dropped"
)

type metrics struct {
	behind *prometheus.GaugeVec // shard: removed when the shard is given up

	reads, bytes, records            prometheus.Counter
	throttled, iterators, readErrors prometheus.Counter
	trimmed, restarts                prometheus.Counter
	aggregated, userRecords          prometheus.Counter
	kplBroken, outOfRange            map[string]prometheus.Counter
	subscriptions, conflicts         prometheus.Counter
	closedForRoom                    prometheus.Counter

	owned, leases, expired, completed prometheus.Gauge
	workers, malformed, foreign       prometheus.Gauge
	elsewhere, hashHoles              prometheus.Gauge
	uncovered                         prometheus.Gauge
	suspended                         prometheus.Gauge

	moves map[string]prometheus.Counter
	stops map[string]prometheus.Counter

	checkpoints, renewals, leaseErrors prometheus.Counter
	rewinds                            prometheus.Counter
	syncs, syncErrors                  prometheus.Counter
	created, filled                    prometheus.Counter
	shardEnds, deleted                 prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dredge_kinesis_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "dredge_kinesis_" + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	children := func(name, help, label string, values ...string) map[string]prometheus.Counter {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dredge_kinesis_" + name, Help: help}, []string{label})
		reg.MustRegister(v)
		m := make(map[string]prometheus.Counter, len(values))
		for _, val := range values {
			m[val] = v.WithLabelValues(val)
		}
		return m
	}
	m := &metrics{
		behind: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dredge_kinesis_millis_behind_latest",
			Help: "How far the last read of a shard of this worker was behind the shard's tip, in milliseconds.",
		}, []string{"shard"}),

		reads:    counter("get_records_calls_total", "GetRecords calls that were answered."),
		bytes:    counter("read_bytes_total", "Bytes of record data read from shards."),
		records:  counter("read_records_total", "Kinesis records read from shards."),
		restarts: counter("reader_restarts_total", "Times that a shard wanted to be read and could not for the stall timeout, so that its reader began anew: alarm on any increase."),

		aggregated:  counter("aggregated_records_total", "Kinesis records that hold user records put together by the Kinesis Producer Library."),
		userRecords: counter("user_records_total", "User records in aggregated Kinesis records."),
		kplBroken:   children("broken_aggregates_total", "Kinesis records that begin like an aggregate and were passed on whole because they can't be taken apart.", "reason", kplChecksum, kplMalformed),
		outOfRange:  children("out_of_range_records_total", "User records whose hash key lies outside the shard that their aggregate came in.", "outcome", outOfRangeKept, outOfRangeDropped),

		subscriptions: counter("subscriptions_total", "SubscribeToShard calls that were answered."),
		conflicts:     counter("subscription_conflicts_total", "Subscriptions refused or ended because another subscription of the same consumer and shard was there."),
		closedForRoom: counter("subscriptions_closed_for_room_total", "Subscriptions closed because there was no room in memory for what they sent; each is made again when there is."),
		throttled:     counter("throttled_reads_total", "Calls that Kinesis refused because the shard's read limit was reached."),
		iterators:     counter("iterator_refreshes_total", "Shard iterators asked for again because the old one had expired or led nowhere."),
		readErrors:    counter("read_errors_total", "Calls to Kinesis that failed for another reason than throttling or an expired iterator."),
		trimmed:       counter("trimmed_positions_total", "Positions that the stream no longer kept when they were to be read: records are lost."),

		owned:     gauge("leases_owned", "Leases that this worker holds."),
		leases:    gauge("leases", "Leases in the table whose shard is not read to its end."),
		expired:   gauge("leases_available", "Leases without an owner, or whose owner stopped renewing them, at the last look at the table."),
		completed: gauge("leases_completed", "Leases in the table whose shard was read to its end."),
		workers:   gauge("workers", "Workers that hold leases, at the last look at the table."),
		malformed: gauge("malformed_lease_rows", "Rows of the lease table that should be leases and cannot be read."),
		foreign:   gauge("foreign_lease_rows", "Rows of the lease table that belong to other entities than leases."),
		elsewhere: gauge("leases_of_other_streams", "Leases in the table of streams that this worker is not configured to read."),
		hashHoles: gauge("hash_range_holes", "Parts of the hash key space that no unfinished lease covered at three comparisons in a row: above 0 means that records go unread."),
		uncovered: gauge("uncovered_shards", "Shards that no lease covers, at the last comparison: above 0 for minutes means that data is not read."),
		suspended: gauge("taking_suspended", "1 while no leases are taken because the Java workers of this application let their leader assign them."),

		moves: children("lease_moves_total", "Leases that came to this worker or left it.", "move",
			moveTaken, moveAssigned, moveStolen, moveReceived, moveHanded, moveLost, moveExpired, moveReleased),
		stops: children("shard_stops_total", "Shards given up because the sink refused to go on.", "reason", stopFenced, stopPermanent, stopGaveUp),

		checkpoints: counter("checkpoint_writes_total", "Writes to the lease table that moved a checkpoint."),
		renewals:    counter("lease_renewals_total", "Writes to the lease table that renewed a lease, with or without a checkpoint."),
		leaseErrors: counter("lease_table_errors_total", "Calls to the lease table that failed, apart from conditions that did not hold."),
		rewinds:     counter("rewinds_total", "Times that a shard was read again from a position before what had been handed to the sink."),
		syncs:       counter("shard_syncs_total", "Comparisons of the stream's shards with the lease table."),
		syncErrors:  counter("shard_sync_errors_total", "Comparisons of the stream's shards with the lease table that failed."),
		created:     counter("leases_created_total", "Leases created by this worker."),
		filled:      counter("coverage_holes_filled_total", "Leases created because no lease covered their shard although the application had been running."),
		shardEnds:   counter("shard_ends_total", "Shards read to their end."),
		deleted:     counter("leases_deleted_total", "Leases deleted after their shard had been read to its end."),
	}
	reg.MustRegister(m.behind)
	return m
}
