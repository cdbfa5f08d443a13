package ec2

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/awsfake"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

func TestAListingTellsOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		began := time.Now()
		attached := began.Add(-time.Hour)
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			box(w, 1, attached, tag("app", "playback"), tag("team", "video"))
			n := &w.NetworkInterfaces[0]
			n.PrivateIPs = append(n.PrivateIPs, awsfake.PrivateIP{Address: "10.0.0.99"})
			n.PrivateIPs[0].PublicIP = "52.1.2.3"
			n.IPv6 = []awsfake.IPv6{{Address: "2600:1f00::1"}}
			n.IPv4Prefixes = []awsfake.IPv4Prefix{{Prefix: "10.0.8.0/28"}}
		})
		r.start()
		events := r.take()
		want := []string{
			"assign public 52.1.2.3 eni:eni-00000001", "assign vpc-0a 10.0.0.0/16 vpc:vpc-0a", "assign vpc-0a 10.0.0.0/20 subnet:subnet-0a",
			"assign vpc-0a 10.0.0.1 eni:eni-00000001", "assign vpc-0a 10.0.0.99 eni:eni-00000001", "assign vpc-0a 10.0.8.0/28 eni:eni-00000001",
			"assign vpc-0a 2600:1f00::1 eni:eni-00000001",
		}
		if diff := cmp.Diff(want, told(events, event.Assign, event.Release, event.Describe)); diff != "" {
			t.Error(diff)
		}
		first := find(events, event.Assign, "10.0.0.1")
		yes := true
		wantFirst := &event.Event{
			V: 1, Src: homeSrc, Op: event.Assign, Scope: "vpc-0a", IP: "10.0.0.1", Owner: "eni:eni-00000001", Primary: &yes, SDC: &yes,
			// Attach time is of whole seconds.
			From: attached.UnixMilli() + 1000, Acc: 2000, Obs: began.UnixMilli(), Epoch: began.UnixMilli(), Seq: first.Seq,
			EP: &event.Endpoint{Kind: "instance", ENI: "eni-00000001", Instance: "i-00000001", Subnet: "subnet-0a", AZ: "use1-az4"},
			WL: &event.Workload{App: "playback", AppSource: "tag:app", Team: "video", Account: home, VPC: "vpc-0a", Region: region},
		}
		if diff := cmp.Diff(wantFirst, first); diff != "" {
			t.Error(diff)
		}
		// Attach time says nothing of an address that may have been added later. Nobody looked before this listing.
		for _, ip := range []string{"10.0.0.99", "52.1.2.3", "2600:1f00::1", "10.0.8.0/28"} {
			if e := find(events, event.Assign, ip); e.From != began.UnixMilli() || e.Acc != event.MaxAcc {
				t.Errorf("%s from %d acc %d", ip, e.From, e.Acc)
			}
		}
		if got := progress(events); got != began.Add(-30*time.Second).UnixMilli() {
			t.Errorf("watermark %d; want the listing's start less the age that answers may have", got)
		}
		if err := r.source.Listed(); err != nil {
			t.Error(err)
		}

		// Nothing changes: the watermark is repeated every ten seconds, and moves with the next listing only.
		r.after(55 * time.Second)
		quiet := r.take()
		if got := len(told(quiet, event.Progress)); got != 5 || progress(quiet) != began.Add(-30*time.Second).UnixMilli() || len(quiet) != 5 {
			t.Errorf("%d progress events to %d among %d", got, progress(quiet), len(quiet))
		}
		r.after(10 * time.Second)
		if got := progress(r.take()); got != began.Add(30*time.Second).UnixMilli() {
			t.Errorf("watermark %d after the second listing", got)
		}

		// A new secondary address: from the listing that saw it, uncertain back to the one before.
		r.ec2.Update(func(w *awsfake.EC2World) {
			n := w.Interface("eni-00000001")
			n.PrivateIPs = append(n.PrivateIPs[:2:2], awsfake.PrivateIP{Address: "10.0.0.100"})
		})
		r.after(60 * time.Second)
		e := find(r.take(), event.Assign, "10.0.0.100")
		if e == nil || e.From != began.Add(2*time.Minute).UnixMilli() || e.Acc != 90_000 {
			t.Errorf("new secondary address: %+v", e)
		}

		// A changed tag is told from the listing on that saw it.
		r.ec2.Update(func(w *awsfake.EC2World) { w.Instances[0].Tags = []awsfake.Tag{tag("app", "encoding")} })
		r.after(60 * time.Second)
		events = r.take()
		if d := find(events, event.Describe, ""); d == nil || d.WL.App != "encoding" || d.From != began.Add(3*time.Minute).UnixMilli() || len(told(events, event.Describe)) != 1 {
			t.Errorf("renamed: %+v", d)
		}
	})
}

func TestEveryPageIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.PageSize = 5 })
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			for n := range 23 {
				box(w, n+1, time.Now().Add(-time.Hour))
			}
		})
		r.start()
		r.after(30 * time.Second) // the bucket holds ten calls; the other ones take their time
		if got := len(addresses(r.take())); got != 23 {
			t.Errorf("%d interfaces told of 23", got)
		}
		if got := r.aws.Count("DescribeNetworkInterfaces"); got != 5 {
			t.Errorf("%d calls for 23 interfaces in pages of 5", got)
		}
	})
}

// An interface of the first page goes while the second is read: the one at the border is in neither page.
func TestPageDriftReleasesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.PageSize = 5 })
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			for n := range 12 {
				box(w, n+1, time.Now().Add(-time.Hour))
			}
		})
		r.start()
		r.after(55 * time.Second)
		r.take()
		r.aws.Inject(awsfake.Fault{Op: "DescribeNetworkInterfaces", Kind: awsfake.Delay, Delay: 5 * time.Second, Skip: 1, Times: 1})
		r.after(7 * time.Second) // between the first page and the second
		r.ec2.Update(func(w *awsfake.EC2World) { w.RemoveInterface("eni-00000001") })
		r.after(20 * time.Second)
		if diff := cmp.Diff([]string{"release vpc-0a 10.0.0.1 eni:eni-00000001"}, addressesAfter(r, 2*time.Minute)); diff != "" {
			t.Error(diff)
		}
		if got := r.count("dredge_ec2_drifts_total"); got != 1 {
			t.Errorf("%v drifts counted; one interface was passed over", got)
		}
	})
}

func addressesAfter(r *rig, d time.Duration) []string {
	r.after(d)
	return addresses(r.take())
}

// What is gone is released after a second look, as of when it was last seen, and its successor is told.
func TestReleaseIsConfirmedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		began := time.Now()
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			box(w, 1, began.Add(-time.Hour))
			box(w, 2, began.Add(-time.Hour))
		})
		r.start()
		r.after(130 * time.Second) // listings at 0, 60 and 120 s
		r.take()
		r.ec2.Update(func(w *awsfake.EC2World) {
			w.RemoveInterface("eni-00000001")
			n := eni(3, "10.0.0.1", time.Now())
			w.NetworkInterfaces = append(w.NetworkInterfaces, n)
		})
		r.after(60 * time.Second)
		events := r.take()
		gone, next := find(events, event.Release, "10.0.0.1"), find(events, event.Assign, "10.0.0.1")
		if gone == nil || gone.Owner != "eni:eni-00000001" || gone.To != began.Add(90*time.Second).UnixMilli() || gone.To+gone.Acc != began.Add(180*time.Second).UnixMilli() {
			t.Errorf("release: %+v; want it certain until 120 s less 30 and over by 180 s", gone)
		}
		if next == nil || next.Owner != "eni:eni-00000003" || next.From != began.Add(131*time.Second).UnixMilli() || next.Acc != 2000 {
			t.Errorf("successor: %+v", next)
		}
	})
}

// A listing that lags behind shows what is no more and lacks what is new: an interface that is missing once is not released.
func TestEventualConsistency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			box(w, 1, time.Now().Add(-time.Hour))
		})
		r.start()
		r.take()
		r.ec2.Update(func(w *awsfake.EC2World) { box(w, 2, time.Now()) })
		r.after(time.Minute)
		if got := addresses(r.take()); len(got) != 1 || !strings.Contains(got[0], "assign vpc-0a 10.0.0.2") {
			t.Fatalf("%v", got)
		}
		// From now on answers are older than the interface.
		r.ec2.SetLag(2 * time.Minute)
		if got := addressesAfter(r, 50*time.Second); len(got) != 0 {
			t.Errorf("told %v while answers were stale", got)
		}
		r.ec2.SetLag(0)
		if got := addressesAfter(r, 5*time.Minute); len(got) != 0 {
			t.Errorf("told %v after answers were fresh again", got)
		}
	})
}

