package httpd

import "github.com/prometheus/client_golang/prometheus"

// refusals count requests that were not let in.
type refusals struct{ unknown, tries, role, elsewhere prometheus.Counter }

func newRefusals(reg prometheus.Registerer) (*refusals, error) {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dredge_http_refused_requests_total",
		Help: "Requests that were refused, by reason: no valid login, too many tries from the address, a login without the role, or not from this machine.",
	}, []string{"reason"})
	if reg != nil {
		if err := reg.Register(vec); err != nil {
			return nil, err
		}
	}
	return &refusals{
		unknown: vec.WithLabelValues("login"), tries: vec.WithLabelValues("tries"), role: vec.WithLabelValues("role"), elsewhere: vec.WithLabelValues("elsewhere"),
	}, nil
}
