package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// initProducerIDSince is the version of InitProducerId that came with Kafka 2.5 (KIP-360).
const initProducerIDSince = 3

// checkTransactions asks the cluster whether mode exactly-once can work as configured, and makes the checkpoints topic when it
// is missing and may be made.
func (s *Sink) checkTransactions(ctx context.Context) error {
	admin := kadm.NewClient(s.client)
	if err := s.checkBrokers(ctx, admin); err != nil {
		return err
	}
	return errors.Join(s.checkCheckpointsTopic(ctx, admin), s.checkClaim(ctx))
}

// checkBrokers refuses brokers that are too old, and says what the newest transaction protocol is that all of them speak.
func (s *Sink) checkBrokers(ctx context.Context, admin *kadm.Client) error {
	versions, err := admin.ApiVersions(ctx)
	if err != nil {
		return fmt.Errorf("brokers: asking for their versions: %w", err)
	}
	var f faults
	level, oldest := int16(-1), ""
	for _, v := range versions.Sorted() {
		if v.Err != nil {
			continue // one that is down; Ping has found another
		}
		if newest, ok := v.KeyMaxVersion(int16(kmsg.InitProducerID)); !ok || newest < initProducerIDSince {
			f.check(false, "mode: exactly-once needs brokers of 2.5 or later, and broker %d looks like %s; write at-least-once, or upgrade",
				v.NodeID, v.VersionGuess())
		}
		for _, feature := range v.Raw().FinalizedFeatures {
			if feature.Name == "transaction.version" {
				level = feature.MaxVersionLevel
			}
		}
		if oldest == "" {
			oldest = v.VersionGuess()
		}
	}
	if err := errors.Join(f...); err != nil {
		return err
	}
	event := s.log.Info().Str("mode", string(s.cfg.Mode)).Str("broker_version", oldest).Int16("transaction_version", level)
	if level < 2 {
		event.Msg("exactly once: brokers of 2.5 and later do; from 4.0 with transaction.version 2 (KIP-890) a late request of a dead worker can't leave a transaction hanging")
	} else {
		event.Msg("exactly once: the brokers have KIP-890")
	}
	return nil
}

// checkCheckpointsTopic looks at the topic that keeps the positions.
func (s *Sink) checkCheckpointsTopic(ctx context.Context, admin *kadm.Client) error {
	const key = "exactly_once.checkpoints_topic"
	name := s.cfg.ExactlyOnce.CheckpointsTopic
	topics, err := admin.ListTopics(ctx, name)
	if err != nil {
		return fmt.Errorf("%s: asking for %q: %w", key, name, err)
	}
	d := topics[name]
	switch {
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition) && s.cfg.CreateTopic:
		return s.createCheckpointsTopic(ctx, admin)
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("%s: %q does not exist; write create_topic: true, or create it: kafka-topics.sh --bootstrap-server %s --create --topic %s"+
			" --partitions %d --replication-factor %d --config cleanup.policy=compact --config max.compaction.lag.ms=%s --config segment.bytes=%s",
			key, name, s.cfg.Brokers[0], name, checkpointPartitions, s.cfg.Replication, compactionLag, checkpointSegment)
	case d.Err != nil:
		return fmt.Errorf("%s: asking for %q: %w; grant Describe, Read and Write on it to user %q", key, name, d.Err, s.cfg.SASL.who())
	}
	var f faults
	f.check(len(d.Partitions) == checkpointPartitions, "%s: %q has %d partitions and must have %d, for ever; name another topic",
		key, name, len(d.Partitions), checkpointPartitions)
	settings, err := s.cfg.settings(ctx, admin, keyedTopic{key, name})
	if err != nil {
		return errors.Join(append(f, err)...)
	}
	if policy, ok := settings["cleanup.policy"]; ok {
		f.check(policy == "compact", "%s: %q has cleanup.policy %q, which deletes positions; set compact", key, name, policy)
	}
	f.replicas(settings, d, key)
	return errors.Join(f...)
}

const (
	// compactionLag bounds what is read at a take-over: what is older has been compacted.
	compactionLag = "600000"
	// checkpointSegment is small, because the segment in use is never compacted; brokers of 4.1 and later take no less than 1 MiB.
	checkpointSegment = "1048576"
)

func (s *Sink) createCheckpointsTopic(ctx context.Context, admin *kadm.Client) error {
	settings := map[string]*string{}
	for k, v := range map[string]string{
		"cleanup.policy": "compact", "max.compaction.lag.ms": compactionLag, "segment.bytes": checkpointSegment,
		"segment.ms": compactionLag, "min.cleanable.dirty.ratio": "0.1",
	} {
		settings[k] = &v
	}
	s.cfg.inSync(settings)
	_, err := admin.CreateTopic(ctx, checkpointPartitions, int16(s.cfg.Replication), settings, s.cfg.ExactlyOnce.CheckpointsTopic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("exactly_once.checkpoints_topic: creating %q: %w; create it by hand, or grant Create on it", s.cfg.ExactlyOnce.CheckpointsTopic, err)
	}
	return nil
}

// inSync makes acknowledged rows survive the loss of a broker, where there are enough of them.
func (c *Config) inSync(settings map[string]*string) {
	if c.Replication >= 3 {
		two := "2"
		settings["min.insync.replicas"] = &two
	}
}

// replicas checks that an acknowledged record survives the loss of one broker.
func (f *faults) replicas(settings map[string]string, d kadm.TopicDetail, key string) {
	replicas := d.Partitions.NumReplicas()
	f.limit(settings, "min.insync.replicas", func(v int) (bool, string) {
		if v > replicas {
			return false, fmt.Sprintf("%s: topic %q has min.insync.replicas %d and only %d replicas, so it takes nothing; write %d there",
				key, d.Topic, v, replicas, max(replicas-1, 1))
		}
		return replicas < 3 || v >= 2, fmt.Sprintf("%s: topic %q has min.insync.replicas %d, so what one broker acknowledged alone can be lost with it; write 2 there",
			key, d.Topic, v)
	})
}

// checkClaim claims a transactional id of the application that no shard has: that shows missing rights and a time-out which the
// brokers don't take.
func (s *Sink) checkClaim(ctx context.Context) error {
	p, err := s.fence(ctx, transactionalID(s.application, "check"))
	if err != nil {
		return unwrapPermanent(err)
	}
	p.client.Close()
	return nil
}

// unwrapPermanent drops the word permanent, which tells a person nothing.
func unwrapPermanent(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "permanent: "))
}
