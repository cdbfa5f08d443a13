package store

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"golang.org/x/sync/errgroup"

	"dredge/metadata"
)

// What stands beside an address's key comes to the answer that its tenures give, at every time.
func TestCurrent(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 2))
	pick := func(n int) int { return r.IntN(n) }
	short, beats := 0, map[bool]int{}
	for range 200 {
		wo := makeWorld(pick, 1+pick(12), pick(6), 60)
		s := newStore(t)
		wo.fill(t, s, pick)
		for sc := range scopeNames {
			for _, ip := range worldIPs {
				list, ports := s.intervals(keyScope(sc, ip), ip, 0)
				for _, l := range wo.lookups {
					win := s.span(l.w)
					owner, beaten := s.current(keyScope(sc, ip), ip, &win)
					if owner == 0 {
						continue
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
	if short < 1000 || len(beats) < 2 {
		t.Errorf("%d answers, beaten %v: too few to tell anything", short, beats)
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
		if owner, _ := s.current(sc, benchIP(i), &recent); owner != list.at(versions-1).owner {
			t.Errorf("address %d: owner %d beside the key, tenures %v", i, owner, list.appendTo(nil))
		}
		if owner, _ := s.current(sc, benchIP(i), &older); owner != 0 {
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
			home, _ := bits.Mul64(hash*in.spread, uint64(len(in.slots)))
			d := place - int(home)
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
