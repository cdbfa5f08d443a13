package questions

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/druid"
	"dredge/internal/flowgen"
	"dredge/row"
)

type simulated struct {
	w    *World
	rows []Row
	err  error
}

// estate is a world and its rows. They are made once, as that takes seconds, and only read afterwards.
var estate = sync.OnceValue(func() simulated {
	w, err := Simulate(4*time.Minute, 8)
	if err != nil {
		return simulated{err: err}
	}
	rows, err := w.Rows()
	return simulated{w, rows, err}
})

func made(t *testing.T) (*World, []Row) {
	t.Helper()
	e := estate()
	if e.err != nil {
		t.Fatal(e.err)
	}
	n := 0
	e.w.Each(func(*flowgen.Expected) { n++ })
	if n < 10_000 || len(e.rows) != n {
		t.Fatalf("%d rows of %d flows", len(e.rows), n)
	}
	return e.w, e.rows
}

// same wants a question's answer over the rows to be that of the truth, line by line and to the byte.
func same(t *testing.T, name, app string, least int) {
	t.Helper()
	w, rows := made(t)
	got, err := Answer(name, rows, w.Ask(app))
	if err != nil {
		t.Fatal(err)
	}
	want, err := w.Truth(name, app, rows)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < least {
		t.Errorf("%s %s: the truth has %d lines, want at least %d", name, app, len(want), least)
	}
	if diff := cmp.Diff(Lines(want), Lines(got)); diff != "" {
		t.Errorf("%s %s (-truth +answer):\n%.3000s", name, app, diff)
	}
}

// Nearly every end has its name, so that comparing with a truth that leaves out the same ends means something.
func TestNearlyEveryEndIsNamed(t *testing.T) {
	w, rows := made(t)
	if share := w.Unattributed(rows); share > 0.02 {
		t.Errorf("%.2f %% of the flows have an end without a name", 100*share)
	}
}

// TestQ1RollUpDrillDownSlice: who talks to whom over all (roll-up), one application's peers (drill-down), and the same by hour (slice by time) are the generator's own figures.
func TestQ1RollUpDrillDownSlice(t *testing.T) {
	same(t, "who-talks-to-whom", "", 50)
	same(t, "dependencies", "api-gateway", 5)
	same(t, "over-time", "", 80)
}

// TestQ2DependenciesOfAnApp: every edge that the answer names is one of the truth (precision 1.0), and of the truth's edges at most the share of flows with an unattributed end is missing.
func TestQ2DependenciesOfAnApp(t *testing.T) {
	w, rows := made(t)
	truth := w.Edges()
	apps := map[string]bool{}
	for e := range truth {
		apps[e[0]], apps[e[1]] = true, true
	}
	delete(apps, row.AppUnknown)
	found := map[[2]string]bool{}
	for app := range apps {
		answer, err := Answer("dependencies", rows, w.Ask(app))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range answer {
			peer, _ := line[1].(string)
			edge := [2]string{app, peer}
			if line[0] == "from" {
				edge = [2]string{peer, app}
			}
			if peer == row.AppUnknown || peer == row.AppAmbiguous {
				continue
			}
			found[edge] = true
			if !truth[edge] {
				t.Errorf("%s and %s never talked", edge[0], edge[1])
			}
		}
	}
	missing, named := 0, 0
	for e := range truth {
		if e[0] == row.AppUnknown || e[1] == row.AppUnknown {
			continue
		}
		if named++; !found[e] {
			missing++
		}
	}
	share := w.Unattributed(rows)
	if named < 50 || float64(missing) > share*float64(named)+1e-9 {
		t.Errorf("%d of %d edges are missing, and %.2f %% of the flows have an end without a name", missing, named, 100*share)
	}
}

// TestQ3CrossRegionAndCrossAZ: bytes by pair of applications that cross zones and regions are the generator's own.
func TestQ3CrossRegionAndCrossAZ(t *testing.T) {
	same(t, "paths", "", 20)
	w, rows := made(t)
	answer, err := Answer("paths", rows, w.Ask(""))
	if err != nil {
		t.Fatal(err)
	}
	crossed := map[any]int{}
	for _, line := range answer {
		crossed[line[0]]++
	}
	if crossed["cross-az"] == 0 || crossed["cross-region"] == 0 {
		t.Errorf("pairs by way: %v; the estate should have both", crossed)
	}
}

// TestQ4RejectedByApp: rejected traffic by application and port is the generator's own.
func TestQ4RejectedByApp(t *testing.T) { same(t, "rejected", "", 20) }

// What data on its way costs is the generator's bytes times the prices, for the charges that the generator knows of; NAT is charged by what the gateways' own logs say.
func TestCostsAreTheGenerators(t *testing.T) {
	w, rows := made(t)
	truth, err := w.Truth("cost-by-app", "", rows)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := Answer("cost-by-app", rows, w.Ask(""))
	if err != nil {
		t.Fatal(err)
	}
	var transfer, nat [][]any
	for _, line := range answer {
		if line[2] == "nat" {
			nat = append(nat, line)
		} else {
			transfer = append(transfer, line)
		}
	}
	if diff := cmp.Diff(Lines(truth), Lines(transfer)); diff != "" {
		t.Errorf("(-truth +answer):\n%.3000s", diff)
	}
	if len(nat) == 0 {
		t.Error("nothing passed a NAT gateway")
	}
}

// A question that no test holds to a second answer is told here, so that a new one is not forgotten.
func TestQuestionsWithoutASecondAnswer(t *testing.T) {
	list, err := druid.Questions()
	if err != nil {
		t.Fatal(err)
	}
	w, rows := made(t)
	var without []string
	for _, q := range list {
		if _, err := Answer(q.Name, rows[:1], w.Ask("web")); err != nil {
			without = append(without, q.Name)
		}
	}
	want := []string{"doubles", "names", "unexpected-edges", "unknown-destinations", "unknown-sources"}
	if diff := cmp.Diff(want, without); diff != "" {
		t.Error(diff)
	}
}
