package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestS6 holds the row S6: flow records alone establish which interface held which address, and where the release was lost, or
// nobody ever told anything, ownership does not reach beyond the last evidence and its bound.
func TestS6(t *testing.T) {
	s := newStore(t)
	vpc := s.InternScope("vpc-1")
	second := netip.MustParseAddr("10.0.0.9")
	for at := int64(1000); at < 2000; at += 60 { // a record a minute, the last one ends at 2020 s
		for _, ip := range []netip.Addr{benchIP(1), second} {
			if !s.Observe(Sighting{Scope: vpc, ENI: "eni-a", IP: ip, Start: at * 1000, End: (at + 60) * 1000, Primary: ip != second}) {
				t.Fatal("sighting refused")
			}
		}
	}
	for _, ip := range []string{"10.0.0.1", "10.0.0.9"} {
		expect(t, ask(s, "vpc-1", ip, 1100, 1900), "confirmed/no-workload eni:eni-a")
		expect(t, ask(s, "vpc-1", ip, 500, 560), "unknown/before-first-owner")
		expect(t, ask(s, "vpc-1", ip, 1900, 2030), "border/ends-after-owner eni:eni-a") // it was not seen there
		expect(t, ask(s, "vpc-1", ip, 2200, 2260), "stale/released eni:eni-a")
	}
	if in, ok := s.LookupInterface("eni-a", seconds(1100, 1160)); !ok || in.Scope != vpc {
		t.Errorf("%+v", in)
	}

	// Silence: a primary address stays with its interface, a secondary one for the bound only.
	for _, ip := range []netip.Addr{benchIP(1), second} {
		s.Observe(Sighting{Scope: vpc, ENI: "eni-a", IP: ip, Start: 9_000_000, End: 9_060_000, Primary: ip != second})
	}
	expect(t, ask(s, "vpc-1", "10.0.0.1", 5000, 5060), "confirmed/no-workload eni:eni-a")
	expect(t, ask(s, "vpc-1", "10.0.0.9", 5000, 5060), "stale/released eni:eni-a")

	// A source told the begin and lost the end: what is seen of another ends it, and nobody is named where neither is certain.
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.5","owner":"eni:eni-x","from":1000,"wl":{"app":"x"}}`,
		`{"op":"describe","src":"ec2","owner":"eni:eni-y","from":1,"wl":{"app":"y"}}`, toldAll)
	for at := int64(3000); at < 4000; at += 60 {
		s.Observe(Sighting{Scope: vpc, ENI: "eni-y", IP: netip.MustParseAddr("10.0.0.5"), Start: at * 1000, End: (at + 60) * 1000})
	}
	expect(t, ask(s, "vpc-1", "10.0.0.5", 2000, 2060), "covered/interval eni:eni-x x")
	expect(t, ask(s, "vpc-1", "10.0.0.5", 2980, 3010), "ambiguous/second-owner")
	expect(t, ask(s, "vpc-1", "10.0.0.5", 3300, 3360), "confirmed/heartbeat eni:eni-y y")
	expect(t, ask(s, "vpc-1", "10.0.0.5", 9000, 9060), "stale/released eni:eni-y y")
}