// An interface that one listing lacks and the next one has keeps its tenure.
func TestMissingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(30_000, 0.5)
		c := &claim{key: key{part: interfaces, scope: "v", addr: "10.0.0.1", owner: "eni:eni-1"}, op: event.Assign, ep: &event.Endpoint{}}
		d := &claim{key: key{part: interfaces, scope: "v", addr: "10.0.0.2", owner: "eni:eni-2"}, op: event.Assign, ep: &event.Endpoint{}}
		at := func(s int64) look { return look{begin: s * 1000, end: s * 1000, before: (s - 60) * 1000} }
		l.see(c, at(1000), nil)
		l.see(d, at(1000), nil)
		l.see(d, at(1060), nil)
		gone, doubtful := l.missing(interfaces, map[key]bool{d.key: true}, at(1060))
		if out := l.release(gone, doubtful, at(1060), nil); len(gone) != 1 || doubtful || len(out) != 0 {
			t.Fatalf("missing %v, doubtful %v, released %v", gone, doubtful, out)
		}
		if out := l.see(c, at(1120), nil); len(out) != 0 || l.told[c.key].missed != 0 {
			t.Errorf("seen again: %v", out)
		}
	})
}

// A, B, A on a secondary address between two listings: the second tenure of A needs a beginning of its own.
func TestAnAddressThatComesBack(t *testing.T) {
	l := newLedger(30_000, 0.5)
	claimOf := func(owner string) *claim {
		return &claim{key: key{part: interfaces, scope: "v", addr: "10.0.0.9", owner: owner}, op: event.Assign, ep: &event.Endpoint{}}
	}
	a, b := claimOf("eni:eni-a"), claimOf("eni:eni-b")
	l.see(a, look{begin: 1000_000, end: 1000_000, before: 940_000}, nil)
	if out := l.see(b, look{begin: 1030_000, end: 1030_000, before: 1000_000, changed: 1025_000, named: map[string]bool{"10.0.0.9": true}}, nil); len(out) != 1 || out[0].From != 1026_000 {
		t.Fatalf("B by an event: %+v", out)
	}
	out := l.see(a, look{begin: 1060_000, end: 1061_000, before: 1000_000}, nil)
	if len(out) != 1 || out[0].Owner != "eni:eni-a" || out[0].From != 1061_000 || out[0].From-out[0].Acc > 1026_000 {
		t.Fatalf("A again: %+v; want a second beginning, uncertain back over B's", out)
	}
	if out := l.see(a, look{begin: 1120_000, end: 1120_000, before: 1060_000}, nil); len(out) != 0 {
		t.Errorf("told a third time: %+v", out)
	}
}

// A listing that is suddenly empty releases nobody before EC2 has said so three times, and raises the alarm.
func TestAnEmptyListingReleasesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			for n := range 40 {
				box(w, n+1, time.Now().Add(-time.Hour))
			}
		})
		r.start()
		r.after(70 * time.Second)
		r.take()
		world := r.ec2.World()
		r.ec2.Update(func(w *awsfake.EC2World) { w.NetworkInterfaces = nil })
		if got := addressesAfter(r, 2*time.Minute); len(got) != 0 {
			t.Fatalf("released %v", got)
		}
		if got := r.source.Faults(); len(got) != 1 || !strings.Contains(got[0], "lacks 40") || r.count("dredge_ec2_doubted_listings_total") == 0 {
			t.Errorf("faults %v", got)
		}
		r.ec2.Update(func(w *awsfake.EC2World) { *w = world })
		if got := addressesAfter(r, 2*time.Minute); len(got) != 0 || len(r.source.Faults()) != 0 {
			t.Fatalf("back again: %v, faults %v", got, r.source.Faults())
		}
		r.ec2.Update(func(w *awsfake.EC2World) { w.NetworkInterfaces = nil })
		if got := addressesAfter(r, 3*time.Minute); len(got) != 40 {
			t.Errorf("%d released after three listings without them", len(got))
		}
	})
}

func TestThrottlingSlowsDownAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.PageSize = 5 })
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			for n := range 12 {
				box(w, n+1, time.Now().Add(-time.Hour))
			}
		})
		r.aws.Inject(awsfake.Fault{Op: "DescribeNetworkInterfaces", Kind: awsfake.Throttle, Skip: 1, Times: 4})
		r.start()
		r.after(55 * time.Second)
		if got := len(addresses(r.take())); got != 12 {
			t.Errorf("%d of 12 interfaces told", got)
		}
		if got := r.count("dredge_ec2_throttled_total"); got != 4 {
			t.Errorf("throttled %v times", got)
		}
		if got := r.count("dredge_ec2_calls_per_second"); got <= 0 || got >= 5 {
			t.Errorf("rate %v after throttling; want it below the setting", got)
		}
		if f := r.source.Faults(); len(f) != 0 {
			t.Errorf("faults %v", f)
		}
	})
}

