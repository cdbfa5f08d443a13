package sonar_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/idlog"
	"dredge/metadata/sonar"
	"dredge/metadata/store"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func ms(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }

func newAsker(t testing.TB) *sonar.Asker {
	t.Helper()
	cfg := metadata.DefaultConfig()
	st, err := store.New(cfg, store.Dependencies{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return &sonar.Asker{Store: st, Fold: idlog.NewFold(cfg.Retention), Now: clock}
}

func tell(t testing.TB, a *sonar.Asker, events ...event.Event) {
	t.Helper()
	for i := range events {
		if events[i].Src == "" {
			events[i].Src = "inventory"
		}
		if err := a.Store.Apply(&events[i]); err != nil {
			t.Fatal(err)
		}
		if err := a.Fold.Apply(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
}

func see(a *sonar.Asker, s idlog.Sighting) {
	a.Store.Observe(sonar.StoreSighting(a.Store, s))
	a.Fold.Observe(s)
}

func claim(ip, owner, app string, from int64) event.Event {
	return event.Event{Op: event.Assign, From: from, Obs: from, Scope: "vpc-1", IP: ip, Owner: owner, WL: &event.Workload{App: app}}
}

func release(ip, owner string, at int64) event.Event {
	return event.Event{Op: event.Release, To: at, Obs: at, Scope: "vpc-1", IP: ip, Owner: owner}
}

// story: playback had the address until an hour ago, search has had it since, and traffic showed search's interface.
func story(t testing.TB) *sonar.Asker {
	t.Helper()
	a := newAsker(t)
	tell(t, a,
		claim("10.0.0.1", "eni:eni-a", "playback", ms(5*time.Hour)),
		release("10.0.0.1", "eni:eni-a", ms(time.Hour)),
		claim("10.0.0.1", "eni:eni-b", "search", ms(50*time.Minute)),
		claim("10.0.0.2", "eni:eni-a", "playback", ms(5*time.Hour)),
		event.Event{Op: event.Assign, Scope: "vpc-1", CIDR: "10.0.0.0/16", Owner: "vpc:vpc-1", EP: &event.Endpoint{Name: "prod"}},
		event.Event{Op: event.Progress, To: ms(time.Second)},
	)
	see(a, idlog.Sighting{Scope: "vpc-1", ENI: "eni-b", IP: netip.MustParseAddr("10.0.0.1"), Start: ms(30 * time.Minute), End: ms(20 * time.Minute), Primary: true})
	return a
}

func serve(a *sonar.Asker, r prometheus.Registerer) http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range sonar.NewAPI(a, r).Handlers() {
		mux.Handle(pattern, h)
	}
	return mux
}

func get(t testing.TB, h http.Handler, path string, into any) (status int, body string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if into != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v in %s", path, err, rec.Body)
		}
	}
	return rec.Code, rec.Body.String()
}

// TestS11 holds the row S11: GET with an address, a routing domain and a time returns owner, tenure and evidence. BenchmarkS11 has its time.
func TestS11(t *testing.T) {
	h := serve(story(t), nil)
	for _, c := range []struct {
		at           int64
		grade, owner string
		app          string
		from         int64
	}{
		{ms(2 * time.Hour), "covered", "eni:eni-a", "playback", ms(5 * time.Hour)},
		{ms(40 * time.Minute), "covered", "eni:eni-b", "search", ms(50 * time.Minute)},
		{ms(25 * time.Minute), "confirmed", "eni:eni-b", "search", ms(50 * time.Minute)},
		{ms(0), "provisional", "eni:eni-b", "search", ms(50 * time.Minute)},
		{ms(55 * time.Minute), "stale", "eni:eni-a", "playback", 0},
		{ms(time.Hour) - 500, "border", "eni:eni-a", "playback", ms(5 * time.Hour)},
	} {
		var got sonar.Answers
		path := fmt.Sprintf("/v1/ip/10.0.0.1?scope=vpc-1&at=%d", c.at)
		if status, body := get(t, h, path, &got); status != http.StatusOK || len(got.Answers) != 1 {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		a := got.Answers[0]
		if a.Grade != c.grade || a.Endpoint == nil || a.Endpoint.Owner != c.owner || a.Workload == nil || a.Workload.App != c.app || int64(a.From) != c.from {
			t.Errorf("%s: grade %s, %v %v from %s; want %+v", path, a.Grade, a.Endpoint, a.Workload, a.From, c)
		}
		if a.Named != (c.grade == "covered" || c.grade == "confirmed") || a.Why == "" || a.Scope != "vpc-1" || a.Network != "10.0.0.0/16 prod" {
			t.Errorf("%s: %+v", path, a)
		}
		if !slices.ContainsFunc(a.Evidence, func(e sonar.Evidence) bool { return e.Owner == c.owner && e.Op == "assign" && e.Source == "inventory" }) {
			t.Errorf("%s: the claim is not among the evidence %+v", path, a.Evidence)
		}
		if seen := slices.ContainsFunc(a.Evidence, func(e sonar.Evidence) bool { return e.Kind == "seen" && e.Owner == "eni:eni-b" }); c.grade == "confirmed" && !seen {
			t.Errorf("%s: what traffic showed is not among the evidence", path)
		}
	}
}

// An at may be RFC 3339, Unix seconds or milliseconds.
func TestTimes(t *testing.T) {
	for text, want := range map[string]int64{
		"2026-01-02T12:00:00Z": now.UnixMilli(), "2026-01-02T13:00:00+01:00": now.UnixMilli(), "2026-01-02T12:00:00": now.UnixMilli(),
		"1767355200": now.UnixMilli(), "1767355200000": now.UnixMilli(), "2026-01-02T12:00:00.250Z": now.UnixMilli() + 250,
		"yesterday": 0, "": 0, "-5": 0, "99999999999999": 0, "3026-01-02T12:00:00Z": 0,
	} {
		got, err := sonar.ParseTime(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestBadQuestions(t *testing.T) {
	h := serve(story(t), nil)
	for path, want := range map[string]string{
		"/v1/ip/10.0.0.300":                                  "is no address",
		"/v1/ip/fe80::1%25eth0":                              "is no address",
		"/v1/ip/10.0.0.1?at=noon":                            "at: ",
		"/v1/ip/10.0.0.1?when=5":                             `"when" is no parameter here; there are at, scope`,
		"/v1/ip/10.0.0.1/history?at=5":                       `"at" is no parameter here`,
		"/v1/diff":                                           "scope: write a VPC id",
		"/v1/diff?scope=vpc-1&from=1767355200&to=5":          "to: ",
		"/v1/workload/search?from=x":                         "from: ",
		"/v1/ip/10.0.0.1?at=%zz":                             "query: ",
		"/v1/ip/10.0.0.1?scope=" + strings.Repeat("x", 2000): "scope of 2000 bytes",
	} {
		var said struct{ Error string }
		if status, body := get(t, h, path, &said); status != http.StatusBadRequest || !strings.Contains(said.Error, want) {
			t.Errorf("%.60s: %d %s, want %q", path, status, body, want)
		}
	}
	var nothing sonar.Answers
	if status, body := get(t, h, "/v1/ip/192.168.7.7", &nothing); status != http.StatusOK || len(nothing.Answers) != 0 || !strings.Contains(body, `"answers":[]`) {
		t.Errorf("an unknown address: %d %s", status, body)
	}
}

func TestHistory(t *testing.T) {
	var got sonar.History
	get(t, serve(story(t), nil), "/v1/ip/10.0.0.1/history", &got)
	type row struct{ owner, kind, app, from, to string }
	var rows []row
	for _, x := range got.Tenures {
		rows = append(rows, row{x.Owner, x.Kind, x.Workload.App, x.From.String(), x.To.String()})
	}
	at := func(d time.Duration) string { return sonar.Time(ms(d)).String() }
	want := []row{
		{"eni:eni-a", "told", "playback", at(5 * time.Hour), at(time.Hour)},
		{"eni:eni-b", "told", "search", at(50 * time.Minute), "-"},
		{"eni:eni-b", "seen", "search", at(30 * time.Minute), at(20*time.Minute - time.Second)},
	}
	if diff := gocmp.Diff(want, rows, gocmp.AllowUnexported(row{})); diff != "" {
		t.Error(diff)
	}
}

func TestDiff(t *testing.T) {
	h := serve(story(t), nil)
	var got sonar.Diff
	get(t, h, fmt.Sprintf("/v1/diff?scope=vpc-1&from=%d&to=%d", ms(2*time.Hour), ms(40*time.Minute)), &got)
	want := []sonar.Change{{IP: "10.0.0.1", Scope: "vpc-1", Kind: "moved", Before: []sonar.ChangeOwner{{Owner: "eni:eni-a", App: "playback"}}, After: []sonar.ChangeOwner{{Owner: "eni:eni-b", App: "search"}}}}
	if diff := gocmp.Diff(want, got.Changes); diff != "" {
		t.Error(diff)
	}
	for _, span := range [][3]any{{6 * time.Hour, 4 * time.Hour, "assigned"}, {2 * time.Hour, 55 * time.Minute, "released"}} {
		get(t, h, fmt.Sprintf("/v1/diff?scope=vpc-1&from=%d&to=%d", ms(span[0].(time.Duration)), ms(span[1].(time.Duration))), &got)
		if len(got.Changes) == 0 || got.Changes[0].Kind != span[2] {
			t.Errorf("%v: %+v", span, got.Changes)
		}
	}
	got = sonar.Diff{}
	get(t, h, fmt.Sprintf("/v1/diff?scope=vpc-1&from=%d&to=%d", ms(30*time.Minute), ms(10*time.Minute)), &got)
	if len(got.Changes) != 0 {
		t.Errorf("nothing changed, but %+v", got.Changes)
	}
}

// TestS12 compares GET /v1/workload with an oracle that looks at every minute: all addresses of an application in a time.
func TestS12(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := metadata.DefaultConfig()
		st, err := store.New(cfg, store.Dependencies{Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		a := &sonar.Asker{Store: st, Fold: idlog.NewFold(cfg.Retention), Now: clock}
		const minutes, owners, ips = 600, 6, 5
		begin := ms(minutes * time.Minute)
		minute := func(n int) int64 { return begin + int64(n)*60_000 }
		var events []event.Event
		// held says who has each address in each minute, ran what runs there.
		held, ran := [ips][minutes]int{}, [owners + 1][minutes]string{}
		for ip := range ips {
			at, last := 0, 0
			for at < minutes {
				owner := rapid.IntRange(0, owners).Draw(t, "owner")
				end := min(minutes, at+rapid.IntRange(1, 200).Draw(t, "length"))
				if owner > 0 && owner != last {
					for m := at; m < end; m++ {
						held[ip][m] = owner
					}
					name, addr := fmt.Sprintf("eni:eni-%d", owner), fmt.Sprintf("10.0.0.%d", ip+1)
					events = append(events, event.Event{Op: event.Assign, From: minute(at), Scope: "vpc-1", IP: addr, Owner: name})
					if end < minutes {
						events = append(events, release(addr, name, minute(end)))
					}
					last = owner
				} else {
					last = 0
				}
				at = end
			}
		}
		for owner := 1; owner <= owners; owner++ {
			for at := 0; at < minutes; {
				app := rapid.SampledFrom([]string{"alpha", "beta", "gamma"}).Draw(t, "app")
				events = append(events, event.Event{Op: event.Describe, From: minute(at), Owner: fmt.Sprintf("eni:eni-%d", owner), WL: &event.Workload{App: app}})
				end := min(minutes, at+rapid.IntRange(1, 400).Draw(t, "length"))
				for ; at < end; at++ {
					ran[owner][at] = app
				}
			}
		}
		for _, e := range rapid.Permutation(events).Draw(t, "order") {
			e.Src = "s"
			if err := st.Apply(&e); err != nil {
				t.Fatal(err)
			}
			if err := a.Fold.Apply(&e); err != nil {
				t.Fatal(err)
			}
		}
		from := rapid.IntRange(0, minutes-1).Draw(t, "from")
		to := rapid.IntRange(from+1, minutes).Draw(t, "to")
		got, err := a.Workload(t.Context(), "beta", minute(from), minute(to))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for ip := range ips {
			for m := from; m < to; m++ {
				if o := held[ip][m]; o > 0 && ran[o][m] == "beta" {
					want[fmt.Sprintf("10.0.0.%d eni:eni-%d", ip+1, o)] = true
				}
			}
		}
		found := map[string]bool{}
		for _, x := range got.Tenures {
			found[x.IP+" "+x.Owner] = true
		}
		if diff := gocmp.Diff(want, found); diff != "" {
			t.Fatalf("minutes %d to %d: %s", from, to, diff)
		}
	})
}

// What a Fold remembers and forgets changes no answer: a store that was told its snapshot answers as one that was told everything,
// inside the retention.
func TestFoldChangesNoAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := metadata.DefaultConfig()
		whole, err := store.New(cfg, store.Dependencies{Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		fold := idlog.NewFold(cfg.Retention)
		const ips, owners = 3, 4
		var events []event.Event
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			at := ms(time.Duration(rapid.IntRange(1, 5000).Draw(t, "ago")) * time.Minute)
			ip := fmt.Sprintf("10.0.0.%d", rapid.IntRange(1, ips).Draw(t, "ip"))
			owner := fmt.Sprintf("eni:eni-%d", rapid.IntRange(1, owners).Draw(t, "who"))
			if rapid.IntRange(0, 3).Draw(t, "layer") == 0 {
				owner = "pod-" + owner[8:]
			}
			e := claim(ip, owner, rapid.SampledFrom([]string{"alpha", "beta"}).Draw(t, "app"), at)
			e.Acc = int64(rapid.SampledFrom([]int{0, 30_000}).Draw(t, "acc"))
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0, 1:
				e = release(ip, owner, at)
			case 2:
				e.Op, e.WL, e.To = event.Observe, nil, at+60_000
			case 3:
				e.WL = nil
			}
			e.Src = "s"
			events = append(events, e)
		}
		events = append(events, event.Event{Src: "s", Op: event.Progress, To: ms(time.Minute)},
			// The VPC's network stays: a scope of which everything was forgotten is one that nothing is known of.
			event.Event{Src: "s", Op: event.Assign, From: 1, Scope: "vpc-1", CIDR: "10.0.0.0/16", Owner: "vpc:vpc-1"})
		for i := range events {
			if err := whole.Apply(&events[i]); err != nil {
				t.Fatal(err)
			}
			if err := fold.Apply(&events[i]); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 10).Draw(t, "sightings") {
			start := ms(time.Duration(rapid.IntRange(2, 2000).Draw(t, "seen")) * time.Minute)
			s := idlog.Sighting{
				Scope: "vpc-1", ENI: fmt.Sprintf("eni-%d", rapid.IntRange(1, owners).Draw(t, "by")),
				IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, ips).Draw(t, "at"))}), Start: start, End: start + 60_000,
				Primary: rapid.Bool().Draw(t, "primary"),
			}
			whole.Observe(sonar.StoreSighting(whole, s))
			fold.Observe(s)
		}
		fold.Trim(now)
		loaded, err := store.New(cfg, store.Dependencies{Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		fold.Each(func(e *event.Event) {
			if err := loaded.Apply(e); err != nil {
				t.Fatal(err)
			}
		})
		for ip := range byte(ips) {
			if a, ok := fold.Address("vpc-1", netip.AddrFrom4([4]byte{10, 0, 0, ip + 1})); ok {
				for _, s := range a.Sightings {
					loaded.Observe(sonar.StoreSighting(loaded, s))
				}
			}
		}
		whole.Trim(now)
		loaded.Trim(now)
		for ip := range byte(ips) {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, ip + 1})
			for ago := 1; ago < 24*60; ago += 7 {
				at := ms(time.Duration(ago) * time.Minute)
				w := metadata.Window{Start: at, End: at + 30_000}
				a, b := answerOf(whole, addr, w), answerOf(loaded, addr, w)
				if a != b {
					t.Fatalf("%s %d minutes ago: %s, after the snapshot %s", addr, ago, a, b)
				}
			}
		}
	})
}

