package ec2

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/internal/awsfake"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

// Peerings, transit gateway routes, prefix lists and coverage.
func TestWhatLiesBesideOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.FlowLogs = []string{"/aws/vpc/*", "arn:aws:kinesis:*:stream/flows"} })
		created := time.Now().Add(-24 * time.Hour)
		vpcHop := func(vpc string) []awsfake.TransitGatewayRouteHop {
			return []awsfake.TransitGatewayRouteHop{{ID: "tgw-attach-" + vpc, ResourceType: "vpc", ResourceID: vpc}}
		}
		r.ec2.Update(func(w *awsfake.EC2World) {
			network(w)
			w.VPCs = append(w.VPCs, awsfake.VPC{ID: "vpc-0b", OwnerID: home, CIDR: "10.1.0.0/16"}, awsfake.VPC{ID: "vpc-fw", OwnerID: home, CIDR: "10.9.0.0/16"})
			w.Peerings = []awsfake.Peering{
				{ID: "pcx-1", Status: "active", Requester: awsfake.PeeringVPC{VPC: "vpc-0a", OwnerID: home, CIDR: "10.0.0.0/16"}, Accepter: awsfake.PeeringVPC{
					VPC: "vpc-far", OwnerID: other, CIDR: "10.7.0.0/16", CIDRs: []awsfake.CIDRBlock{{CIDR: "10.7.0.0/16"}, {CIDR: "10.8.0.0/16"}},
				}},
				{ID: "pcx-2", Status: "deleted", Requester: awsfake.PeeringVPC{VPC: "vpc-0a", CIDR: "10.0.0.0/16"}, Accepter: awsfake.PeeringVPC{VPC: "vpc-0c", CIDR: "10.6.0.0/16"}},
			}
			w.TransitGatewayAttachments = []awsfake.TransitGatewayAttachment{
				{ID: "tgw-attach-vpc-0a", TransitGateway: "tgw-1", ResourceType: "vpc", ResourceID: "vpc-0a", State: "available", RouteTable: "tgw-rtb-1"},
				{ID: "tgw-attach-vpc-0b", TransitGateway: "tgw-1", ResourceType: "vpc", ResourceID: "vpc-0b", State: "available", RouteTable: "tgw-rtb-1"},
				{ID: "tgw-attach-vpn", TransitGateway: "tgw-1", ResourceType: "vpn", ResourceID: "vpn-1", State: "available", RouteTable: "tgw-rtb-1"},
			}
			w.TransitGatewayRouteTables = []awsfake.TransitGatewayRouteTable{{ID: "tgw-rtb-1", TransitGateway: "tgw-1", State: "available", Routes: []awsfake.TransitGatewayRoute{
				{CIDR: "10.1.0.0/16", Type: "propagated", State: "active", Attachments: vpcHop("vpc-0b")},
				{CIDR: "10.5.0.0/16", Type: "propagated", State: "active", Attachments: vpcHop("vpc-foreign")},
				{CIDR: "10.4.0.0/16", Type: "static", State: "active", Attachments: vpcHop("vpc-foreign")},
				{CIDR: "0.0.0.0/0", Type: "static", State: "active", Attachments: vpcHop("vpc-fw")},
				{CIDR: "10.3.0.0/16", Type: "static", State: "blackhole"},
			}}}
			w.PrefixLists = []awsfake.PrefixList{
				{ID: "pl-1", Name: "offices", OwnerID: home, State: "create-complete", Entries: []awsfake.PrefixListEntry{{CIDR: "192.168.0.0/16", Description: "berlin"}, {CIDR: "172.16.0.0/24"}}},
				{ID: "pl-aws", Name: "com.amazonaws.us-east-1.s3", OwnerID: "AWS", State: "create-complete", Entries: []awsfake.PrefixListEntry{{CIDR: "52.216.0.0/15"}}},
			}
			w.FlowLogs = []awsfake.FlowLog{
				{ID: "fl-1", CreationTime: created, Status: "ACTIVE", ResourceID: "vpc-0a", TrafficType: "ACCEPT", LogDestinationType: "cloud-watch-logs", LogGroupName: "/aws/vpc/main"},
				{ID: "fl-2", CreationTime: created.Add(time.Hour), Status: "ACTIVE", ResourceID: "vpc-0a", TrafficType: "REJECT", LogDestinationType: "cloud-watch-logs", LogGroupName: "/aws/vpc/main"},
				{ID: "fl-3", CreationTime: created, Status: "ACTIVE", ResourceID: "vpc-0b", TrafficType: "ALL", LogDestinationType: "s3", LogDestination: "arn:aws:s3:::archive"},
				{ID: "fl-4", CreationTime: created, Status: "ACTIVE", ResourceID: "subnet-0a", TrafficType: "ALL", LogDestinationType: "kinesis-data-firehose", LogDestination: "arn:aws:kinesis:us-east-1:1:stream/flows"},
			}
		})
		r.start()
		r.after(20 * time.Second)
		events := r.take()
		want := []string{
			"topology vpc-0a 10.1.0.0/16 tgw-rtb-1 -> vpc-0b", "topology vpc-0a 10.5.0.0/16 tgw-rtb-1 -> vpc-foreign", "topology vpc-0a 10.7.0.0/16 pcx-1 -> vpc-far",
			"topology vpc-0a 10.8.0.0/16 pcx-1 -> vpc-far", "topology vpc-0a 10.9.0.0/16 tgw-rtb-1 -> vpc-fw", "topology vpc-0b 10.5.0.0/16 tgw-rtb-1 -> vpc-foreign",
			"topology vpc-0b 10.9.0.0/16 tgw-rtb-1 -> vpc-fw", "topology vpc-far 10.0.0.0/16 pcx-1 -> vpc-0a",
		}
		if diff := cmp.Diff(want, told(events, event.Topology)); diff != "" {
			t.Error(diff)
		}
		lists := slices.DeleteFunc(told(events, event.Assign), func(s string) bool { return !strings.Contains(s, "pl-") })
		if diff := cmp.Diff([]string{"assign  172.16.0.0/24 pl-1", "assign  192.168.0.0/16 pl-1"}, lists); diff != "" {
			t.Error(diff)
		}
		if e := find(events, event.Assign, "192.168.0.0/16"); e == nil || e.EP.Name != "berlin" {
			t.Errorf("%+v", e)
		}
		covered := func(events []event.Event) map[string]string {
			out := map[string]string{}
			for _, e := range events {
				if e.Op == event.Coverage {
					out[e.Prefix] = e.Actions
					if !*e.Logged {
						out[e.Prefix] = "none"
					}
				}
			}
			return out
		}
		// One flow log of what was accepted and one of what was rejected log all; the archive is another application's.
		if diff := cmp.Diff(map[string]string{"10.0.0.0/16": "ALL", "10.0.0.0/20": "ALL"}, covered(events)); diff != "" {
			t.Error(diff)
		}
		for _, e := range events {
			if e.Prefix == "10.0.0.0/16" && e.From != created.Add(time.Hour).UnixMilli() {
				t.Errorf("coverage from %d", e.From)
			}
		}

		r.ec2.Update(func(w *awsfake.EC2World) { w.Peerings = w.Peerings[1:]; w.FlowLogs = w.FlowLogs[:1] })
		r.after(time.Minute)
		events = r.take()
		if got := told(events, event.Release); len(got) != 0 {
			t.Errorf("released after one look: %v", got)
		}
		r.after(2 * time.Minute)
		events = append(events, r.take()...)
		if got := told(events, event.Release); len(got) != 3 || !strings.Contains(got[0], "pcx-1") {
			t.Errorf("released: %v", got)
		}
		if diff := cmp.Diff(map[string]string{"10.0.0.0/16": "ACCEPT", "10.0.0.0/20": "none"}, covered(events)); diff != "" {
			t.Error(diff)
		}
	})
}

// A permission that is missing beside costs what it gives, and no names.
func TestAPermissionThatIsMissingBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ec2.Update(func(w *awsfake.EC2World) { network(w); box(w, 1, time.Now().Add(-time.Hour)) })
		r.aws.Inject(awsfake.Fault{Op: "DescribeTransitGatewayAttachments", Kind: awsfake.Failure, Code: "UnauthorizedOperation", Status: 403})
		r.start()
		r.after(65 * time.Second)
		events := r.take()
		if len(addresses(events)) != 1 || progress(events) != time.Now().Add(-35*time.Second).UnixMilli() {
			t.Errorf("%v, watermark %d", addresses(events), progress(events))
		}
		if f := r.source.Faults(); len(f) != 1 || !strings.Contains(f[0], "ec2:DescribeTransitGatewayAttachments") {
			t.Errorf("faults %v", f)
		}
	})
}
