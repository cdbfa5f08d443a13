package main

// truth answers how much is named, how that is known, and what is missing.
func truth() dashboard {
	return dashboard{
		uid: "dredge-truth", title: "dredge: Truth", refresh: "10s", since: "now-30m",
		groups: []group{
			{"How much is known", []panel{
				{title: "Named share of inner ends", stat: true, unit: "percentunit", queries: []query{
					{"named", `sum(rate(dredge_pipeline_ends_total{grade=~"confirmed|covered"}[5m])) / sum(rate(dredge_pipeline_ends_total{grade!="public"}[5m]))`},
				}},
				{title: "Unknown share of inner ends", stat: true, unit: "percentunit", queries: []query{
					{"unknown share of inner ends", `(sum(rate(dredge_pipeline_ends_total{grade="unknown"}[5m])) or vector(0)) / sum(rate(dredge_pipeline_ends_total{grade!="public"}[5m]))`},
				}},
				{title: "Identity events per second", stat: true, unit: "ops", queries: []query{
					{"identity events per second", "sum(rate(dredge_metadata_events_total[$__rate_interval]))"},
				}},
				{title: "Degraded workers", stat: true, unit: "short", queries: []query{
					{"degraded workers", "sum(dredge_identity_degraded)"},
				}},
			}},
			{"Ends", []panel{
				{title: "Ends by grade", doc: "Only confirmed and covered put a name into a row.", stacked: true, unit: "cps", queries: []query{
					{"{{grade}}", "sum by (grade) (rate(dredge_pipeline_ends_total[$__rate_interval]))"},
				}},
				{title: "Share of each grade", unit: "percentunit", queries: []query{
					{"{{grade}}", "sum by (grade) (rate(dredge_pipeline_ends_total[5m])) / scalar(sum(rate(dredge_pipeline_ends_total[5m])))"},
				}},
				{title: "Ends by what they were found to be", unit: "ops", queries: []query{
					{"{{status}}", "sum by (status) (rate(dredge_enrich_ends_total[$__rate_interval]))"},
				}},
				{title: "Rows whose direction or uniqueness is not sure", unit: "ops", queries: []query{
					{"direction not known", "sum(rate(dredge_enrich_undirected_rows_total[$__rate_interval]))"},
					{"may be counted twice", "sum(rate(dredge_enrich_unsure_rows_total[$__rate_interval]))"},
					{"not counted: seen elsewhere", "sum(rate(dredge_enrich_duplicate_rows_total[$__rate_interval]))"},
				}},
				{title: "Traffic names another than identity", doc: "The record's own fields against what identity says.", unit: "short", queries: []query{
					{"tags", "sum(increase(dredge_enrich_tag_mismatches_total[5m]))"},
					{"ECS task", "sum(increase(dredge_enrich_task_mismatches_total[5m]))"},
				}},
			}},
			{"Sources", []panel{
				{title: "Watermark lag per source", doc: "How far each identity source is behind in telling everything.", unit: "s", queries: []query{
					{"{{source}}", "dredge_metadata_watermark_lag_seconds"},
				}},
				{title: "Identity events", unit: "cps", queries: []query{
					{"{{op}}", "sum by (op) (rate(dredge_metadata_events_total[$__rate_interval]))"},
				}},
				{title: "Refused identity events", unit: "short", queries: []query{
					{"{{reason}}", "sum by (reason) (increase(dredge_metadata_rejected_events_total[5m]))"},
				}},
				{title: "Traffic against the control plane", doc: "Sightings of an interface with an address that the control plane gives to another.", unit: "short", queries: []query{
					{"disagreements", "sum(increase(dredge_metadata_disagreements_total[5m]))"},
				}},
				{title: "Silent sources", unit: "short", queries: []query{
					{"silent", "max(dredge_metadata_idle_sources)"},
				}},
				{title: "Sightings in traffic", unit: "ops", queries: []query{
					{"used", "sum(rate(dredge_metadata_sightings_total[$__rate_interval]))"},
					{"{{reason}}", "sum by (reason) (rate(dredge_metadata_dropped_sightings_total[$__rate_interval]))"},
				}},
			}},
			{"Waiting for identity", []panel{
				{title: "Held for identity", doc: "How long the longest held slice has waited for identity sources to catch up; bounded by pipeline.hold after arrival.", unit: "s", queries: []query{
					{"oldest slice", "max(dredge_pipeline_oldest_held_seconds)"},
				}},
				{title: "Slices held", unit: "short", queries: []query{
					{"slices", "sum(dredge_pipeline_held_slices)"},
				}},
				{title: "How long slices waited", unit: "s", queries: []query{
					{"median", "histogram_quantile(0.5, sum by (le) (rate(dredge_pipeline_held_seconds_bucket[5m])))"},
					{"99 %", "histogram_quantile(0.99, sum by (le) (rate(dredge_pipeline_held_seconds_bucket[5m])))"},
				}},
			}},
		},
	}
}
