package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	scopeNames = map[metadata.Scope]string{2: "vpc-1", 3: "vpc-2"}
	worldIPs   = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("2600:1f18::1")}
)

// world is a random estate, small enough that everything collides with everything.
type world struct {
	events  []event.Event
	beats   []Sighting
	lookups []lookup
}

type lookup struct {
	scope string
	ip    netip.Addr
	w     metadata.Window
}

// makeWorld draws one; pick(n) is a number from 0 to n − 1.
func makeWorld(pick func(n int) int, events, beats, lookups int) world {
	var wo world
	const step = 10_000
	at := func() int64 { return int64(1+pick(60)) * step }
	acc := func() int64 { return int64([]int{0, 0, 0, 2000, 60_000}[pick(5)]) }
	scope := func() string { return []string{"vpc-1", "vpc-1", "vpc-2"}[pick(3)] }
	ip := func() netip.Addr { return worldIPs[max(0, pick(4)-1)] }
	apps := []string{"api", "web"}
	sources := []string{"ec2", "kube", "feed"}
	owners := []string{"eni:eni-1", "eni:eni-2", "eni:eni-3", "pod-1", "pod-2"}
	owner := func() string { return owners[[]int{0, 0, 1, 1, 2, 3, 4}[pick(7)]] }
	for range events {
		e := event.Event{Src: sources[pick(3)], Scope: scope(), IP: ip().String(), Owner: owner(), Acc: acc(), Obs: at(), Rver: int64(pick(2))}
		switch pick(12) {
		case 0, 1, 2, 3:
			e.Op, e.From = event.Assign, at()
			if pick(4) == 0 {
				e.To = e.From + int64(1+pick(20))*step
			}
			if pick(2) == 0 {
				e.WL = &event.Workload{App: apps[pick(2)]}
			}
			if isENI(e.Owner) && pick(3) == 0 {
				yes := true
				e.Primary = &yes
			}
		case 4, 5, 6:
			e.Op, e.To = event.Release, at()
		case 7, 8:
			e.Op, e.From = event.Observe, at()
			e.To = e.From + int64(pick(4))*step
		case 9, 10:
			e.Op, e.From, e.WL, e.IP, e.Scope = event.Describe, at(), &event.Workload{App: apps[pick(2)]}, "", ""
			if pick(6) == 0 {
				switch e.Owner { // what cannot change is always told the same
				case "pod-1":
					e.EP = &event.Endpoint{ENI: "eni-1"}
				case "eni:eni-3":
					e.EP = &event.Endpoint{Kind: "lambda"}
				}
			}
		default:
			e = event.Event{Src: sources[pick(2)], Op: event.Progress, To: at() + 200_000}
			if pick(2) == 0 {
				e.Scope = scope()
			}
		}
		wo.events = append(wo.events, e)
	}
	for range beats {
		b := Sighting{ENI: fmt.Sprintf("eni-%d", 1+pick(2)), IP: ip(), Scope: metadata.Scope(2 + pick(2)), Start: at(), Primary: pick(3) == 0}
		b.End = b.Start + int64(pick(6))*step
		if isGlobal6(b.IP.String()) {
			b.Scope = 2 // an interface is in one VPC only
		}
		wo.beats = append(wo.beats, b)
	}
	for range lookups {
		start := at() + int64(pick(3))*1000
		l := lookup{scope(), ip(), metadata.Window{Start: start, End: start + int64(pick(8))*5000}}
		if isGlobal6(l.ip.String()) && pick(2) == 0 {
			l.scope = "public"
		}
		wo.lookups = append(wo.lookups, l)
	}
	return wo
}

// fill tells a store the world, in an order drawn with pick, some of it twice.
func (wo world) fill(t fataler, s *Store, pick func(n int) int) {
	t.Helper()
	s.InternScope("vpc-1") // so that Sighting.Scope is right
	s.InternScope("vpc-2")
	order := make([]int, 0, 2*(len(wo.events)+len(wo.beats)))
	for i := range len(wo.events) + len(wo.beats) {
		order = append(order, i)
		if pick != nil && pick(4) == 0 {
			order = append(order, i)
		}
	}
	if pick != nil {
		for i := len(order) - 1; i > 0; i-- {
			j := pick(i + 1)
			order[i], order[j] = order[j], order[i]
		}
	}
	for _, i := range order {
		if i < len(wo.events) {
			if err := s.Apply(&wo.events[i]); err != nil {
				t.Fatalf("%+v: %v", wo.events[i], err)
			}
			continue
		}
		if !s.Observe(wo.beats[i-len(wo.events)]) {
			t.Fatalf("sighting %+v refused", wo.beats[i-len(wo.events)])
		}
	}
}

func (wo world) oracle() *oracle {
	c := metadata.DefaultConfig()
	return &oracle{events: wo.events, beats: wo.beats, skew: c.ClockSkew.Milliseconds(), bridge: c.HeartbeatBridge.Milliseconds()}
}

