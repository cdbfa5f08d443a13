package ec2

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"dredge/metadata/internal/awscall"
)

// Config says which accounts are asked, how often, and how hard.
type Config struct {
	// Accounts are the accounts to list; none turns the source off.
	Accounts []Account `yaml:"accounts"`
	// CrawlInterval is the time between the starts of two listings of one account in one region; names get certain no faster than this.
	CrawlInterval time.Duration `yaml:"crawl_interval"`
	// PageSize is how many interfaces, instances or networks one call asks for, 5 to 1000.
	PageSize int `yaml:"page_size"`
	// CallsPerSecond bounds the calls to one account in one region; AWS refills a typical bucket of 100 with 20 a second, which other tools share. Throttling halves it for a while.
	CallsPerSecond float64 `yaml:"calls_per_second"`
	// Consistency is how old an answer of EC2 may be; a listing vouches for the time up to its start less this.
	Consistency time.Duration `yaml:"consistency"`
	// MassRelease is the share of an account's addresses, 0 to 1, beyond which a listing that lacks them is doubted and looked at twice more.
	MassRelease float64 `yaml:"mass_release"`
	// QueueURL is an SQS queue that EventBridge fills with EC2 state changes and CloudTrail calls; empty leaves changes to the listings.
	QueueURL string `yaml:"queue_url"`
	// FlowLogs are the log groups, or destination ARNs, whose flow logs come into this application, with * and ?; they tell which networks are logged. Empty tells nothing.
	FlowLogs []string `yaml:"flow_logs"`
	// LookUp asks EC2 in the background for interfaces that flows mention and no listing has told yet.
	LookUp bool `yaml:"look_up"`
}

// Account is one account with its regions.
type Account = awscall.Account

// DefaultConfig lists every minute and is off as long as no account is written.
func DefaultConfig() Config {
	return Config{
		CrawlInterval: time.Minute, PageSize: 1000, CallsPerSecond: 5, Consistency: 30 * time.Second, MassRelease: 0.5, LookUp: true,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	errs := awscall.ValidateAccounts(c.Accounts)
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	between := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			fault("%s: %s is out of range; write a duration from %s to %s", key, v, low, high)
		}
	}
	between("crawl_interval", c.CrawlInterval, 5*time.Second, 24*time.Hour)
	between("consistency", c.Consistency, 0, 10*time.Minute)
	if c.PageSize < 5 || c.PageSize > 1000 {
		fault("page_size: %d is out of range; write 5 to 1000", c.PageSize)
	}
	if c.CallsPerSecond < 0.1 || c.CallsPerSecond > 100 {
		fault("calls_per_second: %g is out of range; write 0.1 to 100", c.CallsPerSecond)
	}
	if c.MassRelease <= 0 || c.MassRelease > 1 {
		fault("mass_release: %g is out of range; write a share above 0 and up to 1, such as 0.5", c.MassRelease)
	}
	if c.QueueURL != "" && !strings.HasPrefix(c.QueueURL, "https://") && !strings.HasPrefix(c.QueueURL, "http://") {
		fault("queue_url: %q is no URL; write for example https://sqs.us-east-1.amazonaws.com/123456789012/dredge-ec2", c.QueueURL)
	}
	for _, pattern := range c.FlowLogs {
		if _, err := path.Match(pattern, ""); err != nil {
			fault("flow_logs: %q is no pattern; write a log group or an ARN, with * and ? where it may differ", pattern)
		}
	}
	return errors.Join(errs...)
}

// Enabled says whether there is anything to list.
func (c Config) Enabled() bool { return len(c.Accounts) > 0 }
