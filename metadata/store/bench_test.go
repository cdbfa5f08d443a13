package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"dredge/metadata"
	"dredge/metadata/event"
)

// estate fills a store with owners in turn on each address, ten minutes apart, and completes it.
func estate(tb testing.TB, addresses, versions int) *Store {
	tb.Helper()
	s := newStore(tb)
	apps := make([]string, 500)
	for i := range apps {
		apps[i] = fmt.Sprintf("app-%d", i)
	}
	e := event.Event{Op: event.Assign, Src: "bench", Scope: "vpc-1", WL: &event.Workload{}}
	for v := range versions {
		for i := range addresses {
			e.IP = benchIP(i).String()
			owner := (i + v*7919) % addresses
			e.Owner = fmt.Sprintf("eni:eni-%07x", owner)
			e.From = int64(1+v) * 600_000
			e.WL.App = apps[owner%len(apps)]
			if err := s.Apply(&e); err != nil {
				tb.Fatal(err)
			}
		}
	}
	s.MarkComplete("bench")
	return s
}

func benchIP(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(i))
	return netip.AddrFrom4(b)
}

// BenchmarkApply tells a fresh store 200,000 addresses with 4 owners each in every round; one operation is one event.
func BenchmarkApply(b *testing.B) {
	const addresses, versions = 200_000, 4
	b.ReportAllocs()
	events := 0
	for b.Loop() {
		estate(b, addresses, versions)
		events += addresses * versions
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}

// BenchmarkLookup asks for both ends of a flow in a store of 1 M addresses with 4 owners each; 95 % of the flows are recent.
func BenchmarkLookup(b *testing.B) {
	const addresses, versions = 1_000_000, 4
	s := estate(b, addresses, versions)
	r := rand.New(rand.NewPCG(1, 2))
	type flow struct {
		src, dst netip.Addr
		w        metadata.Window
	}
	flows := make([]flow, 1<<16)
	for i := range flows {
		v := versions - 1
		if r.IntN(20) == 0 {
			v = r.IntN(versions)
		}
		start := int64(1+v)*600_000 + 100_000 + int64(r.IntN(300_000))
		flows[i] = flow{benchIP(r.IntN(addresses)), benchIP(r.IntN(addresses)), metadata.Window{Start: start, End: start + 30_000}}
	}
	sc := s.Scope("vpc-1")
	runtime.GC() // the filling's garbage is not the look-up's
	b.ReportAllocs()
	i, named := 0, 0
	for b.Loop() {
		f := &flows[i&(len(flows)-1)]
		if s.Lookup(sc, f.src, f.w).Grade.Names() && s.Lookup(sc, f.dst, f.w).Grade.Names() {
			named++
		}
		i++
	}
	if named != i {
		b.Fatalf("%d of %d flows named", named, i)
	}
}

// BenchmarkObserve repeats sightings that are already known, which is what nearly every record does.
func BenchmarkObserve(b *testing.B) {
	s := newStore(b)
	sc := s.InternScope("vpc-1")
	x := Sighting{Scope: sc, ENI: "eni-0123456789abcdef0", IP: benchIP(7), Start: 1_000_000, End: 1_060_000, Primary: true}
	s.Observe(x)
	b.ReportAllocs()
	for b.Loop() {
		if !s.Observe(x) {
			b.Fatal("refused")
		}
	}
}
