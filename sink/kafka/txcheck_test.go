package kafka

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

func TestExactlyOnceCheck(t *testing.T) {
	f := func(name string, change func(*Config), prepare func(t *testing.T, c *kfake.Cluster), want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTxStage(t, change)
				defer s.cluster.Close()
				if prepare != nil {
					prepare(t, s.cluster)
				}
				p := s.process("one")
				defer p.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := p.Check(ctx)
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("Check = %v, want %q", err, want)
				}
			})
		})
	}
	remake := func(partitions int32, settings map[string]string) func(*testing.T, *kfake.Cluster) {
		return func(t *testing.T, c *kfake.Cluster) {
			t.Helper()
			if err := c.DeleteTopic(checkpointsTopic); err != nil {
				t.Fatal(err)
			}
			if partitions == 0 {
				return
			}
			if err := c.CreateTopic(checkpointsTopic, partitions, settings); err != nil {
				t.Fatal(err)
			}
		}
	}
	compact := map[string]string{"cleanup.policy": "compact"}
	f("good", nil, remake(checkpointPartitions, compact), "")
	f("topic made", func(c *Config) { c.CreateTopic = true }, remake(0, nil), "")
	f("topic missing", nil, remake(0, nil), `"dredge_checkpoints" does not exist; write create_topic: true, or create it: kafka-topics.sh`)
	f("partitions", nil, remake(12, compact), `"dredge_checkpoints" has 12 partitions and must have 32`)
	f("not compacted", nil, remake(checkpointPartitions, map[string]string{"cleanup.policy": "delete"}), `has cleanup.policy "delete", which deletes positions`)
	f("time-out", func(c *Config) { c.ExactlyOnce.TransactionTimeout = 15 * time.Minute }, func(t *testing.T, c *kfake.Cluster) {
		t.Helper()
		remake(checkpointPartitions, compact)(t, c)
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TxnID: "flows-app/check", Err: kerr.InvalidTransactionTimeout, TopLevel: true})
	}, "transaction_timeout: 15m0s is above the brokers' transaction.max.timeout.ms")
}

// Brokers that are too old for transactions which can be taken over are named, with what to write instead.
func TestExactlyOnceNeedsNewBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTxStage(t, nil, kfake.MaxVersions(kversion.V2_4_0()))
		defer s.cluster.Close()
		p := s.process("one")
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		const want = "mode: exactly-once needs brokers of 2.5 or later, and broker 0 looks like"
		if err := p.Check(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v, want %q", err, want)
		}
	})
}

func TestTransactionalID(t *testing.T) {
	f := func(application, name, want string) {
		t.Helper()
		if got := transactionalID(application, name); got != want {
			t.Errorf("transactionalID(%q, %q) = %q, want %q", application, name, got, want)
		}
	}
	f("app", "1/eu-west-1/flows:17/shardId-000000000001", "app/1/eu-west-1/flows:17/shardId-000000000001")
	f("a/b", "1/r/s:1/x", "a%2Fb/1/r/s:1/x")
	long := strings.Repeat("x", 300)
	id := transactionalID(long, "1/r/s:1/x")
	if len(id) > maxIDPart+20 || id == transactionalID(long+"y", "1/r/s:1/x") {
		t.Errorf("a long application gives %q", id)
	}
	if n := checkpointPartition("app/1/eu-west-1/flows:17/shardId-000000000001"); n != checkpointPartition("app/1/eu-west-1/flows:17/shardId-000000000001") || n < 0 || n >= checkpointPartitions {
		t.Errorf("partition %d", n)
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add([]byte(`{"v":1,"application":"a","name":"n","position":"1:2","time":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if c, err := parseCheckpoint(value); err == nil && c.Format != checkpointFormat {
			t.Errorf("%q parsed as format %d", value, c.Format)
		}
	})
}
