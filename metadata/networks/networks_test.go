package networks_test

import (
	"net/netip"
	"strings"
	"testing"

	"dredge/metadata"
	"dredge/metadata/networks"
	"dredge/metadata/store"

	"github.com/google/go-cmp/cmp"
)

// Declared networks answer as prefixes, the most specific first, a scope's own before those of all.
func TestNetworksAnswerAsPrefixes(t *testing.T) {
	c := networks.Config{
		{CIDR: "192.168.0.0/16", Name: "offices"},
		{CIDR: "192.168.7.0/24", Name: "berlin", Site: true},
		{CIDR: "fd00:1::/32", Name: "lab"},
		{CIDR: "172.20.0.0/16", Name: "partner", Scope: "vpc-1"},
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := store.New(metadata.DefaultConfig(), store.Dependencies{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Tell(s); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, ip := range []string{"192.168.1.1", "192.168.7.7", "fd00:1::9", "172.20.1.1", "10.0.0.1"} {
		if p, ok := s.Prefix(s.Scope("vpc-1"), netip.MustParseAddr(ip)); ok {
			got[ip] = p.Name + "|" + p.Site
		}
	}
	want := map[string]string{"192.168.1.1": "offices|", "192.168.7.7": "berlin|berlin", "fd00:1::9": "lab|", "172.20.1.1": "partner|"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := s.Prefix(s.InternScope("vpc-2"), netip.MustParseAddr("172.20.1.1")); ok {
		t.Error("a network of vpc-1 answers in vpc-2")
	}
}

func TestFaults(t *testing.T) {
	c := networks.Config{
		{CIDR: "10.0.0.0", Name: "a"},
		{CIDR: "10.0.0.1/8", Name: "b"},
		{CIDR: "10.0.0.0/8"},
		{CIDR: "10.0.0.0/8", Name: "c"},
		{CIDR: "10.0.0.0/8", Name: "d", Scope: "vpc-1"},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`[0].cidr: "10.0.0.0" is no CIDR`, "[1].cidr: \"10.0.0.1/8\" has bits behind its mask; write 10.0.0.0/8", "[2].name", "[3].cidr: \"10.0.0.0/8\" stands at [2] already"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "[4]") {
		t.Errorf("a network of another scope is refused: %v", err)
	}
}
