package kinesis

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"dredge/consumer/kinesis/lease"
)

// WorkerIDPrefix marks worker ids of dredge. While every owner in the lease table has it, leases move by hand-off instead of
// by theft, because the old owner is known to understand the request.
const WorkerIDPrefix = "dredge-"

// kinesisReadLimit is how many GetRecords calls per second one shard takes, from all its readers together.
const kinesisReadLimit = 5

// Config says which stream a worker reads, as which application, and how it shares the shards with others.
type Config struct {
	// Application names the consumer application; it is the name of the lease table unless lease_table says otherwise.
	Application string `yaml:"application"`
	// TableOptions is how a missing lease table is created.
	TableOptions lease.TableOptions `yaml:"table"`
	// LeaseTable is the name of the DynamoDB table with the leases; empty means the application's name.
	LeaseTable string `yaml:"lease_table"`
	// StreamName is the name of the Kinesis stream; leave it empty when stream_arn is given.
	StreamName string `yaml:"stream_name"`
	// StreamARN is the ARN of the Kinesis stream, needed to read a stream of another account; leave it empty when stream_name is given.
	StreamARN string `yaml:"stream_arn"`
	// RoleARN is the IAM role to assume for reading the stream; empty means the process's own credentials.
	RoleARN string `yaml:"role_arn"`
	// Streams are the streams to read when one application reads several; leave stream_name, stream_arn and role_arn empty then. Lease keys then
	// begin with account, stream and its time of creation, as in KCL's multi-stream mode: changing between one and several streams starts anew.
	Streams []StreamConfig `yaml:"streams"`
	// WorkerID identifies this process in the lease table; empty makes one from the host name and a random part, which is right
	// unless each start is known to get an id of its own.
	WorkerID string `yaml:"worker_id"`
	// Mode says what happens when the application's Java workers go over to KCL 3.x, whose leader assigns the leases: 2.x keeps the leases it
	// has and takes no more; 3.x reports to the leader, also during the migration, and reads what it is assigned. Until then both are the same.
	Mode string `yaml:"mode"`
	// FailoverTime is how long a lease may go without renewal before others take it; all workers of an application must agree on it.
	FailoverTime time.Duration `yaml:"failover_time"`
	// TakeInterval is the time between two looks at the lease table; 0 means 0.465 of failover_time, which is 13 scans a minute at 10s.
	TakeInterval time.Duration `yaml:"take_interval"`
	// InitialPosition is where an application without leases starts: TRIM_HORIZON, LATEST or AT_TIMESTAMP.
	InitialPosition string `yaml:"initial_position"`
	// InitialTimestamp is the start for AT_TIMESTAMP, in RFC 3339; every worker of the application must be given the same.
	InitialTimestamp time.Time `yaml:"initial_timestamp"`
	// MaxLeases bounds the shards that this worker reads; 0 means no bound.
	MaxLeases int `yaml:"max_leases"`
	// Reader says how shards are read: polling (GetRecords), or fan_out (SubscribeToShard), which costs more and leaves other readers
	// of the stream their calls.
	Reader string `yaml:"reader"`
	// ConsumerName is the stream consumer that fan_out reads as, registered when it is missing; empty means the application's name.
	ConsumerName string `yaml:"consumer_name"`
	// ConsumerARN is an existing stream consumer for fan_out to read as, in place of consumer_name; nothing is registered then.
	ConsumerARN string `yaml:"consumer_arn"`
	// StallTimeout is how long a shard may want to be read and fail before its reader begins anew and the restart is counted; time
	// without room in memory does not count.
	StallTimeout time.Duration `yaml:"stall_timeout"`
	// KPLOutOfRange says what happens to a user record of a Kinesis Producer Library aggregate that belongs to another shard, which
	// happens after a reshard: keep, drop_record, or drop_aggregate as Java does, which drops its whole aggregate.
	KPLOutOfRange string `yaml:"kpl_out_of_range"`
	// ReadsPerSecond is how often a shard is read per second while it is not behind, from 0.1 to 5; a shard that is behind is read 5
	// times a second.
	ReadsPerSecond float64 `yaml:"reads_per_second"`
	// IdleWait is the pause after a read that found nothing at the tip of the shard.
	IdleWait time.Duration `yaml:"idle_wait"`
	// MaxInFlight bounds the reads of one shard whose rows are not yet durable; memory is bounded by the process's byte budget.
	MaxInFlight int `yaml:"max_in_flight"`
	// ShutdownTimeout bounds how long a stopping worker waits for its rows to become durable before it releases its leases anyway.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	// GiveUp is how long the sink may make no progress, while other workers of the application do, before this worker leaves its shards to
	// them and turns unready; up to a fifth is added at random, and 0 means never.
	GiveUp time.Duration `yaml:"give_up"`
	// ShardSyncInterval is the time between two comparisons of the stream's shards with the lease table.
	ShardSyncInterval time.Duration `yaml:"shard_sync_interval"`
	// CleanupCompleted deletes the leases of shards that were read to their end, once all their children are being read.
	CleanupCompleted bool `yaml:"cleanup_completed"`
}

