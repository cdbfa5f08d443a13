package flowgen

import (
	"errors"
	"fmt"
	"time"
)

// Policy is what the estate's owner runs to know who has an address.
type Policy int

// The policies.
const (
	// CrawlOnly lists everything every few minutes.
	CrawlOnly Policy = iota
	// CrawlAndEvents adds late and lossy change events, and the gap-free pod watch of Kubernetes.
	CrawlAndEvents
	// AllSources adds a gap-free change feed with a watermark for every account, and listening ports.
	AllSources
	// Silent tells nothing; use Sim.Hindsight afterwards.
	Silent
)

// ParsePolicy reads the name of a policy.
func ParsePolicy(s string) (Policy, error) {
	for p, name := range policyNames {
		if name == s {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("identity policy %q is unknown; write crawl, crawl+events, all or none", s)
}

//nolint:gochecknoglobals // read-only table
var policyNames = [...]string{CrawlOnly: "crawl", CrawlAndEvents: "crawl+events", AllSources: "all", Silent: "none"}

func (p Policy) String() string { return policyNames[p] }

// StartOffset is how a record's start relates to its first packet. AWS only says that it is up to 60 s late; measurements
// of the CloudWatch path found both of the wide forms.
type StartOffset int

// The offsets.
const (
	// StartExact is the second of the first packet.
	StartExact StartOffset = iota
	// StartEarly is 60 s early to 1 s late (p10 −53, median −29, p90 −5).
	StartEarly
	// StartEither is 58 s early to 61 s late (p10 −32, median +1, p90 +34); end never lies before it.
	StartEither
)

// Envelope is how lines are packed into a payload.
type Envelope int

// The envelopes.
const (
	// CloudWatch is the gzip JSON of a subscription filter.
	CloudWatch Envelope = iota
	// Lines is bare lines, each ended by a newline.
	Lines
)

// Delay is a distribution of delivery delays by its quantiles, straight lines between them.
type Delay struct {
	Min, Median, P90, Max time.Duration
	// FromStart counts the delay from the start of the aggregation interval instead of its end; nothing arrives before
	// its end either way.
	FromStart bool
}

// CloudWatchDelay is the measured way through CloudWatch Logs.
func CloudWatchDelay() Delay {
	return Delay{
		Min: 75 * time.Second, Median: 360 * time.Second, P90: 605 * time.Second, Max: 650 * time.Second,
		FromStart: true,
	}
}

// FastDelay is some seconds, for demonstrations.
func FastDelay() Delay {
	return Delay{Min: time.Second, Median: 3 * time.Second, P90: 6 * time.Second, Max: 9 * time.Second}
}

// Churn is how quickly owners come and go.
type Churn struct {
	// ShortShare is the share of newly started owners that live ShortMean on average; the others live LongMean.
	ShortShare float64
	// ShortMean is the mean life of the short-lived.
	ShortMean time.Duration
	// LongMean is the mean life of the others.
	LongMean time.Duration
	// Cooldown is how long a freed address rests; the most recently freed rested one is taken first. 0 re-uses at once.
	Cooldown time.Duration
	// PodCooldown is the same for pod addresses on one node.
	PodCooldown time.Duration
	// Relaunch is the longest wait before an auto-scaled application replaces a lost member.
	Relaunch time.Duration
}

// Logs is how the flow logs are configured and delivered.
type Logs struct {
	// Interval is the aggregation interval of every interface (VPC dev: ten times as long, as for older instance types,
	// when SlowDev is set).
	Interval time.Duration
	SlowDev  bool
	// Offset is how start relates to the first packet.
	Offset StartOffset
	// Delay is the delivery delay.
	Delay Delay
	// Formats overrides the layout of a VPC (by its name) as AWS field names; the others keep that of catalog.go.
	Formats map[string]string
	// Envelope packs lines into payloads.
	Envelope Envelope
	// MaxLines bounds the lines of one payload.
	MaxLines int
	// RandomKeys spreads payloads by a random partition key instead of by log stream.
	RandomKeys bool
	// Unlogged is the share of interfaces whose flows nobody logs, although those of their VPC are said to be logged.
	Unlogged float64
	// SkipShare is the share of intervals in which AWS loses half of the records and says SKIPDATA.
	SkipShare float64
	// ControlEvery is the time between control messages of each log group; 0 sends none.
	ControlEvery time.Duration
}

// Identity is how well the estate is known.
type Identity struct {
	// Policy says which sources run.
	Policy Policy
	// DelayMedian and DelaySigma shape the log-normal delay of change events, DelayMax cuts it off unless it is 0.
	DelayMedian time.Duration
	DelaySigma  float64
	DelayMax    time.Duration
	// Skew bounds the clock error of change events.
	Skew time.Duration
	// ReleaseLoss is the share of release events that never come, AssignLoss that of assign events.
	ReleaseLoss, AssignLoss float64
	// CrawlEvery is the time between two listings of an account, CrawlTakes how long one takes.
	CrawlEvery, CrawlTakes time.Duration
	// ProgressEvery is the time between two progress events of a source.
	ProgressEvery time.Duration
}

// Config describes a simulation. The zero value is not usable: start from DefaultConfig, Demo or Accuracy.
type Config struct {
	// Seed makes the estate and all that happens in it; the same Config gives the same bytes.
	Seed uint64
	// Start is the virtual time of the first traffic.
	Start time.Time
	// Scale multiplies the number of members of every application; 1 is about 330 owners.
	Scale float64
	// ExtraApps adds applications with a random dependency graph to the VPCs prod and dev.
	ExtraApps int
	// Instances, when positive, makes another estate: the ExtraApps applications, with that many instances in all, in the VPC
	// prod, and no traffic but theirs. It is the setting in which joins are compared most simply.
	Instances int
	// ConnRate is the number of connections opened per second of virtual time.
	ConnRate float64
	// DeadShare is the share of connections to addresses that lost their owner in the last minutes.
	DeadShare float64
	// ProbeShare is the share of rejected attempts.
	ProbeShare float64
	// IPv6Share is the share of IPv6 where both ends have it.
	IPv6Share float64
	// IdleInterfaces is the number of attached interfaces that never see a packet.
	IdleInterfaces int
	Churn          Churn
	Logs           Logs
	Identity       Identity
	// Expect attaches the truth of every line to its payload.
	Expect bool
	// Check indexes every line for Truth.Check.
	Check bool
	// Keep is how long truth is kept for Truth.Lookup and Truth.Check; 0 keeps everything.
	Keep time.Duration
	// Baseline runs a latest-value join beside the simulation; see Sim.Baseline.
	Baseline bool
}

// DefaultConfig is a middling estate as AWS would log it, with crawls and events.
func DefaultConfig(start time.Time) Config {
	return Config{
		Seed: 1, Start: start, Scale: 1, ConnRate: 100, DeadShare: 0.02, ProbeShare: 0.02, IPv6Share: 0.1, IdleInterfaces: 20,
		Churn: Churn{
			ShortShare: 0.3, ShortMean: 3 * time.Minute, LongMean: 40 * time.Minute,
			Cooldown: 5 * time.Second, PodCooldown: 30 * time.Second, Relaunch: 10 * time.Second,
		},
		Logs: Logs{
			Interval: time.Minute, Delay: CloudWatchDelay(), MaxLines: 500, SkipShare: 0.0005, ControlEvery: 5 * time.Minute,
		},
		Identity: Identity{
			Policy: CrawlAndEvents, DelayMedian: 20 * time.Second, DelaySigma: 0.8, Skew: time.Second, ReleaseLoss: 0.01,
			CrawlEvery: 5 * time.Minute, CrawlTakes: 15 * time.Second, ProgressEvery: 10 * time.Second,
		},
		Keep: time.Hour,
	}
}

// Validate returns every fault of c.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	share := func(name string, v float64) {
		if v < 0 || v > 1 {
			bad("%s: %v is not a share; write a number from 0 to 1", name, v)
		}
	}
	positive := func(name string, d time.Duration) {
		if d < time.Millisecond {
			bad("%s: %s is too short; write at least 1ms", name, d)
		}
	}
	if c.Start.UnixMilli() <= 0 {
		bad("Start: %s is no usable time; write one after 1970", c.Start)
	}
	if c.Scale <= 0 || c.Scale > 1000 {
		bad("Scale: %v is out of range; write a number above 0 and up to 1000", c.Scale)
	}
	if c.ConnRate <= 0 {
		bad("ConnRate: %v must be positive; 100 suits most uses", c.ConnRate)
	}
	if c.Instances > maxInstances {
		bad("Instances: %d do not fit into a VPC; write at most %d", c.Instances, maxInstances)
	}
	if c.Instances < 0 || c.Instances > 0 && c.ExtraApps < 2 {
		bad("Instances: %d with %d ExtraApps; write at least two applications that they belong to", c.Instances, c.ExtraApps)
	}
	if c.ExtraApps < 0 || c.IdleInterfaces < 0 {
		bad("ExtraApps, IdleInterfaces: below 0; write 0 for none")
	}
	share("DeadShare", c.DeadShare)
	share("ProbeShare", c.ProbeShare)
	share("IPv6Share", c.IPv6Share)
	share("Churn.ShortShare", c.Churn.ShortShare)
	share("Logs.Unlogged", c.Logs.Unlogged)
	share("Logs.SkipShare", c.Logs.SkipShare)
	share("Identity.ReleaseLoss", c.Identity.ReleaseLoss)
	share("Identity.AssignLoss", c.Identity.AssignLoss)
	positive("Churn.ShortMean", c.Churn.ShortMean)
	positive("Churn.LongMean", c.Churn.LongMean)
	positive("Churn.Relaunch", c.Churn.Relaunch)
	positive("Logs.Interval", c.Logs.Interval)
	if d := c.Logs.Delay; d.Min < 0 || d.Median < d.Min || d.P90 < d.Median || d.Max < d.P90 {
		bad("Logs.Delay: %s, %s, %s, %s do not rise from 0; write Min ≤ Median ≤ P90 ≤ Max", d.Min, d.Median, d.P90, d.Max)
	}
	if c.Logs.MaxLines < 1 {
		bad("Logs.MaxLines: %d is below 1; 500 suits most uses", c.Logs.MaxLines)
	}
	if c.Identity.Policy < CrawlOnly || c.Identity.Policy > Silent {
		bad("Identity.Policy: %d is unknown; use one of the constants", int(c.Identity.Policy))
	} else if c.Identity.Policy != Silent {
		positive("Identity.CrawlEvery", c.Identity.CrawlEvery)
		positive("Identity.ProgressEvery", c.Identity.ProgressEvery)
		if c.Identity.CrawlTakes < 0 || c.Identity.CrawlTakes >= c.Identity.CrawlEvery {
			bad("Identity.CrawlTakes: %s is not below CrawlEvery %s", c.Identity.CrawlTakes, c.Identity.CrawlEvery)
		}
	}
	for name, f := range c.Logs.Formats {
		if !isVPC(name) {
			bad("Logs.Formats: VPC %q is not in the estate; it has %s", name, vpcNames())
		}
		if _, err := ParseLayout(f); err != nil {
			bad("Logs.Formats: %s: %w", name, err)
		}
	}
	return errors.Join(errs...)
}
