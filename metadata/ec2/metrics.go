package ec2

import "github.com/prometheus/client_golang/prometheus"

// metrics are the package's own; estateMetrics are one account's in one region.
type metrics struct {
	crawls                               *prometheus.CounterVec
	calls, throttled, failed             *prometheus.CounterVec
	events, drifts, doubts               *prometheus.CounterVec
	lastComplete, claims, rate           *prometheus.GaugeVec
	asked, askedKnown, askDropped        prometheus.Counter
	messages, messagesBad, messagesOther prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	estate := []string{"account", "region"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "dredge", Subsystem: "ec2", Name: name, Help: help}, append(estate[:2:2], labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "dredge", Subsystem: "ec2", Name: name, Help: help}, estate)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "dredge", Subsystem: "ec2", Name: name, Help: help})
	}
	m := &metrics{
		crawls:        counter("listings_total", "Listings of an account in a region, by outcome: complete or failed.", "outcome"),
		calls:         counter("calls_total", "Requests to EC2, repeated ones included."),
		throttled:     counter("throttled_total", "Requests that EC2 refused because of their rate."),
		failed:        counter("calls_failed_total", "Calls that were given up, for lack of permission or after repetition."),
		events:        counter("events_total", "Identity events told."),
		drifts:        counter("drifts_total", "Addresses that a listing lacked and a second look found."),
		doubts:        counter("doubted_listings_total", "Listings that lacked so much that nothing was released without looking again."),
		lastComplete:  gauge("last_complete_listing_timestamp_seconds", "When the last complete listing began."),
		claims:        gauge("claims", "Addresses, networks and routes told and not released."),
		rate:          gauge("calls_per_second", "The present bound of the rate of calls; below the setting after throttling."),
		asked:         single("lookups_total", "Interfaces that flows mentioned and that were looked up."),
		askedKnown:    single("lookups_found_total", "Interfaces that were looked up and found."),
		askDropped:    single("lookups_dropped_total", "Interfaces that were not looked up because too many wait."),
		messages:      single("messages_total", "Messages taken from the queue of changes."),
		messagesBad:   single("messages_rejected_total", "Messages of the queue that are no events, and were removed."),
		messagesOther: single("messages_ignored_total", "Events of the queue about other accounts, regions or things."),
	}
	if reg != nil {
		reg.MustRegister(m.crawls, m.calls, m.throttled, m.failed, m.events, m.drifts, m.doubts, m.lastComplete, m.claims, m.rate,
			m.asked, m.askedKnown, m.askDropped, m.messages, m.messagesBad, m.messagesOther)
	}
	return m
}

// estateMetrics are the children of one estate.
type estateMetrics struct {
	complete, broken, calls, throttled, failed, events, drifts, doubts prometheus.Counter
	lastComplete, claims, rate                                         prometheus.Gauge
}

func (m *metrics) estate(account, region string) estateMetrics {
	return estateMetrics{
		complete: m.crawls.WithLabelValues(account, region, "complete"), broken: m.crawls.WithLabelValues(account, region, "failed"),
		calls: m.calls.WithLabelValues(account, region), throttled: m.throttled.WithLabelValues(account, region),
		failed: m.failed.WithLabelValues(account, region), events: m.events.WithLabelValues(account, region),
		drifts: m.drifts.WithLabelValues(account, region), doubts: m.doubts.WithLabelValues(account, region),
		lastComplete: m.lastComplete.WithLabelValues(account, region), claims: m.claims.WithLabelValues(account, region),
		rate: m.rate.WithLabelValues(account, region),
	}
}
