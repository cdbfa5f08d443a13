package main

import (
	"bytes"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dredge/internal/httpd"
	"dredge/internal/page"
	"dredge/metadata"
	"dredge/metadata/event"
	"dredge/metadata/store"
)

func TestEveryReasonHasARemedy(t *testing.T) {
	for _, r := range metadata.Reasons() {
		if remedy(r.String()) == "" {
			t.Errorf("%s has no remedy", r)
		}
	}
}

// Silent are interfaces whose flows are logged into this application, that have had their address for a while, and that no flow shows.
func TestSurveyFindsSilentInterfaces(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	identity, err := store.New(metadata.DefaultConfig(), store.Dependencies{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	long, fresh := now.Add(-time.Hour).UnixMilli(), now.Add(-time.Minute).UnixMilli()
	claim := func(scope, ip, eni string, from int64) event.Event {
		return event.Event{
			Src: "ec2", Op: event.Assign, Scope: scope, IP: ip, Owner: "eni:" + eni, From: from, EP: &event.Endpoint{ENI: eni, Kind: "instance"},
			WL: &event.Workload{App: "web", Account: "123456789012"},
		}
	}
	for _, e := range []event.Event{
		{Src: "ec2", Op: event.Coverage, Scope: "vpc-1", Prefix: "10.0.0.0/16", Logged: &yes, Actions: "ALL", From: long},
		claim("vpc-1", "10.0.0.1", "eni-heard", long),
		claim("vpc-1", "10.0.0.2", "eni-silent", long),
		claim("vpc-1", "10.0.0.3", "eni-new", fresh),
		claim("vpc-2", "10.1.0.1", "eni-unlogged", long),
	} {
		if err := identity.Apply(&e); err != nil {
			t.Fatal(err)
		}
	}
	seen := now.Add(-5 * time.Minute).UnixMilli()
	identity.Observe(store.Sighting{Scope: identity.Scope("vpc-1"), ENI: "eni-heard", IP: netip.MustParseAddr("10.0.0.1"), Start: seen - 1000, End: seen, Primary: true})
	got := surveyOf(identity, now)
	if got.SilentTotal != 1 || len(got.Silent) != 1 || got.Silent[0].Interface != "eni-silent" || got.Silent[0].App != "web" || got.Silent[0].Last != nil {
		t.Errorf("silent are %+v", got.Silent)
	}
	if len(got.Networks) != 2 {
		t.Fatalf("networks are %+v", got.Networks)
	}
	one := got.Networks[0]
	if one.VPC != "vpc-1" || one.Interfaces != 3 || one.Heard != 1 || one.Silent != 1 || one.Last == nil || one.Account != "123456789012" {
		t.Errorf("vpc-1: %+v", one)
	}
	if two := got.Networks[1]; two.Interfaces != 1 || two.Silent != 0 {
		t.Errorf("vpc-2: %+v", two)
	}
}

func TestCoverageReport(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	r := coverageReport{Coverage: page.Coverage{Now: now, LogGroups: []page.LogGroup{
		{Name: "/vpc/prod", Account: "123456789012", Lines: 1000, SkipData: 7, Format: "f", Missing: []page.Missing{{Field: "vpc-id"}, {Field: "az-id"}}, Last: now.Add(-time.Second)},
	}}, Unknowns: page.Unknowns{Addresses: []page.Unknown{{Address: "10.0.0.1", Bytes: 5, Reason: "never-seen", Remedy: "add the account"}}}}
	if !r.well() {
		t.Error("all is well, but is not said to be")
	}
	text := func(all bool) string {
		t.Helper()
		var out bytes.Buffer
		if err := r.print(&out, all); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, want := range []string{"/vpc/prod", "1s ago", "vpc-id,az-id", "no interface is known", "no interface is silent", "never-seen", "add the account"} {
		if got := text(false); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	for range 12 {
		r.Coverage.Silent = append(r.Coverage.Silent, page.SilentInterface{Interface: "eni-0"})
	}
	r.Coverage.SilentTotal = 500
	if got := text(false); !strings.Contains(got, "… and 490 more") || r.well() {
		t.Errorf("500 silent interfaces:\n%s", got)
	}
	if got := text(true); !strings.Contains(got, "… and 488 more") {
		t.Errorf("all that is known of 500 silent interfaces:\n%s", got)
	}
	r.Coverage.SilentTotal, r.Coverage.Silent = 0, nil
	r.Coverage.LogGroups[0].Last = now.Add(-time.Hour)
	if r.well() {
		t.Error("a quiet log group is not told")
	}
}

// With logins and TLS the commands find their way in by the configuration, and others do not.
func TestCommandsLogIn(t *testing.T) {
	c, _ := testConfig(t)
	if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c.HTTP.TLS = httpd.TLSConfig{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writeCertificate(t, c.HTTP.TLS)
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte("an admin's long token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.HTTP.Auth = []httpd.Login{{Name: "ops", Role: httpd.RoleAdmin, TokenFile: tokenFile}}
	c.HTTP.Listen = freeAddress(t)
	svc := testService(t, c)
	serve(t, svc)
	file := filepath.Join(dir, "dredge.yaml")
	var text strings.Builder
	if err := c.WriteYAML(&text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		t.Helper()
		var out bytes.Buffer
		cmd := newRootCmd()
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	if out, err := run("coverage", "-c", file, "--json"); err != nil || !strings.Contains(out, `"log_groups"`) {
		t.Errorf("coverage: %v\n%s", err, out)
	}
	if out, err := run("reload", "-c", file); err != nil || !strings.Contains(out, `"changed":[]`) {
		t.Errorf("reload: %v\n%s", err, out)
	}
	if _, err := run("coverage", "--url", "https://"+c.HTTP.Listen); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the configuration: %v", err)
	}
	if err := os.WriteFile(tokenFile, []byte("not the admin's token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run("drain", "-c", file); err == nil || !strings.Contains(err.Error(), http.StatusText(http.StatusUnauthorized)) {
		t.Errorf("with a wrong token: %v", err)
	}
}
