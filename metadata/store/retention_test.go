package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

// churn is an estate in which nothing lives long. Its clock is the test's.
type churn struct {
	s      *Store
	window time.Duration // of the retention
	pool   int           // addresses that change hands
	now    time.Time
	n      int         // changes so far
	holder map[int]int // who holds an address of the pool: the number of the change
	since  map[int]int64
	end    map[int]int64 // of the last holder before
	apply  func(e event.Event)
}

// churnPool is how many addresses change hands where one does so each second: each stays with its pod for half an hour.
const churnPool = 2000

func newChurn(t testing.TB, window time.Duration, pool int) *churn {
	t.Helper()
	c := &churn{window: window, pool: pool, now: time.UnixMilli(1_700_000_000_000), holder: map[int]int{}, since: map[int]int64{}, end: map[int]int64{}}
	cfg := metadata.DefaultConfig()
	cfg.Retention = window
	s, err := New(cfg, Dependencies{Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	c.s = s
	c.apply = func(e event.Event) {
		e.Src, e.Obs = "kube", c.now.UnixMilli()
		if err := s.Apply(&e); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
	}
	return c
}

func churnApp(n int) string { return fmt.Sprint("app-", n/50) }

// change gives one address of the pool to a new pod, and now and then something else to somebody.
func (c *churn) change() {
	c.n++
	n, at := c.n, c.now.UnixMilli()
	slot := n % c.pool
	ip := benchIP(slot).String()
	pod := func(n int) string { return fmt.Sprint("pod-", n) }
	if old, held := c.holder[slot]; held {
		c.apply(event.Event{Op: event.Release, Scope: "vpc-1", IP: ip, Owner: pod(old), To: at - 70_000})
		c.end[slot] = at - 70_000
	}
	c.apply(event.Event{
		Op: event.Assign, Scope: "vpc-1", IP: ip, Owner: pod(n), From: at, WL: &event.Workload{App: churnApp(n), Cluster: fmt.Sprint("v", n/500)},
		EP: &event.Endpoint{Kind: "pod", Name: pod(n) + "-name", ENI: fmt.Sprint("eni-node-", n/100)},
	})
	c.holder[slot], c.since[slot] = n, at
	switch n % 10 {
	case 1: // an IPv6 address that is never used again
		ip := netip.AddrFrom16([16]byte{0: 0xfd, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}).String()
		c.apply(event.Event{Op: event.Assign, Scope: "vpc-1", IP: ip, Owner: pod(n) + "-six", From: at, To: at + 60_000})
	case 3: // a port of a host
		c.apply(event.Event{Op: event.Assign, Scope: "vpc-1", IP: "10.200.0.1", Proto: 6, Port: 1024 + n%60_000, Owner: pod(n) + "-task", From: at, To: at + 60_000})
	case 5: // a delegated prefix
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(n >> 12), byte(n >> 4), 0}), 28).Masked().String()
		c.apply(event.Event{Op: event.Assign, Scope: "vpc-1", CIDR: p, Owner: fmt.Sprint("eni:eni-", n), From: at, To: at + 60_000})
	case 7: // flow logs of an interface, seen in traffic
		ip := netip.AddrFrom4([4]byte{12, byte(n >> 16), byte(n >> 8), byte(n)})
		c.apply(event.Event{Op: event.Coverage, Scope: "vpc-1", Prefix: ip.String() + "/32", From: at, To: at + 60_000})
		c.s.Observe(Sighting{Scope: c.s.Scope("vpc-1"), ENI: fmt.Sprint("eni-", n), IP: benchIP(slot), Start: at - 1000, End: at, Primary: false})
	default:
	}
}

// hour lets one go by at a number of changes a second, and trims six times in a window.
func (c *churn) hour(perSecond float64) {
	due := 0.0
	for range 3600 {
		c.now = c.now.Add(time.Second)
		for due += perSecond; due >= 1; due-- {
			c.change()
		}
		if c.now.Unix()%int64(c.window.Seconds()/6) == 0 {
			c.s.MarkProgress("kube", c.now.UnixMilli())
			c.s.Trim(c.now)
		}
	}
	c.s.MarkProgress("kube", c.now.UnixMilli())
}

