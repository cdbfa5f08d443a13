package store

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sync/errgroup"

	"dredge/metadata"
)

// What stands beside an address's key comes to the answer that its tenures give, at every time.
func TestCurrent(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 2))
	pick := func(n int) int { return r.IntN(n) }
	short, beats, primaries := 0, map[bool]int{}, map[bool]int{}
	for range 200 {
		wo := makeWorld(pick, 1+pick(12), pick(6), 60)
		s := newStore(t)
		wo.fill(t, s, pick)
		for sc := range scopeNames {
			for _, ip := range worldIPs {
				list, ports := s.intervals(keyScope(sc, ip), ip, 0)
				for _, l := range wo.lookups {
					win := s.span(l.w)
					now := s.current(keyScope(sc, ip), ip)
					if now == nil {
						continue
					}
					owner, beaten := now.at(&win)
					if owner == 0 {
						continue
					}
					if whole, prim := list.hold(owner, win.start, win.end); !whole {
						t.Fatalf("owner %d did not hold all of %+v: %v", owner, win, list.appendTo(nil))
					} else if gotWhole, gotPrim := now.holds(owner, &win); !gotWhole || gotPrim != prim {
						t.Fatalf("holds %v, primary %v, want true, %v: %v in %+v", gotWhole, gotPrim, prim, list.appendTo(nil), win)
					} else {
						primaries[prim]++
					}
					if other, _ := now.holds(owner+1, &win); other {
						t.Fatalf("owner %d holds the address of %d", owner+1, owner)
					}
					for _, mark := range []int64{0, win.hi, win.hi - 1} {
						got, ok := s.heldBy(owner, beaten, &win, mark)
						if !ok {
							continue
						}
						short++
						beats[beaten >= win.end]++
						if want := s.answer(list, ports, win, mark); got != want {
							t.Fatalf("%+v, want %+v: %v in %+v", got, want, list.appendTo(nil), win)
						}
					}
				}
			}
		}
	}
	if short < 1000 || len(beats) < 2 || len(primaries) < 2 {
		t.Errorf("%d answers, beaten %v, primary %v: too few to tell anything", short, beats, primaries)
	}
}

// Up to when traffic showed the owner is told for flows that began while it did, and for no others; where the words beside the key are too
// coarse to tell, the tenures are asked.
func TestCurrentShown(t *testing.T) {
	const day = 86_400_000
	told := interval{from: 1000, to: forever, owner: 7}
	shown := func(from, to int64) interval { return interval{from: from, to: to, owner: 7, flags: beat} }
	type answer struct {
		owner uint32
		shown int64
	}
	for _, x := range []struct {
		name string
		list []interval
		want map[int64]answer // by the begin of the flow, which is that of the window as well
	}{
		{"told only", []interval{told}, map[int64]answer{999: {}, 1000: {7, 0}, 5000: {7, 0}}},
		{"shown for a while", []interval{told, shown(10_000, 20_000)}, map[int64]answer{9999: {7, 0}, 10_000: {7, 20_000}, 15_000: {7, 20_000}, 20_000: {7, 20_000}}},
		{"between two seconds", []interval{told, shown(10_500, 20_000)}, map[int64]answer{10_499: {}, 10_500: {}, 10_999: {}, 11_000: {7, 20_000}}},
		{"for two days", []interval{told, shown(10_000, 2*day)}, map[int64]answer{10_000: {}, day: {}, 2*day - 65_535_000: {7, 2 * day}}},
		{
			"twice",
			[]interval{told, shown(10_000, 20_000), shown(100_000, 120_000)},
			map[int64]answer{10_000: {}, 19_999: {}, 20_000: {7, 0}, 99_999: {7, 0}, 100_000: {7, 120_000}},
		},
		{"the longer one first", []interval{told, shown(10_000, 50_000), shown(12_000, 20_000)}, map[int64]answer{12_000: {}, 20_000: {7, 50_000}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			var list tenures
			for i := range x.list {
				list = append(list, packInterval(&x.list[i]))
			}
			var c current
			c.take()
			c.set(list)
			for start, want := range x.want {
				w := span{lo: start, start: start, end: start + 500, hi: start + 500}
				if owner, beaten := c.at(&w); (answer{owner, beaten}) != want {
					t.Errorf("a flow from %d on: owner %d, shown up to %d, want %+v", start, owner, beaten, want)
				}
			}
		})
	}
}

