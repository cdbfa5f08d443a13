package pipeline

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"dredge/flowlog"
)

// Config bounds memory and waiting.
type Config struct {
	// MemoryBudget bounds the bytes held at once by raw answers, inflated slices, records and rows not yet acknowledged; when it is used up, shards are not read.
	MemoryBudget ByteSize `yaml:"memory_budget"`
	// Slice is how many bytes of lines of one payload are decoded, gated and joined at a time; larger payloads are cut, smaller ones are taken together up to 512KiB.
	Slice ByteSize `yaml:"slice"`
	// MaxLine is the length in bytes above which a line is rejected.
	MaxLine ByteSize `yaml:"max_line"`
	// MaxInflated is the size above which the rest of one payload is refused, which bounds what a compression bomb costs.
	MaxInflated ByteSize `yaml:"max_inflated"`
	// Hold is how long after a payload's arrival its rows wait at most for identity to catch up; 0 waits for nothing.
	Hold time.Duration `yaml:"hold"`
	// Guard is how far identity must be complete beyond the newest flow end of a slice before its rows go on.
	Guard time.Duration `yaml:"guard"`
	// CountRepeats is how many events of CloudWatch Logs are remembered, by log group, log stream and id, to count those that were put into the stream twice; some 40 bytes each, and 0 counts none.
	CountRepeats int `yaml:"count_repeats"`
	// WatchedApps is how many applications each worker tells the time of the last flow of, by one series each (dredge_pipeline_app_last_seen_timestamp_seconds), so that an alert can say which one went silent; 0 tells none.
	WatchedApps int `yaml:"watched_apps"`
	// Formats says which layout the lines of each log group have; a header line outranks it.
	Formats flowlog.Rules `yaml:"formats"`
}

// DefaultConfig suits a worker with 1 GiB of memory.
func DefaultConfig() Config {
	return Config{
		MemoryBudget: 512 * MiB,
		Slice:        4 * MiB,
		MaxLine:      16 * KiB,
		MaxInflated:  512 * MiB,
		Hold:         time.Minute,
		Guard:        2 * time.Second,
		WatchedApps:  1000,
		Formats:      flowlog.DefaultRules(),
	}
}

const (
	// sliceFactor is how many bytes of budget are reserved for each byte of lines before they are decoded: a line of about
	// a hundred bytes becomes a Record of about four hundred.
	sliceFactor = 6
	// readSize is what one read may bring: a GetRecords answer of 10 MB in JSON and base64, and room to take it apart.
	readSize = 25 << 20
	// memoryOverhead is what the process needs beside the budget: code, stacks, identity is counted elsewhere, and what the
	// garbage collector has not taken back yet.
	memoryOverhead = 100 << 20
	// maxRepeats bounds what is remembered of events to some 4 GB.
	maxRepeats = 100_000_000
	// minAckReserve lets several parts of every slice be on their way to the sink at once.
	minAckReserve = 8 << 20
	// maxWatchedApps keeps what a scrape brings within some megabytes.
	maxWatchedApps = 20_000
)

// sliceCost is what one slice may hold of the budget.
func (c Config) sliceCost() int64 { return int64(c.Slice) * sliceFactor }

// reserves returns the shares of the budget that reads never take.
func (c Config) reserves() (slices, acks int64) {
	return max(int64(c.MemoryBudget)/8, c.sliceCost()), max(int64(c.MemoryBudget)/8, minAckReserve)
}

// MemoryLimit is the soft limit in bytes that the Go runtime should be given (debug.SetMemoryLimit) so that garbage does not
// double what the budget allows. What other parts hold by their own bounds (the identity store) comes on top.
func (c Config) MemoryLimit() int64 { return int64(c.MemoryBudget) + memoryOverhead }

// Validate reports every fault of c.
func (c Config) Validate() error {
	var errs []error
	fault := func(key string, value any, rule string) {
		errs = append(errs, fmt.Errorf("%s: %v %s", key, value, rule))
	}
	if c.Slice < 64*KiB || c.Slice > 64*MiB {
		fault("slice", c.Slice, "is outside 64KiB to 64MiB; 4MiB suits most streams")
	} else if s, a := c.reserves(); int64(c.MemoryBudget)-s-a < readSize {
		least := ByteSize(c.sliceCost() + minAckReserve + readSize)
		for ; ; least += MiB {
			probe := c
			probe.MemoryBudget = least
			if s, a := probe.reserves(); int64(least)-s-a >= readSize {
				break
			}
		}
		fault("memory_budget", c.MemoryBudget, fmt.Sprintf("leaves no room for a read of 25MiB beside slices and rows on their way; write at least %s, or a smaller slice", least))
	}
	if c.MaxLine < 256 || c.MaxLine > math.MaxUint16 {
		fault("max_line", c.MaxLine, "is outside 256 to 65535 bytes; 16KiB suits every known format")
	}
	if c.MaxInflated < c.Slice {
		fault("max_inflated", c.MaxInflated, fmt.Sprintf("is less than slice; write at least %s", c.Slice))
	}
	if c.Hold < 0 || c.Hold > time.Hour {
		fault("hold", c.Hold, "is outside 0s to 1h; 60s suits identity sources that tell within a minute")
	}
	if c.Guard < 0 || c.Guard > time.Minute {
		fault("guard", c.Guard, "is outside 0s to 1m; 2s covers a flow's last second and a second of clock skew")
	}
	if c.CountRepeats < 0 || c.CountRepeats > maxRepeats {
		fault("count_repeats", c.CountRepeats, fmt.Sprintf("is outside 0 to %d; 1000000 suits what one worker reads in some minutes, and 0 counts nothing", maxRepeats))
	}
	if c.WatchedApps < 0 || c.WatchedApps > maxWatchedApps {
		fault("watched_apps", c.WatchedApps, fmt.Sprintf("is outside 0 to %d; each is a series of every worker, and 1000 suits most estates", maxWatchedApps))
	}
	if err := c.Formats.Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, fmt.Errorf("formats.%s", line))
		}
	}
	return errors.Join(errs...)
}
