package main

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"

	"dredge/consumer/kinesis"
	"dredge/internal/page"
	"dredge/metadata"
	"dredge/metadata/store"
	"dredge/pipeline"
)

// pageEdges is how many edges stand in the overview; the talks have all of them.
const pageEdges = 50

func edgesOf(sum *pipeline.Summary) []page.Edge {
	out := make([]page.Edge, 0, len(sum.Edges))
	for _, e := range sum.Edges {
		out = append(out, page.Edge{Src: e.Src, Dst: e.Dst, Bytes: e.Bytes, Flows: e.Flows})
	}
	return out
}

func (s *statusPage) talks() page.Talks {
	sum := s.pipeline.Summary()
	return page.Talks{Window: int(sum.Seconds), Edges: edgesOf(&sum), OtherBytes: sum.OtherBytes, OtherFlows: sum.OtherFlows}
}

func (s *statusPage) unknowns() page.Unknowns {
	sum := s.pipeline.Summary()
	out := page.Unknowns{Window: int(sum.Seconds), OtherBytes: sum.OtherUnnamedBytes, OtherFlows: sum.OtherUnnamedFlows}
	for _, u := range sum.Unnamed {
		out.Addresses = append(out.Addresses, page.Unknown{
			Address: u.Address.String(), VPC: u.VPC, Account: u.Account, Grade: u.Grade, Reason: u.Reason, Why: reasonWords(u.Reason), Remedy: remedy(u.Reason),
			Bytes: u.Bytes, Flows: u.Flows,
		})
	}
	return out
}

func (s *statusPage) logGroups() []page.LogGroup {
	var out []page.LogGroup
	for _, g := range s.pipeline.LogGroups() {
		missing := make([]page.Missing, 0, len(g.Missing))
		for _, m := range g.Missing {
			missing = append(missing, page.Missing{Field: m.Field, Cost: m.Cost})
		}
		out = append(out, page.LogGroup{
			Name: g.Name, Account: g.Owner, Lines: g.Lines, Rejected: g.Rejected, NoData: g.NoData, SkipData: g.SkipData, Format: g.Format, Missing: missing, Last: g.Last,
		})
	}
	return out
}

const (
	// quietAfter is how long an interface may show no flow: flow logs come at least every ten minutes where there is traffic.
	quietAfter = 15 * time.Minute
	// surveyEvery bounds how often all known interfaces are looked at.
	surveyEvery = 30 * time.Second
	// shownSilent bounds the list of silent interfaces.
	shownSilent = 200
)

// survey looks at what is known of the estate, for the view of coverage.
type survey struct {
	identity *store.Store

	mu   sync.Mutex // held while looking, so that nobody looks twice at once
	at   time.Time
	last page.Coverage
}

func (s *statusPage) coverage() page.Coverage {
	c := s.survey.look(time.Now())
	c.Now, c.LogGroups = time.Now(), s.logGroups()
	return c
}

func (v *survey) look(now time.Time) page.Coverage {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.at.IsZero() && now.Sub(v.at) < surveyEvery {
		return v.last
	}
	v.at, v.last = now, surveyOf(v.identity, now)
	return v.last
}

// surveyOf counts the interfaces of every routing domain, and lists those whose flows are logged and do not come.
func surveyOf(identity *store.Store, now time.Time) page.Coverage {
	var out page.Coverage
	t, quiet := now.UnixMilli(), now.Add(-quietAfter).UnixMilli()
	networks := map[metadata.Scope]*page.Network{}
	identity.HeldInterfaces(t, func(h store.HeldInterface) bool {
		var w metadata.Workload
		if h.Workload != 0 {
			w = *identity.Workload(h.Workload)
		}
		n := networks[h.Scope]
		if n == nil {
			n = &page.Network{VPC: identity.ScopeName(h.Scope)}
			networks[h.Scope] = n
		}
		n.Account = cmp.Or(n.Account, w.Account)
		n.Interfaces++
		if h.Seen > 0 {
			if seen := time.UnixMilli(h.Seen); n.Last == nil || seen.After(*n.Last) {
				n.Last = &seen
			}
		}
		if h.Seen >= quiet {
			n.Heard++
			return true
		}
		if h.Since > quiet || !identity.Covered(h.Scope, h.IP, false, metadata.Window{Start: t, End: t}) {
			return true // too new to be missed, or not logged into this application
		}
		n.Silent++
		if out.SilentTotal++; len(out.Silent) < shownSilent {
			e := identity.Endpoint(h.Owner)
			silent := page.SilentInterface{Interface: e.ENI, Address: h.IP.String(), VPC: n.VPC, Account: w.Account, App: w.App, Kind: e.Kind}
			if silent.Interface == "" {
				silent.Interface = e.Owner
			}
			if h.Seen > 0 {
				seen := time.UnixMilli(h.Seen)
				silent.Last = &seen
			}
			out.Silent = append(out.Silent, silent)
		}
		return true
	})
	for _, n := range networks {
		out.Networks = append(out.Networks, *n)
	}
	slices.SortFunc(out.Networks, func(a, b page.Network) int {
		return cmp.Or(cmp.Compare(b.Silent, a.Silent), cmp.Compare(a.Account, b.Account), cmp.Compare(a.VPC, b.VPC))
	})
	return out
}

// restarter has one shard read anew from its last durable position.
func restarter(w *kinesis.Worker) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		key := r.PathValue("shard")
		rw.Header().Set("Content-Type", "application/json")
		if w == nil {
			rw.WriteHeader(http.StatusNotFound)
			writeAnswer(rw, map[string]string{"error": "this process reads no Kinesis stream"})
			return
		}
		if err := w.Restart(key); err != nil {
			rw.WriteHeader(http.StatusNotFound)
			writeAnswer(rw, map[string]string{"error": err.Error() + "; ask its owner, which the page and `dredge leases list` name"})
			return
		}
		writeAnswer(rw, map[string]string{"restarted": key})
	})
}
