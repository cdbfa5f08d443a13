package ecs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"dredge/metadata/internal/awscall"
)

// Config says whose tasks are told.
type Config struct {
	// Accounts are the accounts whose clusters are listed; none turns the source off.
	Accounts []awscall.Account `yaml:"accounts"`
	// CrawlInterval is the time between the starts of two listings of one account in one region.
	CrawlInterval time.Duration `yaml:"crawl_interval"`
	// CallsPerSecond bounds the calls to one account in one region; throttling halves it for a while.
	CallsPerSecond float64 `yaml:"calls_per_second"`
	// Consistency is how old an answer of ECS may be; a listing vouches for the time up to its start less this.
	Consistency time.Duration `yaml:"consistency"`
	// QueueURL is an SQS queue that EventBridge fills with ECS task state changes; empty leaves changes to the listings.
	QueueURL string `yaml:"queue_url"`
}

// DefaultConfig lists every minute and is off as long as no account is written.
func DefaultConfig() Config {
	return Config{CrawlInterval: time.Minute, CallsPerSecond: 5, Consistency: 30 * time.Second}
}

// Validate reports every fault.
func (c Config) Validate() error {
	errs := awscall.ValidateAccounts(c.Accounts)
	between := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %s is out of range; write a duration from %s to %s", key, v, low, high))
		}
	}
	between("crawl_interval", c.CrawlInterval, 5*time.Second, 24*time.Hour)
	between("consistency", c.Consistency, 0, 10*time.Minute)
	if c.CallsPerSecond < 0.1 || c.CallsPerSecond > 100 {
		errs = append(errs, fmt.Errorf("calls_per_second: %g is out of range; write 0.1 to 100", c.CallsPerSecond))
	}
	if c.QueueURL != "" && !strings.HasPrefix(c.QueueURL, "https://") && !strings.HasPrefix(c.QueueURL, "http://") {
		errs = append(errs, fmt.Errorf("queue_url: %q is no URL; write for example https://sqs.us-east-1.amazonaws.com/123456789012/dredge-ecs", c.QueueURL))
	}
	return errors.Join(errs...)
}

// Enabled says whether there is anything to list.
func (c Config) Enabled() bool { return len(c.Accounts) > 0 }
