package store

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// For people: where an address is known, and which interfaces hold one now and were last seen when.
func TestInspect(t *testing.T) {
	s := newStore(t)
	give(t, s,
		`{"op":"assign","from":1000,"scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc:vpc-1"}`,
		`{"op":"assign","from":1000,"scope":"vpc-2","cidr":"10.0.0.0/16","owner":"vpc:vpc-2"}`,
		`{"op":"assign","from":1000,"scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-1","ep":{"kind":"instance","eni":"eni-1"},"wl":{"app":"web"}}`,
		`{"op":"assign","from":1000,"scope":"vpc-1","ip":"10.0.0.2","owner":"eni:eni-2"}`,
		`{"op":"assign","from":1000,"scope":"vpc-1","ip":"10.0.0.3","owner":"eni:eni-3"}`,
		`{"op":"release","to":1200,"scope":"vpc-1","ip":"10.0.0.3","owner":"eni:eni-3"}`,
		`{"op":"assign","from":1000,"scope":"vpc-1","ip":"10.0.0.4","owner":"pod-4"}`)
	s.Observe(Sighting{Scope: s.Scope("vpc-1"), ENI: "eni-1", IP: netip.MustParseAddr("10.0.0.1"), Start: 1_300_000, End: 1_360_000, Primary: true})

	for ip, want := range map[string][]string{"10.0.0.1": {"vpc-1"}, "10.0.7.7": {"vpc-1", "vpc-2"}, "10.9.9.9": nil, "8.8.8.8": nil} {
		var got []string
		for _, sc := range s.ScopesOf(netip.MustParseAddr(ip), 1_300_000, 10) {
			got = append(got, s.ScopeName(sc))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", ip, diff)
		}
	}
	if got := s.ScopesOf(netip.MustParseAddr("10.0.7.7"), 1_300_000, 1); len(got) != 1 {
		t.Errorf("%d scopes where one was asked for", len(got))
	}

	type held struct {
		Owner, Scope, IP, App string
		Since, Seen           int64
	}
	var got []held
	s.HeldInterfaces(1_400_000, func(h HeldInterface) bool {
		x := held{Owner: s.Endpoint(h.Owner).Owner, Scope: s.ScopeName(h.Scope), IP: h.IP.String(), Since: h.Since, Seen: h.Seen}
		if h.Workload != 0 {
			x.App = s.Workload(h.Workload).App
		}
		got = append(got, x)
		return true
	})
	want := []held{
		{"eni:eni-1", "vpc-1", "10.0.0.1", "web", 1_000_000, 1_361_000},
		{"eni:eni-2", "vpc-1", "10.0.0.2", "", 1_000_000, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	n := 0
	s.HeldInterfaces(1_400_000, func(HeldInterface) bool { n++; return false })
	if n != 1 {
		t.Errorf("%d after the end was asked for", n)
	}
}
