package main

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/internal/telemetry"
	"dredge/metadata"
	"dredge/metadata/networks"
)

// A running service takes a changed file in on SIGHUP: the hold bound, declared networks, names. A file that changes anything else
// is refused as a whole, and what was in force stays.
func TestReloadOnHangup(t *testing.T) {
	c, _ := testConfig(t)
	if err := os.WriteFile(c.Identity.File.Path, []byte(replayEvents), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dredge.yaml")
	write := func(edit func(*config.Config)) {
		t.Helper()
		next := c
		edit(&next)
		var text strings.Builder
		if err := next.WriteYAML(&text); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	svc, err := newService(c, testClients(c), zerolog.Nop(), telemetry.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	svc.load = func() (config.Config, error) { return config.Load(file, nil) }
	addr, err := svc.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.run(ctx) }()
	defer http.DefaultClient.CloseIdleConnections()
	ask := func(path string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
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
	hangUp := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	network := func() string {
		p, _ := svc.core.identity.Prefix(metadata.NoScope, netip.MustParseAddr("192.168.7.7"))
		return p.Name
	}
	await("/readyz", `"ready":true`) // by then it listens for the signal, too

	write(func(next *config.Config) {
		next.Pipeline.Hold = 17 * time.Second
		next.Identity.Networks = append(next.Identity.Networks, networks.Network{CIDR: "192.168.0.0/16", Name: "offices"})
		next.Identity.Names.TeamTags = []string{"squad"}
	})
	hangUp()
	await("/metrics", `dredge_config_reloads_total{outcome="applied"} 1`)
	await("/api/config", "hold: 17s")
	if got := network(); got != "offices" {
		t.Errorf("the network is called %q", got)
	}

	write(func(next *config.Config) {
		next.Pipeline.Hold = 29 * time.Second
		next.Kinesis.StreamName = "others"
	})
	hangUp()
	await("/metrics", `dredge_config_reloads_total{outcome="refused"} 1`)
	if body := ask("/api/config"); !strings.Contains(body, "hold: 17s") || strings.Contains(body, "others") {
		t.Errorf("a refused file is in force:\n%s", body)
	}
	if got := network(); got != "offices" {
		t.Errorf("after a refusal the network is called %q", got)
	}
	await("/metrics", "dredge_config_last_reload_successful 0")

	write(func(*config.Config) {})
	hangUp()
	await("/metrics", `dredge_config_reloads_total{outcome="applied"} 2`)
	if got := network(); got != "" {
		t.Errorf("a network that is declared no more is called %q", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
