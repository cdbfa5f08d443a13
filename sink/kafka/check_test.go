package kafka

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

func TestCheck(t *testing.T) {
	f := func(name string, change func(*Config), settings map[string]string, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, change)
				defer s.close()
				if settings != nil {
					if err := s.cluster.DeleteTopic(topic); err != nil {
						t.Fatal(err)
					}
					if err := s.cluster.CreateTopic(topic, 3, settings); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := s.sink.Check(ctx)
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("Check = %v, want %q", err, want)
				}
			})
		})
	}
	f("good", nil, nil, "")
	f("topic missing", func(c *Config) { c.Topic = "flows" }, nil,
		`topic: "flows" does not exist; write create_topic: true, or create it: kafka-topics.sh --bootstrap-server`)
	f("too few partitions", func(c *Config) { c.Partitions = 12 }, nil,
		`partitions: topic "flows_raw" has 3, fewer than 12; add partitions to the topic, or write partitions: 3`)
	f("message size", nil, map[string]string{"max.message.bytes": "500000"},
		`batch_max_bytes: 900000 is above topic "flows_raw"'s max.message.bytes of 500000; write 500000 or less`)
	f("retention", nil, map[string]string{"retention.ms": "600000"},
		`record_time_max_age: 1h0m0s is not below topic "flows_raw"'s retention.ms of 10m0s`)
	f("retention does not matter", func(c *Config) { c.RecordTime = RecordTimeProduce }, map[string]string{"retention.ms": "600000"}, "")
	f("endless retention", nil, map[string]string{"retention.ms": "-1"}, "")
}

func TestCheckCreatesTheTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) { c.Topic, c.CreateTopic, c.Partitions = "flows", true, 5 })
		defer s.close()
		for range 2 {
			if err := s.sink.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.cluster.PartitionInfos("flows")); n != 5 {
			t.Errorf("the topic has %d partitions, want 5", n)
		}
		if got := s.cluster.TopicInfo("flows").Configs["compression.type"]; got == nil || *got != "producer" {
			t.Errorf("compression.type = %v, want producer", got)
		}
	})
}

func TestCheckNamesUnreachableBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.cluster.Close()
		defer s.sink.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := s.sink.Check(ctx)
		if err == nil || !strings.Contains(err.Error(), "brokers: reaching "+s.cfg.Brokers[0]) {
			t.Errorf("Check = %v, want it to name %s", err, s.cfg.Brokers[0])
		}
	})
}

// With no right to read a topic's settings one may still have the right to produce.
func TestCheckNeedsNoDescribeConfigs(t *testing.T) {
	// The ACL check needs a user, and so SASL.
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) {
			c.SASL = SASLConfig{Mechanism: "PLAIN", Username: "dredge", Password: "pw"}
		}, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"),
			kfake.User("PLAIN", "dredge", "pw", topicACLs(topic)...))
		defer s.close()
		if err := s.sink.Check(t.Context()); err != nil {
			t.Errorf("Check = %v", err)
		}
	})
}
