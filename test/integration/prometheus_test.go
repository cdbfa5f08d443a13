//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// empty lists the dashboards' queries that rightly have no data while all is well, by panel and legend, with the reason.
var empty = map[string]string{
	"Dead letters: {{reason}}":       "the demo rejects nothing and configures no dead letter",
	"Open transaction: oldest":       "the demo delivers at least once",
	"Transactions: {{outcome}}":      "the demo delivers at least once",
	"How long slices waited: median": "the demo's identity is ahead of its flows, so nothing waits",
	"How long slices waited: 99 %":   "the demo's identity is ahead of its flows, so nothing waits",
}

// startPrometheus starts a Prometheus that scrapes the service every second, and returns its base URL.
func startPrometheus(t *testing.T, service string) string {
	t.Helper()
	dir := t.TempDir()
	target, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: dredge\n    static_configs: [{targets: [%q]}]\n", target.Host)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	_, address := start(t, regexp.MustCompile(`Listening on.*address=(127\.0\.0\.1:\d+)`), exec.CommandContext(t.Context(), "prometheus",
		"--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", "127.0.0.1:0"))
	return "http://" + address
}

// testMetrics lets Prometheus's own linter read what /metrics serves.
func testMetrics(t *testing.T, service string) {
	body := get(t, service+"metrics")
	lint := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	lint.Stdin = strings.NewReader(body)
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// The configuration that we ship is valid, and every alert fires when it should and only then.
func TestAlerts(t *testing.T) {
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"},
		{"check", "rules", "alerts.yaml"},
		{"test", "rules", "alerts_test.yaml"},
	} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// panel is one question of a dashboard.
type panel struct {
	file, title, source, expr, legend, sql string
}

// panels are all questions of the shipped dashboards.
func panels(t *testing.T) (list []panel) {
	t.Helper()
	files, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboards", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Panels []struct {
				Title      string
				Datasource struct{ UID string }
				Targets    []struct {
					Expr, LegendFormat string
					Builder            struct{ Query string }
				}
			}
		}
		if err := json.Unmarshal(data, &dashboard); err != nil {
			t.Fatal(err)
		}
		for _, p := range dashboard.Panels {
			for _, q := range p.Targets {
				list = append(list, panel{filepath.Base(file), p.Title, p.Datasource.UID, q.Expr, q.LegendFormat, q.Builder.Query})
			}
		}
	}
	return list
}

// TestM1EveryPanelHasData: every question of every panel of the dashboards is answered with data by a real Prometheus that scrapes a running demo
// (those that rightly have none while all is well are listed with the reason). The panels that ask Druid are asked in TestO4.
func TestM1EveryPanelHasData(t *testing.T) {
	demo := startDemo(t)
	prometheus := startPrometheus(t, demo.url)
	t.Run("Metrics", func(t *testing.T) { testMetrics(t, demo.url) })
	asked := map[string]bool{}
	for _, p := range panels(t) {
		if p.source != "prometheus" {
			continue
		}
		name := p.title + ": " + p.legend
		asked[name] = true
		t.Run(p.file+"/"+name, func(t *testing.T) { testQuery(t, prometheus, name, p.expr) })
	}
	for name := range empty {
		if !asked[name] {
			t.Errorf("%q is in the list of empty queries, but in no dashboard", name)
		}
	}
}

// testQuery awaits an answer with data, and expects the books to be in balance.
func testQuery(t *testing.T, prometheus, name, expr string) {
	expr = strings.ReplaceAll(expr, "$__rate_interval", "10s")
	if reason, ok := empty[name]; ok {
		query(t, prometheus, expr) // it must parse all the same
		t.Logf("may be empty: %s", reason)
		return
	}
	await(t, "an answer to "+expr, time.Minute, func() bool { return len(query(t, prometheus, expr)) > 0 })
	if !strings.HasPrefix(name, "Books: ") {
		return
	}
	for _, v := range query(t, prometheus, expr) {
		if v != "0" {
			t.Errorf("the books are off by %s", v)
		}
	}
}

// query returns the numbers that Prometheus has for the expression, and fails the test if it is no expression.
func query(t *testing.T, prometheus, expr string) []string {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(get(t, prometheus+"/api/v1/query?query="+url.QueryEscape(expr))), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Status != "success" {
		t.Fatalf("%s: %s", expr, answer.Error)
	}
	var numbers []string
	for _, r := range answer.Data.Result {
		if v, ok := r.Value[1].(string); ok && v != "NaN" {
			numbers = append(numbers, v)
		}
	}
	return numbers
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body strings.Builder
	if _, err := io.Copy(&body, resp.Body); err != nil {
		t.Fatal(err)
	}
	return body.String()
}
