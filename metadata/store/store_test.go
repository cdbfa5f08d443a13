package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A look-up, a heartbeat that adds nothing, and everything else that a row asks allocate nothing.
func TestNoAllocations(t *testing.T) {
	s := estate(t, 1000, 4)
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1"}`,
		`{"op":"coverage","src":"ec2","scope":"vpc-1","prefix":"10.0.0.0/16"}`,
		`{"op":"assign","src":"kube","scope":"vpc-1","ip":"fd00::1","owner":"pod-1","ep":{"eni":"eni-0000001"},"wl":{"app":"x"}}`)
	give(t, s, `{"op":"assign","src":"kube","scope":"vpc-1","ip":"172.16.9.9","owner":"eni:eni-changed","wl":{"app":"x"}}`,
		`{"op":"describe","src":"kube","owner":"eni:eni-changed","from":1330,"wl":{"app":"y"}}`)
	changed := netip.MustParseAddr("172.16.9.9")
	sc, ip, w := s.Scope("vpc-1"), benchIP(7), metadata.Window{Start: 1_300_000, End: 1_360_000}
	six, public := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("8.8.8.8")
	eni := s.Endpoint(s.Lookup(sc, ip, w).Endpoint).ENI
	beat := Sighting{Scope: sc, ENI: eni, IP: ip, Start: w.Start, End: w.End, Primary: true}
	s.Observe(beat)
	asks := make([]metadata.Ask, 3*warmBlock/2)
	for i := range asks {
		asks[i] = metadata.Ask{ENI: eni, Src: ip, Dst: []netip.Addr{six, public, benchIP(i), {}}[i%4]}
	}
	for name, f := range map[string]func(){
		"Lookup":          func() { s.Lookup(sc, ip, w) },
		"Lookup IPv6":     func() { s.Lookup(sc, six, w) },
		"Lookup public":   func() { s.Lookup(metadata.Public, public, w) },
		"LookupInterface": func() { s.LookupInterface(eni, w) },
		"InterfaceHas":    func() { s.InterfaceHas(eni, ip, w) },
		"ScopeCovers":     func() { s.ScopeCovers(sc, ip, w) },
		"Lookup change":   func() { s.Lookup(sc, changed, w) },
		"Prefix":          func() { s.Prefix(sc, ip, w) },
		"Listens":         func() { s.Listens(sc, ip, 6, 80, w) },
		"Covered":         func() { s.Covered(sc, ip, true, w) },
		"Observe":         func() { s.Observe(beat) },
		"Scope":           func() { s.Scope("vpc-1") },
		"Place":           func() { s.Place(s.PlaceOf(s.Lookup(sc, ip, w).Endpoint)) },
		"Warm":            func() { s.Warm(asks) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// One writer and several readers: no reader ever sees a tenure that nobody told, or a covered answer whose events it missed.
func TestConcurrentReaders(t *testing.T) {
	s := newStore(t)
	const addresses = 64
	sc := s.InternScope("vpc-1")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for n := range 3 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 9))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i, v := r.IntN(addresses), int64(1+r.IntN(40))
				a := s.Lookup(sc, benchIP(i), metadata.Window{Start: v*200_000 + 100_000, End: v*200_000 + 110_000})
				if !a.Grade.Names() {
					continue
				}
				if got, want := s.Workload(a.Workload).App, appOf(i, v); got != want {
					t.Errorf("address %d in its %dth tenure runs %q, want %q", i, v, got, want)
					return
				}
			}
		})
	}
	for v := int64(1); v <= 40; v++ {
		for i := range addresses {
			e := event.Event{
				Op: event.Assign, Src: "w", Scope: "vpc-1", IP: benchIP(i).String(), Owner: "eni:" + appOf(i, v), From: v * 200_000,
				WL: &event.Workload{App: appOf(i, v)},
			}
			if err := s.Apply(&e); err != nil {
				t.Fatal(err)
			}
		}
		s.MarkProgress("w", (v+1)*200_000)
		runtime.Gosched()
	}
	close(stop)
	readers.Wait()
}

func appOf(i int, v int64) string { return benchIP(i).String() + "#" + time.Duration(v).String() }

