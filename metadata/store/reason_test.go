package store

import (
	"net/netip"
	"strings"
	"testing"

	"dredge/metadata"
)

// TestEveryReasonHasItsScenario gives for each reason of an answer or a scope the estate in which it is right, in the smallest form; the
// reasons that only a record can give stand in enrich. The longer stories are in scenario_test.go.
func TestEveryReasonHasItsScenario(t *testing.T) {
	const ip = "10.0.0.1"
	replace := func(line string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(line) }
	releaseA := `{"op":"release","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","to":2000}`
	pod := `{"op":"assign","src":"kube","scope":"vpc-1","ip":"10.0.0.1","owner":"pod-1","from":2000,"ep":{"kind":"pod","eni":"eni-a"},"wl":{"app":"cart"}}`
	kubeTold := `{"op":"progress","src":"kube","to":100000}`
	vpc := `{"op":"assign","src":"ec2","scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1"}`
	beat := func(from, to int64) func(*Store) {
		return func(s *Store) {
			s.Observe(Sighting{Scope: s.Scope("vpc-1"), ENI: "eni-a", IP: netip.MustParseAddr(ip), Start: from * 1000, End: to * 1000, Primary: true})
		}
	}
	covered := map[metadata.Reason]bool{
		metadata.NoReason: true,
		// Only records say these: enrich/testdata/ecs-fields.txt, enrich/netflix_identity_test.go, next-hop.txt.
		metadata.RecordIdentity: true, metadata.RecordScope: true,
	}
	for _, c := range []struct {
		reason     metadata.Reason
		story      string
		told       []string
		seen       func(*Store)
		start, end int64
		want       string // grade, owner and application
	}{
		{reason: metadata.Heartbeat, story: "the interface's own traffic, although no source ever told how far it is", told: []string{assignA}, seen: beat(2900, 3100), start: 3000, end: 3060, want: "confirmed eni:eni-a api"},
		{reason: metadata.Interval, story: "told before and after", told: []string{assignA, toldAll}, start: 3000, end: 3060, want: "covered eni:eni-a api"},
		{reason: metadata.OneWorkload, story: "two members of one application", told: []string{assignA, replace(assignB, "web", "api"), toldAll}, start: 1990, end: 2010, want: "covered api"},
		{reason: metadata.NoWorkload, story: "an interface without tags", told: []string{replace(assignA, `,"wl":{"app":"api"}`, ""), toldAll}, start: 3000, end: 3060, want: "covered eni:eni-a"},
		{reason: metadata.WatermarkBehind, story: "the next listing is not there yet", told: []string{assignA, replace(toldAll, "100000", "3000")}, start: 3000, end: 3060, want: "provisional eni:eni-a api"},
		{reason: metadata.NoWatermark, story: "a feed of changes alone", told: []string{assignA}, start: 3000, end: 3060, want: "provisional eni:eni-a api"},
		{reason: metadata.SecondOwner, story: "the address changes hands during the flow", told: []string{assignA, assignB, toldAll}, start: 1990, end: 2010, want: "ambiguous"},
		{reason: metadata.NearHandover, story: "re-used within a minute", told: []string{assignA, releaseA, replace(assignB, "2000", "2005"), toldAll}, start: 2030, end: 2040, want: "border"},
		{reason: metadata.StartsBeforeOwner, story: "the first packet came before the owner", told: []string{assignA, toldAll}, start: 990, end: 1010, want: "border eni:eni-a api"},
		{reason: metadata.EndsAfterOwner, story: "the last packet came after the owner", told: []string{assignA, releaseA, toldAll}, start: 1990, end: 2010, want: "border eni:eni-a api"},
		{reason: metadata.OwnerGap, story: "given back and taken again during the flow", told: []string{assignA, releaseA, replace(assignA, "1000", "2010"), toldAll}, start: 1990, end: 2050, want: "border eni:eni-a api"},
		{
			reason: metadata.WorkloadChanged, story: "the instance is tagged anew during the flow",
			told: []string{assignA, `{"op":"describe","src":"ec2","owner":"eni:eni-a","from":3030,"wl":{"app":"new"}}`, toldAll}, start: 3000, end: 3060, want: "ambiguous eni:eni-a api",
		},
		{
			reason: metadata.LayersDisagree, story: "a pod says that it is on a node which does not have the address",
			told: []string{replace(assignB, "2000", "1000"), pod, toldAll, kubeTold}, start: 3000, end: 3060, want: "ambiguous pod-1 cart",
		},
		{
			reason: metadata.AddressMoved, story: "the pod's end was lost and its address went to another node",
			told: []string{assignA, replace(pod, `,"eni":"eni-a"`, ""), replace(assignB, "2000", "5000"), toldAll, kubeTold}, start: 6000, end: 6060, want: "ambiguous pod-1 cart",
		},
		{
			reason: metadata.SharedInterface, story: "a node's own address", told: []string{replace(assignA, `"wl"`, `"ep":{"kind":"eks_node"},"wl"`), toldAll},
			start: 3000, end: 3060, want: "unknown eni:eni-a api",
		},
		{reason: metadata.Released, story: "a packet to the dead", told: []string{assignA, releaseA, toldAll}, start: 3000, end: 3060, want: "stale eni:eni-a api"},
		{reason: metadata.BeforeFirstOwner, story: "older than anybody known", told: []string{assignA, toldAll}, start: 900, end: 905, want: "unknown"},
		{reason: metadata.BeforeRetention, story: "older than the history", told: []string{assignA, toldAll}, seen: func(s *Store) { s.floor.Store(3_000_000) }, start: 2000, end: 2060, want: "unknown"},
		{reason: metadata.NeverSeen, story: "an address that nobody told of", told: []string{replace(assignA, ip, "10.0.0.2"), toldAll}, start: 3000, end: 3060, want: "unknown"},
		{reason: metadata.ScopeUnknown, story: "a VPC that nobody told of", start: 3000, end: 3060, want: "unknown"},
		{reason: metadata.CIDR, story: "only the network is known", told: []string{vpc}, start: 3000, end: 3060, want: "prefix"},
	} {
		covered[c.reason] = true
		t.Run(c.reason.String(), func(t *testing.T) {
			s := newStore(t)
			give(t, s, c.told...)
			if c.seen != nil {
				c.seen(s)
			}
			grade, rest, _ := strings.Cut(c.want, " ")
			expect(t, ask(s, "vpc-1", ip, c.start, c.end), strings.TrimSpace(grade+"/"+c.reason.String()+" "+rest))
		})
	}
	route := func(to string) string {
		return `{"op":"topology","src":"ec2","scope":"vpc-1","cidr":"10.0.0.0/8","to_scope":"` + to + `","owner":"pcx-` + to + `","from":1}`
	}
	for _, c := range []struct {
		reason metadata.Reason
		told   []string
		ip     string
		unique bool
		want   string
	}{
		{reason: metadata.LocalCIDR, told: []string{vpc}, want: "vpc-1"},
		{reason: metadata.LocalAddress, told: []string{assignA}, want: "vpc-1"}, // nobody told the VPC's CIDR
		{reason: metadata.Topology, told: []string{route("vpc-2")}, want: "vpc-2"},
		{reason: metadata.ScopeOverlap, told: []string{route("vpc-2"), route("vpc-3")}},
		{reason: metadata.UniqueSpace, told: []string{replace(assignA, "vpc-1", "vpc-7")}, unique: true, want: "vpc-7"},
		{reason: metadata.ScopeUnknown, told: []string{replace(assignA, "vpc-1", "vpc-7")}},
		{reason: metadata.PublicAddress, ip: "198.51.100.7", want: "public"},
		{reason: metadata.NoAddress, ip: "none"},
	} {
		covered[c.reason] = true
		t.Run(c.reason.String(), func(t *testing.T) {
			s := newStore(t, func(cfg *metadata.Config) {
				if c.unique {
					cfg.AddressSpace = metadata.Unique
				}
			})
			give(t, s, c.told...)
			asked := netip.MustParseAddr(ip)
			if c.ip != "" {
				asked, _ = netip.ParseAddr(c.ip)
			}
			sc, reason := s.ScopeCovers(s.InternScope("vpc-1"), asked, seconds(3000, 3060))
			if got := s.ScopeName(sc); reason != c.reason || got != c.want {
				t.Errorf("seen from vpc-1 it is in %q (%s), want %q (%s)", got, reason, c.want, c.reason)
			}
		})
	}
	s := newStore(t)
	give(t, s, assignA)
	if in, ok := s.LookupInterface("eni-a", seconds(3000, 3060)); !ok || in.Reason != metadata.RecordInterface || in.Grade != metadata.Confirmed {
		t.Errorf("the interface that recorded is answered %+v", in)
	}
	covered[metadata.RecordInterface] = true
	for _, r := range metadata.Reasons() {
		if !covered[r] {
			t.Errorf("%s has no scenario", r)
		}
	}
}
