package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dredge/config"
	"dredge/metadata/ec2"
	"dredge/metadata/idlog"
)

// A source whose watermark falls further behind than hold and the usual delivery delay together is told, with what to write instead.
func TestLagAdvice(t *testing.T) {
	with := func(change func(c *config.Config)) config.Config {
		c := config.Default()
		c.Identity.EC2.Accounts = []ec2.Account{{ID: "123456789012", Regions: []string{"us-east-1"}}}
		change(&c)
		return c
	}
	for _, c := range []struct {
		name    string
		cfg     config.Config
		fileLag time.Duration
		want    []string // words of each note
	}{
		{"the defaults", with(func(*config.Config) {}), 0, nil},
		{"no sources", config.Default(), 0, nil},
		{"listings every five minutes", with(func(c *config.Config) { c.Identity.EC2.CrawlInterval = 5 * time.Minute }), 0, []string{
			"identity.ec2 falls up to 5m30s behind the clock, and rows wait 1m0s (pipeline.hold) after lines that usually arrive 2m0s after their flow: " +
				"many ends will be provisional and have no name; lower identity.ec2.crawl_interval, or raise pipeline.hold to 3m32s",
		}},
		{"and a hold that suits them", with(func(c *config.Config) {
			c.Identity.EC2.CrawlInterval, c.Pipeline.Hold = 5*time.Minute, 3*time.Minute+32*time.Second
		}), 0, nil},
		{"from S3", with(func(c *config.Config) {
			c.Identity.EC2.CrawlInterval, c.S3.MouthfulQueue = 5*time.Minute, "https://sqs/q"
		}), 0, nil},
		{"both, longer than any hold", with(func(c *config.Config) {
			c.Identity.ECS.Accounts, c.Identity.ECS.CrawlInterval = c.Identity.EC2.Accounts, 2*time.Hour
		}), 26 * time.Hour, []string{"identity.ecs falls up to 2h0m30s behind", "identity.file falls up to 26h0m0s behind"}},
	} {
		got := lagAdvice(c.cfg, c.fileLag)
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %d notes", c.name, got, len(c.want))
			continue
		}
		for i, words := range c.want {
			if !strings.Contains(got[i], words) {
				t.Errorf("%s: %q, want %q", c.name, got[i], words)
			}
		}
		if len(got) == 2 && strings.Contains(got[1], "pipeline.hold to") {
			t.Errorf("%s: %q tells to hold for longer than is allowed", c.name, got[1])
		}
	}
}

// The file's own progress is looked at: the source that is furthest behind decides.
func TestCheckTellsAStaleIdentityFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.jsonl")
	now := time.Now()
	progress := func(src string, ago time.Duration) string {
		return fmt.Sprintf(`{"v":1,"src":%q,"op":"progress","to":%d}`+"\n", src, now.Add(-ago).UnixMilli())
	}
	c := config.Default()
	c.Identity.File.Path = path
	for _, f := range []struct {
		lines string
		lag   time.Duration
	}{
		{"", 0},
		{progress("a", 3*time.Hour) + progress("a", time.Minute) + progress("b", 10*time.Minute), 10 * time.Minute},
	} {
		if err := os.WriteFile(path, []byte(f.lines), 0o600); err != nil {
			t.Fatal(err)
		}
		_, file, err := checkIdentity(t.Context(), c, now)
		if err != nil || file.lag.Round(time.Second) != f.lag {
			t.Errorf("%q: lag %s, %v; want %s", f.lines, file.lag, err, f.lag)
		}
	}
	if note, _, err := checkIdentity(t.Context(), config.Default(), now); err != nil || !strings.Contains(note, "every private end will be unknown") {
		t.Errorf("without any source: %q, %v", note, err)
	}
	logs := config.Default()
	logs.Identity.Logs = []idlog.Config{{URL: "file:///var/lib/dredge/identity"}}
	if note, _, err := checkIdentity(t.Context(), logs, now); err != nil || note != ": no file" {
		t.Errorf("with a log: %q, %v", note, err)
	}
	c.Identity.File.Complete = true
	if _, file, err := checkIdentity(t.Context(), c, now); err != nil || file.lag != 0 {
		t.Errorf("a file that is complete is %s behind, %v", file.lag, err)
	}
}

// Without a word on coverage no observer knows that another one counts the flow.
func TestCheckTellsThatCoverageIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.jsonl")
	for _, c := range []struct {
		name, lines string
		change      func(c *config.Config)
		noted       bool
	}{
		{"a file without coverage", `{"v":1,"src":"a","op":"describe","from":1,"owner":"eni:eni-1"}`, nil, true},
		{"a file with coverage", `{"v":1,"src":"a","op":"coverage","from":1,"scope":"vpc-1","prefix":"10.0.0.0/8","logged":true}`, nil, false},
		{"accounts without flow logs", "", func(c *config.Config) {
			c.Identity.File.Path, c.Identity.EC2.Accounts = "", []ec2.Account{{ID: "123456789012", Regions: []string{"us-east-1"}}}
		}, true},
		{"accounts with flow logs", "", func(c *config.Config) {
			c.Identity.EC2.Accounts, c.Identity.EC2.FlowLogs = []ec2.Account{{ID: "123456789012", Regions: []string{"us-east-1"}}}, []string{"/vpc/*"}
		}, false},
		{"no source at all", "", func(c *config.Config) { c.Identity.File.Path = "" }, false},
	} {
		if err := os.WriteFile(path, []byte(c.lines+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := config.Default()
		cfg.Identity.File.Path = path
		if c.change != nil {
			c.change(&cfg)
		}
		_, file, err := checkIdentity(t.Context(), cfg, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		noted := strings.Contains(strings.Join(identityAdvice(cfg, file), " "), "counts twice")
		if noted != c.noted {
			t.Errorf("%s: noted %v", c.name, noted)
		}
	}
}