func answerOf(st *store.Store, ip netip.Addr, w metadata.Window) string {
	a := st.Lookup(st.Scope("vpc-1"), ip, w)
	var candidates []string
	for _, c := range a.Candidates {
		if c != 0 {
			candidates = append(candidates, st.Endpoint(c).Owner)
		}
	}
	slices.SortFunc(candidates, cmp.Compare)
	return fmt.Sprintf("%s %s %s %s %v", a.Grade, a.Reason, st.Endpoint(a.Endpoint).Owner, st.Workload(a.Workload).App, candidates)
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h := serve(story(t), reg)
	get(t, h, "/v1/ip/10.0.0.1", nil)
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if n := testutil.CollectAndCount(reg, "dredge_identity_question_seconds"); n != 4 {
		t.Errorf("%d questions have a histogram, want 4", n)
	}
}

// BenchmarkS11 is the time of row S11: GET /v1/ip over 500,000 addresses of which four in five changed hands once; p99-ms is the
// ninety-ninth percentile of single answers.
func BenchmarkS11(b *testing.B) {
	a := newAsker(b)
	const n = 500_000
	for i := range n {
		ip, old := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(), fmt.Sprintf("eni:eni-%d", i)
		tell(b, a, claim(ip, old, "app", ms(2*time.Hour)))
		if i%5 > 0 {
			tell(b, a, release(ip, old, ms(90*time.Minute)), claim(ip, fmt.Sprintf("eni:eni-%d", n+i), "app", ms(time.Hour)))
		}
	}
	h := serve(a, nil)
	var took []time.Duration
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % n
		began := time.Now()
		get(b, h, "/v1/ip/"+netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()+"?at=1767353400", nil)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
}
