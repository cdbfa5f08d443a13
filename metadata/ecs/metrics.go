package ecs

import "github.com/prometheus/client_golang/prometheus"

// metrics are the package's own; estateMetrics are one account's in one region.
type metrics struct {
	crawls                               *prometheus.CounterVec
	calls, throttled, failed             *prometheus.CounterVec
	events, missing, doubts              *prometheus.CounterVec
	lastComplete, tasks                  *prometheus.GaugeVec
	messages, messagesBad, messagesOther prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	estate := []string{"account", "region"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "dredge", Subsystem: "ecs", Name: name, Help: help}, append(estate[:2:2], labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "dredge", Subsystem: "ecs", Name: name, Help: help}, estate)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "dredge", Subsystem: "ecs", Name: name, Help: help})
	}
	m := &metrics{
		crawls:        counter("listings_total", "Listings of an account's clusters in a region, by outcome: complete or failed.", "outcome"),
		calls:         counter("calls_total", "Requests to ECS and EC2, repeated ones included."),
		throttled:     counter("throttled_total", "Requests that were refused because of their rate."),
		failed:        counter("calls_failed_total", "Calls that were given up, for lack of permission or after repetition."),
		events:        counter("events_total", "Identity events told."),
		missing:       counter("missing_total", "Tasks that a listing lacked and that were looked up."),
		doubts:        counter("doubted_listings_total", "Listings that lacked so much that nothing was released without looking again."),
		lastComplete:  gauge("last_complete_listing_timestamp_seconds", "When the last complete listing began."),
		tasks:         gauge("tasks", "Tasks told and not released."),
		messages:      single("messages_total", "Messages taken from the queue of changes."),
		messagesBad:   single("messages_rejected_total", "Messages of the queue that are no task state changes, and were removed."),
		messagesOther: single("messages_ignored_total", "Task state changes of other accounts or regions."),
	}
	if reg != nil {
		reg.MustRegister(m.crawls, m.calls, m.throttled, m.failed, m.events, m.missing, m.doubts, m.lastComplete, m.tasks,
			m.messages, m.messagesBad, m.messagesOther)
	}
	return m
}

// estateMetrics are the children of one estate.
type estateMetrics struct {
	complete, broken, calls, throttled, failed, events, missing, doubts prometheus.Counter
	lastComplete, tasks                                                 prometheus.Gauge
}

func (m *metrics) estate(account, region string) estateMetrics {
	return estateMetrics{
		complete: m.crawls.WithLabelValues(account, region, "complete"), broken: m.crawls.WithLabelValues(account, region, "failed"),
		calls: m.calls.WithLabelValues(account, region), throttled: m.throttled.WithLabelValues(account, region),
		failed: m.failed.WithLabelValues(account, region), events: m.events.WithLabelValues(account, region),
		missing: m.missing.WithLabelValues(account, region), doubts: m.doubts.WithLabelValues(account, region),
		lastComplete: m.lastComplete.WithLabelValues(account, region), tasks: m.tasks.WithLabelValues(account, region),
	}
}