func newStore(t fataler, change ...func(*metadata.Config)) *Store {
	t.Helper()
	c := metadata.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	s, err := New(c, Dependencies{Now: func() time.Time { return time.UnixMilli(1_000_000_000) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// words turns an answer into names.
func words(s *Store, a metadata.Answer) verdict {
	var names []string
	for i, c := range a.Candidates {
		if c != 0 {
			names = append(names, s.Endpoint(c).Owner+"="+s.Workload(a.CandidateWorkloads[i]).App)
		}
	}
	slices.Sort(names)
	return verdict{
		a.Grade.String(), a.Reason.String(), s.Endpoint(a.Endpoint).Owner, s.Workload(a.Workload).App, strings.Join(names, " "), int(a.Others),
	}
}

func (wo world) check(t fataler, s *Store, o *oracle) (grades map[string]int) {
	t.Helper()
	grades = map[string]int{}
	for _, l := range wo.lookups {
		got := words(s, s.Lookup(s.Scope(l.scope), l.ip, l.w))
		want := o.lookup(l.scope, l.ip, l.w)
		if listed := strings.Fields(got.candidates); got.others > 0 && len(listed)+got.others == len(strings.Fields(want.candidates)) &&
			!slices.ContainsFunc(listed, func(c string) bool { return !slices.Contains(strings.Fields(want.candidates), c) }) {
			got.candidates, got.others = want.candidates, 0 // the oracle has room for all
		}
		if got != want {
			var story strings.Builder
			for _, e := range wo.events {
				line, _ := event.Append(nil, &e)
				story.Write(line)
			}
			for _, b := range wo.beats {
				fmt.Fprintf(&story, "%+v\n", b)
			}
			list, _ := s.intervals(s.Scope(l.scope), l.ip, 0)
			for _, v := range list.appendTo(nil) {
				fmt.Fprintf(&story, "%s %+v\n", s.owners.names.name(v.owner), v)
			}
			fmt.Fprintf(&story, "oracle %+v", o.runs(l.scope, l.ip.String()))
			t.Fatalf("%+v: store (-), oracle (+):\n%s\n%s", l, cmp.Diff(got, want, cmp.AllowUnexported(verdict{})), story.String())
		}
		grades[got.grade+"/"+got.reason]++
	}
	return grades
}

// TestS3 holds the row S3: one million random events and look-ups, answered like the oracle. `make full` runs the million
// (DREDGE_FULL=1) and asserts the number; `make test` runs a tenth, so that the whole suite stays short.
func TestS3(t *testing.T) {
	worlds := 1500
	if os.Getenv("DREDGE_FULL") != "" {
		worlds = 15_000
	}
	r := rand.New(rand.NewPCG(7, 11))
	pick := func(n int) int { return r.IntN(n) }
	grades := map[string]int{}
	total := 0
	for range worlds {
		wo := makeWorld(pick, 4+pick(24), pick(7), 50)
		s := newStore(t)
		wo.fill(t, s, pick)
		for g, n := range wo.check(t, s, wo.oracle()) {
			grades[g] += n
		}
		total += len(wo.events) + len(wo.beats) + len(wo.lookups)
	}
	if worlds == 15_000 && total < 1_000_000 {
		t.Errorf("%d events and look-ups, want a million", total)
	}
	// A test that never meets a case proves nothing about it.
	for _, must := range []string{
		"confirmed/heartbeat", "confirmed/no-workload", "covered/interval", "covered/one-workload", "covered/no-workload",
		"provisional/watermark-behind", "provisional/no-watermark", "border/near-handover", "border/starts-before-owner",
		"border/ends-after-owner", "border/owner-gap", "border/workload-changed", "ambiguous/second-owner", "ambiguous/workload-changed",
		"ambiguous/address-moved", "ambiguous/layers-disagree", "stale/released", "unknown/never-seen", "unknown/before-first-owner",
		"unknown/shared-interface",
	} {
		if grades[must] == 0 {
			t.Errorf("no look-up was answered %s", must)
		}
	}
	t.Logf("%d events and look-ups in %d worlds: %v", total, worlds, grades)
}

// The same against shrinking: when this fails, it shows a small world.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
		wo := makeWorld(pick, pick(12), pick(4), 6)
		s := newStore(t)
		wo.fill(t, s, pick)
		wo.check(t, s, wo.oracle())
	})
}

// fataler is what *testing.T, *testing.B and *rapid.T share here.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// S4: any order and any repetition of the same events gives the same state.
func TestS4(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	pick := func(n int) int { return r.IntN(n) }
	seen := map[string]bool{}
	for range 300 {
		wo := makeWorld(pick, 5+pick(40), pick(10), 0)
		first := newStore(t)
		wo.fill(t, first, nil)
		want := first.Hash()
		if seen[want] {
			t.Fatal("two worlds have one hash")
		}
		seen[want] = true
		for range 4 {
			again := newStore(t)
			wo.fill(t, again, pick)
			if again.Hash() != want {
				t.Fatalf("another order gives another state:\n%s", cmp.Diff(first.dump(), again.dump()))
			}
		}
	}
}
