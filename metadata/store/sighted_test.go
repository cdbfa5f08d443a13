package store

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"dredge/metadata"
)

// What Sighted says is known must be known: taking the sighting in as well changes nothing, whatever else was told, trimmed or
// forgotten meanwhile.
func TestSightedChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 3))
	pick := func(n int) int { return r.IntN(n) }
	other := netip.MustParseAddr("10.9.9.9")
	yes := 0
	for range 300 {
		wo := makeWorld(pick, pick(8), 0, 1)
		s := newStore(t)
		wo.fill(t, s, nil)
		start := int64(10_000)
		for range 40 {
			start += int64([]int{-130_000, 0, 1000, 5000, 70_000, 130_000}[pick(6)])
			start = max(start, 1)
			x := Sighting{
				ENI: []string{"eni-1", "eni-1", "eni-2"}[pick(3)], IP: worldIPs[0], Scope: metadata.Scope([]int{0, 2, 2, 3}[pick(4)]),
				Start: start, End: start + int64(pick(40))*1000 + int64(pick(2))*500, Primary: pick(8) > 0,
			}
			if pick(20) == 0 {
				s.Trim(time.UnixMilli(start).Add(s.cfg.Retention - time.Minute))
			}
			src, dst, w := x.IP, other, metadata.Window{Start: x.Start, End: x.End}
			if pick(2) == 0 {
				src, dst = dst, src
			}
			known := false
			if id := s.FindInterface(x.ENI); id != 0 {
				known = s.Sighted(id, x.Scope, src, dst, w)
			}
			before := ""
			if known {
				before = s.Hash()
				yes++
			}
			s.Observe(x)
			if known && s.Hash() != before {
				t.Fatalf("%+v was said to be known, and changed something", x)
			}
		}
	}
	if yes < 500 {
		t.Errorf("%d sightings were known: too few to tell anything", yes)
	}
}

// An address with more evidence than is kept forgets some, and then nothing is said of what was forgotten.
func TestSightedForgets(t *testing.T) {
	s := newStore(t)
	sc := s.InternScope("vpc-1")
	ip, other := worldIPs[0], netip.MustParseAddr("10.9.9.9")
	for i := range int64(2 * maxEvidence) {
		start := 10_000_000 + i*200_000
		s.Observe(Sighting{Scope: sc, ENI: "eni-1", IP: ip, Start: start, End: start + 5000, Primary: true})
		for k := i; i%8 == 0 && k >= max(0, i-600); k -= 7 {
			old := 10_000_000 + k*200_000
			if !s.Sighted(s.FindInterface("eni-1"), sc, ip, other, metadata.Window{Start: old, End: old + 5000}) {
				continue
			}
			before := s.Hash()
			if s.Observe(Sighting{Scope: sc, ENI: "eni-1", IP: ip, Start: old, End: old + 5000, Primary: true}); s.Hash() != before {
				t.Fatalf("sighting %d of %d was forgotten and said to be known", k, i)
			}
		}
	}
	if n := s.FindInterface("eni-1"); n == 0 || !s.Sighted(n, metadata.NoScope, ip, other, metadata.Window{Start: 10_000_000 + (2*maxEvidence-1)*200_000, End: 10_000_000 + (2*maxEvidence-1)*200_000 + 5000}) {
		t.Error("the last sighting is not known")
	}
	if s.Sighted(s.FindInterface("eni-1"), sc, ip, ip, metadata.Window{Start: 10_000_000, End: 10_001_000}) {
		t.Error("a flow from an address to itself proves nothing")
	}
}

// What most look-ups ask of an owner lies in one line of the processor's cache.
func TestOwnerIsOneLine(t *testing.T) {
	if n := unsafe.Sizeof(owner{}); n != 64 {
		t.Errorf("%d bytes", n)
	}
}

// The short way to an answer and the long one come to the same.
func TestPlainly(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	pick := func(n int) int { return r.IntN(n) }
	short, grades := 0, map[metadata.Grade]int{}
	for range 200 {
		wo := makeWorld(pick, 1+pick(12), pick(6), 60)
		s := newStore(t)
		wo.fill(t, s, pick)
		for sc := range scopeNames {
			watermark := s.scope(sc).watermark.Load()
			for _, l := range wo.lookups {
				for _, ip := range worldIPs {
					list, ports := s.intervals(keyScope(sc, ip), ip, 0)
					if len(list) == 0 || ports {
						continue
					}
					win := s.span(l.w)
					for _, mark := range []int64{watermark, 0, win.hi, win.hi - 1} {
						got, ok := s.plainly(list, &win, mark)
						if !ok {
							continue
						}
						short++
						grades[got.Grade]++
						if want := s.answer(list, false, win, mark); got != want {
							t.Fatalf("%+v, want %+v: %v in %+v", got, want, list.appendTo(nil), win)
						}
					}
				}
			}
		}
	}
	if short < 2000 || len(grades) < 3 {
		t.Errorf("%d answers of grades %v: too few to tell anything", short, grades)
	}
}

// An owner whose workload was told again with each of its addresses is still answered for in the short way.
func TestPlainlyWhenToldAgain(t *testing.T) {
	const addresses, versions = 50, 4
	s := estate(t, addresses, versions)
	w := s.span(metadata.Window{Start: versions*600_000 + 100_000, End: versions*600_000 + 130_000})
	for i := range addresses {
		list, _ := s.intervals(s.Scope("vpc-1"), benchIP(i), 0)
		if a, ok := s.plainly(list, &w, 0); !ok || a.Workload == 0 {
			t.Fatalf("address %d: %+v, short: %v", i, a, ok)
		}
	}
}
