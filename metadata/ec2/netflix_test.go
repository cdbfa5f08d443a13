package ec2

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/awsfake"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

// TestS2 holds the row S2: changes come as events, of which a tenth is lost; after one listing what was told is the truth.
func TestS2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.QueueURL = "http://awsfake.invalid/" + home + "/changes"
			c.CrawlInterval = 2 * time.Hour
		})
		r.aws.SQS().CreateQueue("changes")
		const boxes = 80
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			for n := range boxes {
				box(w, n+1, time.Now().Add(-time.Hour), tag("app", fmt.Sprint("app-", n%7)))
			}
		})
		r.start()

		dice := rand.New(rand.NewPCG(2, 2))
		lost, changes := 0, 0
		tell := func(body string) {
			r.after(10 * time.Second)
			if changes++; dice.IntN(10) == 0 {
				lost++
				return
			}
			r.send(body)
		}
		const call = `{"networkInterfaceId":%q,"privateIpAddressesSet":{"items":[{"privateIpAddress":%q}]}}`
		second := map[int]string{}
		gone := map[int]bool{}
		for range 200 {
			n, at := 1+dice.IntN(boxes), time.Now()
			id := fmt.Sprintf("%08x", n)
			switch ip, has := second[n]; {
			case gone[n]: // a new instance where the old one was
				delete(gone, n)
				r.ec2.Update(func(w *awsfake.EC2World) { box(w, n, at, tag("app", "again")) })
				tell(stateChange(home, "i-"+id, "running", at))
			case dice.IntN(3) == 0:
				gone[n] = true
				delete(second, n)
				r.ec2.Update(func(w *awsfake.EC2World) { w.RemoveInterface("eni-" + id) })
				tell(stateChange(home, "i-"+id, "terminated", at))
			case has:
				delete(second, n)
				r.ec2.Update(func(w *awsfake.EC2World) {
					i := w.Interface("eni-" + id)
					i.PrivateIPs = i.PrivateIPs[:1:1]
				})
				tell(apiCall("UnassignPrivateIpAddresses", at, fmt.Sprintf(call, "eni-"+id, ip), `{"_return":true}`))
			default:
				ip := fmt.Sprintf("10.0.9.%d", dice.IntN(250))
				if taken(second, ip) {
					continue
				}
				second[n] = ip
				r.ec2.Update(func(w *awsfake.EC2World) {
					i := w.Interface("eni-" + id)
					i.PrivateIPs = append(i.PrivateIPs[:1:1], awsfake.PrivateIP{Address: ip})
				})
				tell(apiCall("AssignPrivateIpAddresses", at, fmt.Sprintf(call, "eni-"+id, ip), `{"_return":true}`))
			}
		}
		truth := map[string]string{}
		for n := 1; n <= boxes; n++ {
			if owner := fmt.Sprintf("eni:eni-%08x", n); !gone[n] {
				truth[fmt.Sprintf("10.0.%d.%d", n>>8, n&255)] = owner
				if ip, has := second[n]; has {
					truth[ip] = owner
				}
			}
		}
		events := r.take()
		if before := holders(events); cmp.Equal(truth, before) || lost < changes/20 {
			t.Fatalf("%d of %d events were lost, and what is known is the truth all the same: the test shows nothing", lost, changes)
		}
		r.after(2*time.Hour + time.Minute) // one listing
		if n := r.count("dredge_ec2_listings_total"); n != 2 {
			t.Fatalf("%v listings were made, want the first and one more", n)
		}
		if diff := cmp.Diff(truth, holders(append(events, r.take()...))); diff != "" {
			t.Errorf("after one listing (-truth +told):\n%s", diff)
		}
	})
}

func taken(second map[int]string, ip string) bool {
	for _, s := range second {
		if s == ip {
			return true
		}
	}
	return false
}

// holders says who has which address after events.
func holders(events []event.Event) map[string]string {
	out := map[string]string{}
	for _, e := range events {
		switch {
		case e.IP == "":
		case e.Op == event.Assign:
			out[e.IP] = e.Owner
		case e.Op == event.Release && out[e.IP] == e.Owner:
			delete(out, e.IP)
		}
	}
	return out
}