// TestS13 holds the row S13: the feed stops while owners go on changing. Its lag rises on the gauge that the alert DredgeWatermarkLag
// watches, the source counts as idle (DredgeIdentitySourceSilent), flows past what it told are not named, and none is named wrongly.
// That the alerts fire then is a promtool case (deploy/prometheus/alerts_test.yaml).
func TestS13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		s, err := New(metadata.DefaultConfig(), Dependencies{Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		gauge := func(name string) float64 {
			t.Helper()
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == name && len(f.GetMetric()) == 1 {
					return f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			t.Fatalf("no metric %s", name)
			return 0
		}
		const addresses = 50
		r := rand.New(rand.NewPCG(13, 1))
		app := func(slot int, minute int64) string { return fmt.Sprint("app-", slot, "-", minute) }
		holder := make([][]int64, addresses) // the minutes at which owners changed
		change := func(slot int, minute int64, told bool) {
			holder[slot] = append(holder[slot], minute)
			if !told {
				return
			}
			e := event.Event{
				Op: event.Assign, Src: "ec2", Scope: "vpc-1", IP: benchIP(slot).String(), Owner: "eni:" + app(slot, minute), From: time.Now().UnixMilli(),
				Obs: time.Now().UnixMilli(), WL: &event.Workload{App: app(slot, minute)},
			}
			if err := s.Apply(&e); err != nil {
				t.Fatal(err)
			}
		}
		const fed, stopped = 30, 30 // minutes
		named := 0
		for minute := range int64(fed + stopped) {
			for slot := range addresses {
				if minute == 0 || r.IntN(10) == 0 {
					change(slot, minute, minute < fed)
				}
			}
			now := time.Now()
			if minute < fed {
				e := event.Event{Op: event.Progress, Src: "ec2", To: now.UnixMilli(), Obs: now.UnixMilli()}
				if err := s.Apply(&e); err != nil {
					t.Fatal(err)
				}
			}
			// Flows of the minute before, as they arrive now.
			for slot := range addresses {
				end := now.Add(-5 * time.Second).UnixMilli()
				a := s.Lookup(s.Scope("vpc-1"), benchIP(slot), metadata.Window{Start: end - 20_000, End: end})
				changes := holder[slot]
				truth := changes[len(changes)-1]
				if truth == minute && len(changes) > 1 {
					truth = changes[len(changes)-2]
				}
				switch {
				case !a.Grade.Names():
				case minute >= fed+1:
					t.Fatalf("minute %d, %d after the feed stopped: %+v is named", minute, minute-fed, a)
				case s.Workload(a.Workload).App != app(slot, truth):
					t.Fatalf("minute %d: address %d is said to be %q's, truth is %q", minute, slot, s.Workload(a.Workload).App, app(slot, truth))
				default:
					named++
				}
			}
			lag := gauge("dredge_metadata_watermark_lag_seconds")
			if want := float64(max(0, minute-fed+1) * 60); lag != want {
				t.Errorf("minute %d: the lag is %v s, want %v", minute, lag, want)
			}
			if idle, want := gauge("dredge_metadata_idle_sources"), minute >= fed; (idle == 1) != want {
				t.Errorf("minute %d: %v sources are idle", minute, idle)
			}
			<-time.After(time.Minute)
		}
		if named < fed*addresses/2 {
			t.Errorf("only %d flows were named while the feed ran", named)
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

// TestJ8Networks holds the half of row J8 about the trie: of a million addresses each is found under the network that a linear scan
// finds. `make full` (DREDGE_FULL=1) asks for the million, `make test` for a tenth.
func TestJ8Networks(t *testing.T) {
	asks := 100_000
	if os.Getenv("DREDGE_FULL") != "" {
		asks = 1_000_000
	}
	r := rand.New(rand.NewPCG(8, 8))
	s := newStore(t)
	nets := map[netip.Prefix]string{}
	for n := range 200 {
		ip := netip.AddrFrom4([4]byte{10, byte(r.IntN(8)), byte(r.IntN(256)), byte(r.IntN(256))})
		if n%4 == 0 {
			ip = netip.AddrFrom16([16]byte{0: 0xfd, 1: byte(r.IntN(4)), 2: byte(r.IntN(256)), 15: byte(r.IntN(256))})
		}
		p, err := ip.Prefix(9 + r.IntN(ip.BitLen()-8))
		if err != nil {
			t.Fatal(err)
		}
		if nets[p] != "" {
			continue
		}
		nets[p] = fmt.Sprint("region-", n)
		give(t, s, fmt.Sprintf(`{"op":"assign","src":"static","cidr":%q,"owner":"net-%d","ep":{"kind":"site","name":%q}}`, p, n, nets[p]))
	}
	prefixes := slices.SortedFunc(func(yield func(netip.Prefix) bool) {
		for p := range nets {
			if !yield(p) {
				return
			}
		}
	}, func(a, b netip.Prefix) int { return b.Bits() - a.Bits() })
	found := 0
	for range asks {
		p := prefixes[r.IntN(len(prefixes))]
		ip := near(r, p)
		want := ""
		for _, p := range prefixes { // from long to short
			if p.Contains(ip) {
				want = nets[p]
				break
			}
		}
		got, ok := s.Prefix(metadata.Public, ip, metadata.Window{})
		if got.Site != want || ok != (want != "") {
			t.Fatalf("%s is in %q, want %q", ip, got.Site, want)
		}
		if ok {
			found++
		}
	}
	if found < asks/2 || found == asks {
		t.Errorf("%d of %d addresses are in a network: the test shows too little", found, asks)
	}
}

// near is an address in or close to p.
func near(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for range 1 + r.IntN(3) {
		bit := r.IntN(len(b) * 8)
		if r.IntN(2) == 0 {
			bit = min(len(b)*8-1, p.Bits()+r.IntN(len(b)*8-p.Bits()+1))
		}
		b[bit/8] ^= 1 << (7 - bit%8)
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip
}

// p2 is the row P2's estate, made smaller by scale: 2 M live addresses and a day of 50 changes a second, 4.3 M closed and open
// tenures beside those that never changed. It returns its store, the time of its end in Unix milliseconds, and when each address
// changed last and before.
func p2(tb testing.TB, scale int) (s *Store, end int64, changed [][2]int64) {
	tb.Helper()
	live, changes := 2_000_000/scale, 50*24*3600/scale
	const begin, day = int64(1_700_000_000_000), int64(24 * 3600_000)
	now := time.UnixMilli(begin + day)
	s, err := New(metadata.DefaultConfig(), Dependencies{Now: func() time.Time { return now }})
	if err != nil {
		tb.Fatal(err)
	}
	names := make([]string, 500)
	for i := range names {
		names[i] = fmt.Sprint("app-", i)
	}
	e := event.Event{Op: event.Assign, Src: "ec2", Scope: "vpc-1", WL: &event.Workload{}}
	tell := func() {
		if err := s.Apply(&e); err != nil {
			tb.Fatal(err)
		}
	}
	holder := make([]int, live)
	changed = make([][2]int64, live)
	var owner strings.Builder
	assign := func(slot, n int, at int64) {
		owner.Reset()
		fmt.Fprintf(&owner, "eni:eni-%09x", n)
		e.Op, e.IP, e.Owner, e.From, e.To, e.WL = event.Assign, benchIP(slot).String(), owner.String(), at, 0, &event.Workload{App: names[n%len(names)]}
		tell()
		holder[slot], changed[slot] = n, [2]int64{at, changed[slot][0]}
	}
	for slot := range live {
		assign(slot, slot, begin-day)
	}
	r := rand.New(rand.NewPCG(2, 50))
	for n := range changes {
		at := begin + int64(n)*day/int64(changes)
		slot := r.IntN(live)
		owner.Reset()
		fmt.Fprintf(&owner, "eni:eni-%09x", holder[slot])
		e.Op, e.IP, e.Owner, e.From, e.To, e.WL = event.Release, benchIP(slot).String(), owner.String(), 0, max(at-90_000, changed[slot][0]+1), nil
		tell()
		assign(slot, live+n, at)
	}
	s.MarkProgress("ec2", begin+day)
	return s, begin + day, changed
}

// TestP2 asks the row P2's estate, at a hundredth of its size, who holds each address now and who held it before. Memory and time at
// full size are BenchmarkP2's.
func TestP2(t *testing.T) {
	s, end, changed := p2(t, 100)
	sc, past := s.Scope("vpc-1"), 0
	for slot, c := range changed {
		at, before := c[0], c[1]
		if end-at > 70_000 {
			if a := s.Lookup(sc, benchIP(slot), metadata.Window{Start: max(at+65_000, end-60_000), End: end - 2000}); a.Grade != metadata.Covered || a.Workload == 0 {
				t.Fatalf("address %d now: %+v", slot, a)
			}
		}
		if then := at - 95_000; before != 0 && then-before > 70_000 && then > end-24*3600_000 {
			if a := s.Lookup(sc, benchIP(slot), metadata.Window{Start: then - 1000, End: then}); a.Grade != metadata.Covered || a.Workload == 0 {
				t.Fatalf("address %d before its last change: %+v", slot, a)
			}
			past++
		}
	}
	if past < len(changed)/4 {
		t.Errorf("only %d addresses changed", past)
	}
	if got, want := s.Size().Tenures, len(changed)+50*24*3600/100; got != want {
		t.Errorf("%d tenures, want %d", got, want)
	}
}

// BenchmarkP2 is the row P2: 2 M live addresses and 24 h of 50 changes a second. One operation is one look-up of a recent flow's end;
// MB is what the estate takes, p50-ns the median of single look-ups, the clock's own time included.
func BenchmarkP2(b *testing.B) {
	before := liveHeap()
	s, end, changed := p2(b, 1)
	used := liveHeap() - before
	sc, r := s.Scope("vpc-1"), rand.New(rand.NewPCG(4, 4))
	w := metadata.Window{Start: end - 90_000, End: end - 60_000}
	took := make([]time.Duration, 0, 1<<20)
	for range cap(took) {
		ip := benchIP(r.IntN(len(changed)))
		began := time.Now()
		s.Lookup(sc, ip, w)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportAllocs()
	for b.Loop() {
		s.Lookup(sc, benchIP(r.IntN(len(changed))), w)
	}
	b.ReportMetric(used/1e6, "MB")
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(s.Size().Tenures), "tenures")
}

// liveHeap is what is in use after a collection, in bytes.
func liveHeap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// changing gives s a change of one of its first n addresses as often as perSecond says, until stop is closed.
func changing(b *testing.B, s *Store, n, perSecond int, begin int64, stop <-chan struct{}) {
	b.Helper()
	const steps = 100 // a second
	tick := time.NewTicker(time.Second / steps)
	defer tick.Stop()
	e := event.Event{Op: event.Assign, Src: "ec2", Scope: "vpc-1", WL: &event.Workload{App: "changed"}}
	for at, began, told := begin, time.Now(), 0; ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * float64(perSecond)); told < due; told++ {
			at += 10
			e.IP, e.Owner, e.From = benchIP(told*7919%n).String(), fmt.Sprintf("eni:eni-%07x", told%n), at
			if err := s.Apply(&e); err != nil {
				b.Error(err)
				return
			}
		}
	}
}

// BenchmarkLookupUnderChanges times single look-ups while a writer makes 100,000 changes a second, or as many as it can; the percentiles
// hold the clock's own time, and on a busy machine that of whoever had the processor instead.
func BenchmarkLookupUnderChanges(b *testing.B) {
	const addresses, versions = 1_000_000, 4
	s := estate(b, addresses, versions)
	before := testutil.ToFloat64(s.metrics.events[event.Assign])
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { changing(b, s, addresses, 100_000, versions*600_000+60_000, stop) })
	sc, r := s.Scope("vpc-1"), rand.New(rand.NewPCG(6, 6))
	w := metadata.Window{Start: versions*600_000 - 300_000, End: versions*600_000 - 270_000}
	took := make([]time.Duration, 0, 1<<20)
	began := time.Now()
	for b.Loop() {
		ip, at := benchIP(r.IntN(addresses)), time.Now()
		s.Lookup(sc, ip, w)
		if d := time.Since(at); len(took) < cap(took) {
			took = append(took, d)
		}
	}
	seconds := time.Since(began).Seconds()
	close(stop)
	writer.Wait()
	slices.Sort(took)
	for _, p := range []struct {
		unit string
		of   float64
	}{{"p50-ns", .5}, {"p99-ns", .99}, {"p99.9-ns", .999}} {
		b.ReportMetric(float64(took[int(float64(len(took)-1)*p.of)].Nanoseconds()), p.unit)
	}
	b.ReportMetric((testutil.ToFloat64(s.metrics.events[event.Assign])-before)/seconds, "changes/s")
}
