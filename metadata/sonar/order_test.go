package sonar_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/sonar"

	gocmp "github.com/google/go-cmp/cmp"
)

// Whatever the order of telling, and whatever is told twice, every question has the same answer to the byte.
func TestOrderChangesNoAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		events, sightings := collisions(r)
		var want []string
		for range 4 {
			a := newAsker(t)
			for _, i := range r.Perm(len(events) + len(sightings)) {
				if i < len(events) {
					tell(t, a, events[i])
				} else {
					see(a, sightings[i-len(events)])
				}
				if r.IntN(4) == 0 {
					tell(t, a, events[r.IntN(len(events))])
				}
			}
			got := everything(t, a)
			if want == nil {
				want = got
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("another order of %+v: %s", events, diff)
			}
		}
	}
}

// A sonar's history, derived from the evidence, is that of the store, which judges.
func TestHistoryIsTheStores(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 6))
	told := func(a *sonar.Asker) (rows []string) {
		h, err := a.History(t.Context(), netip.MustParseAddr("10.0.0.1"), "vpc-1")
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range h.Tenures {
			if x.Kind == "told" && x.Port == 0 {
				rows = append(rows, fmt.Sprint(x.Owner, " ", x.From, " ", x.To, " ", x.AccuracyFromMillis, " ", x.AccuracyToMillis))
			}
		}
		slices.Sort(rows)
		return rows
	}
	for range 400 {
		events, sightings := collisions(r)
		a := newAsker(t)
		tell(t, a, events...)
		for _, s := range sightings {
			see(a, s)
		}
		if diff := gocmp.Diff(told(&sonar.Asker{Store: a.Store, Now: clock}), told(a)); diff != "" {
			t.Fatalf("store (-), sonar (+) of %+v %+v: %s", events, sightings, diff)
		}
	}
}

// collisions are events about few addresses at few times by few sources, so that all that may tie does.
func collisions(r *rand.Rand) (events []event.Event, sightings []idlog.Sighting) {
	at := func() int64 { return ms(time.Hour - time.Duration(r.IntN(6))*20*time.Second) }
	of := func(list ...string) string { return list[r.IntN(len(list))] }
	for range 6 + r.IntN(20) {
		e := event.Event{
			Src: of("one", "two"), Scope: of("vpc-1", "vpc-1", "vpc-2"), IP: of("10.0.0.1", "10.0.0.1", "2600:1f18::1"),
			Owner: of("eni:eni-a", "eni:eni-b", "pod-1", "pod-2"), Acc: int64(r.IntN(3)) * 5000,
		}
		if r.IntN(3) == 0 {
			e.Obs = at()
		}
		switch r.IntN(6) {
		case 0:
			e.Op, e.To = event.Release, at()
		case 1:
			e.Op, e.From = event.Observe, at()
			e.To = e.From + 1000
		case 2:
			e.Op, e.From, e.IP, e.Scope, e.WL = event.Describe, at(), "", "", &event.Workload{App: of("x", "y"), Team: of("", "t")}
		case 3:
			e.Op, e.From, e.Proto, e.Port = event.Assign, at(), 6, 80+r.IntN(2)
		default:
			e.Op, e.From, e.WL = event.Assign, at(), &event.Workload{App: of("x", "y")}
		}
		events = append(events, e)
	}
	for range r.IntN(3) {
		s := idlog.Sighting{Scope: "vpc-1", ENI: of("eni-a", "eni-b"), IP: netip.MustParseAddr("10.0.0.1"), Start: at()}
		s.End = s.Start + 10_000
		sightings = append(sightings, s)
	}
	return append(events, event.Event{Src: "one", Op: event.Progress, To: ms(time.Minute)}, event.Event{Src: "two", Op: event.Progress, To: ms(time.Minute)}), sightings
}

// everything asks a every kind of question and returns the answers.
func everything(t *testing.T, a *sonar.Asker) (answers []string) {
	t.Helper()
	add := func(v any, err error) {
		t.Helper()
		text, merr := json.MarshalIndent(v, "", " ")
		if err != nil || merr != nil {
			t.Fatal(err, merr)
		}
		answers = append(answers, string(text))
	}
	for _, text := range []string{"10.0.0.1", "2600:1f18::1"} {
		ip := netip.MustParseAddr(text)
		for _, scope := range []string{"", "vpc-1", "public"} {
			for n := range 4 {
				got, err := a.IP(t.Context(), ip, ms(time.Hour-time.Duration(n)*30*time.Second), scope)
				add(got.Answers, err)
			}
			add(a.History(t.Context(), ip, scope))
		}
	}
	add(a.Workload(t.Context(), "x", ms(2*time.Hour), ms(time.Minute)))
	add(a.Diff(t.Context(), "vpc-1", ms(time.Hour+time.Second), ms(time.Hour-50*time.Second)))
	return answers
}

