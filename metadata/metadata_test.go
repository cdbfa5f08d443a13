package metadata_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"dredge/metadata"
)

func TestGradesThatName(t *testing.T) {
	want := map[metadata.Grade]bool{metadata.Confirmed: true, metadata.Covered: true}
	for g := metadata.Unknown; g <= metadata.PublicEnd; g++ {
		if g.Names() != want[g] || metadata.DefaultGrades.Has(g) != want[g] {
			t.Errorf("%s: Names %v, default set %v, want %v", g, g.Names(), metadata.DefaultGrades.Has(g), want[g])
		}
		if back, ok := metadata.ParseGrade(g.String()); !ok || back != g {
			t.Errorf("%s does not parse back", g)
		}
	}
	if metadata.DefaultConfig().Naming() != metadata.DefaultGrades {
		t.Error("the default configuration names other grades than the default set")
	}
}

// The texts of reasons are public: lower case, hyphenated, all different.
func TestReasonTexts(t *testing.T) {
	shape := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]metadata.Reason{}
	for _, r := range metadata.Reasons() {
		s := r.String()
		if !shape.MatchString(s) {
			t.Errorf("reason %d has the text %q", r, s)
		}
		if other, ok := seen[s]; ok {
			t.Errorf("reasons %d and %d share the text %q", other, r, s)
		}
		seen[s] = r
	}
}

func TestIsPublic(t *testing.T) {
	for ip, want := range map[string]bool{
		"8.8.8.8": true, "52.94.5.1": true, "203.0.113.9": true, "::ffff:8.8.8.8": true, "2600:1f18::1": true, "2001:db8::1": true,
		"10.0.0.1": false, "172.31.0.1": false, "192.168.1.1": false, "100.64.0.1": false, "100.127.255.255": false,
		"169.254.169.254": false, "127.0.0.1": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false,
		"240.0.0.1": false, "198.18.0.1": false, "fd00::1": false, "fe80::1": false, "ff02::1": false, "::1": false, "::": false,
		"::ffff:10.0.0.1": false, "100.128.0.1": true, "172.32.0.1": true,
	} {
		if got := metadata.IsPublic(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: public %v, want %v", ip, got, want)
		}
	}
	if metadata.IsPublic(netip.Addr{}) {
		t.Error("the absent address is public")
	}
}

func TestConfig(t *testing.T) {
	if err := metadata.DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	c := metadata.DefaultConfig()
	c.Retention = 0
	c.ClockSkew = -1
	c.AddressSpace = "flat"
	c.NamingGrades = []string{"covered", "certain", "ambiguous"}
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"retention: 0s", "clock_skew: -1ns", `address_space: "flat"`, `"certain" is no grade`, `"ambiguous" has no single owner`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
