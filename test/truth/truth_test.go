package main

import (
	"strings"
	"testing"
	"time"

	"dredge/internal/flowgen"
)

// TestJ2 holds the row J2 in small: no wrong name and no pair of applications that never talked in a few minutes of the hardest settings, one of
// them the row's own (events up to 15 min late, out of order and 1 % of them lost; unattributed below a quarter) with an eighth of its
// owners and so of its 800 changes a second. `make truth` runs all scenarios in full, "j2" with 800 changes a second asserted.
func TestJ2(t *testing.T) {
	for _, sc := range scenarios() {
		length := 10 * time.Minute
		switch sc.name {
		case "default", "instant-reuse", "estate-all":
			sc.share = 0
		case "j2":
			length = sc.length
		default:
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			cfg := sc.config(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
			cfg.Instances /= 8
			cfg.ConnRate /= 3
			if sc.churn /= 8; sc.churn == 0 {
				cfg.Churn.LongMean /= 4 // more happens in less time
			}
			r, err := measure(t.Context(), cfg, length, sc.hold)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.judge(&sc); err != nil {
				t.Errorf("%v; the first wrong names:\n%s", err, strings.Join(r.examples[:min(len(r.examples), 5)], "\n"))
			}
			if r.dredge.Ends < 20_000 || 2*r.dredge.Named < r.dredge.Ends {
				t.Errorf("%d of %d owned ends named", r.dredge.Named, r.dredge.Ends)
			}
			if r.versioned.Wrong == 0 && r.latest.Wrong == 0 {
				t.Error("nothing here could be named wrongly: the baselines were never wrong")
			}
		})
	}
}

// The judge itself: a wrong name, one of nobody's address and a phantom pair are each found.
func TestJudge(t *testing.T) {
	sim, err := flowgen.New(base(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	var r result
	r.init()
	e := flowgen.Expected{Status: "OK", SrcApp: "a", SrcOwned: true, Bytes: 10}
	r.dredge.line(&e, "a", "")   // right; the destination was nobody's
	r.dredge.line(&e, "b", "")   // another's name
	r.dredge.line(&e, "", "c")   // a name where there was nobody
	r.dredge.line(&e, "zz", "a") // twice wrong, and they never talked
	r.phantoms(sim.Truth())
	if s := r.dredge; s.Ends != 4 || s.Named != 1 || s.Wrong != 4 || s.WrongBytes != 30 || s.phantom != 1 {
		t.Errorf("%+v", s)
	}
	if err := r.judge(&scenario{name: "x", share: 0.9}); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("judged %v, want three faults", err)
	}
	var none result
	if none.judge(&scenario{name: "x"}) == nil {
		t.Error("nothing at all was found good")
	}
}