// TestS10 holds the row S10: over 24 simulated hours of churn history older than the configured window is freed, memory stays
// flat, and what lies within the window is answered right. `make full` (DREDGE_FULL=1) runs 50 changes a second, which is P2's rate;
// `make test` runs 1.
func TestS10(t *testing.T) {
	rate := 1.0
	if os.Getenv("DREDGE_FULL") != "" {
		rate = 50
	}
	c := newChurn(t, time.Hour, int(rate*churnPool))
	empty := liveHeap()
	var steady Size
	steadyHeap := 0.0
	for hour := 1; hour <= 24; hour++ {
		c.hour(rate)
		size, used := c.s.Size(), liveHeap()-empty
		if hour <= 5 { // two windows fill it, and two more pass until handles go round
			steady = Size{
				max(steady.Addresses, size.Addresses), max(steady.Tenures, size.Tenures), max(steady.TableBytes, size.TableBytes),
				max(steady.Endpoints, size.Endpoints), max(steady.Workloads, size.Workloads),
			}
			steadyHeap = max(steadyHeap, used)
			continue
		}
		for _, x := range []struct {
			what      string
			got, most int
		}{
			{"addresses", size.Addresses, steady.Addresses},
			{"tenures", size.Tenures, steady.Tenures},
			{"bytes of tables", size.TableBytes, steady.TableBytes},
			{"endpoints", size.Endpoints, steady.Endpoints},
			{"workloads", size.Workloads, steady.Workloads},
			{"bytes of heap", int(used), int(steadyHeap)},
		} {
			if float64(x.got) > 1.1*float64(x.most) {
				t.Errorf("hour %d: %d %s, in the first five hours at most %d", hour, x.got, x.what, x.most)
			}
		}
		c.check(t)
	}
	size := c.s.Size()
	if handles := int(c.s.owners.names.end()); size.Endpoints*4 > c.n || handles*4 > c.n {
		t.Errorf("after %d changes there are %d endpoints and %d handles", c.n, size.Endpoints, handles)
	}
	nets := 0
	c.s.scope(c.s.Scope("vpc-1")).nets.each(func(netip.Prefix, []*network) { nets++ })
	c.s.scope(c.s.Scope("vpc-1")).coverage.each(func(netip.Prefix, []version[logged]) { nets++ })
	if most := int(rate*3600/10) * 2 * 3; nets > most {
		t.Errorf("%d networks are known, %d at most in three windows", nets, most)
	}
	t.Logf("%d changes: %+v, %.1f MB of heap", c.n, size, (liveHeap()-empty)/1e6)
	again := newStore(t)
	if err := again.ReadSnapshot(bytes.NewReader(snapshotOf(t, c.s))); err != nil {
		t.Fatal(err)
	}
	if c.s.Hash() != again.Hash() {
		t.Errorf("a snapshot after sweeps gives another state:\n%.2000s", cmp.Diff(c.s.dump(), again.dump()))
	}
}

// check asks for present and past holders of the pool.
func (c *churn) check(t *testing.T) {
	t.Helper()
	sc, named := c.s.Scope("vpc-1"), 0
	for slot := range c.pool {
		n, held := c.holder[slot]
		if !held {
			continue
		}
		from := c.since[slot]
		at := min(from+120_000, c.now.UnixMilli()-10_000)
		a := c.s.Lookup(sc, benchIP(slot), metadata.Window{Start: at, End: at})
		if at-from < 90_000 {
			continue // too close to the hand-over
		}
		named++
		if ep, app := c.s.Endpoint(a.Endpoint), c.s.Workload(a.Workload).App; a.Grade != metadata.Covered || ep.Owner != fmt.Sprint("pod-", n) || ep.Name != fmt.Sprintf("pod-%d-name", n) || app != churnApp(n) {
			t.Fatalf("address %d at %d: %+v %+v %q, want the pod of change %d", slot, at, a, *ep, app, n)
		}
		old := c.now.Add(-c.window - 10*time.Minute).UnixMilli()
		if a := c.s.Lookup(sc, benchIP(slot), metadata.Window{Start: old, End: old}); a.Grade != metadata.Unknown || a.Reason != metadata.BeforeRetention {
			t.Fatalf("address %d before the window: %+v", slot, a)
		}
	}
	if named < c.pool/2 {
		t.Fatalf("only %d addresses were asked for", named)
	}
}

// Readers and writers go on while owners are swept and their handles given to others: nobody is ever named for somebody else.
func TestSweepUnderReaders(t *testing.T) {
	c := newChurn(t, 10*time.Minute, churnPool)
	c.hour(2)
	sc := c.s.Scope("vpc-1")
	var mu sync.Mutex // guards what the readers know of the truth: the number of a pod is in its name, and so is its application
	stop := make(chan struct{})
	var readers sync.WaitGroup
	read := 0
	for n := range 2 {
		readers.Go(func() {
			r, mine := rand.New(rand.NewPCG(uint64(n), 5)), 0
			for {
				select {
				case <-stop:
					mu.Lock()
					read += mine
					mu.Unlock()
					return
				default:
				}
				at := c.s.floor.Load() + r.Int64N(c.window.Milliseconds())
				a := c.s.Lookup(sc, benchIP(r.IntN(churnPool)), metadata.Window{Start: at, End: at})
				if !a.Grade.Names() {
					continue
				}
				var pod int
				if _, err := fmt.Sscanf(c.s.Endpoint(a.Endpoint).Owner, "pod-%d", &pod); err != nil {
					continue // the endpoint was swept since
				}
				if app := c.s.Workload(a.Workload).App; app != churnApp(pod) && app != "" {
					t.Errorf("pod %d is said to run %q", pod, app)
					return
				}
				mine++
			}
		})
	}
	for range 2 {
		c.hour(2)
	}
	close(stop)
	readers.Wait()
	if read < 100 {
		t.Errorf("only %d answers were checked", read)
	}
	if handles := int(c.s.owners.names.end()); handles*2 > c.n {
		t.Errorf("%d handles for %d changes: none was given out again, so the test shows nothing", handles, c.n)
	}
}

// Whoever never had an address is kept: traffic may show one at any time.
func TestDescribedOwnersAreKept(t *testing.T) {
	c := newChurn(t, 10*time.Minute, churnPool)
	c.apply(event.Event{Op: event.Describe, Owner: "eni:eni-quiet", From: 1, WL: &event.Workload{App: "quiet"}})
	c.hour(0.1)
	at := c.now.UnixMilli()
	c.s.Observe(Sighting{Scope: c.s.Scope("vpc-1"), ENI: "eni-quiet", IP: netip.MustParseAddr("10.99.0.1"), Start: at - 60_000, End: at, Primary: true})
	v := words(c.s, c.s.Lookup(c.s.Scope("vpc-1"), netip.MustParseAddr("10.99.0.1"), metadata.Window{Start: at - 50_000, End: at - 40_000}))
	expect(t, v.grade+"/"+v.reason+" "+v.workload, "confirmed/heartbeat quiet")
}
