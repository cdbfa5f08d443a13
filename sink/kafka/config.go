package kafka

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// PartitionBy says which rows share a partition of the topic.
type PartitionBy string

// The ways to choose a partition.
const (
	PartitionByAppPair PartitionBy = "app_pair"
	PartitionByNone    PartitionBy = "none"
)

// RecordTime says what a record's timestamp is.
type RecordTime string

// The timestamps a record can carry.
const (
	RecordTimeStart   RecordTime = "start"
	RecordTimeEnd     RecordTime = "end"
	RecordTimeProduce RecordTime = "produce"
)

// Mode is the guarantee under which rows are produced.
type Mode string

// The modes.
const (
	// AtLeastOnce checkpoints after the acknowledgements; rows in flight when a worker dies are produced again.
	AtLeastOnce Mode = "at-least-once"
	// ExactlyOnce puts rows and the position after them into one transaction.
	ExactlyOnce Mode = "exactly-once"
)

// Config is one Kafka cluster and how rows are produced to it.
type Config struct {
	// Mode is at-least-once, or exactly-once, which needs brokers of 2.5 or later and readers that set read_committed.
	Mode Mode `yaml:"mode"`
	// ExactlyOnce is how transactions are made in mode exactly-once.
	ExactlyOnce ExactlyOnceConfig `yaml:"exactly_once"`
	// Brokers are host:port of some of the cluster's brokers; the rest is learned from them.
	Brokers []string `yaml:"brokers"`
	// Topic takes the rows of flows_raw.
	Topic string `yaml:"topic"`
	// MinuteTopic takes rows rolled up by minute: one for all that are equal in the rows of one Write, or in mode exactly-once of
	// one transaction; empty for none.
	MinuteTopic string `yaml:"minute_topic"`
	// LateTopic takes the rows that are later than rows.late_after; they are then neither in Topic nor in MinuteTopic. Empty
	// produces them with the others.
	LateTopic string `yaml:"late_topic"`
	// CreateTopic creates missing topics when dredge starts, with Partitions and Replication.
	CreateTopic bool `yaml:"create_topic"`
	// Partitions is the number of partitions of a topic that is created; the least number that is accepted of existing topics of rows.
	Partitions int `yaml:"partitions"`
	// Replication is the number of replicas of a topic that is created.
	Replication int `yaml:"replication"`
	// ClientID names this client in the brokers' logs and quotas.
	ClientID string `yaml:"client_id"`
	// TLS encrypts the connections.
	TLS TLSConfig `yaml:"tls"`
	// SASL authenticates to the brokers.
	SASL SASLConfig `yaml:"sasl"`

	// Compression is the codec of record batches: none, snappy, lz4 or zstd. Snappy costs the least processor time, zstd gives
	// half its size.
	Compression string `yaml:"compression"`
	// Linger is how long a record batch waits to be filled; it is also the least latency of a row.
	Linger time.Duration `yaml:"linger"`
	// BatchMaxBytes is the largest record batch before compression, and with it the largest row. The topic's max.message.bytes
	// must not be smaller.
	BatchMaxBytes int `yaml:"batch_max_bytes"`
	// BufferBytes is the memory for encoded rows that are not acknowledged, for all partitions together. When it is used up,
	// shards are not read.
	BufferBytes int64 `yaml:"buffer_bytes"`
	// PartitionBy is app_pair, so that rows of one pair of apps meet in one Druid task, or none, which makes the fullest batches.
	PartitionBy PartitionBy `yaml:"partition_by"`
	// PairSpread is the number of partitions over which each pair of apps is spread; above 1 for estates with one dominant pair.
	PairSpread int `yaml:"pair_spread"`
	// RecordKey writes the hash that chose the partition into each record's key: 8 bytes that hardly compress.
	RecordKey bool `yaml:"record_key"`
	// RecordTime is the record's timestamp: start or end of the flow, or produce for the time of producing.
	RecordTime RecordTime `yaml:"record_time"`
	// RecordTimeMaxAge is how far in the past a timestamp may lie; an older flow gets this age, so that the topic's retention
	// does not delete a replay before it is read.
	RecordTimeMaxAge time.Duration `yaml:"record_time_max_age"`
	// DialTimeout bounds making one connection.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// RetryBackoff is the pause before rows that the client gave up are produced again.
	RetryBackoff time.Duration `yaml:"retry_backoff"`
	// DeadLetter is the topic for input that could not become a row.
	DeadLetter DeadLetterConfig `yaml:"dead_letter"`
}

