package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dredge/config"
	"dredge/enrich/rules"
	"dredge/internal/page"
	"dredge/metadata"
	"dredge/metadata/networks"
	"dredge/row/condition"
)

// A running service takes a changed file in on SIGHUP: the hold bound, rules, declared networks, declared edges, names. A file that changes
// anything else is refused as a whole, a file with a fault, too, and what was in force stays; the page, /readyz and a metric say so.
func TestReloadOnHangup(t *testing.T) {
	c, _ := testConfig(t)
	if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Segmentation.File = write(t, "edges.yaml", edgesOfTest)
	c.Rules = rules.Config{{Name: "first", Tag: "first"}}
	file := filepath.Join(t.TempDir(), "dredge.yaml")
	store := func(edit func(*config.Config)) {
		t.Helper()
		next := c
		edit(&next)
		var text strings.Builder
		if err := next.WriteYAML(&text); err != nil {
			t.Fatal(err)
		}
		replaceFile(t, file, text.String())
	}
	svc := testService(t, c)
	svc.load = func() (config.Config, error) { return config.Load(file, nil) }
	url, stop := serve(t, svc)
	ask := func(path string) string {
		_, body := get(t, url+path)
		return body
	}
	await := func(path, want string) {
		t.Helper()
		deadline := time.After(time.Minute)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			body := ask(path)
			if strings.Contains(body, want) {
				return
			}
			select {
			case <-deadline:
				t.Fatalf("%s never says %q:\n%s", path, want, body)
			case <-tick.C:
			}
		}
	}
	edges := func(byDefault string) {
		t.Helper()
		replaceFile(t, c.Segmentation.File, strings.Replace(edgesOfTest, "default: deny", "default: "+byDefault, 1))
	}
	hangUp := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	network := func() string {
		p, _ := svc.core.identity.Prefix(metadata.NoScope, netip.MustParseAddr("192.168.7.7"), metadata.Window{Start: time.Now().UnixMilli()})
		return p.Name
	}
	await("/readyz", `"ready":true`) // by then it listens for the signal, too

	store(func(next *config.Config) {
		next.Pipeline.Hold = 17 * time.Second
		next.Identity.Networks = append(next.Identity.Networks, networks.Network{CIDR: "192.168.0.0/16", Name: "offices"})
		next.Identity.Names.TeamTags = []string{"squad"}
		next.Rules = rules.Config{{Name: "second", Tag: "second"}, {Name: "third", When: map[string]condition.Values{"dst_port": {"9"}}, Drop: true}}
		edges("allow")
	})
	hangUp()
	await("/metrics", `dredge_config_reloads_total{outcome="applied"} 1`)
	await("/api/config", "hold: 17s")
	inForce := func() {
		t.Helper()
		if got := network(); got != "offices" {
			t.Errorf("the network is called %q", got)
		}
		if got := svc.core.rules.Names(); !slices.Equal(got, []string{"third"}) {
			t.Errorf("rules that drop are %q", got)
		}
		if got := svc.core.segments.Describe(); got != "1 edges, default allow" {
			t.Error(got)
		}
		if body := ask("/api/config"); !strings.Contains(body, "hold: 17s") || strings.Contains(body, "others") {
			t.Errorf("in force is:\n%s", body)
		}
	}
	inForce()
	await("/metrics", `dredge_pipeline_dropped_lines_total{rule="third"} 0`)

	store(func(next *config.Config) {
		next.Pipeline.Hold = 29 * time.Second
		next.Kinesis.StreamName = "others"
	})
	hangUp()
	await("/metrics", `dredge_config_reloads_total{outcome="refused"} 1`)
	inForce()
	// Each of these alone refuses the whole: no YAML, a rule with a fault, one that asks for what the join does not fill, edges with a fault.
	for i, bad := range []struct {
		put  func()
		want string
	}{
		{func() { replaceFile(t, file, "pipeline: [") }, "not YAML"},
		{func() { replaceFile(t, file, "pipeline: {hold: 5s}\nrules: [{name: x}]\n") }, "rules[0].drop, sample, tag, redact: the rule has none of them"},
		{func() {
			store(func(next *config.Config) {
				next.Pipeline.Hold = 29 * time.Second
				next.Rules = rules.Config{{Name: "x", When: map[string]condition.Values{"src_instance": {"i-1"}}, Tag: "x"}}
			})
		}, "rules: a rule asks for a column of the set"},
		{func() {
			store(func(next *config.Config) { next.Pipeline.Hold = 29 * time.Second })
			edges("maybe")
		}, `segmentation: declared edges`},
	} {
		bad.put()
		hangUp()
		await("/metrics", fmt.Sprintf(`dredge_config_reloads_total{outcome="refused"} %d`, i+2))
		inForce()
		var status page.Status
		if err := json.Unmarshal([]byte(ask("/api/status")), &status); err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{"the page": strings.Join(status.Problems, "\n"), "the configuration": ask("/api/config")} {
			if !strings.Contains(text, bad.want) {
				t.Errorf("%s does not say %q:\n%s", what, bad.want, text)
			}
		}
		if body := ask("/readyz"); !strings.Contains(body, "was refused: the page and the log say why") || strings.Contains(body, bad.want) {
			t.Errorf("/readyz says %s", body)
		}
	}
	await("/metrics", "dredge_config_last_reload_successful 0")

	store(func(*config.Config) {})
	edges("deny")
	hangUp()
	await("/metrics", `dredge_config_reloads_total{outcome="applied"} 2`)
	if got := network(); got != "" {
		t.Errorf("a network that is declared no more is called %q", got)
	}
	if got := svc.core.segments.Describe(); got != "1 edges, default deny" {
		t.Error(got)
	}
	if body := ask("/api/status") + ask("/readyz"); strings.Contains(body, "was refused") {
		t.Errorf("what was refused is mended, and still told:\n%s", body)
	}
	stop()
}

// replaceFile puts text into a file in one step, as whoever reads it meanwhile expects.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