// What was named never gets another name, when later events tell of later times only. It may become unnamed: a late sighting of
// the predecessor contradicts what its source had told.
func TestNamedAnswersDoNotChange(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 4))
	pick := func(n int) int { return r.IntN(n) }
	named := 0
	for range 400 {
		wo := makeWorld(pick, 30, 0, 20)
		const mark = 300_000
		s := newStore(t)
		s.InternScope("vpc-1")
		s.InternScope("vpc-2")
		var later []event.Event
		for _, e := range wo.events {
			e.Src, e.Acc = "one", 0
			if e.Op == event.Progress {
				continue
			}
			if max(e.From, e.To) < mark && (e.Op != event.Assign || e.To == 0) {
				if err := s.Apply(&e); err != nil {
					t.Fatal(err)
				}
			} else if e.From == 0 || e.From >= mark {
				later = append(later, e)
			}
		}
		for _, scope := range []string{"vpc-1", "vpc-2"} {
			e := event.Event{Op: event.Progress, Src: "one", Scope: scope, To: mark}
			if err := s.Apply(&e); err != nil {
				t.Fatal(err)
			}
		}
		before := make([]verdict, len(wo.lookups))
		for i, l := range wo.lookups {
			before[i] = words(s, s.Lookup(s.Scope(l.scope), l.ip, l.w))
		}
		for _, e := range later {
			if err := s.Apply(&e); err != nil {
				t.Fatal(err)
			}
		}
		for i, l := range wo.lookups {
			if before[i].grade != "covered" {
				continue
			}
			named++
			if after := words(s, s.Lookup(s.Scope(l.scope), l.ip, l.w)); after.workload != before[i].workload && after.grade == "covered" {
				t.Fatalf("%+v: %+v became %+v", l, before[i], after)
			}
		}
	}
	if named < 100 {
		t.Fatalf("only %d look-ups were named: the test shows nothing", named)
	}
}

// Retention changes no answer about the time that is kept.
func TestTrimChangesNoAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 8))
	pick := func(n int) int { return r.IntN(n) }
	asked, dropped := 0, 0
	for range 500 {
		wo := makeWorld(pick, 5+pick(30), 0, 30)
		s := newStore(t, func(c *metadata.Config) { c.Retention = 10 * time.Minute })
		wo.fill(t, s, pick)
		type answered struct {
			lookup
			verdict
		}
		var kept []answered
		const floor = 350_000
		for _, l := range wo.lookups {
			if l.w.Start >= floor {
				kept = append(kept, answered{l, words(s, s.Lookup(s.Scope(l.scope), l.ip, l.w))})
			}
		}
		size := s.Size().Tenures
		s.Trim(time.UnixMilli(floor).Add(10 * time.Minute))
		dropped += size - s.Size().Tenures
		for _, k := range kept {
			asked++
			got := words(s, s.Lookup(s.Scope(k.scope), k.ip, k.w))
			if got != k.verdict {
				t.Fatalf("%+v: %+v became %+v", k.lookup, k.verdict, got)
			}
		}
	}
	if asked < 1000 || dropped < 100 {
		t.Fatalf("%d answers compared, %d tenures dropped: the test shows too little", asked, dropped)
	}
}

func TestComplete(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	s, err := New(metadata.DefaultConfig(), Dependencies{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	s.Expect("ec2")
	one := []metadata.Scope{s.InternScope("vpc-1")}
	ok, changed := s.Complete(one, 1)
	if ok {
		t.Fatal("complete before the configured source said anything")
	}
	give(t, s, assignA, `{"op":"assign","src":"feed","scope":"vpc-1","ip":"10.0.0.2","owner":"eni:eni-f","from":1}`,
		`{"op":"progress","src":"ec2","scope":"vpc-1","to":5000}`)
	select {
	case <-changed:
	default:
		t.Error("progress woke nobody")
	}
	for at, want := range map[int64]bool{4_000_000: true, 5_000_000: true, 5_000_001: false} {
		if ok, _ := s.Complete(one, at); ok != want {
			t.Errorf("complete up to %d: %v", at, ok)
		}
	}
	if ok, _ := s.Complete([]metadata.Scope{s.InternScope("vpc-9")}, 9_000_000); !ok {
		t.Error("a scope that nobody tells of holds flows back")
	}
	// A second source of the whole estate counts where it tells something.
	give(t, s, `{"op":"progress","src":"kube","to":3000}`)
	if ok, _ := s.Complete(one, 4_000_000); !ok {
		t.Error("a source that tells nothing of the scope holds it back")
	}
	give(t, s, `{"op":"assign","src":"kube","scope":"vpc-1","ip":"10.0.0.3","owner":"pod-1","from":1}`)
	if ok, _ := s.Complete(one, 4_000_000); ok {
		t.Error("complete although kube has told up to 3000 s only")
	}
	expect(t, ask(s, "vpc-1", "10.0.0.1", 4000, 4060), "provisional/watermark-behind eni:eni-a api")
	// Silent sources no longer gate, but their answers stay provisional.
	now = now.Add(2 * time.Minute)
	if ok, _ := s.Complete(one, 9_000_000); !ok {
		t.Error("a silent source holds flows back")
	}
	expect(t, ask(s, "vpc-1", "10.0.0.1", 4000, 4060), "provisional/watermark-behind eni:eni-a api")
	s.MarkComplete("kube")
	s.MarkComplete("ec2")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 4000, 4060), "covered/interval eni:eni-a api")
}