// ExactlyOnceConfig is how transactions are made.
type ExactlyOnceConfig struct {
	// CommitInterval is how long a transaction stays open after its first row; it is the latency that read_committed readers see.
	CommitInterval time.Duration `yaml:"commit_interval"`
	// CommitBytes ends a transaction sooner, when its encoded rows are this many bytes.
	CommitBytes int64 `yaml:"commit_bytes"`
	// TransactionTimeout is when the broker aborts a transaction whose worker is gone; until then its rows hold back readers of
	// these partitions. The broker's transaction.max.timeout.ms must not be smaller.
	TransactionTimeout time.Duration `yaml:"transaction_timeout"`
	// CheckpointsTopic is the compacted topic that keeps the committed position of every shard; it is made when create_topic is set.
	CheckpointsTopic string `yaml:"checkpoints_topic"`
	// Adopt takes the position of the lease for a shard that has none in the checkpoints topic: set it once, when an application
	// changes to exactly-once, and remove it afterwards.
	Adopt bool `yaml:"adopt"`
}

// TLSConfig is how connections are encrypted.
type TLSConfig struct {
	// Enabled encrypts the connections.
	Enabled bool `yaml:"enabled"`
	// CAFile is a PEM file of the authorities that may sign the brokers' certificates; empty for the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile is the PEM file of the client certificate, for brokers that ask for one. It is read when a connection is made.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the PEM file of the client certificate's key.
	KeyFile string `yaml:"key_file"`
	// ServerName is the name that the brokers' certificates must carry, when it is not the one that is dialed.
	ServerName string `yaml:"server_name"`
}

// DeadLetterConfig is the topic of the dead letter.
type DeadLetterConfig struct {
	// Topic takes the letters; empty for none. It is created as Topic is.
	Topic string `yaml:"topic"`
	// MaxDataBytes is how much of a line or payload is kept.
	MaxDataBytes int `yaml:"max_data_bytes"`
}

// DefaultConfig produces to a broker on this machine.
func DefaultConfig() Config {
	return Config{
		Mode: AtLeastOnce,
		ExactlyOnce: ExactlyOnceConfig{
			CommitInterval: time.Second, CommitBytes: 16 << 20, TransactionTimeout: time.Minute, CheckpointsTopic: "dredge_checkpoints",
		},
		Brokers:          []string{"127.0.0.1:9092"},
		Topic:            "flows_raw",
		Partitions:       12,
		Replication:      3,
		ClientID:         "dredge",
		Compression:      "snappy",
		Linger:           10 * time.Millisecond,
		BatchMaxBytes:    900_000,
		BufferBytes:      64 << 20,
		PartitionBy:      PartitionByAppPair,
		PairSpread:       1,
		RecordTime:       RecordTimeStart,
		RecordTimeMaxAge: time.Hour,
		DialTimeout:      10 * time.Second,
		RetryBackoff:     time.Second,
		DeadLetter:       DeadLetterConfig{MaxDataBytes: 64 << 10},
	}
}

// batchOverhead is what a record batch takes beside the bytes of its only row: headers, key, lengths.
const batchOverhead = 512

// maxRow is the largest encoded row that fits into a record batch.
func (c *Config) maxRow() int { return c.BatchMaxBytes - batchOverhead }

