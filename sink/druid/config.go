package druid

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	cluster "dredge/druid"
	"dredge/internal/blob"
)

// Config says how rows become tasks of Druid. The cluster and its datasources are those of the section druid.
type Config struct {
	// Objects is where batches lie that are larger than InlineBytes: s3://bucket/prefix, or file:///a/folder that every worker of Druid
	// sees as well. Empty puts all rows into the specs of tasks, which Druid keeps in its metadata database: for small streams only.
	Objects string `yaml:"objects"`
	// Minute adds a task for the rolled-up rows of each batch; it needs Objects.
	Minute bool `yaml:"minute"`
	// Late sends rows that are late to the datasource of their own; it needs Objects.
	Late bool `yaml:"late"`
	// BatchInterval is how long rows wait for more before they become a task. Less than a minute costs more in tasks and segments than
	// it gains.
	BatchInterval time.Duration `yaml:"batch_interval"`
	// BatchRows ends a batch early when it has so many rows.
	BatchRows int `yaml:"batch_rows"`
	// BatchBytes ends a batch early when it has so many bytes of JSON; in memory they take about a tenth of that.
	BatchBytes int `yaml:"batch_bytes"`
	// InlineBytes is how large a batch may be, in bytes of JSON, that goes into the spec of its task.
	InlineBytes int `yaml:"inline_bytes"`
	// TaskSlots is how many tasks this worker has in Druid at once, and into how many groups its shards are divided. All workers
	// together must leave slots free for Druid's own work.
	TaskSlots int `yaml:"task_slots"`
	// TaskTime is how long a task takes from its submission until its rows can be queried; the freshness that is told at the start is
	// reckoned with it. dredge_sink_druid_task_seconds measures all but the last part.
	TaskTime time.Duration `yaml:"task_time"`
	// MaxAttempts is how often a batch is tried whose tasks fail, before its shards are stopped.
	MaxAttempts int `yaml:"max_attempts"`
	// PollInterval is how often all unfinished tasks are asked for, in one request.
	PollInterval time.Duration `yaml:"poll_interval"`
}

// DefaultConfig makes a task a minute in each of two slots.
func DefaultConfig() Config {
	return Config{
		BatchInterval: time.Minute, BatchRows: 500_000, BatchBytes: 256 << 20, InlineBytes: 4 << 20,
		TaskSlots: 2, TaskTime: time.Minute, MaxAttempts: 5, PollInterval: 2 * time.Second,
	}
}

const (
	// maxFreshness is where Kafka is the only way.
	maxFreshness = 15 * time.Minute
	// mostInline is below what Druid 34 and later take for one string, and far below what costs an overlord of small memory its life.
	mostInline = 8 << 20
	// maxInlineBatch bounds a batch that a single Kinesis record has made larger than it should be.
	maxInlineBatch = 16 << 20
)

// Validate reports every fault of c.
func (c Config) Validate() error {
	var errs []error
	fault := func(good bool, format string, args ...any) {
		if !good {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if c.Objects != "" {
		if err := blob.CheckURL(c.Objects); err != nil {
			errs = append(errs, fmt.Errorf("objects: %w", err))
		}
	}
	fault(c.Objects != "" || !c.Minute, "minute: needs objects, because what became of two tasks can only be mended when their rows are kept; write objects: s3://bucket/prefix")
	fault(c.Objects != "" || !c.Late, "late: needs objects, because what became of two tasks can only be mended when their rows are kept; write objects: s3://bucket/prefix")
	fault(c.BatchInterval >= time.Second && c.BatchInterval <= maxFreshness, "batch_interval: %s is outside 1s to %s; 1m suits most", c.BatchInterval, maxFreshness)
	fault(c.BatchRows >= 1000 && c.BatchRows <= 5_000_000, "batch_rows: %d is outside 1000 to 5000000; 500000 suits most", c.BatchRows)
	fault(c.BatchBytes >= 1<<20 && c.BatchBytes <= 2<<30, "batch_bytes: %d is outside 1048576 to 2147483648; 268435456 suits most", c.BatchBytes)
	fault(c.InlineBytes >= 0 && c.InlineBytes <= mostInline, "inline_bytes: %d is outside 0 to %d; 4194304 suits most", c.InlineBytes, mostInline)
	fault(c.Objects != "" || c.InlineBytes >= 64<<10, "inline_bytes: %d is too few for batches that have no other place; write 4194304, or objects", c.InlineBytes)
	fault(c.TaskSlots >= 1 && c.TaskSlots <= 64, "task_slots: %d is outside 1 to 64; 2 suits most", c.TaskSlots)
	fault(c.TaskTime >= time.Second && c.TaskTime <= maxFreshness, "task_time: %s is outside 1s to %s; 1m suits most", c.TaskTime, maxFreshness)
	fault(c.MaxAttempts >= 1 && c.MaxAttempts <= 100, "max_attempts: %d is outside 1 to 100; 5 suits most", c.MaxAttempts)
	fault(c.PollInterval >= 100*time.Millisecond && c.PollInterval <= time.Minute, "poll_interval: %s is outside 100ms to 1m; 2s suits most", c.PollInterval)
	if len(errs) == 0 {
		if f := c.Freshness(c.TaskSlots); f > maxFreshness {
			errs = append(errs, fmt.Errorf("batch_interval: with task_slots and task_time it makes rows up to %s old, more than %s; "+
				"write a shorter one, or sink.type: kafka, which takes seconds", f, maxFreshness))
		}
	}
	return errors.Join(errs...)
}

// Freshness is how old rows are at most when they can be queried, while Druid keeps up and gives this worker that many of its slots: they
// wait for their batch to fill or for the tasks before theirs to end, and then for their own tasks.
func (c Config) Freshness(slots int) time.Duration {
	tasks := c.TaskSlots // one batch of each group
	if c.Minute {
		tasks *= 2
	}
	slots = max(min(slots, c.TaskSlots), 1)
	round := time.Duration((tasks+slots-1)/slots) * c.TaskTime
	return max(c.BatchInterval, round) + round
}

// batchBytes is how many bytes of JSON end a batch.
func (c Config) batchBytes() int64 {
	if c.Objects == "" {
		return int64(min(c.BatchBytes, c.InlineBytes))
	}
	return int64(c.BatchBytes)
}

// place is where Druid finds the object key. c must be valid and have Objects.
func (c Config) place(key string) (cluster.Object, error) {
	u, err := url.Parse(c.Objects)
	if err != nil {
		return cluster.Object{}, err
	}
	u = u.JoinPath(key)
	return cluster.Object{Scheme: u.Scheme, Path: u.Host + u.Path}, nil
}
