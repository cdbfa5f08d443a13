package geo

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// PublishedRanges is where Amazon publishes its ranges.
const PublishedRanges = "https://ip-ranges.amazonaws.com/ip-ranges.json"

// Config says where knowledge of public addresses comes from.
type Config struct {
	// IPRanges is Amazon's ip-ranges.json as a path or an http(s) URL (https://ip-ranges.amazonaws.com/ip-ranges.json); empty names no AWS service.
	IPRanges string `yaml:"ip_ranges"`
	// Databases are MaxMind DB files with countries or autonomous systems, read whole into memory; the first that knows a field of an address gives it.
	Databases []string `yaml:"databases"`
	// Refresh is how often a URL is asked whether it has changed; the answer is usually 304 Not Modified.
	Refresh time.Duration `yaml:"refresh"`
	// PollInterval is how often files are looked at for a change; a SIGHUP looks at everything at once.
	PollInterval time.Duration `yaml:"poll_interval"`
}

// DefaultConfig reads nothing.
func DefaultConfig() Config { return Config{Refresh: time.Hour, PollInterval: 10 * time.Second} }

// Enabled says whether anything is to be read.
func (c Config) Enabled() bool { return c.IPRanges != "" || len(c.Databases) > 0 }

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	between := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %s is out of range; write a duration from %s to %s", key, v, low, high))
		}
	}
	between("refresh", c.Refresh, time.Minute, 7*24*time.Hour)
	between("poll_interval", c.PollInterval, 100*time.Millisecond, time.Hour)
	if strings.Contains(c.IPRanges, "://") && !isURL(c.IPRanges) {
		errs = append(errs, fmt.Errorf("ip_ranges: %q is no http or https URL; write a path or %s", c.IPRanges, PublishedRanges))
	}
	if len(c.Databases) > maxDatabases {
		errs = append(errs, fmt.Errorf("databases: %d files; write at most %d", len(c.Databases), maxDatabases))
	}
	for i, path := range c.Databases {
		if path == "" || isURL(path) {
			errs = append(errs, fmt.Errorf("databases[%d]: %q is no path; download the file and write where it is", i, path))
		}
	}
	return errors.Join(errs...)
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