// One account is refused: the other one goes on, the refused one is named and vouches for nothing.
func TestAccessDeniedOnOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Accounts = append(c.Accounts, Account{ID: other, Regions: []string{"eu-west-1"}, RoleARN: "arn:aws:iam::" + other + ":role/dredge", ExternalID: "x"})
		})
		world := func(w *awsfake.EC2World) { network(w); box(w, 1, time.Now().Add(-time.Hour)) }
		r.ec2.Update(world)
		r.aws.EC2(other, "eu-west-1").Update(world)
		denied := r.aws.Inject(awsfake.Fault{Op: "DescribeNetworkInterfaces", Account: other, Kind: awsfake.Failure, Code: "UnauthorizedOperation", Message: "You are not authorized", Status: 403})
		r.start()
		r.after(65 * time.Second)
		sources := map[string]int64{}
		for _, e := range r.take() {
			if e.Op == event.Progress {
				sources[e.Src] = e.To
			}
		}
		if len(sources) != 1 || sources[homeSrc] == 0 {
			t.Errorf("progress of %v; want %s only", sources, homeSrc)
		}
		faults := r.source.Faults()
		if len(faults) != 1 || !strings.Contains(faults[0], "ec2/"+other+"/eu-west-1") || !strings.Contains(faults[0], "ec2:DescribeNetworkInterfaces") {
			t.Errorf("faults %v", faults)
		}
		if err := r.source.Listed(); err != nil {
			t.Errorf("one account that refuses holds the start back: %v", err)
		}
		if fine, err := r.source.Check(t.Context()); len(fine) != 1 || err == nil || !strings.Contains(err.Error(), "docs/sources.md") {
			t.Errorf("Check: %v, %v", fine, err)
		}
		denied.Remove()
		r.after(time.Minute)
		if got := addresses(r.take()); len(got) != 1 || len(r.source.Faults()) != 0 {
			t.Errorf("after the permission came: %v, faults %v", got, r.source.Faults())
		}
		if fine, err := r.source.Check(t.Context()); len(fine) != 2 || err != nil {
			t.Errorf("Check: %v, %v", fine, err)
		}
	})
}

// What an earlier life of the source told, and is no more, is released; what is new since is uncertain over the gap.
func TestRestartWithANewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		began := time.Now()
		before := began.Add(-10 * time.Minute).UnixMilli()
		yes := true
		recall := func(e event.Event) { e.Src, e.Epoch, e.Obs = homeSrc, 1, before; r.source.Recall(&e) }
		for i := 1; i <= 3; i++ {
			recall(event.Event{
				Op: event.Assign, Scope: "vpc-0a", IP: fmt.Sprintf("10.0.0.%d", i), Owner: fmt.Sprintf("eni:eni-%08x", i), From: before - 1000,
				Primary: &yes, EP: &event.Endpoint{Kind: "instance"},
			})
		}
		recall(event.Event{Op: event.Release, Scope: "vpc-0a", IP: "10.0.0.3", Owner: "eni:eni-00000003", To: before})
		recall(event.Event{Op: event.Progress, To: before})
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			box(w, 1, began.Add(-time.Hour))
			n := w.Interface("eni-00000001")
			n.PrivateIPs = append(n.PrivateIPs, awsfake.PrivateIP{Address: "10.0.0.50"})
		})
		r.start()
		events := r.take()
		if diff := cmp.Diff([]string{"assign vpc-0a 10.0.0.50 eni:eni-00000001", "release vpc-0a 10.0.0.2 eni:eni-00000002"}, addresses(events)); diff != "" {
			t.Fatal(diff)
		}
		if e := find(events, event.Assign, "10.0.0.50"); e.From-e.Acc != before {
			t.Errorf("new since: %+v; want it uncertain back to the last watermark", e)
		}
		if e := find(events, event.Release, "10.0.0.2"); e.To > before || e.To+e.Acc < began.UnixMilli() || e.Epoch == 1 {
			t.Errorf("gone since: %+v", e)
		}
	})
}
