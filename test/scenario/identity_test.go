package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/internal/awsfake"
	"dredge/metadata/event"
)

// S5: the same two addresses are in use in two VPCs at one time: two different applications each, and each flow is right. Only the
// interface that recorded tells them apart, as in AWS's default layout.
func TestS5OverlappingAddresses(t *testing.T) {
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		now, primary := time.Now().UnixMilli(), true
		for _, vpc := range []string{"1", "2"} {
			scope := "vpc-" + vpc
			r.tell(&event.Event{V: 1, Src: "cmdb", Op: event.Assign, From: now - 3600_000, Scope: scope, CIDR: "10.0.0.0/16", Owner: scope})
			for ip, app := range map[string]string{"10.0.0.1": "web", "10.0.0.2": "db"} {
				r.tell(&event.Event{
					V: 1, Src: "cmdb", Op: event.Assign, From: now - 3600_000, Scope: scope, IP: ip, Primary: &primary, Owner: "eni:eni-" + app + vpc,
					EP: &event.Endpoint{Kind: "instance", ENI: "eni-" + app + vpc}, WL: &event.Workload{App: app + vpc, VPC: scope},
				})
			}
		}
		r.tell(&event.Event{V: 1, Src: "cmdb", Op: event.Progress, To: now})
		r.start("dredge-a")
		end := now/1000 - 10
		seen := func(eni, src, dst string) string {
			return fmt.Sprintf("2 123456789010 %s %s %s 40000 5432 6 20 4249 %d %d ACCEPT OK", eni, src, dst, end-50, end)
		}
		r.put("key", r.message("flows",
			seen("eni-web1", "10.0.0.1", "10.0.0.2"), seen("eni-web2", "10.0.0.1", "10.0.0.2"),
			seen("eni-db2", "10.0.0.2", "10.0.0.1"), seen("eni-db1", "10.0.0.2", "10.0.0.1")))
		r.await("four rows", 10*time.Second, func() bool { return len(r.mem.All()) == 4 })
		var got []string
		for _, s := range r.mem.All() {
			got = append(got, fmt.Sprintf("%s>%s in %s", s.Row.Src.App, s.Row.Dst.App, s.Row.Src.Identity.VPC))
		}
		if diff := cmp.Diff([]string{"web1>db1 in vpc-1", "web2>db2 in vpc-2", "db2>web2 in vpc-2", "db1>web1 in vpc-1"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
