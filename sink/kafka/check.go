package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/internal/certificate"
	"dredge/internal/retry"
)

// Check asks the cluster whether rows can be produced as configured, and creates the topic when it is missing and may be
// created. The error joins everything that is wrong, each with what to write instead. Give ctx a deadline: an unreachable
// broker is asked until then.
func (s *Sink) Check(ctx context.Context) error {
	if err := s.cfg.ping(ctx, s.client); err != nil {
		return err
	}
	var err error
	for _, t := range s.cfg.rowTopics() {
		err = errors.Join(err, s.cfg.check(ctx, s.client, t, true))
	}
	if s.cfg.Mode == ExactlyOnce {
		err = errors.Join(err, s.checkTransactions(ctx))
	}
	return err
}

// ping reaches the cluster.
func (c *Config) ping(ctx context.Context, client *kgo.Client) error {
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("brokers: reaching %s: %w%s", strings.Join(c.Brokers, ", "), err, pingHint(err))
	}
	return nil
}

// check looks at one topic. Only those of the rows have their timestamps chosen by us.
func (c *Config) check(ctx context.Context, client *kgo.Client, t keyedTopic, rows bool) error {
	topic := t.name
	admin := kadm.NewClient(client)
	d, err := c.partitions(ctx, admin, t)
	if err != nil {
		return err
	}
	n := len(d.Partitions)
	var f faults
	f.check(!rows || n >= c.Partitions,
		"partitions: topic %q has %d, fewer than %d; add partitions to the topic, or write partitions: %d", topic, n, c.Partitions, n)
	settings, err := c.settings(ctx, admin, t)
	if err != nil {
		return errors.Join(append(f, err)...)
	}
	f.limit(settings, "max.message.bytes", func(v int) (bool, string) {
		return c.BatchMaxBytes <= v, fmt.Sprintf("batch_max_bytes: %d is above topic %q's max.message.bytes of %d; write %d or less, or raise it on the topic",
			c.BatchMaxBytes, topic, v, v)
	})
	if c.Mode == ExactlyOnce {
		f.replicas(settings, d, t.key)
	}
	if rows && c.RecordTime != RecordTimeProduce && settings["message.timestamp.type"] != "LogAppendTime" {
		age := int(c.RecordTimeMaxAge / time.Millisecond)
		for _, key := range []string{"retention.ms", "message.timestamp.before.max.ms"} {
			f.limit(settings, key, func(v int) (bool, string) {
				return v < 0 || age < v, fmt.Sprintf("record_time_max_age: %s is not below topic %q's %s of %s; write less, or record_time: produce",
					c.RecordTimeMaxAge, topic, key, time.Duration(v)*time.Millisecond)
			})
		}
	}
	return errors.Join(f...)
}

// limit checks one numeric setting of the topic; one that the broker does not tell is not checked.
func (f *faults) limit(settings map[string]string, key string, check func(v int) (ok bool, fault string)) {
	v, err := strconv.Atoi(settings[key])
	if err != nil {
		return
	}
	if ok, fault := check(v); !ok {
		*f = append(*f, errors.New(fault))
	}
}

// connectionRefused says that a broker was reached and refused the connection, or we refused the broker.
func connectionRefused(err error) bool {
	return certificate.Refused(err) || is(err, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism)
}

// pingHint says what usually causes err.
func pingHint(err error) string {
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "; set sasl.username and sasl.password_file to a user that the brokers know, or give OAUTHBEARER's token or AWS_MSK_IAM's role the right to connect"
	case is(err, kerr.UnsupportedSaslMechanism):
		return "; set sasl.mechanism to one that the listener has"
	case certificate.Refused(err):
		return certificateHint(err)
	}
	return "; a broker that does not answer, or closes the connection at once, is often one whose listener expects other settings:" +
		" set tls.enabled as the listener is, and sasl.username and sasl.password_file to a user that it knows"
}