// Validate reports every fault of c.
func (c Config) Validate() error {
	var f faults
	f.check(len(c.Brokers) > 0, "brokers: the list is empty; write host:port of one or more brokers")
	for _, b := range c.Brokers {
		host, port, err := net.SplitHostPort(b)
		f.check(err == nil && host != "" && port != "", "brokers: %q has no port; write host:port, for example kafka-0.example:9092", b)
		if _, bad := strconv.ParseUint(port, 10, 16); err == nil && port != "" {
			f.check(bad == nil, "brokers: %q has no port up to 65535; write host:port, for example kafka-0.example:9092", b)
		}
	}
	f.topic("topic", c.Topic)
	c.validateTopics(&f)
	f.check(c.Partitions >= 1, "partitions: %d is below 1; 12 suits most clusters", c.Partitions)
	f.check(c.Replication >= 1, "replication: %d is below 1; write 3, or 1 for a single broker", c.Replication)
	_, ok := codec(c.Compression)
	f.check(ok, "compression: %q is unknown; write none, snappy, lz4 or zstd", c.Compression)
	f.check(c.Linger >= 0 && c.Linger <= 10*time.Second, "linger: %s is out of range; write 0s to 10s, 10ms suits most", c.Linger)
	f.check(c.BatchMaxBytes >= 16<<10 && c.BatchMaxBytes <= 64<<20,
		"batch_max_bytes: %d is out of range; write 16384 to 67108864, no more than the topic's max.message.bytes", c.BatchMaxBytes)
	f.check(c.BufferBytes >= 4<<20 && c.BufferBytes <= 16<<30,
		"buffer_bytes: %d is out of range; write 4194304 (4 MiB) to 16 GiB", c.BufferBytes)
	f.check(c.PartitionBy == PartitionByAppPair || c.PartitionBy == PartitionByNone,
		"partition_by: %q is unknown; write app_pair or none", string(c.PartitionBy))
	f.check(c.PairSpread >= 1, "pair_spread: %d is below 1; write 1, or more to spread a dominant pair of apps", c.PairSpread)
	f.check(!c.RecordKey || c.PartitionBy == PartitionByAppPair, "record_key: true needs partition_by app_pair, whose hash is the key")
	switch c.RecordTime {
	case RecordTimeStart, RecordTimeEnd, RecordTimeProduce:
	default:
		f.check(false, "record_time: %q is unknown; write start, end or produce", string(c.RecordTime))
	}
	f.check(c.RecordTimeMaxAge >= 0, "record_time_max_age: %s is negative; 1h suits most", c.RecordTimeMaxAge)
	f.check(c.DialTimeout > 0, "dial_timeout: %s must be positive; 10s suits most", c.DialTimeout)
	f.check(c.RetryBackoff > 0, "retry_backoff: %s must be positive; 1s suits most", c.RetryBackoff)
	f.check((c.TLS.CertFile == "") == (c.TLS.KeyFile == ""), "tls.cert_file: needs tls.key_file beside it; write both or neither")
	f.check(c.TLS.Enabled || c.TLS == TLSConfig{}, "tls.enabled: false, but other tls keys are set; write true, or remove them")
	c.SASL.validate(&f, c.TLS.Enabled)
	f.check(c.Mode == AtLeastOnce || c.Mode == ExactlyOnce, "mode: %q is unknown; write at-least-once or exactly-once", string(c.Mode))
	c.ExactlyOnce.validate(&f)
	f.check(c.DeadLetter.MaxDataBytes >= 1 && c.DeadLetter.MaxDataBytes <= c.BatchMaxBytes/8,
		"dead_letter.max_data_bytes: %d is out of range; write 1 to an eighth of batch_max_bytes (%d)", c.DeadLetter.MaxDataBytes, c.BatchMaxBytes/8)
	return errors.Join(f...)
}

// rowTopics are the topics that take rows, by their keys.
func (c *Config) rowTopics() []keyedTopic {
	list := []keyedTopic{{"topic", c.Topic}}
	if c.MinuteTopic != "" {
		list = append(list, keyedTopic{"minute_topic", c.MinuteTopic})
	}
	if c.LateTopic != "" {
		list = append(list, keyedTopic{"late_topic", c.LateTopic})
	}
	return list
}

// keyedTopic is a topic and the key that names it in the configuration.
type keyedTopic struct{ key, name string }

// validateTopics sees to it that what is optional is legal, and that no topic serves two purposes.
func (c *Config) validateTopics(f *faults) {
	list := c.rowTopics()
	if c.DeadLetter.Topic != "" {
		list = append(list, keyedTopic{"dead_letter.topic", c.DeadLetter.Topic})
	}
	for i, t := range list[1:] {
		f.topic(t.key, t.name)
		for _, other := range list[:i+1] {
			f.check(t.name != other.name, "%s: %q is %s too; write another", t.key, t.name, other.key)
		}
	}
	for _, t := range list {
		f.check(c.ExactlyOnce.CheckpointsTopic != t.name, "exactly_once.checkpoints_topic: %q is %s too; write another", t.name, t.key)
	}
}

func (c ExactlyOnceConfig) validate(f *faults) {
	f.check(c.CommitInterval >= 10*time.Millisecond && c.CommitInterval <= time.Minute,
		"exactly_once.commit_interval: %s is out of range; write 10ms to 1m, 1s suits most", c.CommitInterval)
	f.check(c.CommitBytes >= 1<<20 && c.CommitBytes <= 1<<30,
		"exactly_once.commit_bytes: %d is out of range; write 1048576 (1 MiB) to 1 GiB", c.CommitBytes)
	f.check(c.TransactionTimeout >= 2*c.CommitInterval && c.TransactionTimeout >= 10*time.Second && c.TransactionTimeout <= 15*time.Minute,
		"exactly_once.transaction_timeout: %s is out of range; write 10s to 15m and at least twice commit_interval, 1m suits most", c.TransactionTimeout)
	f.topic("exactly_once.checkpoints_topic", c.CheckpointsTopic)
}

// faults gathers what is wrong.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (f *faults) topic(key, name string) {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	ok := name != "" && name != "." && name != ".." && len(name) <= 249 &&
		strings.IndexFunc(name, func(r rune) bool { return !legal(r) }) < 0
	f.check(ok, "%s: %q is no topic name; write 1 to 249 of a-z, A-Z, 0-9, dot, dash and underscore", key, name)
}
