package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/internal/awsfake"
	"dredge/metadata/app"
	"dredge/metadata/ec2"
)

// The rules have unit tests: a case fails that gets another name than it wants, and says which rule was asked last.
func TestNameCases(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cases.yaml")
	run := func(cases string) (string, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(cases), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := testNameCases(app.DefaultConfig(), file, &out)
		return out.String(), err
	}
	good := `
- tags: {app: Checkout, Team: payments}
  kind: instance
  want: {app: Checkout, app_source: "tag:app", team: payments}
- tags: {"aws:autoscaling:groupName": playback-main-v012}
  want: {app: playback, cluster: playback-main}
- tags: {colour: red}
  want: {app: ""}
`
	if out, err := run(good); err != nil || out != "3 of 3 cases pass\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(good + strings.Repeat("# more to come\n", maxCases/15) + "- tags: {app: a}\n  want: {app: b}\n"); err == nil || !strings.Contains(err.Error(), "split it") {
		t.Errorf("a case behind the bound: %v\n%s", err, out)
	}
	bad := `
- tags: {Name: bastion-1}
  want: {app: ""}
- tags: {app: a}
  want: {ap: a}
- tags: {app: a}
- tags: {app: a}
  want: {app: a}
`
	out, err := run(bad)
	exit, ok := errors.AsType[*exitError](err)
	if !ok || exit.code != 1 {
		t.Errorf("cases that fail: %v", err)
	}
	for _, want := range []string{`case 1`, `app is "bastion-1", not ""`, `the last rule asked was 8 "name", of tag "Name"`, "want.ap: unknown", "wants nothing", "1 of 4 cases pass"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for text, want := range map[string]string{"": "EOF", "[]": "holds no case", "- tag: {a: b}\n": "tag", "{": ""} {
		if _, err := run(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// On an estate every endpoint is counted for the rule that names it, and those without a name by the tags that they carry.
func TestNamesOfTheEstate(t *testing.T) {
	c, srv := testConfig(t)
	c.AWS.EC2Endpoint, c.AWS.STSEndpoint = srv.URL(), srv.URL()
	c.Identity.EC2.Accounts = []ec2.Account{{ID: "123456789012", Regions: []string{"us-east-1"}}}
	srv.EC2("123456789012", "us-east-1").Update(func(w *awsfake.EC2World) {
		w.VPCs = []awsfake.VPC{{ID: "vpc-1", OwnerID: "123456789012", CIDR: "10.0.0.0/16"}}
		add := func(id string, tags ...awsfake.Tag) {
			w.Instances = append(w.Instances, awsfake.Instance{ID: "i-" + id, State: "running", VPC: "vpc-1", Tags: tags})
			w.NetworkInterfaces = append(w.NetworkInterfaces, awsfake.NetworkInterface{
				ID: "eni-" + id, OwnerID: "123456789012", VPC: "vpc-1", Status: "in-use", PrivateIP: "10.0.0." + id, InterfaceType: "interface", SourceDestCheck: true,
				PrivateIPs: []awsfake.PrivateIP{{Address: "10.0.0." + id, Primary: true}},
				Attachment: &awsfake.Attachment{InstanceID: "i-" + id, Status: "attached"},
			})
		}
		add("1", awsfake.Tag{Key: "app", Value: "web"})
		add("2", awsfake.Tag{Key: "app", Value: "db"})
		add("3", awsfake.Tag{Key: "Name", Value: "bastion"})
		add("4", awsfake.Tag{Key: "colour", Value: "red"})
	})
	got, err := surveyNames(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := namesReport{
		Endpoints: 4,
		Rules:     []ruleUse{{1, "tag:app", 2, []string{"db", "web"}}, {8, "name", 1, []string{"bastion"}}},
		Unnamed:   []unnamedGroup{{"instance", []string{"colour"}, 1}},
	}
	if diff := cmp.Diff(want, got.report()); diff != "" {
		t.Error(diff)
	}
	var out bytes.Buffer
	if err := got.report().print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tag:app", "db, web", "colour", "4 endpoints, 3 named"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	c.Identity.EC2.Accounts = nil
	if _, err := surveyNames(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no estate to list") {
		t.Errorf("without accounts: %v", err)
	}
}
