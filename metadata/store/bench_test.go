package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	runtimemetrics "runtime/metrics"
	"testing"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"
)

// estate fills a store with owners in turn on each address, ten minutes apart, and completes it.
func estate(tb testing.TB, addresses, versions int) *Store {
	tb.Helper()
	return estateOf(tb, addresses, versions, addresses)
}

// estateOf is estate with a number of interfaces of its own.
func estateOf(tb testing.TB, addresses, versions, interfaces int) *Store {
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
			owner := (i + v*7919) % interfaces
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
	look := func(b *testing.B) {
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
	b.Run("pages=4K", look)
	if huge := s.HugePages(); huge > 0 {
		b.Run("pages=2M", func(b *testing.B) { // as a worker has them
			look(b)
			b.ReportMetric(float64(huge)/float64(s.Size().TableBytes), "huge/table-bytes")
		})
	}
}

// BenchmarkLookupBatched asks the same of 64 flows together, after Warm; one operation is one look-up. Its time includes Warm.
func BenchmarkLookupBatched(b *testing.B) {
	const addresses, versions = 1_000_000, 4
	s := estate(b, addresses, versions)
	r := rand.New(rand.NewPCG(1, 2))
	asks := make([]metadata.Ask, 1<<15)
	sc := s.Scope("vpc-1")
	for i := range asks {
		asks[i] = metadata.Ask{Scope: sc, Src: benchIP(r.IntN(addresses)), Dst: benchIP(r.IntN(addresses))}
	}
	w := metadata.Window{Start: versions*600_000 + 200_000, End: versions*600_000 + 230_000}
	runtime.GC() // the filling's garbage is not the look-up's
	s.HugePages()
	b.ReportAllocs()
	lookups, named, at := 0, 0, 0
	for b.Loop() {
		if lookups&(2*warmBlock-1) == 0 {
			at = (at + warmBlock) & (len(asks) - 1)
			s.Warm(asks[at : at+warmBlock])
		}
		ip := asks[at+lookups>>1&(warmBlock-1)].Src
		if lookups&1 == 1 {
			ip = asks[at+lookups>>1&(warmBlock-1)].Dst
		}
		if s.Lookup(sc, ip, w).Grade.Names() {
			named++
		}
		lookups++
	}
	if named != lookups {
		b.Fatalf("%d of %d look-ups named", named, lookups)
	}
}

// BenchmarkMemory fills a store with 10 M versions of 2 M addresses, which 200,000 interfaces hold in turn, and reports what
// that takes and what it costs the garbage collector. One operation is one of its cycles from begin to end; least-ms/cycle is the one
// that the rest of the machine disturbed least, cpu-ms/cycle the processor time of marking, max-pause-ns the longest time in which
// everything stood still, over the last 256 cycles at most.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := estateOf(b, 2_000_000, 5, 200_000)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := s.Size()
	cpu, least := gcSeconds(), time.Hour
	for b.Loop() {
		began := time.Now()
		runtime.GC()
		least = min(least, time.Since(began))
	}
	var cycles runtime.MemStats
	runtime.ReadMemStats(&cycles)
	pause := uint64(0)
	for n := after.NumGC; n < cycles.NumGC; n++ {
		pause = max(pause, cycles.PauseNs[n%256]) // cycle n+1
	}
	b.ReportMetric(float64(least.Microseconds())/1e3, "least-ms/cycle")
	b.ReportMetric(float64(pause), "max-pause-ns")
	b.ReportMetric((gcSeconds()-cpu)*1e3/float64(b.N), "cpu-ms/cycle")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
	b.ReportMetric(float64(size.TableBytes)/1e6, "table-MB")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(size.Tenures), "B/version")
	runtime.KeepAlive(s)
}

// gcSeconds is the processor time that the garbage collector's marking took so far.
func gcSeconds() float64 {
	sample := []runtimemetrics.Sample{{Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/assist:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	runtimemetrics.Read(sample)
	sum := 0.0
	for _, x := range sample {
		sum += x.Value.Float64()
	}
	return sum
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

// BenchmarkNetworks tells a scope 100,000 delegated prefixes in every round; one operation is one event.
func BenchmarkNetworks(b *testing.B) {
	const prefixes = 100_000
	b.ReportAllocs()
	for b.Loop() {
		s := newStore(b)
		e := event.Event{Op: event.Assign, Src: "bench", Scope: "vpc-1", From: 1000}
		for i := range prefixes {
			e.CIDR = netip.PrefixFrom(benchIP(16*i), 28).String()
			e.Owner = fmt.Sprintf("eni:eni-%07x", i/16)
			if err := s.Apply(&e); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/prefixes, "ns/event")
}
