package main

import (
	"errors"
	"fmt"

	"dredge/internal/flowgen"
	"dredge/row"
)

// score is how one join did. An end is counted when it had an owner with an application; a name is wrong when it is not that
// application, and also when nobody had the address, or something without an application.
type score struct {
	Ends, Named, Wrong, Ambiguous int64
	WrongBytes, Bytes             int64
	pairs                         map[[2]string]int64
	phantom                       int
}

// line judges the names of one line; "" is none.
func (s *score) line(e *flowgen.Expected, src, dst string) {
	if e.Status != "OK" {
		return
	}
	wrong := s.end(src, e.SrcApp, e.SrcOwned, false)
	wrong = s.end(dst, e.DstApp, e.DstOwned, false) || wrong
	s.edge(e, src, dst, wrong)
}

func (s *score) edge(e *flowgen.Expected, src, dst string, wrong bool) {
	s.Bytes += e.Bytes
	if wrong {
		s.WrongBytes += e.Bytes
	}
	if src != "" && dst != "" {
		s.pairs[[2]string{src, dst}]++
	}
}

func (s *score) end(name, app string, owned, ambiguous bool) (wrong bool) {
	counts := owned && app != ""
	if counts {
		s.Ends++
	}
	switch {
	case name != "" && (!counts || name != app):
		s.Wrong++
		return true
	case name != "":
		s.Named++
	case counts && ambiguous:
		s.Ambiguous++
	}
	return false
}

// result is how every join did in one scenario.
type result struct {
	latest, versioned, patient, dredge score
	// held is the number of lines that the gate held back.
	held  int64
	lines int64
	// churn is how many owners came and went per second.
	churn float64
	// why counts owned ends without a name by grade and reason; examples are wrong names.
	why      map[string]int64
	examples []string
}

func (r *result) init() {
	for _, s := range r.scores() {
		s.pairs = map[[2]string]int64{}
	}
	r.why = map[string]int64{}
}

func (r *result) scores() []*score { return []*score{&r.latest, &r.versioned, &r.patient, &r.dredge} }

// row judges a row of dredge.
func (r *result) row(e *flowgen.Expected, got *row.Row) {
	r.lines++
	s := &r.dredge
	var names [2]string
	wrong := false
	for i, end := range [...]struct {
		side  *row.Side
		app   string
		owned bool
		scope string
	}{{&got.Src, e.SrcApp, e.SrcOwned, e.SrcScope}, {&got.Dst, e.DstApp, e.DstOwned, e.DstScope}} {
		if end.side.Named {
			names[i], _ = row.UnescapeApp(end.side.App)
		}
		if s.end(names[i], end.app, end.owned, end.side.App == row.AppAmbiguous) {
			wrong = true
			if len(r.examples) < 100 {
				r.examples = append(r.examples, fmt.Sprintf("%s in %s is named %q (%s, %s), it was %q (owned: %t); record %d to %d of %s, packets %d to %d, reject %t, egress %t, end %d",
					end.side.Addr, end.scope, names[i], end.side.Grade, end.side.Reason, end.app, end.owned, e.Start, e.End, e.Interface,
					e.First, e.Last, e.Reject, e.Egress, i))
			}
		}
		if end.owned && end.app != "" && names[i] == "" {
			r.why[end.side.Grade+"/"+end.side.Reason]++
		}
	}
	s.edge(e, names[0], names[1], wrong)
}

// phantoms counts the pairs of applications that were reported and never talked.
func (r *result) phantoms(t *flowgen.Truth) {
	for _, s := range r.scores() {
		for pair := range s.pairs {
			if !t.HasEdge(pair[0], pair[1]) {
				s.phantom++
			}
		}
	}
}

// judge says what of a result is not good enough.
func (oc *outcome) judge() error { return oc.result.judge(&oc.scenario) }

func (r *result) judge(sc *scenario) error {
	var errs []error
	s := &r.dredge
	if s.Ends == 0 {
		errs = append(errs, fmt.Errorf("%s: nothing was judged", sc.name))
	}
	if sc.limit {
		return errors.Join(errs...)
	}
	if s.Wrong > 0 {
		errs = append(errs, fmt.Errorf("%s: %d names are wrong", sc.name, s.Wrong))
	}
	if s.phantom > 0 {
		errs = append(errs, fmt.Errorf("%s: %d pairs of applications never talked", sc.name, s.phantom))
	}
	if r.churn < sc.churn {
		errs = append(errs, fmt.Errorf("%s: %.0f changes per second, want %.0f", sc.name, r.churn, sc.churn))
	}
	if float64(s.Named) < sc.share*float64(s.Ends) {
		errs = append(errs, fmt.Errorf("%s: %.2f %% of the ends that had an owner are named; want %.4g %%", sc.name, percent(s.Named, s.Ends), 100*sc.share))
	}
	return errors.Join(errs...)
}

func percent(n, of int64) float64 { return 100 * float64(n) / float64(max(of, 1)) }
