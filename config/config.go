// Package config is the one YAML file that dredge reads: it gathers the Config of every part, loads them strictly, lets the
// environment override single keys, and reports every fault at once. It decides nothing itself.
package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"dredge/consumer/kinesis"
	"dredge/consumer/s3"
	"dredge/druid"
	"dredge/enrich/rules"
	"dredge/enrich/segment"
	"dredge/internal/httpd"
	"dredge/internal/telemetry"
	"dredge/pipeline"
	"dredge/row"
	"dredge/sink/file"
)

// Config is the whole file. docs/reference/config.md is generated from it.
type Config struct {
	// Log says how dredge logs.
	Log telemetry.LogConfig `yaml:"log"`
	// HTTP says where metrics, health and the page are served.
	HTTP httpd.Config `yaml:"http"`
	// AWS says how AWS is reached.
	AWS AWSConfig `yaml:"aws"`
	// Kinesis is the stream to read and how its shards are shared among workers.
	Kinesis kinesis.Config `yaml:"kinesis"`
	// S3 is where flow logs in S3 are announced and how they are read; for `dredge gather` and `dredge run`.
	S3 s3.Config `yaml:"s3"`
	// Pipeline bounds memory and waiting, and says which layout the lines have.
	Pipeline pipeline.Config `yaml:"pipeline"`
	// Identity says where knowledge of owners comes from.
	Identity IdentityConfig `yaml:"identity"`
	// Rows says what a row holds.
	Rows row.Config `yaml:"rows"`
	// Rules are yours: rows to drop, to sample, to tag, and addresses to redact, in the order in which they are asked; docs/rows.md has examples.
	Rules rules.Config `yaml:"rules"`
	// Segmentation says which edges are declared: who may talk to whom.
	Segmentation segment.Config `yaml:"segmentation"`
	// Sink says where rows go.
	Sink SinkConfig `yaml:"sink"`
	// DeadLetter says what becomes of input that is no flow log.
	DeadLetter DeadLetterConfig `yaml:"dead_letter"`
	// Druid is the cluster that reads the topics, or that sink.druid sends tasks to; for `dredge druid`, too.
	Druid druid.Config `yaml:"druid"`
}

// Default is what runs when the file says nothing. It is valid except for what only the user can know.
func Default() Config {
	return Config{
		Log:          telemetry.DefaultLogConfig(),
		HTTP:         httpd.DefaultConfig(),
		Kinesis:      kinesis.DefaultConfig(),
		S3:           s3.DefaultConfig(),
		Pipeline:     pipeline.DefaultConfig(),
		Identity:     defaultIdentity(),
		Rows:         row.DefaultConfig(),
		Segmentation: segment.DefaultConfig(),
		Sink:         defaultSink(),
		DeadLetter:   defaultDeadLetter(),
		Druid:        druid.DefaultConfig(),
	}
}

// Validate reports every fault, each with its full key. A file without kinesis is one for `dredge replay`; ValidateService
// asks for a stream, or for S3, as well.
func (c Config) Validate() error {
	errs := []error{
		under("log", c.Log.Validate()),
		under("http", c.HTTP.Validate()),
		under("aws", c.AWS.Validate()),
		under("pipeline", c.Pipeline.Validate()),
		under("identity", c.Identity.Validate()),
		under("rows", c.Rows.Validate()),
		under("rules", c.Rules.Validate()),
		under("segmentation", c.Segmentation.Validate()),
		under("sink", c.Sink.Validate()),
		under("dead_letter", c.DeadLetter.Validate()),
		under("druid", c.Druid.Validate()),
	}
	if !reflect.DeepEqual(c.Kinesis, kinesis.DefaultConfig()) {
		errs = append(errs, under("kinesis", c.Kinesis.Validate()))
	}
	if c.S3.Enabled() || c.S3.Gather.Queue != "" || c.S3.LedgerTable != "" {
		errs = append(errs, under("s3", c.S3.Validate()))
	}
	if c.DeadLetter.Type == DeadLetterFile && c.Sink.Type == SinkFile {
		for _, rows := range []struct{ key, path string }{{"path", c.Sink.File.Path}, {"minute_path", c.Sink.File.MinutePath}, {"late_path", c.Sink.File.LatePath}} {
			if path := c.DeadLetter.File.Path; path != "" && path != file.Stdout && path == rows.path {
				errs = append(errs, fmt.Errorf("dead_letter.file.path: %q is sink.file.%s too; write another file", path, rows.key))
			}
		}
	}
	if c.DeadLetter.Type == DeadLetterKafka && c.Sink.Kafka.DeadLetter.Topic == "" {
		errs = append(errs, errors.New("sink.kafka.dead_letter.topic: is empty although dead_letter.type is kafka; write the topic's name"))
	}
	if c.Sink.Type == SinkDruid && c.Druid.Overlord == "" {
		errs = append(errs, errors.New("druid.overlord: is empty although sink.type is druid; write the router's address, for example http://127.0.0.1:8888"))
	}
	return errors.Join(errs...)
}

// ValidateService is what `dredge run` needs beyond Validate.
func (c Config) ValidateService() error {
	if c.Sink.Type == SinkDruid && c.S3.Enabled() {
		return errors.New("sink.type: druid records its batches in the leases of Kinesis shards, and S3 has none; write kafka, or put files of the bucket in place with dredge backfill --replace")
	}
	if c.S3.Enabled() && reflect.DeepEqual(c.Kinesis, kinesis.DefaultConfig()) {
		return nil
	}
	return under("kinesis", c.Kinesis.Validate())
}

// under puts the section's name before each fault in err.
func under(section string, err error) error {
	if err == nil {
		return nil
	}
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !strings.HasPrefix(line, "[") { // an element of a list
			line = "." + line
		}
		errs = append(errs, fmt.Errorf("%s%s", section, line))
	}
	return errors.Join(errs...)
}