// A task's claim of one port of a host is part of the address's history and evidence, also where nothing else is told of the address.
func TestClaimedPorts(t *testing.T) {
	port := func(ip, owner string, n int) event.Event {
		e := claim(ip, owner, "app of "+owner, ms(time.Hour))
		e.Proto, e.Port = 6, n
		return e
	}
	a := newAsker(t)
	host := claim("10.0.0.1", "eni:eni-h", "host", ms(2*time.Hour))
	host.EP = &event.Endpoint{Kind: "ecs_instance"}
	tell(t, a, host, port("10.0.0.1", "task-2", 8081), port("10.0.0.1", "task-1", 8080), port("10.0.0.2", "task-3", 9090),
		event.Event{Op: event.Progress, To: ms(time.Second)})
	h := serve(a, nil)
	for ip, want := range map[string][]string{
		"10.0.0.1": {"eni:eni-h 0", "task-1 8080", "task-2 8081"},
		"10.0.0.2": {"task-3 9090"},
	} {
		var history sonar.History
		get(t, h, "/v1/ip/"+ip+"/history", &history)
		var got, told []string
		for _, x := range history.Tenures {
			got = append(got, fmt.Sprint(x.Owner, " ", x.Port))
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("history of %s: %s", ip, diff)
		}
		var answers sonar.Answers
		get(t, h, fmt.Sprintf("/v1/ip/%s?at=%d", ip, ms(30*time.Minute)), &answers)
		if len(answers.Answers) != 1 || answers.Answers[0].Reason != "shared-interface" {
			t.Fatalf("%s: %+v", ip, answers.Answers)
		}
		for _, e := range answers.Answers[0].Evidence {
			told = append(told, fmt.Sprint(e.Owner, " ", e.Port))
		}
		if slices.Sort(told); !slices.Equal(want, told) {
			t.Errorf("evidence of %s: %q, want %q", ip, told, want)
		}
	}
}

// An interface whose workload is told again with each address ran it all the time: one tenure, not one for each telling.
func TestWorkloadToldAgain(t *testing.T) {
	a := newAsker(t)
	tell(t, a, claim("10.0.0.1", "eni:eni-a", "cart", ms(3*time.Hour)), claim("10.0.0.2", "eni:eni-a", "cart", ms(2*time.Hour)))
	got, err := a.Workload(t.Context(), "cart", ms(4*time.Hour), ms(time.Minute))
	if err != nil || len(got.Tenures) != 2 || got.Tenures[0].From != sonar.Time(ms(3*time.Hour)) {
		t.Errorf("%v: %+v", err, got.Tenures)
	}
}

// Global IPv6 is one address in the world: its evidence is shown in whichever scope it is asked for.
func TestGlobalIPv6HasItsEvidenceEverywhere(t *testing.T) {
	a := newAsker(t)
	tell(t, a, claim("2600:1f18::1", "eni:eni-a", "six", ms(3*time.Hour)), event.Event{Op: event.Progress, To: ms(time.Second)})
	for _, scope := range []string{"vpc-1", "public"} {
		got, err := a.IP(t.Context(), netip.MustParseAddr("2600:1f18::1"), ms(time.Hour), scope)
		if err != nil || len(got.Answers) != 1 {
			t.Fatal(err, got)
		}
		if x := got.Answers[0]; !x.Named || len(x.Evidence) != 1 || x.From != sonar.Time(ms(3*time.Hour)) {
			t.Errorf("%s: %+v", scope, x)
		}
		if h, err := a.History(t.Context(), netip.MustParseAddr("2600:1f18::1"), scope); err != nil || len(h.Tenures) != 1 {
			t.Errorf("%s: %v: %+v", scope, err, h.Tenures)
		}
	}
}

// A network is answered as it was at the time, also one that is in no routing domain.
func TestNetworkAtTheTime(t *testing.T) {
	a := newAsker(t)
	tell(t, a,
		event.Event{Op: event.Assign, From: ms(5 * time.Hour), Scope: "vpc-1", CIDR: "10.7.0.0/16", Owner: "vpc:vpc-1", EP: &event.Endpoint{Name: "prod"}},
		event.Event{Op: event.Release, To: ms(3 * time.Hour), Scope: "vpc-1", CIDR: "10.7.0.0/16", Owner: "vpc:vpc-1"},
		event.Event{Op: event.Assign, From: ms(5 * time.Hour), CIDR: "192.168.0.0/16", Owner: "office", EP: &event.Endpoint{Kind: "site", Name: "berlin"}})
	for _, c := range []struct {
		ip   string
		ago  time.Duration
		want string
	}{
		{"10.7.0.1", 4 * time.Hour, "vpc-1 prefix 10.7.0.0/16 prod"},
		{"10.7.0.1", 2 * time.Hour, ""},
		{"10.7.0.1", 6 * time.Hour, ""},
		{"192.168.1.1", 4 * time.Hour, " prefix 192.168.0.0/16 berlin"},
		{"192.168.1.1", 6 * time.Hour, ""},
	} {
		answers, err := a.IP(t.Context(), netip.MustParseAddr(c.ip), ms(c.ago), "")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, x := range answers.Answers {
			got += x.Scope + " " + x.Grade + " " + x.Network
		}
		if got != c.want {
			t.Errorf("%s %v ago: %q, want %q", c.ip, c.ago, got, c.want)
		}
	}
}

// An address that only an interface's own prefix covers is found without its routing domain, and domains come in order of their names,
// in a sonar as in a worker.
func TestScopesOfNetworks(t *testing.T) {
	a := newAsker(t)
	for _, vpc := range []string{"vpc-2", "vpc-1"} {
		tell(t, a, event.Event{Op: event.Assign, From: ms(5 * time.Hour), Scope: vpc, CIDR: "10.7.1.16/28", Owner: "eni:eni-of-" + vpc, EP: &event.Endpoint{Kind: "node"}})
	}
	for _, asker := range []*sonar.Asker{a, {Store: a.Store, Now: clock}} {
		answers, err := asker.IP(t.Context(), netip.MustParseAddr("10.7.1.17"), ms(time.Hour), "")
		var got []string
		for _, x := range answers.Answers {
			got = append(got, x.Scope+" "+x.Reason+" "+x.Endpoint.Owner)
		}
		if diff := gocmp.Diff([]string{"vpc-1 shared-interface eni:eni-of-vpc-1", "vpc-2 shared-interface eni:eni-of-vpc-2"}, got); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
	}
}