// DefaultConfig returns the settings that suit most streams; application and stream must be filled in.
func DefaultConfig() Config {
	return Config{
		Mode:              Mode2x,
		FailoverTime:      10 * time.Second,
		TableOptions:      lease.DefaultTableOptions(),
		InitialPosition:   lease.TrimHorizon,
		Reader:            ReaderPolling,
		StallTimeout:      time.Minute,
		KPLOutOfRange:     OutOfRangeKeep,
		ReadsPerSecond:    2,
		IdleWait:          time.Second,
		MaxInFlight:       64,
		ShutdownTimeout:   25 * time.Second,
		GiveUp:            5 * time.Minute,
		ShardSyncInterval: time.Minute,
		CleanupCompleted:  true,
	}
}

// Table returns the name of the lease table.
func (c Config) Table() string {
	if c.LeaseTable != "" {
		return c.LeaseTable
	}
	return c.Application
}

// Validate returns all that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Application == "" {
		fault(`application: "" is empty; write a name, which the lease table gets too`)
	} else if !isName(c.Application, 255) {
		fault("application: %q is no name of a table; write up to 255 of a-z, A-Z, 0-9, dot, dash and underscore", c.Application)
	}
	errs = append(errs, c.validateStreams()...)
	if err := c.TableOptions.Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fault("table.%s", line)
		}
	}
	switch c.WorkerID {
	case "Leader", "Migration3.0", "TableMigration3.5":
		fault("worker_id: %q is the key of one of KCL's own rows; write another, or leave it out", c.WorkerID)
	}
	if c.Mode != Mode2x && c.Mode != Mode3x {
		fault("mode: %q is unknown; write 2.x or 3.x", c.Mode)
	}
	if c.FailoverTime < time.Second || c.FailoverTime > 10*time.Minute {
		fault("failover_time: %s must be from 1s to 10m; 10s is KCL's default", c.FailoverTime)
	}
	if c.TakeInterval < 0 || c.TakeInterval > 2*c.FailoverTime {
		fault("take_interval: %s must be from 0 to twice failover_time; 0 means 0.465 of it", c.TakeInterval)
	}
	errs = append(errs, validatePosition("", c.InitialPosition, c.InitialTimestamp)...)
	if c.MaxLeases < 0 {
		fault("max_leases: %d is negative; 0 means no bound", c.MaxLeases)
	}
	if c.StallTimeout < 10*time.Second {
		fault("stall_timeout: %s is below 10s; 1m is the default", c.StallTimeout)
	}
	switch c.KPLOutOfRange {
	case OutOfRangeKeep, OutOfRangeDropRecord, OutOfRangeDropAggregate:
	default:
		fault("kpl_out_of_range: %q is unknown; write keep, drop_record or drop_aggregate", c.KPLOutOfRange)
	}
	if c.ReadsPerSecond < 0.1 || c.ReadsPerSecond > kinesisReadLimit {
		fault("reads_per_second: %g must be from 0.1 to %d, which is all that Kinesis gives one shard; 2 leaves room for a second reader", c.ReadsPerSecond, kinesisReadLimit)
	}
	if c.IdleWait < 0 || c.IdleWait > time.Minute {
		fault("idle_wait: %s must be from 0 to 1m; 1s is the default", c.IdleWait)
	}
	if c.MaxInFlight < 1 {
		fault("max_in_flight: %d is below 1; 64 is the default", c.MaxInFlight)
	}
	if c.ShutdownTimeout <= 0 {
		fault("shutdown_timeout: %s must be positive; 25s fits into Kubernetes' grace of 30s", c.ShutdownTimeout)
	}
	if c.GiveUp != 0 && c.GiveUp < 3*c.FailoverTime {
		fault("give_up: %s is below three times failover_time; 5m is the default, 0 means never", c.GiveUp)
	}
	if c.ShardSyncInterval < time.Second {
		fault("shard_sync_interval: %s is below 1s; 1m is the default", c.ShardSyncInterval)
	}
	return errors.Join(errs...)
}

func (c Config) takeInterval() time.Duration {
	if c.TakeInterval > 0 {
		return c.TakeInterval
	}
	return c.FailoverTime * 465 / 1000
}

// renewInterval is KCL's: three tries fit into the failover time.
func (c Config) renewInterval() time.Duration { return c.FailoverTime/3 - 25*time.Millisecond }

// callTimeout bounds one call to the lease table, so that a hung one leaves time for another before the lease expires.
func (c Config) callTimeout() time.Duration { return c.FailoverTime / 3 }
