package s3

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Config says where flow logs in S3 are announced and how they are shared among workers.
type Config struct {
	// LedgerTable is the DynamoDB table that says which file is in which mouthful, and how far each mouthful is; it is made when missing.
	LedgerTable string `yaml:"ledger_table"`
	// Retention is how long the ledger remembers a file: longer than both queues keep messages, so that none is read twice.
	Retention time.Duration `yaml:"retention"`
	// MouthfulQueue is the URL of the queue from the gatherers to the workers.
	MouthfulQueue string `yaml:"mouthful_queue"`
	// Gather says how files become mouthfuls.
	Gather GatherConfig `yaml:"gather"`
	// Work says how mouthfuls are read.
	Work WorkConfig `yaml:"work"`
}

// GatherConfig says how files become mouthfuls.
type GatherConfig struct {
	// Queue is the URL of the queue that S3 announces new files in; empty makes dredge run gather nothing.
	Queue string `yaml:"queue"`
	// MaxBytes is the most that the files of a mouthful have together in S3; a larger file makes one of its own.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxFiles is the most files in a mouthful.
	MaxFiles int `yaml:"max_files"`
	// MaxAge is the longest that a file waits for others.
	MaxAge time.Duration `yaml:"max_age"`
	// MaxHeld is the most notifications that one gatherer holds; all gatherers together must stay far below the 120,000 of SQS.
	MaxHeld int `yaml:"max_held"`
	// GroupBy keeps files apart that differ in it: none, bucket, prefix (what comes before AWSLogs/) or account.
	GroupBy string `yaml:"group_by"`
	// Prefixes are what keys must begin with; empty takes all.
	Prefixes []string `yaml:"prefixes"`
	// Suffixes are what keys must end with; other files are acknowledged and counted.
	Suffixes []string `yaml:"suffixes"`
	// Receivers is how many receive calls a gatherer has under way.
	Receivers int `yaml:"receivers"`
}

// WorkConfig says how mouthfuls are read.
type WorkConfig struct {
	// Slots is how many mouthfuls a worker reads at once; 0 reads none.
	Slots int `yaml:"slots"`
	// Files is how many files of one mouthful are read at once.
	Files int `yaml:"files"`
	// Visibility is after how long the mouthful of a worker that died goes to another; the living extend it.
	Visibility time.Duration `yaml:"visibility"`
	// MaxTries is how often a file that cannot be read is tried before it is quarantined.
	MaxTries int `yaml:"max_tries"`
	// RetryDelay is the pause before a mouthful with such files is tried again; it doubles with each try.
	RetryDelay time.Duration `yaml:"retry_delay"`
}

// DefaultConfig returns the settings that suit VPC flow logs; queues and table must be filled in.
func DefaultConfig() Config {
	return Config{
		Retention: 21 * 24 * time.Hour,
		Gather: GatherConfig{
			MaxBytes: 1 << 30, MaxFiles: 2000, MaxAge: time.Minute, MaxHeld: 4000, GroupBy: GroupNone, Receivers: 4,
			Suffixes: []string{".gz", ".zst", ".parquet", ".log", ".txt"},
		},
		Work: WorkConfig{Slots: 2, Files: 2, Visibility: 2 * time.Minute, MaxTries: 5, RetryDelay: 30 * time.Second},
	}
}

// Enabled says whether anything is to be read from S3.
func (c Config) Enabled() bool { return c.MouthfulQueue != "" }

// maxFilesBound keeps the list of a mouthful within what one item of DynamoDB may have; a list that is longer than maxItem all the same is cut in two.
const maxFilesBound = 10_000

// Validate returns all that is wrong with c. A ledger without any queue serves backfills only.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	queue := func(key, value string) {
		if u, err := url.Parse(value); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			fault("%s: %q is no URL of a queue; write for example https://sqs.eu-west-1.amazonaws.com/123456789012/%s", key, value, "flow-logs")
		}
	}
	if c.MouthfulQueue != "" || c.Gather.Queue != "" || c.LedgerTable == "" {
		queue("mouthful_queue", c.MouthfulQueue)
	}
	if c.Gather.Queue != "" {
		queue("gather.queue", c.Gather.Queue)
		if c.Gather.Queue == c.MouthfulQueue {
			fault("gather.queue: is the mouthful queue; write the URL of the queue that S3 sends to")
		}
	}
	if c.LedgerTable == "" {
		fault("ledger_table: is empty; write a table's name, such as dredge-ledger")
	}
	if c.Retention < 24*time.Hour || c.Retention > 366*24*time.Hour {
		fault("retention: %s is outside 24h to 8784h; 504h is the default", c.Retention)
	}
	errs = append(errs, c.Gather.faults()...)
	w := c.Work
	if w.Slots < 0 || w.Slots > 64 {
		fault("work.slots: %d must be from 0 to 64; 2 is the default", w.Slots)
	}
	if w.Files < 1 || w.Files > 64 {
		fault("work.files: %d must be from 1 to 64; 2 is the default", w.Files)
	}
	if w.Visibility < 10*time.Second || w.Visibility > 6*time.Hour {
		fault("work.visibility: %s is outside 10s to 6h; 2m is the default", w.Visibility)
	}
	if w.MaxTries < 1 || w.MaxTries > 100 {
		fault("work.max_tries: %d must be from 1 to 100; 5 is the default", w.MaxTries)
	}
	if w.RetryDelay < time.Second || w.RetryDelay > time.Hour {
		fault("work.retry_delay: %s is outside 1s to 1h; 30s is the default", w.RetryDelay)
	}
	return errors.Join(errs...)
}

// faults are what is wrong with how mouthfuls are formed, which a backfill does too. The queue is the Config's to judge.
func (g GatherConfig) faults() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if g.MaxBytes < 1 || g.MaxBytes > 1<<40 {
		fault("gather.max_bytes: %d must be from 1 to 1099511627776; 1073741824 is the default", g.MaxBytes)
	}
	if g.MaxFiles < 1 || g.MaxFiles > maxFilesBound {
		fault("gather.max_files: %d must be from 1 to %d; 2000 is the default", g.MaxFiles, maxFilesBound)
	}
	if g.MaxAge < time.Second || g.MaxAge > time.Hour {
		fault("gather.max_age: %s is outside 1s to 1h; 1m is the default", g.MaxAge)
	}
	if g.MaxHeld < 10 || g.MaxHeld > 60_000 {
		fault("gather.max_held: %d must be from 10 to 60000; 4000 is the default", g.MaxHeld)
	}
	if !slices.Contains([]string{GroupNone, GroupBucket, GroupPrefix, GroupAccount}, g.GroupBy) {
		fault("gather.group_by: %q is unknown; write none, bucket, prefix or account", g.GroupBy)
	}
	if len(g.Suffixes) == 0 {
		fault(`gather.suffixes: is empty, so no file would be read; write for example [".log.gz", ".log.parquet"], or [""] for all`)
	}
	if g.Receivers < 1 || g.Receivers > 64 {
		fault("gather.receivers: %d must be from 1 to 64; 4 is the default", g.Receivers)
	}
	return errs
}
