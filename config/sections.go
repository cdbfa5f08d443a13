package config

import (
	"errors"
	"fmt"
	"time"

	"dredge/metadata"
	"dredge/metadata/app"
	"dredge/metadata/ec2"
	"dredge/metadata/ecs"
	identityfile "dredge/metadata/file"
	"dredge/metadata/geo"
	"dredge/metadata/idlog"
	"dredge/metadata/kube"
	"dredge/metadata/networks"
	"dredge/sink/druid"
	"dredge/sink/file"
	"dredge/sink/kafka"
)

// IdentityConfig says where knowledge of owners comes from and how it is kept.
type IdentityConfig struct {
	// File is a JSON Lines file of identity events, or a folder of them, that is followed as it grows.
	File identityfile.Config `yaml:"file"`
	// Geo says whose public addresses are: Amazon's published ranges, and databases of countries and autonomous systems.
	Geo geo.Config `yaml:"geo"`
	// Kube watches the pods of Kubernetes clusters.
	Kube kube.Config `yaml:"kube"`
	// Networks are networks of yours that hold no workload of their own: offices, data centres, partners.
	Networks networks.Config `yaml:"networks"`
	// EC2 lists interfaces, instances, networks and routes of accounts; docs/sources.md has the permissions.
	EC2 ec2.Config `yaml:"ec2"`
	// ECS lists tasks of accounts.
	ECS ecs.Config `yaml:"ecs"`
	// Names says what applications are called.
	Names app.Config `yaml:"names"`
	// Logs are identity logs: dredge sonar writes the first one that is not remote, workers read all of them and share their sightings through that one.
	Logs []idlog.Config `yaml:"logs"`
	// LogSettings say how the logs are read and written.
	LogSettings idlog.Settings `yaml:"log_settings"`
	// StartTimeout is how long the first lease waits for identity to be loaded; after that dredge starts degraded and says so.
	StartTimeout time.Duration `yaml:"start_timeout"`
	// Store says how long knowledge is kept and what is believed.
	Store metadata.Config `yaml:"store"`
}

func defaultIdentity() IdentityConfig {
	return IdentityConfig{
		EC2: ec2.DefaultConfig(), ECS: ecs.DefaultConfig(), Names: app.DefaultConfig(), LogSettings: idlog.DefaultSettings(),
		File: identityfile.DefaultConfig(), Geo: geo.DefaultConfig(), Kube: kube.DefaultConfig(), StartTimeout: 5 * time.Minute, Store: metadata.DefaultConfig(),
	}
}

// Validate reports every fault of c.
func (c IdentityConfig) Validate() error {
	var errs []error
	if c.StartTimeout < 0 || c.StartTimeout > time.Hour {
		errs = append(errs, fmt.Errorf("start_timeout: %s is outside 0s to 1h; 5m suits most estates", c.StartTimeout))
	}
	errs = append(errs, under("ec2", c.EC2.Validate()), under("ecs", c.ECS.Validate()), under("names", c.Names.Validate()))
	urls := map[string]bool{}
	for i, l := range c.Logs {
		errs = append(errs, under(fmt.Sprintf("logs[%d]", i), l.Validate()))
		if urls[l.URL] {
			errs = append(errs, fmt.Errorf("logs[%d].url: %q stands there twice; leave one out", i, l.URL))
		}
		urls[l.URL] = true
	}
	return errors.Join(append(errs, under("log_settings", c.LogSettings.Validate()), under("file", c.File.Validate()),
		under("geo", c.Geo.Validate()), under("kube", c.Kube.Validate()), under("networks", c.Networks.Validate()),
		under("store", c.Store.Validate()))...)
}

// The kinds of sink.
const (
	SinkKafka = "kafka"
	SinkDruid = "druid"
	SinkFile  = "file"
)

// SinkConfig says where rows go.
type SinkConfig struct {
	// Type is kafka, druid or file.
	Type string `yaml:"type"`
	// Kafka is the cluster, when type is kafka.
	Kafka kafka.Config `yaml:"kafka"`
	// Druid says how rows become tasks of the cluster in the section druid, when type is druid.
	Druid druid.Config `yaml:"druid"`
	// File is the file, when type is file.
	File file.Config `yaml:"file"`
}

func defaultSink() SinkConfig {
	return SinkConfig{Type: SinkFile, Kafka: kafka.DefaultConfig(), Druid: druid.DefaultConfig(), File: file.DefaultConfig()}
}

// Validate reports every fault of the section that Type names.
func (c SinkConfig) Validate() error {
	switch c.Type {
	case SinkKafka:
		return under("kafka", c.Kafka.Validate())
	case SinkDruid:
		return under("druid", c.Druid.Validate())
	case SinkFile:
		return under("file", c.File.Validate())
	}
	return fmt.Errorf("type: %q is unknown; write %s, %s or %s", c.Type, SinkKafka, SinkDruid, SinkFile)
}

// The kinds of dead letter.
const (
	DeadLetterNone  = "none"
	DeadLetterFile  = "file"
	DeadLetterKafka = "kafka"
)

// DeadLetterConfig says what becomes of input that is no flow log. It is counted in any case.
type DeadLetterConfig struct {
	// Type is none, file, or kafka: the topic sink.kafka.dead_letter.topic.
	Type string `yaml:"type"`
	// File is the file, when type is file.
	File file.DeadLetterConfig `yaml:"file"`
}

func defaultDeadLetter() DeadLetterConfig {
	return DeadLetterConfig{Type: DeadLetterNone, File: file.DefaultDeadLetterConfig()}
}

// Validate reports every fault of the section that Type names.
func (c DeadLetterConfig) Validate() error {
	switch c.Type {
	case DeadLetterNone, DeadLetterKafka:
		return nil
	case DeadLetterFile:
		return under("file", c.File.Validate())
	}
	return fmt.Errorf("type: %q is unknown; write %s, %s or %s", c.Type, DeadLetterNone, DeadLetterFile, DeadLetterKafka)
}

// SonarLog returns the log that dredge sonar writes: the first one that is neither remote nor for sightings only.
func (c IdentityConfig) SonarLog() (idlog.Config, error) {
	for _, l := range c.Logs {
		if !l.Remote && !l.SightingsOnly {
			return l, nil
		}
	}
	return idlog.Config{}, errors.New("identity.logs: holds no log that dredge sonar could write; write one, as - url: file:///var/lib/dredge/identity, or s3://bucket/prefix")
}
