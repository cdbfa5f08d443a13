package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// rule is one alert of prometheus/alerts.yaml.
type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule
		}
	}
	if err := yaml.Unmarshal(read(t, "prometheus/alerts.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 10 {
		t.Fatalf("%d alerts", len(out))
	}
	return out
}

// Every alert asks for what exists, says how urgent it is, and leads to a section of docs/operate.md; no section is without its alert.
func TestAlertsLeadToTheRunbook(t *testing.T) {
	known := metrics(t)
	var sections, names []string
	for _, m := range regexp.MustCompile(`(?m)^### (Dredge\w+)$`).FindAllSubmatch(read(t, root+"/docs/operate.md"), -1) {
		sections = append(sections, string(m[1]))
	}
	for _, r := range alerts(t) {
		checkExpr(t, known, r.Alert, r.Expr)
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if got, want := r.Annotations["runbook_url"], "docs/operate.md#"+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s: runbook_url %q, want %q", r.Alert, got, want)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s says nothing", r.Alert)
		}
		names = append(names, r.Alert)
	}
	if d := cmp.Diff(names, sections); d != "" {
		t.Errorf("alerts and sections of docs/operate.md, in order (-alerts +sections):\n%s", d)
	}
}

// Every alert has a case in which it fires and one in which it does not; promtool runs them in test/integration.
func TestAlertsHaveCases(t *testing.T) {
	var file struct {
		Tests []struct {
			Name  string
			Cases []struct {
				Alertname string
				Expected  []struct{} `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(read(t, "prometheus/alerts_test.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			if len(c.Expected) > 0 {
				fires[c.Alertname] = true
			} else {
				quiet[c.Alertname] = true
			}
		}
	}
	for _, r := range alerts(t) {
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s: a case in which it fires: %t; in which it does not: %t", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

// Metrics that the documents name exist.
func TestDocumentsNameMetricsThatExist(t *testing.T) {
	known := metrics(t)
	others := []string{"dredge_test", "dredge_checkpoints"} // names of that form which are no metrics
	for _, file := range documents(t) {
		for _, m := range regexp.MustCompile("`(dredge_[a-z0-9_]+)").FindAllStringSubmatch(string(read(t, file)), -1) {
			name := m[1]
			if _, ok := known[name]; ok || slices.Contains(others, name) {
				continue
			}
			if _, ok := known[suffix.ReplaceAllString(name, "")]; !ok {
				t.Errorf("%s names the metric %s, which does not exist", file, name)
			}
		}
	}
}