// A reader takes an owner together with that owner's own times, however often both change meanwhile.
func TestCurrentIsWhole(t *testing.T) {
	const small, large = 7, 1<<(ownerHigh+ownerLow) - 5
	first := tenures{packInterval(&interval{from: 1000, to: 2000, owner: small})}
	second := tenures{packInterval(&interval{from: 1000, to: 4000, owner: large}), packInterval(&interval{from: 1000, to: 3000, owner: large, flags: beat})}
	var c current
	c.take()
	var g errgroup.Group
	g.Go(func() error {
		for range 100_000 {
			c.set(first)
			c.set(second)
		}
		return nil
	})
	w := span{lo: 1000, start: 1000, end: 2000, hi: 2000}
	for range 200_000 {
		switch owner, beaten := c.at(&w); {
		case owner == 0, owner == small && beaten == 0, owner == large && beaten == 3000:
		default:
			t.Fatalf("owner %d, beaten %d", owner, beaten)
		}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if owner, beaten := c.at(&w); owner != large || beaten != 3000 {
		t.Errorf("at rest: owner %d, beaten %d", owner, beaten)
	}
	before := c.state.Load()
	c.set(first)
	c.set(second)
	if c.state.Load() == before {
		t.Error("a reader that was interrupted in between can't see that there were changes")
	}
}

// An address whose owner changed is answered for from beside its key as soon as the change is told, an older flow from the tenures.
func TestCurrentOfAnEstate(t *testing.T) {
	const addresses, versions = 50, 4
	s := estate(t, addresses, versions)
	sc := s.Scope("vpc-1")
	recent := s.span(metadata.Window{Start: versions*600_000 + 100_000, End: versions*600_000 + 130_000})
	older := s.span(metadata.Window{Start: (versions-1)*600_000 + 100_000, End: (versions-1)*600_000 + 130_000})
	for i := range addresses {
		list, _ := s.intervals(sc, benchIP(i), 0)
		now := s.current(sc, benchIP(i))
		if owner, _ := now.at(&recent); owner != list.at(versions-1).owner {
			t.Errorf("address %d: owner %d beside the key, tenures %v", i, owner, list.appendTo(nil))
		}
		if owner, _ := now.at(&older); owner != 0 {
			t.Errorf("address %d: owner %d beside the key stands for an older flow", i, owner)
		}
	}
}

// Keys that come in the order of another table's slots, as a snapshot has them, find their places near where they belong.
func TestKeysInOrderOfSlots(t *testing.T) {
	const keys = 200_000
	var from, to addresses[key4]
	from.init()
	to.init()
	for i := range keys {
		k, hash := makeKey4(metadata.Public, benchIP(i))
		tab, place := from.shard(hash).slot(k, hash, hashKey4)
		tab.refs[place].Store(refPorts) // so that it is kept when the table grows
	}
	far, steps, seen := 0, 0, 0
	for i := range from.shards {
		tab := from.shards[i].tab.Load()
		for j := range tab.slots {
			if tab.slots[j].now.free() {
				continue
			}
			k := tab.slots[j].key
			hash := hashKey4(k)
			in, place := to.shard(hash).slot(k, hash, hashKey4)
			in.refs[place].Store(refPorts)
			d := place - in.home(hash)
			if d < 0 {
				d += len(in.slots)
			}
			far, steps, seen = max(far, d), steps+d, seen+1
		}
	}
	if mean := float64(steps) / keys; mean > 15 || far > 1000 || seen != keys {
		t.Errorf("%d keys: a key lies %.1f slots from where it belongs on average, one %d", seen, mean, far)
	}
}
