package idlog

import (
	"errors"
	"fmt"
	"time"

	"dredge/internal/blob"
)

// Config is one identity log and how it is read and written.
type Config struct {
	// URL is where the log lies: file:///a/directory, or s3://bucket/prefix?region=eu-west-1; empty is none.
	URL string `yaml:"url"`
	// Remote says that this is another region's log: it is read, but holds no row back and takes no sightings of this worker.
	Remote bool `yaml:"remote"`
	// SightingsOnly says that no dredge sonar writes this log: workers share sightings through it and have their own sources.
	SightingsOnly bool `yaml:"sightings_only"`
}

// Settings are how all logs are read and written.
type Settings struct {
	// PollInterval is how often a log is looked at for more; each look is one listing, and one read for each stream that changed.
	PollInterval time.Duration `yaml:"poll_interval"`
	// FlushInterval is how long events wait for others before they are written together.
	FlushInterval time.Duration `yaml:"flush_interval"`
	// SightingsInterval is how long a worker's sightings wait for others before they are written together.
	SightingsInterval time.Duration `yaml:"sightings_interval"`
	// SightingsPerSecond is how many sightings a worker shares at most; those beyond it are counted and kept to itself.
	SightingsPerSecond int `yaml:"sightings_per_second"`
	// SnapshotInterval is how often everything is written anew as one snapshot, after which older segments are deleted.
	SnapshotInterval time.Duration `yaml:"snapshot_interval"`
	// MaxLag is how old the last complete look at a log may be for it to count as loaded.
	MaxLag time.Duration `yaml:"max_lag"`
	// LeaseDuration is how long a dredge sonar may be silent before another one runs the sources.
	LeaseDuration time.Duration `yaml:"lease_duration"`
}

// DefaultSettings show a change to every worker within two seconds on a directory.
func DefaultSettings() Settings {
	return Settings{
		PollInterval: 500 * time.Millisecond, FlushInterval: 200 * time.Millisecond, SightingsInterval: time.Second,
		SightingsPerSecond: 20_000, SnapshotInterval: 5 * time.Minute, MaxLag: 30 * time.Second, LeaseDuration: 15 * time.Second,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	if err := blob.CheckURL(c.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if c.Remote && c.SightingsOnly {
		return errors.New("sightings_only: true has no sense for a remote log, which takes none of this worker's; leave one of them out")
	}
	return nil
}

// Validate reports every fault.
func (s Settings) Validate() error {
	var errs []error
	between := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %s is out of range; write a duration from %s to %s", key, v, low, high))
		}
	}
	between("poll_interval", s.PollInterval, 10*time.Millisecond, time.Minute)
	between("flush_interval", s.FlushInterval, 10*time.Millisecond, time.Minute)
	between("sightings_interval", s.SightingsInterval, 10*time.Millisecond, 5*time.Minute)
	between("snapshot_interval", s.SnapshotInterval, time.Second, 24*time.Hour)
	between("max_lag", s.MaxLag, time.Second, time.Hour)
	between("lease_duration", s.LeaseDuration, time.Second, 10*time.Minute)
	if s.SightingsPerSecond < 1 || s.SightingsPerSecond > 1_000_000 {
		errs = append(errs, fmt.Errorf("sightings_per_second: %d is out of range; write 1 to 1000000", s.SightingsPerSecond))
	}
	if s.MaxLag < 2*s.PollInterval {
		errs = append(errs, fmt.Errorf("max_lag: %s leaves no time for two looks every %s; write at least %s", s.MaxLag, s.PollInterval, 2*s.PollInterval))
	}
	return errors.Join(errs...)
}
