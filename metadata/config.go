package metadata

import (
	"errors"
	"fmt"
	"time"
)

// The values of Config.AddressSpace.
const (
	// Overlapping: the same private address may belong to several scopes.
	Overlapping = "overlapping"
	// Unique: private address space is unique over all scopes, so the only scope that has an address is meant.
	Unique = "unique"
)

// Config is how identity is kept and believed.
type Config struct {
	// Retention is how long history is kept; a flow that began earlier is answered unknown (before-retention).
	Retention time.Duration `yaml:"retention"`
	// ClockSkew is how far the clocks of sources and flow logs may differ; the window in which an owner must be unique grows by it on both sides.
	ClockSkew time.Duration `yaml:"clock_skew"`
	// IdleAfter is how long a source may be silent before it no longer holds flows back; its answers become provisional.
	IdleAfter time.Duration `yaml:"idle_after"`
	// HeartbeatBridge is the longest silence over which a secondary or IPv6 address is still believed to be its interface's; two aggregation intervals of the flow logs.
	HeartbeatBridge time.Duration `yaml:"heartbeat_bridge"`
	// MaxFuture is how far ahead of this machine's clock a told time may lie; later ones are rejected and counted.
	MaxFuture time.Duration `yaml:"max_future"`
	// AddressSpace is overlapping, or unique when no private address is used twice in the whole organisation.
	AddressSpace string `yaml:"address_space"`
	// NamingGrades are the grades that put a name into src_app and dst_app; each one beyond confirmed and covered admits wrong names.
	NamingGrades []string `yaml:"naming_grades"`
	// HugePages puts the identity tables into pages of 2 MiB where Linux can do that (6.1 and newer): look-ups wait less for memory.
	HugePages bool `yaml:"huge_pages"`
}

// DefaultConfig never guesses.
func DefaultConfig() Config {
	return Config{
		Retention:       24 * time.Hour,
		ClockSkew:       time.Second,
		IdleAfter:       time.Minute,
		HeartbeatBridge: 2 * time.Minute,
		MaxFuture:       10 * time.Minute,
		AddressSpace:    Overlapping,
		NamingGrades:    []string{Confirmed.String(), Covered.String()},
		HugePages:       true,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	between := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %s is out of range; write a duration from %s to %s", key, v, low, high))
		}
	}
	between("retention", c.Retention, 10*time.Minute, 31*24*time.Hour)
	between("clock_skew", c.ClockSkew, 0, time.Minute)
	between("idle_after", c.IdleAfter, time.Second, time.Hour)
	between("heartbeat_bridge", c.HeartbeatBridge, 0, time.Hour)
	between("max_future", c.MaxFuture, time.Second, 24*time.Hour)
	if c.AddressSpace != Overlapping && c.AddressSpace != Unique {
		errs = append(errs, fmt.Errorf("address_space: %q is not known; write %s or %s", c.AddressSpace, Overlapping, Unique))
	}
	if len(c.NamingGrades) == 0 {
		errs = append(errs, errors.New("naming_grades: is empty, so nothing would ever be named; write [confirmed, covered]"))
	}
	for _, text := range c.NamingGrades {
		g, ok := ParseGrade(text)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("naming_grades: %q is no grade; write some of confirmed, covered, provisional, border, stale", text))
		case g == Unknown || g == Prefix || g == PublicEnd || g == Ambiguous:
			errs = append(errs, fmt.Errorf("naming_grades: %q has no single owner to name; leave it out", text))
		}
	}
	return errors.Join(errs...)
}

// Naming returns NamingGrades as a set. Texts that Validate refuses are left out.
func (c Config) Naming() Grades {
	var set Grades
	for _, text := range c.NamingGrades {
		if g, ok := ParseGrade(text); ok {
			set |= 1 << g
		}
	}
	return set
}
