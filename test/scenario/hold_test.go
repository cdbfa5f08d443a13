package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/internal/awsfake"
	"dredge/metadata/event"
	"dredge/row"
)

// TestJ4HoldThenGiveUp holds the row J4. What a source tells 30 s after the payload arrived still names the flow, as soon as it is told.
// What it tells 20 min after is too late: the row goes out without a name at the deadline of the hold, a minute after arrival, and
// neither later nor again.
func TestJ4HoldThenGiveUp(t *testing.T) {
	for _, c := range []struct {
		name         string
		told, out    time.Duration // after the payload's arrival
		app, verdict string
	}{
		{"30 s late", 30 * time.Second, 30 * time.Second, "db", "covered interval"},
		{"20 min late", 20 * time.Minute, time.Minute, row.AppUnknown, "prefix cidr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, 1, awsfake.Config{}, func(r *rig) {
				began := time.Now().UnixMilli()
				assign := func(ip, app string) *event.Event {
					primary := true
					return &event.Event{
						V: 1, Src: "cmdb", Op: event.Assign, From: began - 3600_000, Scope: "vpc-1", IP: ip, Primary: &primary, Owner: "eni:eni-" + app,
						EP: &event.Endpoint{Kind: "instance", ENI: "eni-" + app}, WL: &event.Workload{App: app, VPC: "vpc-1"},
					}
				}
				progress := func(to int64) *event.Event { return &event.Event{V: 1, Src: "cmdb", Op: event.Progress, To: to} }
				r.tell(&event.Event{V: 1, Src: "cmdb", Op: event.Assign, From: began - 3600_000, Scope: "vpc-1", CIDR: "10.0.0.0/16", Owner: "vpc-1"})
				r.tell(assign("10.0.0.1", "web"))
				r.tell(progress(began - 600_000)) // ten minutes behind: it vouches for nothing here
				r.start("dredge-a")
				end := began/1000 - 10
				r.put("key", r.message("flows", fmt.Sprintf("2 123456789010 eni-web 10.0.0.1 10.0.0.2 40000 5432 6 20 4249 %d %d ACCEPT OK", end-50, end)))
				arrived := time.Now()

				var out time.Duration
				for at := time.Duration(0); at < 25*time.Minute; at += time.Second {
					switch {
					case at == c.told:
						r.tell(assign("10.0.0.2", "db"))
						r.tell(progress(time.Now().UnixMilli()))
					case at%(10*time.Second) == 0 && at < c.told:
						r.tell(progress(began - 600_000)) // a source that lives holds back; a silent one would not
					}
					r.wait(time.Until(arrived.Add(at + time.Second)))
					if out == 0 && len(r.mem.All()) > 0 {
						out = at + time.Second
					}
				}
				rows := r.mem.All()
				if len(rows) != 1 {
					t.Fatalf("%d rows of one line", len(rows))
				}
				got := rows[0].Row
				want := []string{"web", c.app, c.verdict}
				if diff := cmp.Diff(want, []string{got.Src.App, got.Dst.App, got.Dst.Grade + " " + got.Dst.Reason}); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				// Asked every second: reading, flushing and delivering take part of one.
				if out < c.out || out > c.out+2*time.Second {
					t.Errorf("the row went out %s after its payload arrived, want %s", out, c.out)
				}
			})
		})
	}
}
