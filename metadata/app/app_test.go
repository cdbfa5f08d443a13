package app_test

import (
	"strings"
	"testing"

	"dredge/metadata/app"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultRules(t *testing.T) {
	n, err := app.New(app.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	f := func(tags map[string]string, want event.Workload) {
		t.Helper()
		var got event.Workload
		n.Name(tags, &event.Endpoint{Kind: "instance"}, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", tags, diff)
		}
	}
	f(nil, event.Workload{})
	f(map[string]string{"app": "  "}, event.Workload{})
	f(map[string]string{"App": "playback", "Name": "x", "Team": "video"}, event.Workload{App: "playback", AppSource: "tag:App", Team: "video"})
	f(map[string]string{"service": "s", "application": "a"}, event.Workload{App: "a", AppSource: "tag:application"})
	f(map[string]string{app.ECSFamily: "fam", app.ECSService: "svc"}, event.Workload{App: "svc", AppSource: "ecs-service"})
	// The grammar of Asgard and Spinnaker.
	f(map[string]string{"aws:autoscaling:groupName": "playback-main-canary-v012"}, event.Workload{App: "playback", AppSource: "autoscaling-group", Cluster: "playback-main-canary"})
	f(map[string]string{"aws:autoscaling:groupName": "playback"}, event.Workload{App: "playback", AppSource: "autoscaling-group", Cluster: "playback"})
	f(map[string]string{"aws:autoscaling:groupName": "playback-v001"}, event.Workload{App: "playback", AppSource: "autoscaling-group", Cluster: "playback"})
	// A name that begins with a hyphen fits no application: the next rule decides.
	f(map[string]string{"aws:autoscaling:groupName": "-x", "Name": "box"}, event.Workload{App: "box", AppSource: "name"})
	f(map[string]string{app.Managed: "alb:front"}, event.Workload{App: "alb:front", AppSource: "managed"})
	f(map[string]string{"app": strings.Repeat("é", 1000)}, event.Workload{App: strings.Repeat("é", 512), AppSource: "tag:app"})
}

func TestOwnRules(t *testing.T) {
	n, err := app.New(app.Config{
		Rules: []app.Rule{
			{Name: "cost", Tags: []string{"cost-center", "Name"}, Match: `^cc-(\w+)$`},
			{Name: "boxes", Tags: []string{"Name"}, Kinds: []string{"instance"}, Match: `^(?P<who>\w+)\.(\d+)$`, App: "box-${who}", Cluster: "$2"},
			{Name: "account", Tags: []string{app.Account}},
		},
		Labels:   []string{"env"},
		Accounts: map[string]string{"123456789012": "payments"},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := func(kind string, tags map[string]string, want event.Workload) {
		t.Helper()
		got := event.Workload{Account: "123456789012"}
		want.Account = got.Account
		n.Name(tags, &event.Endpoint{Kind: kind}, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", tags, diff)
		}
	}
	f("instance", map[string]string{"cost-center": "other", "Name": "cc-7"}, event.Workload{App: "7", AppSource: "cost"})
	f("instance", map[string]string{"Name": "web.3", "ENV": "prod"}, event.Workload{App: "box-web", AppSource: "boxes", Cluster: "3", Labels: map[string]string{"ENV": "prod"}})
	f("lambda", map[string]string{"Name": "web.3"}, event.Workload{App: "payments", AppSource: "account"})

	// What a source is sure of stands.
	got := event.Workload{App: "told", AppSource: "pod", Cluster: "c"}
	if n.Name(map[string]string{"cost-center": "cc-1"}, nil, &got); got.App != "told" || got.Cluster != "c" {
		t.Errorf("a told name was replaced: %+v", got)
	}
	steps := n.Explain(map[string]string{"cost-center": "other"}, nil, &event.Workload{Account: "123456789012"})
	want := []app.Step{{Rule: 1, Name: "cost", Tag: "cost-center", Value: "other"}, {Rule: 3, Name: "account", Tag: app.Account, Value: "payments", App: "payments"}}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Error(diff)
	}
}

func TestFaultsAreExplained(t *testing.T) {
	err := app.Config{
		Rules: []app.Rule{
			{}, {Tags: []string{"a"}, Match: "("}, {Tags: []string{"a"}, App: "$1"}, {Tags: []string{"a"}, Match: "(x)", App: "$2", Cluster: "${no}"},
		},
		Accounts: map[string]string{"12": ""},
	}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, words := range []string{"rules[0].tags", "rules[1].match: \"(\"", "rules[2].app", `rules[3].app: "$2" names the group "2"`, `rules[3].cluster`, `accounts: "12" is no`, "has no name"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is missing in:\n%v", words, err)
		}
	}
	if _, err := app.New(app.Config{Rules: []app.Rule{{}}}); err == nil {
		t.Error("New took what Validate refuses")
	}
}

// Any pattern and any tag: no panic, and the same answer again.
func FuzzName(f *testing.F) {
	f.Add(`^(?P<app>[^-]+)-v(\d+)$`, "${app}", "Name", "web-v001")
	f.Add("(", "$9", "", "\xff")
	f.Fuzz(func(t *testing.T, match, template, tag, value string) {
		n, err := app.New(app.Config{Rules: []app.Rule{{Tags: []string{tag}, Match: match, App: template}}})
		if err != nil {
			return
		}
		var a, b event.Workload
		n.Name(map[string]string{tag: value}, nil, &a)
		n.Name(map[string]string{tag: value}, nil, &b)
		if a.App != b.App || len(a.App) > event.MaxText {
			t.Fatalf("%+v, then %+v", a, b)
		}
	})
}

// Rules that are taken hold for whoever has the Namer.
func TestTake(t *testing.T) {
	n, err := app.New(app.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	next, err := app.New(app.Config{Rules: []app.Rule{{Tags: []string{"svc"}}}})
	if err != nil {
		t.Fatal(err)
	}
	n.Take(next)
	var got event.Workload
	n.Name(map[string]string{"app": "old", "svc": "new"}, nil, &got)
	if diff := cmp.Diff(event.Workload{App: "new", AppSource: "tag:svc"}, got); diff != "" {
		t.Error(diff)
	}
}
