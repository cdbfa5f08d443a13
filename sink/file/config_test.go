package file

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	f := func(change func(*Config), want string) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want %q", err, want)
		}
	}
	f(func(c *Config) { c.Path = "" }, "path: empty; write a file, or - for standard output")
	f(func(c *Config) { c.Path = "out/" }, `path: "out/" is a directory; write a file in it, for example "out/rows.jsonl"`)
	f(func(c *Config) { c.Compression = "lz4" }, `compression: "lz4" is unknown; write auto, none, gzip or zstd`)
	f(func(c *Config) { c.FlushInterval = -1 }, "flush_interval: -1ns is out of range")
	f(func(c *Config) { c.BlockBytes = 1 }, "block_bytes: 1 is out of range")
	f(func(c *Config) { c.RotateBytes = -1 }, "rotate_bytes: -1 is negative")
	f(func(c *Config) { c.RotateAge = -1 }, "rotate_age: -1ns is negative")
	f(func(c *Config) { c.RotateAge = time.Hour }, "standard output cannot rotate")
	f(func(c *Config) { c.Fsync = "always" }, `fsync: "always" is unknown; write never or commit`)
	f(func(c *Config) { c.RetryBackoff = 0 }, "retry_backoff: 0s must be positive")

	d := DefaultDeadLetterConfig()
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "path: empty") {
		t.Errorf("a dead letter without a path = %v", err)
	}
	d.Path, d.MaxDataBytes = "dead.jsonl", 0
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "max_data_bytes: 0 is out of range") {
		t.Errorf("a dead letter without data = %v", err)
	}
}
