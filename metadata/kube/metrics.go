package kube

import "github.com/prometheus/client_golang/prometheus"

// fault is why something of a cluster was not taken in, as a metric label.
type fault string

const (
	faultRequest   fault = "request"
	faultDenied    fault = "denied"
	faultExpired   fault = "expired"
	faultDropped   fault = "dropped"
	faultBadObject fault = "bad-object"
	faultBadIP     fault = "bad-address"
	faultRefused   fault = "refused-event"
)

type metrics struct {
	faults               map[fault]prometheus.Counter
	lists, events        prometheus.Counter
	claimed, unplaced    prometheus.Gauge
	hostNetwork, reached prometheus.Gauge
}

type metricVecs struct {
	faults, lists, events                    *prometheus.CounterVec
	claimed, unplaced, hostNetwork, progress *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metricVecs {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dredge_metadata_kube_" + name, Help: help}, append([]string{"cluster"}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dredge_metadata_kube_" + name, Help: help}, []string{"cluster"})
	}
	v := &metricVecs{
		faults:      counter("faults_total", "What went wrong with a cluster's API server or its objects, by reason.", "reason"),
		lists:       counter("lists_total", "Complete listings of pods and nodes; more than two mean that a watch had expired."),
		events:      counter("events_total", "Identity events told."),
		claimed:     gauge("pods", "Pods that hold an address."),
		unplaced:    gauge("unplaced_pods", "Pods with an address whose node's VPC is not known."),
		hostNetwork: gauge("host_network_pods", "Pods that use their node's address; they claim none."),
		progress:    gauge("progress_timestamp_seconds", "The time up to which the watch has told everything; 0 before the first listing."),
	}
	if r != nil {
		r.MustRegister(v.faults, v.lists, v.events, v.claimed, v.unplaced, v.hostNetwork, v.progress)
	}
	return v
}

func (v *metricVecs) of(cluster string) *metrics {
	m := &metrics{
		faults: map[fault]prometheus.Counter{}, lists: v.lists.WithLabelValues(cluster), events: v.events.WithLabelValues(cluster),
		claimed: v.claimed.WithLabelValues(cluster), unplaced: v.unplaced.WithLabelValues(cluster),
		hostNetwork: v.hostNetwork.WithLabelValues(cluster), reached: v.progress.WithLabelValues(cluster),
	}
	for _, f := range [...]fault{faultRequest, faultDenied, faultExpired, faultDropped, faultBadObject, faultBadIP, faultRefused} {
		m.faults[f] = v.faults.WithLabelValues(cluster, string(f))
	}
	return m
}
