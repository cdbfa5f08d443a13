package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/metadata"
)

// Heartbeats that come in the order of time mostly continue what is there, and are taken in without deriving anything. The same
// ones in another order are not. Both must give the same knowledge and the oracle's answers.
func TestExtend(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 7))
	pick := func(n int) int { return r.IntN(n) }
	extended, bridgedOver := 0, 0
	for range 400 {
		wo := makeWorld(pick, pick(7), 0, 20)
		start := int64(10_000)
		for range 3 + pick(25) {
			start += int64([]int{1000, 5000, 20_000, 70_000, 130_000}[pick(5)])
			b := Sighting{ENI: "eni-1", IP: worldIPs[0], Scope: 2, Start: start, End: start + int64(pick(40))*1000, Primary: pick(8) > 0}
			if pick(12) == 0 {
				b.ENI = "eni-2"
			}
			if pick(10) == 0 {
				b.IP = worldIPs[1]
			}
			wo.beats = append(wo.beats, b)
		}
		first := newStore(t)
		wo.fill(t, first, nil)
		wo.check(t, first, wo.oracle())
		for order := range 3 {
			if order == 0 {
				slices.Reverse(wo.beats)
			} else {
				r.Shuffle(len(wo.beats), func(i, j int) { wo.beats[i], wo.beats[j] = wo.beats[j], wo.beats[i] })
			}
			again := newStore(t)
			wo.fill(t, again, nil)
			if first.Hash() != again.Hash() {
				t.Fatalf("another order gives another state:\n%s", cmp.Diff(first.dump(), again.dump()))
			}
		}
	}
	// Counted apart, on the table itself: a test of a way that is never taken would show nothing.
	s := newStore(t)
	sc := s.InternScope("vpc-1")
	give(t, s, assignA)
	for i := range int64(50) {
		at := 2_000_000 + i*30_000 + i/10*300_000
		x := Sighting{Scope: sc, ENI: "eni-a", IP: worldIPs[0], Start: at, End: at + 20_000, Primary: true}
		s.Observe(x)
		k, hash := makeKey4(sc, worldIPs[0])
		sh := s.v4.shard(hash)
		tab, slot := sh.slot(k, hash, hashKey4)
		e := evidence{from: x.End + 5000, to: x.End + 6000, owner: s.owners.names.get("", "eni:eni-a"), kind: beatSight, flags: primary}
		if tab.extend(slot, &e, 120_000, true) {
			extended++
		}
		e.from, e.to = e.to+100_000, e.to+110_000
		if i%10 == 9 && tab.extend(slot, &e, 120_000, true) {
			bridgedOver++
		}
	}
	if extended < 50 || bridgedOver < 3 {
		t.Errorf("%d sightings continued the last one, %d over a silence", extended, bridgedOver)
	}
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2030, 2040), "confirmed/heartbeat eni:eni-a api")
}

// A sighting inside a tenure that traffic showed before and after is taken in without deriving anything, whether it stands alone in the
// silence, continues a piece, or joins two, as long as one silence is left. What was told of others at that time must be weighed.
func TestWithin(t *testing.T) {
	sightings := []int64{2000, 2600, 3200, 3800} // seconds; each lasts twenty
	for _, x := range []struct {
		name       string
		start, end int64
		more       []string
		want       bool
		pieces     int
	}{
		{"alone", 2300, 2320, nil, true, 5},
		{"behind a piece", 2050, 2080, nil, true, 4},
		{"before a piece", 3150, 3180, nil, true, 4},
		{"joins two", 2050, 2590, nil, true, 3},
		{"joins three", 2050, 3190, nil, true, 2},
		{"joins all", 2015, 3815, nil, false, 4},
		{"before all", 1500, 1520, nil, true, 5},
		{"begins before", 1990, 2030, nil, true, 4},
		{"before the told begin", 990, 1010, nil, false, 4},
		{"ends behind", 3790, 3830, nil, false, 4},
		{"another owner was told before", 2300, 2320, []string{`{"v":1,"op":"assign","src":"api","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-b","from":500,"to":900}`}, true, 5},
		{"another owner begins inside", 2300, 2320, []string{`{"v":1,"op":"assign","src":"api","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-b","from":3000}`}, false, 4},
		{"its own end inside", 2300, 2320, []string{`{"v":1,"op":"release","src":"api","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","to":3000}`}, false, 4},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newStore(t)
			sc := s.InternScope("vpc-1")
			give(t, s, assignA)
			for _, at := range sightings {
				s.Observe(Sighting{Scope: sc, ENI: "eni-a", IP: worldIPs[0], Start: at * 1000, End: (at + 20) * 1000, Primary: true})
			}
			give(t, s, x.more...)
			k, hash := makeKey4(sc, worldIPs[0])
			tab, slot := s.v4.shard(hash).slot(k, hash, hashKey4)
			e := evidence{from: x.start * 1000, to: x.end*1000 + second, owner: s.owners.names.get("", "eni:eni-a"), kind: beatSight, flags: primary}
			if got := tab.within(slot, &e, 120_000, true); got != x.want {
				t.Fatalf("taken in: %v, want %v", got, x.want)
			}
			pieces, got := 0, tab.evidence(slot)
			for i := range got {
				if got[i].evidence().kind == beatSight {
					pieces++
				}
			}
			if pieces != x.pieces {
				t.Errorf("%d pieces, want %d: %v", pieces, x.pieces, got)
			}
		})
	}
}

// BenchmarkObserveShuffled takes in sightings of random interfaces at random times of one hour: what a backlog is read like.
func BenchmarkObserveShuffled(b *testing.B) {
	const addresses = 10_000
	r := rand.New(rand.NewPCG(5, 5))
	enis := make([]string, addresses)
	for i := range enis {
		enis[i] = fmt.Sprintf("eni-%07x", (i+3*7919)%addresses) // its last owner
	}
	b.ReportAllocs()
	var s *Store
	var sc metadata.Scope
	for n := 0; b.Loop(); n++ {
		if n%(15*addresses) == 0 {
			b.StopTimer()
			s = estate(b, addresses, 4)
			sc = s.InternScope("vpc-1")
			b.StartTimer()
		}
		i, start := r.IntN(addresses), 3_000_000+int64(r.IntN(3600))*1000
		if !s.Observe(Sighting{Scope: sc, ENI: enis[i], IP: benchIP(i), Start: start, End: start + 30_000, Primary: true}) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkObserveRandom takes in sightings of random interfaces, each a little later than the last one of its interface: what
// the records of a large estate do.
func BenchmarkObserveRandom(b *testing.B) {
	const addresses = 100_000
	s := estate(b, addresses, 1)
	sc := s.InternScope("vpc-1")
	enis := make([]string, addresses)
	for i := range enis {
		enis[i] = fmt.Sprintf("eni-%07x", i)
	}
	r := rand.New(rand.NewPCG(5, 5))
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		i := r.IntN(addresses)
		start := 1_000_000 + n*10
		if !s.Observe(Sighting{Scope: sc, ENI: enis[i], IP: benchIP(i), Start: start, End: start + 30_000, Primary: true}) {
			b.Fatal("refused")
		}
	}
}
