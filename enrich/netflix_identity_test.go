package enrich_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/enrich"
)

func claimIn(scope, ip, owner, kind, app, region string) string {
	return strings.NewReplacer("SCOPE", scope, "IP", ip, "OWNER", owner, "KIND", kind, "APP", app, "REGION", region).Replace(
		`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"SCOPE","ip":"IP","primary":true,"owner":"eni:OWNER","ep":{"kind":"KIND"},"wl":{"app":"APP","vpc":"SCOPE","region":"REGION"}}` + "\n")
}

func network(scope, cidr, owner, kind, name string) string {
	return strings.NewReplacer("SCOPE", scope, "CIDR", cidr, "OWNER", owner, "KIND", kind, "NAME", name).Replace(
		`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"SCOPE","cidr":"CIDR","owner":"OWNER","ep":{"kind":"KIND","name":"NAME"}}` + "\n")
}

// TestS8 holds the row S8: an S3 prefix, a load balancer, a NAT gateway, a peered VPC and the internet each get their class, and of
// nested networks the longest counts.
func TestS8(t *testing.T) {
	w := newWorld(t, events(
		network("vpc-1", "10.0.0.0/16", "vpc-1", "vpc", "prod"), network("vpc-2", "10.2.0.0/16", "vpc-2", "vpc", "peer"), network("vpc-2", "10.2.9.0/24", "subnet-9", "subnet", "nine"),
		network("", "192.168.0.0/16", "hq", "site", "office"), network("", "192.168.7.0/24", "lab", "site", "laboratory"),
		`{"v":1,"src":"f","op":"topology","from":T+0,"scope":"vpc-1","cidr":"10.2.0.0/16","to_scope":"vpc-2","via":"peering","owner":"pcx-1"}`+"\n",
		claimIn("vpc-1", "10.0.0.1", "eni-a", "instance", "web", "us-east-1"), claimIn("vpc-1", "10.0.0.30", "eni-elb", "load_balancer", "edge", "us-east-1"),
		claimIn("vpc-1", "10.0.0.40", "eni-nat", "nat_gateway", "nat", "us-east-1"), claimIn("vpc-2", "10.2.0.5", "eni-p", "instance", "partner", "us-east-1"),
		progress), func(_ *enrich.Config, d *enrich.Deps) { d.Public = atlas{} })
	const format = "vpc-id interface-id srcaddr dstaddr srcport dstport protocol start end flow-direction"
	ends := []string{"52.95.128.179", "10.0.0.30", "10.0.0.40", "10.2.0.5", "10.2.9.9", "10.2.1.1", "192.168.1.1", "192.168.7.1", "203.0.113.7"}
	var lines strings.Builder
	for _, ip := range ends {
		lines.WriteString("vpc-1 eni-a 10.0.0.1 " + ip + " 40000 443 6 T+600 T+660 egress\n")
	}
	got := map[string][]any{}
	for i, m := range w.rows(t, format, times(lines.String(), 1)) {
		got[ends[i]] = []any{m["dst_app"], m["dst_kind"], m["dst_network"], m["dst_site"], m["dst_vpc"], m["path"]}
	}
	want := map[string][]any{
		"52.95.128.179": {"aws:S3", "aws-service", nil, nil, nil, "aws-service"},
		"10.0.0.30":     {"edge", "load_balancer", nil, nil, "vpc-1", "same-vpc"},
		"10.0.0.40":     {"nat", "nat_gateway", nil, nil, "vpc-1", "same-vpc"},
		"10.2.0.5":      {"partner", "instance", nil, nil, "vpc-2", "cross-vpc"},
		"10.2.9.9":      {"unknown", "network", "nine", nil, "vpc-2", "cross-vpc"},
		"10.2.1.1":      {"unknown", "network", "peer", nil, "vpc-2", "cross-vpc"},
		"192.168.1.1":   {"unknown", "network", "office", "office", nil, "on-premises"},
		"192.168.7.1":   {"unknown", "network", "laboratory", "laboratory", nil, "on-premises"},
		"203.0.113.7":   {"internet", "internet", nil, nil, nil, "internet"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestJ8 holds the half of row J8 about rows: a flow between regions carries both. The other half is TestJ8Networks in metadata/store.
func TestJ8(t *testing.T) {
	w := newWorld(t, events(
		network("vpc-1", "10.0.0.0/16", "vpc-1", "vpc", "prod"), network("vpc-2", "10.2.0.0/16", "vpc-2", "vpc", "peer"),
		`{"v":1,"src":"f","op":"topology","from":T+0,"scope":"vpc-1","cidr":"10.2.0.0/16","to_scope":"vpc-2","via":"peering","owner":"pcx-1"}`+"\n",
		claimIn("vpc-1", "10.0.0.1", "eni-a", "instance", "web", "us-east-1"), claimIn("vpc-2", "10.2.0.5", "eni-p", "instance", "db", "eu-west-1"), progress))
	got := w.rows(t, "vpc-id interface-id srcaddr dstaddr srcport dstport protocol start end flow-direction",
		times("vpc-1 eni-a 10.0.0.1 10.2.0.5 40000 443 6 T+600 T+660 egress", 1))[0]
	if got["src_region"] != "us-east-1" || got["dst_region"] != "eu-west-1" || got["path"] != "cross-region" {
		t.Errorf("from %v to %v, path %v", got["src_region"], got["dst_region"], got["path"])
	}
}

// TestS7RowsOfASharedHostAddress holds the row S7 for rows, seen from either side: two workloads share a host's address, and each is named
// by its port. An unknown port has no name; the row S7 calls it ambiguous, here it is unknown because the address is shared (DESIGN: only a
// claim of a pod or task names there). Two that claim the same port are ambiguous, with both as candidates.
func TestS7RowsOfASharedHostAddress(t *testing.T) {
	task := func(owner, app string, port int) string {
		return fmt.Sprintf(`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","ip":"10.0.1.30","owner":%q,"proto":6,"port":%d,"ep":{"kind":"task","eni":"eni-host"},"wl":{"app":%q}}`+"\n", owner, port, app)
	}
	w := newWorld(t, events(
		assign("10.0.1.5", "eni:eni-a", "web"), assign("10.0.1.30", "eni:eni-host", "host", `,"shared":true`),
		task("task-1", "one", 8080), task("task-2", "two", 8081), task("task-3", "left", 8082), task("task-4", "right", 8082), progress))
	for _, c := range []struct{ port, want string }{
		{"8080", "web>one covered <nil> <nil>"},
		{"8081", "web>two covered <nil> <nil>"},
		{"9999", "web>unknown unknown shared-interface <nil>"},
		{"8082", "web>ambiguous ambiguous second-owner [left right]"},
	} {
		lines := "eni-a 10.0.1.5 10.0.1.30 10.0.1.5 10.0.1.30 40000 " + c.port + " 6 1 60 T+600 T+660 ACCEPT egress OK\n" +
			"eni-host 10.0.1.5 10.0.1.30 10.0.1.5 10.0.1.30 40000 " + c.port + " 6 1 60 T+600 T+660 ACCEPT ingress OK\n"
		rows := w.rows(t, pkt, times(lines, 1))
		if len(rows) != 2 {
			t.Fatalf("%d rows", len(rows))
		}
		for _, m := range rows {
			if got := fmt.Sprintf("%v>%v %v %v %v", m["src_app"], m["dst_app"], m["dst_grade"], m["dst_reason"], m["dst_candidates"]); got != c.want {
				t.Errorf("port %s at %v: %s, want %s", c.port, m["eni"], got, c.want)
			}
		}
	}
}
