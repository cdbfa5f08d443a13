package kinesis

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dredge/consumer/kinesis/lease"
)

func plainBalance(me string, leases []lease.Lease, held map[string]bool) balance {
	return balance{
		me: me, leases: leases, failover: 10 * time.Second,
		held:    func(k string) bool { return held[k] },
		cooling: func(string) bool { return false },
		own:     func(string) bool { return false },
		still:   func(lease.Lease) time.Duration { return 0 },
		free:    func(lease.Lease) time.Duration { return 0 },
		known:   true,
	}
}

func TestPlan(t *testing.T) {
	mk := func(owners ...string) []lease.Lease {
		var out []lease.Lease
		for i, o := range owners {
			out = append(out, lease.Lease{Key: fmt.Sprint(i), Owner: o})
		}
		return out
	}
	f := func(why string, b balance, take, steal int) {
		t.Helper()
		p := b.plan()
		if len(p.take) != take || len(p.steal) != steal {
			t.Errorf("%s: take %d steal %d, want %d and %d", why, len(p.take), len(p.steal), take, steal)
		}
	}
	me := "java-me"
	f("alone, all free", plainBalance(me, mk("", "", "", ""), nil), 4, 0)
	f("share of free ones", plainBalance(me, mk("", "", "", "b"), nil), 2, 0)
	f("off by one is no reason", plainBalance(me, mk("b", "b", me), map[string]bool{"2": true}), 0, 0)
	f("one at a time", plainBalance(me, mk("b", "b", "b", "b"), nil), 0, 1)
	f("not from the fair", plainBalance(me, mk("b", "c", me), map[string]bool{"2": true}), 0, 0)
	f("rounding left us short", plainBalance(me, mk("b", "b", "b", "b", "c", "c", "c", "c", me, me), map[string]bool{"8": true, "9": true}), 0, 1)
	f("nothing free, nobody over", plainBalance(me, mk("b", "c"), nil), 0, 0)
	f("no leases", plainBalance(me, nil, nil), 0, 0)
	// dredge among itself asks for all it lacks.
	f("hand-off", plainBalance("dredge-me", mk("dredge-b", "dredge-b", "dredge-b", "dredge-b"), nil), 0, 2)
	f("not beside Java", plainBalance("dredge-me", mk("dredge-b", "dredge-b", "dredge-b", "dredge-b", "java-c"), nil), 0, 1)

	b := plainBalance(me, mk("", "", ""), nil)
	b.max = 2
	f("bounded", b, 2, 0)
	b = plainBalance(me, mk("b", "b", "b", "b"), nil)
	b.still = func(lease.Lease) time.Duration { return 31 * time.Second }
	b.free = b.still
	f("all expired long ago", b, 4, 0)
	b = plainBalance(me, mk("b", "b", "b", me, me), map[string]bool{"3": true, "4": true})
	b.still = func(l lease.Lease) time.Duration {
		if l.Key == "0" {
			return 31 * time.Second
		}
		return 0
	}
	b.free = b.still
	f("very old beyond the share", b, 1, 0)
	b.max = 2
	f("but not beyond the bound", b, 0, 0)
	b = plainBalance(me, mk("", "b", "b"), nil)
	b.cooling = func(k string) bool { return k == "0" }
	f("cooling ones are left, and nobody is robbed for them", b, 0, 0)

	rows := mk("b", "b", "b", "b")
	rows[0].Owner, rows[0].CheckpointOwner = me, "b"
	f("a hand-off to us counts", plainBalance(me, rows, map[string]bool{"0": true}), 0, 1)
	rows[0].Owner = "c"
	p := plainBalance(me, rows, nil).plan()
	if slices.ContainsFunc(p.steal, func(l lease.Lease) bool { return l.InHandOff() }) {
		t.Error("a lease in hand-off was stolen")
	}
}

// Any number of workers, whatever they start with, come to rest with all leases owned and nobody two above another.
func TestBalanceConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "leases")
		workers := rapid.IntRange(1, 6).Draw(t, "workers")
		prefix := rapid.SampledFrom([]string{"java-", "dredge-"}).Draw(t, "prefix")
		leases := make([]lease.Lease, n)
		for i := range leases {
			leases[i].Key = fmt.Sprint(i)
			if w := rapid.IntRange(0, workers).Draw(t, "owner"); w > 0 {
				leases[i].Owner = prefix + fmt.Sprint(w)
			}
		}
		counts := func() map[string]int {
			c := map[string]int{}
			for _, l := range leases {
				c[l.Owner]++
			}
			return c
		}
		quiet := 0
		for round := 0; quiet < workers; round++ {
			if round > 40*workers {
				t.Fatalf("not at rest after %d rounds: %v", round, counts())
			}
			me := prefix + fmt.Sprint(round%workers+1)
			held := map[string]bool{}
			for _, l := range leases {
				held[l.Key] = l.Owner == me
			}
			p := plainBalance(me, leases, held).plan()
			quiet++
			for _, l := range append(p.take, p.steal...) {
				i := slices.IndexFunc(leases, func(x lease.Lease) bool { return x.Key == l.Key })
				if held[l.Key] {
					t.Fatalf("%s takes its own", me)
				}
				leases[i].Owner = me
				quiet = 0
			}
		}
		c := counts()
		if c[""] > 0 {
			t.Fatalf("%d leases without owner at rest", c[""])
		}
		low, high := n, 0
		for w := range workers {
			low, high = min(low, c[prefix+fmt.Sprint(w+1)]), max(high, c[prefix+fmt.Sprint(w+1)])
		}
		if high-low > 1 && n > 0 {
			t.Fatalf("at rest with %v", c)
		}
	})
}

func TestObserver(t *testing.T) {
	o, t0 := newObserver(), time.Unix(1000, 0)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	owned, free := lease.Lease{Key: "owned", Owner: "b", Counter: 5}, lease.Lease{Key: "free"}
	o.update([]lease.Lease{owned, free}, "me", at(0))
	if got := o.still(owned, at(3)); got != 3*time.Second {
		t.Errorf("newly seen owned: still for %s", got)
	}
	if got := o.still(free, at(0)); got < time.Hour {
		t.Errorf("newly seen free: still for %s", got)
	}
	owned.Counter++
	o.update([]lease.Lease{owned, free}, "me", at(8))
	if got := o.still(owned, at(9)); got != time.Second {
		t.Errorf("renewed: still for %s", got)
	}
	o.update(nil, "me", at(10))
	o.update([]lease.Lease{owned}, "me", at(20))
	if got := o.still(owned, at(21)); got != time.Second {
		t.Errorf("vanished and back: still for %s", got)
	}
}
