package main

// capacity answers whether the workers are enough, and what is paid for.
func capacity() dashboard {
	return dashboard{
		uid: "dredge-capacity", title: "dredge: Capacity", refresh: "10s", since: "now-30m",
		groups: []group{
			{"Is it large enough?", []panel{
				{title: "Workers", stat: true, unit: "short", queries: []query{
					{"workers", "count(dredge_kinesis_leases_owned)"},
				}},
				{title: "Shards per worker", stat: true, unit: "short", queries: []query{
					{"shards per worker", "max(dredge_kinesis_leases) / count(dredge_kinesis_leases_owned)"},
				}},
				{title: "Rows per core and second", doc: "What one busy core makes.", stat: true, unit: "short", queries: []query{
					{"rows per core and second", `sum(rate(dredge_pipeline_delivered_lines_total[$__rate_interval])) / sum(rate(process_cpu_seconds_total{job="dredge"}[$__rate_interval]))`},
				}},
				{title: "Budget in use", stat: true, unit: "percentunit", queries: []query{
					{"budget in use", "max(sum by (instance) (dredge_pipeline_budget_held_bytes) / sum by (instance) (dredge_pipeline_budget_bytes))"},
				}},
			}},
			{"Load", []panel{
				{title: "Lines", unit: "reqps", queries: []query{
					{"lines", "sum(rate(dredge_pipeline_lines_total[$__rate_interval]))"},
				}},
				{title: "Bytes in", unit: "Bps", queries: []query{
					{"from Kinesis", "sum(rate(dredge_kinesis_read_bytes_total[$__rate_interval]))"},
					{"after inflating", "sum(rate(dredge_pipeline_line_bytes_total[$__rate_interval]))"},
				}},
				{title: "Bytes out to Kafka", unit: "Bps", queries: []query{
					{"before compression", "sum(rate(dredge_sink_kafka_encoded_bytes_total[$__rate_interval]))"},
					{"after", "sum(rate(dredge_sink_kafka_written_bytes_total[$__rate_interval]))"},
				}},
				{title: "Bytes per row in Kafka", doc: "What Kafka keeps and Druid reads.", unit: "bytes", queries: []query{
					{"after compression", "sum(rate(dredge_sink_kafka_written_bytes_total[5m])) / sum(rate(dredge_sink_kafka_rows_total[5m]))"},
				}},
				{title: "Time to handle a chunk", unit: "s", queries: []query{
					{"median", "histogram_quantile(0.5, sum by (le) (rate(dredge_pipeline_handle_seconds_bucket[5m])))"},
					{"99 %", "histogram_quantile(0.99, sum by (le) (rate(dredge_pipeline_handle_seconds_bucket[5m])))"},
				}},
				{title: "Throttled reads", unit: "ops", queries: []query{
					{"throttled", "sum(rate(dredge_kinesis_throttled_reads_total[$__rate_interval]))"},
				}},
			}},
			{"Process", []panel{
				{title: "CPU", unit: "percentunit", queries: []query{
					{"{{instance}}", `rate(process_cpu_seconds_total{job="dredge"}[$__rate_interval])`},
				}},
				{title: "Memory", unit: "bytes", queries: []query{
					{"{{instance}}", `process_resident_memory_bytes{job="dredge"}`},
				}},
				{title: "Goroutines", unit: "short", queries: []query{
					{"{{instance}}", `go_goroutines{job="dredge"}`},
				}},
				{title: "Memory budget per worker", unit: "bytes", queries: []query{
					{"{{instance}}", "sum by (instance) (dredge_pipeline_budget_held_bytes)"},
				}},
				{title: "Identity tables", doc: "Slots, tenures and evidence, without owners.", unit: "bytes", queries: []query{
					{"{{instance}}", "max by (instance) (dredge_metadata_table_bytes)"},
				}},
				{title: "Open files", unit: "short", queries: []query{
					{"{{instance}}", `process_open_fds{job="dredge"}`},
				}},
			}},
			{"Identity held", []panel{
				{title: "Addresses and tenures", unit: "short", queries: []query{
					{"addresses", "max(dredge_metadata_addresses)"},
					{"tenures", "max(dredge_metadata_tenures)"},
				}},
				{title: "Endpoints and workloads", unit: "short", queries: []query{
					{"endpoints", "max(dredge_metadata_endpoints)"},
					{"workloads", "max(dredge_metadata_workloads)"},
				}},
			}},
			{"What AWS charges for", []panel{
				{title: "Kinesis calls", unit: "ops", queries: []query{
					{"GetRecords", "sum(rate(dredge_kinesis_get_records_calls_total[$__rate_interval]))"},
					{"SubscribeToShard", "sum(rate(dredge_kinesis_subscriptions_total[$__rate_interval]))"},
				}},
				{title: "Writes to the lease table", unit: "ops", queries: []query{
					{"writes", "sum(rate(dredge_kinesis_lease_renewals_total[$__rate_interval]))"},
				}},
				{title: "Shards to read", unit: "short", queries: []query{
					{"shards", "max(dredge_kinesis_leases)"},
					{"ended", "max(dredge_kinesis_leases_completed)"},
				}},
			}},
		},
	}
}
