package druid

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	f(`objects: "gs://bucket" names no store`, func(c *Config) { c.Objects = "gs://bucket" })
	f("minute: needs objects", func(c *Config) { c.Minute = true })
	f("late: needs objects", func(c *Config) { c.Late = true })
	f("batch_interval: 0s is outside", func(c *Config) { c.BatchInterval = 0 })
	f("batch_rows: 999 is outside", func(c *Config) { c.BatchRows = 999 })
	f("batch_bytes: 1 is outside", func(c *Config) { c.BatchBytes = 1 })
	f("inline_bytes: 9000000 is outside", func(c *Config) { c.InlineBytes = 9_000_000 })
	f("inline_bytes: 0 is too few", func(c *Config) { c.InlineBytes = 0 })
	f("task_slots: 0 is outside", func(c *Config) { c.TaskSlots = 0 })
	f("task_time: 0s is outside", func(c *Config) { c.TaskTime = 0 })
	f("max_attempts: 0 is outside", func(c *Config) { c.MaxAttempts = 0 })
	f("poll_interval: 0s is outside", func(c *Config) { c.PollInterval = 0 })
	f("rows up to 16m0s old, more than 15m0s", func(c *Config) { c.TaskTime = 8 * time.Minute })
}

// A row waits for its batch, or for the tasks before its own, and then for its own task.
func TestFreshness(t *testing.T) {
	c := DefaultConfig()
	c.BatchInterval, c.TaskTime, c.TaskSlots = time.Minute, 30*time.Second, 4
	f := func(minute bool, slots int, want time.Duration) {
		t.Helper()
		c.Minute = minute
		if have := c.Freshness(slots); have != want {
			t.Errorf("minute %v, %d slots: %s, want %s", minute, slots, have, want)
		}
	}
	f(false, 4, 90*time.Second)
	f(false, 40, 90*time.Second) // it takes no more than its own
	f(true, 4, 2*time.Minute)
	f(false, 1, 4*time.Minute)
	f(true, 3, 3*time.Minute)
	f(false, 0, 4*time.Minute)
}