// Whoever waits is woken when the source that it waits for turns idle.
func TestIdleSourceWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(metadata.DefaultConfig(), Dependencies{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		give(t, s, `{"op":"progress","src":"ec2","scope":"vpc-1","to":5000}`)
		start := time.Now()
		ok, changed := s.Complete([]metadata.Scope{s.Scope("vpc-1")}, start.UnixMilli())
		if ok {
			t.Fatal("complete at once")
		}
		<-changed
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("woken after %s, want after idle_after", waited)
		}
		if ok, _ := s.Complete([]metadata.Scope{s.Scope("vpc-1")}, start.UnixMilli()); !ok {
			t.Error("still not complete")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestRefusedEventsAreCounted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	s, err := New(metadata.DefaultConfig(), Dependencies{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	give(t, s, assignA, assignB, `{"op":"progress","src":"ec2","to":3000}`, `{"op":"snap_begin","src":"ec2"}`)
	var refused *event.Error
	if err := s.Apply(&event.Event{Op: event.Release, Scope: "vpc-1", IP: "10.0.0.1", To: 5}); !errors.As(err, &refused) || refused.Reason != event.MissingField {
		t.Errorf("error %v", err)
	}
	ip := netip.MustParseAddr("10.0.0.1")
	s.Observe(Sighting{ENI: "eni-unheard-of", IP: ip, Start: 1, End: 2})
	s.Observe(Sighting{Scope: s.Scope("vpc-1"), ENI: "eni-z", IP: ip, Start: 3_000_000, End: 3_060_000})
	want := `
# HELP dredge_metadata_disagreements_total Sightings in traffic that contradicted an open tenure told by a source.
# TYPE dredge_metadata_disagreements_total counter
dredge_metadata_disagreements_total 1
# HELP dredge_metadata_dropped_sightings_total Sightings of an address in traffic that could not be used, by reason.
# TYPE dredge_metadata_dropped_sightings_total counter
dredge_metadata_dropped_sightings_total{reason="future-time"} 0
dredge_metadata_dropped_sightings_total{reason="invalid"} 0
dredge_metadata_dropped_sightings_total{reason="scope-unknown"} 1
# HELP dredge_metadata_tenures Tenures of owners over addresses, past ones included.
# TYPE dredge_metadata_tenures gauge
dredge_metadata_tenures 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "dredge_metadata_disagreements_total",
		"dredge_metadata_dropped_sightings_total", "dredge_metadata_tenures"); err != nil {
		t.Error(err)
	}
	if n := testutil.ToFloat64(s.metrics.refused[event.MissingField]); n != 1 {
		t.Errorf("%v events counted as refused", n)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// A flapping address forgets its oldest evidence and says so instead of naming anyone then.
func TestFlappingAddressForgets(t *testing.T) {
	s := newStore(t)
	owners := []string{"eni:eni-a", "eni:eni-b"}
	for i := range int64(2 * maxEvidence) {
		e := event.Event{Op: event.Assign, Src: "ec2", Scope: "vpc-1", IP: "10.0.0.1", Owner: owners[i%2], From: (i + 1) * 300_000, WL: &event.Workload{App: "x"}}
		if err := s.Apply(&e); err != nil {
			t.Fatal(err)
		}
	}
	s.MarkComplete("ec2")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 500, 560), "unknown/before-retention")
	last := int64(2*maxEvidence) * 300
	expect(t, ask(s, "vpc-1", "10.0.0.1", last+100, last+160), "covered/interval eni:eni-b x")
	if list, _ := s.intervals(s.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1"), 0); len(list) > maxEvidence+1 {
		t.Errorf("%d tenures are kept", len(list))
	}
}