// partitions describes topic, which it creates if it may.
func (c *Config) partitions(ctx context.Context, admin *kadm.Client, t keyedTopic) (kadm.TopicDetail, error) {
	key, topic := t.key, t.name
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("%s: asking for %q: %w", key, topic, err)
	}
	d := topics[topic]
	switch {
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition) && c.CreateTopic:
		n, err := c.create(ctx, admin, topic)
		d = kadm.TopicDetail{Topic: topic, Partitions: make(kadm.PartitionDetails, n)}
		for i := range n {
			d.Partitions[int32(i)] = kadm.PartitionDetail{Replicas: make([]int32, c.Replication)}
		}
		return d, err
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		return d, fmt.Errorf("%s: %q does not exist; write create_topic: true, or create it: kafka-topics.sh --bootstrap-server %s"+
			" --create --topic %s --partitions %d --replication-factor %d", key, topic, c.Brokers[0], topic, c.Partitions, c.Replication)
	case errors.Is(d.Err, kerr.TopicAuthorizationFailed):
		return d, fmt.Errorf("%s: no right to describe %q; grant Describe and Write on it to user %q", key, topic, c.SASL.who())
	case d.Err != nil:
		return d, fmt.Errorf("%s: asking for %q: %w", key, topic, d.Err)
	}
	return d, nil
}

func (c *Config) create(ctx context.Context, admin *kadm.Client, topic string) (int, error) {
	// Batches come compressed; "producer" keeps the broker from doing it again.
	compression, bytes := "producer", strconv.Itoa(max(c.BatchMaxBytes+batchOverhead, 1<<20))
	settings := map[string]*string{"compression.type": &compression, "max.message.bytes": &bytes}
	c.inSync(settings)
	_, err := admin.CreateTopic(ctx, int32(c.Partitions), int16(c.Replication), settings, topic)
	switch {
	case err == nil, errors.Is(err, kerr.TopicAlreadyExists): // another worker was faster
		return c.Partitions, nil
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return 0, fmt.Errorf("replication: %d is more than the cluster has brokers; write a smaller number: %w", c.Replication, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return 0, fmt.Errorf("create_topic: no right to create %q; grant Create on it to user %q, or create it by hand", topic, c.SASL.who())
	}
	return 0, fmt.Errorf("create_topic: creating %q: %w", topic, err)
}

// settings reads the topic's configuration. A user without DescribeConfigs produces all the same, so then nothing is known. A
// topic that was just made is not known to every broker at once.
func (c *Config) settings(ctx context.Context, admin *kadm.Client, t keyedTopic) (map[string]string, error) {
	for tries := 0; ; tries++ {
		settings, err := c.settingsNow(ctx, admin, t)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || !c.CreateTopic || tries == unknownTopicTries {
			return settings, err
		}
		if retry.Sleep(ctx, unknownTopicPause) != nil {
			return nil, err
		}
	}
}

// How often and after what pause a broker is asked again for a topic that it does not know: some 10 s.
const (
	unknownTopicTries = 30
	unknownTopicPause = 300 * time.Millisecond
)

func (c *Config) settingsNow(ctx context.Context, admin *kadm.Client, t keyedTopic) (map[string]string, error) {
	configs, err := admin.DescribeTopicConfigs(ctx, t.name)
	if _, ok := errors.AsType[*kadm.AuthError](err); ok {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: reading the settings of %q: %w", t.key, t.name, err)
	}
	r, err := configs.On(t.name, nil)
	switch {
	case errors.Is(r.Err, kerr.TopicAuthorizationFailed):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: reading the settings of %q: %w", t.key, t.name, err)
	case r.Err != nil:
		return nil, fmt.Errorf("%s: reading the settings of %q: %w", t.key, t.name, r.Err)
	}
	settings := make(map[string]string)
	for _, kv := range r.Configs {
		settings[kv.Key] = kv.MaybeValue()
	}
	return settings, nil
}
