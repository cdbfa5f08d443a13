package networks_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"
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
		if p, ok := s.Prefix(s.Scope("vpc-1"), netip.MustParseAddr(ip), metadata.Window{}); ok {
			got[ip] = p.Name + "|" + p.Site
		}
	}
	want := map[string]string{"192.168.1.1": "offices|", "192.168.7.7": "berlin|berlin", "fd00:1::9": "lab|", "172.20.1.1": "partner|"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := s.Prefix(s.InternScope("vpc-2"), netip.MustParseAddr("172.20.1.1"), metadata.Window{}); ok {
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

// A changed list ends what it lacks and begins what is new; what stays is told nothing of.
func TestUpdate(t *testing.T) {
	old := networks.Config{
		{CIDR: "192.168.0.0/16", Name: "offices"},
		{CIDR: "192.168.7.0/24", Name: "berlin", Site: true},
		{CIDR: "172.20.0.0/16", Name: "partner", Scope: "vpc-1"},
	}
	next := networks.Config{
		{CIDR: "192.168.0.0/16", Name: "offices"},
		{CIDR: "192.168.7.0/24", Name: "hamburg", Site: true},
		{CIDR: "172.21.0.0/16", Name: "partner", Scope: "vpc-1"},
	}
	s, err := store.New(metadata.DefaultConfig(), store.Dependencies{})
	if err != nil {
		t.Fatal(err)
	}
	names := func(at time.Time) map[string]string {
		got := map[string]string{}
		for _, ip := range []string{"192.168.1.1", "192.168.7.7", "172.20.1.1", "172.21.1.1"} {
			if p, ok := s.Prefix(s.InternScope("vpc-1"), netip.MustParseAddr(ip), metadata.Window{Start: at.UnixMilli(), End: at.UnixMilli()}); ok {
				got[ip] = p.Name
			}
		}
		return got
	}
	if err := old.Tell(s); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	told := 0
	if err := old.Update(next, at, counting{s, &told}); err != nil {
		t.Fatal(err)
	}
	if told != 3 { // one ended, one began, one is called otherwise
		t.Errorf("%d events were told", told)
	}
	if diff := cmp.Diff(map[string]string{"192.168.1.1": "offices", "192.168.7.7": "hamburg", "172.21.1.1": "partner"}, names(at)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"192.168.1.1": "offices", "192.168.7.7": "berlin", "172.20.1.1": "partner"}, names(at.Add(-time.Minute))); diff != "" {
		t.Errorf("flows from before it: %s", diff)
	}
	if err := next.Update(old, at.Add(time.Minute), s); err != nil { // and back again
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"192.168.1.1": "offices", "192.168.7.7": "berlin", "172.20.1.1": "partner"}, names(at.Add(time.Minute))); diff != "" {
		t.Error(diff)
	}
}

type counting struct {
	networks.Target
	n *int
}

func (c counting) Apply(e *event.Event) error {
	*c.n++
	return c.Target.Apply(e)
}
