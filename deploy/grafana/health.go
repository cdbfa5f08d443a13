package main

// health answers whether all is well, and which stage is not, in the order in which data flows.
func health() dashboard {
	return dashboard{
		uid: "dredge-health", title: "dredge: Health", refresh: "10s", since: "now-30m",
		groups: []group{
			{"Is it well?", []panel{
				{title: "Rows per second", stat: true, unit: "reqps", queries: []query{
					{"rows", "sum(rate(dredge_pipeline_delivered_lines_total[$__rate_interval]))"},
				}},
				{title: "Greatest lag", doc: "How far the slowest shard is behind its tip. It scales workers; the sum says nothing.", steps: []step{{"orange", 60000}, {"red", 300000}}, stat: true, unit: "ms", queries: []query{
					{"lag", "max(dredge_kinesis_millis_behind_latest)"},
				}},
				{title: "Named share of inner ends", stat: true, unit: "percentunit", queries: []query{
					{"named", `sum(rate(dredge_pipeline_ends_total{grade=~"confirmed|covered"}[5m])) / sum(rate(dredge_pipeline_ends_total{grade!="public"}[5m]))`},
				}},
				{title: "Books", doc: "Both accounts of the pipeline: anything but 0 is a bug.", steps: []step{{"red", 1}}, stat: true, unit: "short", queries: []query{
					{"lines read", "abs(sum(dredge_pipeline_lines_total) - sum(dredge_pipeline_decoded_lines_total) - (sum(dredge_pipeline_rejected_lines_total) or vector(0)) - (sum(dredge_pipeline_skipped_lines_total) or vector(0)))"},
					{"records decoded", "abs(sum(dredge_pipeline_decoded_lines_total) - (sum(dredge_pipeline_delivered_lines_total) or vector(0)) - (sum(dredge_pipeline_dropped_lines_total) or vector(0)) - (sum(dredge_pipeline_dead_lettered_lines_total) or vector(0)) - (sum(dredge_pipeline_abandoned_lines_total) or vector(0)) - (sum(dredge_pipeline_in_flight_lines) or vector(0)))"},
				}},
			}},
			{"Kinesis", []panel{
				{title: "Lag per shard", unit: "ms", queries: []query{
					{"{{shard}}", "dredge_kinesis_millis_behind_latest"},
				}},
				{title: "Read", unit: "Bps", queries: []query{
					{"bytes", "sum(rate(dredge_kinesis_read_bytes_total[$__rate_interval]))"},
				}},
				{title: "GetRecords", doc: "Throttled calls mean that something else reads the same shards.", unit: "reqps", queries: []query{
					{"answered", "sum(rate(dredge_kinesis_get_records_calls_total[$__rate_interval]))"},
					{"throttled", "sum(rate(dredge_kinesis_throttled_reads_total[$__rate_interval]))"},
					{"failed", "sum(rate(dredge_kinesis_read_errors_total[$__rate_interval]))"},
				}},
				{title: "Leases per worker", stacked: true, unit: "short", queries: []query{
					{"{{instance}}", "dredge_kinesis_leases_owned"},
				}},
				{title: "Lease moves", doc: "Moves at rest mean that workers disagree about balance or lose leases.", unit: "short", queries: []query{
					{"{{move}}", "sum by (move) (increase(dredge_kinesis_lease_moves_total[5m]))"},
				}},
				{title: "Renewals and checkpoints", unit: "wps", queries: []query{
					{"renewals", "sum(rate(dredge_kinesis_lease_renewals_total[$__rate_interval]))"},
					{"with a checkpoint", "sum(rate(dredge_kinesis_checkpoint_writes_total[$__rate_interval]))"},
					{"errors", "sum(rate(dredge_kinesis_lease_table_errors_total[$__rate_interval]))"},
				}},
				{title: "Shards not covered by a lease", doc: "Above 0 for minutes means that data is not read.", unit: "short", queries: []query{
					{"uncovered", "max(dredge_kinesis_uncovered_shards)"},
				}},
				{title: "Shard ends and syncs", unit: "short", queries: []query{
					{"ends", "sum(increase(dredge_kinesis_shard_ends_total[5m]))"},
					{"syncs", "sum(increase(dredge_kinesis_shard_syncs_total[5m]))"},
					{"failed syncs", "sum(increase(dredge_kinesis_shard_sync_errors_total[5m]))"},
				}},
				{title: "Data lost to retention", doc: "Positions that the stream no longer kept when they were to be read.", unit: "short", queries: []query{
					{"positions trimmed", "sum(increase(dredge_kinesis_trimmed_positions_total[1h]))"},
				}},
				{title: "Rewinds and restarts of readers", doc: "Restarts should be 0.", unit: "short", queries: []query{
					{"rewinds", "sum(increase(dredge_kinesis_rewinds_total[5m]))"},
					{"restarts by the watchdog", "sum(increase(dredge_kinesis_reader_restarts_total[5m]))"},
				}},
			}},
			{"Lines", []panel{
				{title: "What becomes of lines", stacked: true, unit: "cps", queries: []query{
					{"delivered", "sum(rate(dredge_pipeline_delivered_lines_total[$__rate_interval]))"},
					{"skipped {{kind}}", "sum by (kind) (rate(dredge_pipeline_skipped_lines_total[$__rate_interval]))"},
					{"rejected {{reason}}", "sum by (reason) (rate(dredge_pipeline_rejected_lines_total[$__rate_interval]))"},
				}},
				{title: "Rejected lines by reason", doc: "field_count nearly always means that a log group has another format than pipeline.formats says.", unit: "short", queries: []query{
					{"{{reason}}", "sum by (reason) (increase(dredge_pipeline_rejected_lines_total[5m]))"},
				}},
				{title: "Payloads that could not be read", unit: "short", queries: []query{
					{"{{outcome}}", `sum by (outcome) (increase(dredge_pipeline_payloads_total{outcome!="ok"}[5m]))`},
				}},
				{title: "In flight", unit: "short", queries: []query{
					{"lines", "sum(dredge_pipeline_in_flight_lines)"},
				}},
				{title: "Time since a log group was last seen", unit: "s", queries: []query{
					{"{{log_group}}", "time() - max by (log_group) (dredge_pipeline_log_group_last_seen_timestamp_seconds)"},
				}},
			}},
			{"Memory", []panel{
				{title: "Memory budget", doc: "When reads fill their share, shards wait: the sink is the bottleneck.", unit: "bytes", queries: []query{
					{"{{class}}", "sum by (class) (dredge_pipeline_budget_held_bytes)"},
					{"budget", "sum(dredge_pipeline_budget_bytes)"},
				}},
				{title: "Waiting for memory", unit: "short", queries: []query{
					{"{{class}}", "sum by (class) (dredge_pipeline_budget_waiters)"},
				}},
			}},
			{"Sink", []panel{
				{title: "Produce latency", unit: "s", queries: []query{
					{"median", "histogram_quantile(0.5, sum by (le) (rate(dredge_sink_kafka_produce_seconds_bucket[$__rate_interval])))"},
					{"p99", "histogram_quantile(0.99, sum by (le) (rate(dredge_sink_kafka_produce_seconds_bucket[$__rate_interval])))"},
				}},
				{title: "Not yet acknowledged", unit: "bytes", queries: []query{
					{"bytes", "sum(dredge_sink_kafka_in_flight_bytes)"},
				}},
				{title: "Open transaction", doc: "In mode exactly-once: the age of the oldest open transaction, which every reader with read_committed waits for.", unit: "s", queries: []query{
					{"oldest", "max by (instance) (dredge_sink_kafka_open_transaction_age_seconds)"},
				}},
				{title: "Transactions", doc: "In mode exactly-once: ended by outcome. Aborted ones are read again; unknown ones are looked up.", unit: "ops", queries: []query{
					{"{{outcome}}", "sum by (outcome) (rate(dredge_sink_kafka_transactions_total[$__rate_interval]))"},
				}},
				{title: "Sink errors", unit: "short", queries: []query{
					{"{{class}}", "sum by (class) (increase(dredge_sink_kafka_errors_total[5m]))"},
				}},
				{title: "Dead letters", unit: "short", queries: []query{
					{"{{reason}}", "sum by (reason) (increase(dredge_sink_dead_letters_total[5m]))"},
				}},
			}},
		},
	}
}
