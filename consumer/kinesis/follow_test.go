package kinesis

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// fleet is an application in which Java workers of KCL 3.x take part: the test writes what their leader and they would.
type fleet struct {
	server *awsfake.Server
	*bench
	client *dynamodb.Client
}

func inFleet(t *testing.T, shards int, test func(*fleet)) {
	overSDK(t, shards, func(b *bench, server *awsfake.Server) {
		b.cfg.Mode = Mode3x
		if err := b.store.Init(b.Context()); err != nil {
			b.Fatal(err)
		}
		test(&fleet{server: server, bench: b, client: awsfaketest.DynamoDB(server)})
	})
}

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }

// setVersion writes the row of the migration, as KCL 3.5 keeps it.
func (f *fleet) setVersion(v string) {
	f.Helper()
	_, err := f.client.PutItem(f.Context(), &dynamodb.PutItemInput{TableName: aws.String(f.cfg.Table()), Item: map[string]types.AttributeValue{
		"leaseKey": s("Migration3.0"), "cv": s(v), "mb": s("java-b"), "mts": &types.AttributeValueMemberN{Value: "1795320627704"},
		"entityType": s("CLIENT_VERSION_MIGRATION"),
	}})
	if err != nil {
		f.Fatal(err)
	}
}

// addIndex makes the index by which Java's workers find their leases.
func (f *fleet) addIndex() {
	f.Helper()
	_, err := f.client.UpdateTable(f.Context(), &dynamodb.UpdateTableInput{
		TableName: aws.String(f.cfg.Table()),
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("leaseKey"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("leaseOwner"), AttributeType: types.ScalarAttributeTypeS},
		},
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName: aws.String("LeaseOwnerToLeaseKeyIndex"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("leaseOwner"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("leaseKey"), KeyType: types.KeyTypeRange},
			},
		}}},
	})
	if err != nil {
		f.Fatal(err)
	}
}

// row is an item of the lease table, nil when there is none.
func (f *fleet) row(key string) map[string]types.AttributeValue {
	f.Helper()
	out, err := f.client.GetItem(f.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(f.cfg.Table()), ConsistentRead: aws.Bool(true), Key: map[string]types.AttributeValue{"leaseKey": s(key)},
	})
	if err != nil {
		f.Fatal(err)
	}
	return out.Item
}

// assign is what the leader writes: the owner changes, whoever it was.
func (f *fleet) assign(key, owner string) lease.Lease {
	f.Helper()
	l, err := f.store.Take(f.Context(), f.lease(key), owner)
	if err != nil {
		f.Fatal(err)
	}
	return l
}

// isRead says whether a lease is owner's and is being renewed by it.
func (f *fleet) isRead(w *runningWorker, key string) func() bool {
	return func() bool {
		return f.lease(key).ActualOwner() == w.id && slices.ContainsFunc(w.Status().Shards, func(s ShardStatus) bool { return s.Key == key && s.Mine })
	}
}

func firstShards(f *fleet, n int) []string {
	f.Helper()
	f.await("leases made", 30*time.Second, func() bool { return len(f.leases()) == n })
	var keys []string
	for _, l := range f.leases() {
		keys = append(keys, l.Key)
	}
	return keys
}

// TestFollowerReadsWhatItIsAssigned goes with and without the index, and both ways of a graceful hand-off.
func TestFollowerReadsWhatItIsAssigned(t *testing.T) {
	for name, index := range map[string]bool{"by index": true, "by scan": false} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 2, func(f *fleet) {
				f.setVersion(lease.Version3x)
				if index {
					f.addIndex()
				}
				w := f.start("dredge-a")
				keys := firstShards(f, 2)
				f.advance(30 * time.Second)
				if n := f.owned()[""]; n != 2 {
					f.Fatalf("leases were taken that the leader had not assigned:\n%s", f.dump())
				}
				row := f.row("dredge-a")
				for attr, want := range map[string]string{"entityType": "S", "lut": "N", "sts": "M", "opr": "M", "sup": "N", "slu": "N", "leaseKey": "S"} {
					if got := shapeOf(row[attr]); got != want {
						f.Errorf("worker's row: %s is %s, want %s", attr, got, want)
					}
				}
				if len(row) != 7 {
					f.Errorf("worker's row has %d attributes, want 7: %v", len(row), row)
				}

				f.assign(keys[0], w.id)
				f.await("assigned lease is read", 15*time.Second, f.isRead(w, keys[0]))

				// To Java: the leader asks, the worker finishes and hands over.
				f.putKeysTo(10)
				f.await("read", 10*time.Second, func() bool { return f.lease(keys[0]).Checkpoint.IsSequence() })
				if _, err := f.store.BeginHandOff(f.Context(), f.lease(keys[0]), "java-b"); err != nil {
					f.Fatal(err)
				}
				took := f.await("handed to Java", 10*time.Second, func() bool { l := f.lease(keys[0]); return l.Owner == "java-b" && !l.InHandOff() })
				if took > 5*time.Second {
					f.Errorf("hand-over took %s", took)
				}
				if n := f.lease(keys[0]).OwnerSwitches; n != 0 {
					f.Errorf("a graceful hand-over counted as %d owner switches", n)
				}

				// From Java: as long as it has not finished, nothing is read.
				l := f.assign(keys[1], "java-b")
				l, err := f.store.BeginHandOff(f.Context(), l, w.id)
				if err != nil {
					f.Fatal(err)
				}
				f.advance(15 * time.Second)
				if f.isRead(w, keys[1])() {
					f.Fatal("a lease was read before its owner had handed it over")
				}
				if err := f.store.EndHandOff(f.Context(), l); err != nil {
					f.Fatal(err)
				}
				f.await("received from Java", 15*time.Second, f.isRead(w, keys[1]))

				w.stop()
				if row := f.row(w.id); row != nil {
					f.Errorf("the worker's row is still there: %v", row)
				}
				if l := f.lease(keys[1]); l.Owner != "" {
					f.Errorf("after the stop %s is still %s's", l.Key, l.Owner)
				}
			})
		})
	}
}

func shapeOf(v types.AttributeValue) string {
	switch v.(type) {
	case *types.AttributeValueMemberS:
		return "S"
	case *types.AttributeValueMemberN:
		return "N"
	case *types.AttributeValueMemberM:
		return "M"
	default:
		return "nothing"
	}
}

// putKeysTo writes records through the server of this fleet.
func (f *fleet) putKeysTo(n int) { f.putKeys(f.server, n) }

// The index names a lease that the row no longer gives to us: it is left alone.
func TestFollowerBelievesTheRow(t *testing.T) {
	inFleet(t, 1, func(f *fleet) {
		f.setVersion(lease.Version3x)
		f.fleet = laggingIndex{f.fleet, []string{"shardId-000000000000", "no such row"}}
		w := f.start("dredge-a")
		keys := firstShards(f, 1)
		l := f.assign(keys[0], "java-b")
		for range 20 {
			f.advance(2 * time.Second)
			var err error
			if l, err = f.store.Renew(f.Context(), l, lease.Renewal{}); err != nil {
				f.Fatal(err)
			}
		}
		if w.Status().Owned != 0 {
			f.Error("a lease was read because the index said so")
		}
	})
}

type laggingIndex struct {
	lease.Fleet
	keys []string
}

func (l laggingIndex) Assigned(context.Context, string) ([]string, error) { return l.keys, nil }

// A fleet goes over to 3.x and back while the worker runs.
func TestFollowerReactsToFlips(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		w := f.start("dredge-a")
		f.await("leases taken", 30*time.Second, func() bool { return f.owned()[w.id] == 2 })
		if row := f.row(w.id); row != nil {
			f.Fatal("a row that is no lease was written into a table that older Java may share")
		}
		f.setVersion(lease.VersionUpgrade)
		f.await("announced", 2*time.Minute, func() bool { return f.row(w.id) != nil })

		f.setVersion(lease.Version3xRollback)
		f.advance(20 * time.Second)
		if f.owned()[w.id] != 2 {
			f.Fatalf("leases were lost in the flip:\n%s", f.dump())
		}
		w2 := f.start("dredge-b")
		f.advance(time.Minute)
		if n := f.owned()[w2.id]; n != 0 {
			f.Errorf("%d leases were taken although the leader assigns them", n)
		}
		f.setVersion(lease.Version2x)
		f.await("balanced again", 4*time.Minute, func() bool { return f.owned()[w2.id] == 1 })
		f.await("not announced any more", 3*time.Minute, func() bool { return f.row(w.id) == nil && f.row(w2.id) == nil })
	})
}

// A worker of mode 2.x keeps what it has and takes no more.
func TestFlipSuspendsMode2x(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		f.cfg.Mode = Mode2x
		w := f.start("dredge-a", func(c *Config) { c.MaxLeases = 1 })
		f.await("a lease", 30*time.Second, func() bool { return f.owned()[w.id] == 1 })
		f.setVersion(lease.VersionUpgrade)
		f.advance(3 * time.Minute)
		if row := f.row(w.id); row != nil {
			f.Error("metrics were published unasked: the fleet would go over")
		}
		f.setVersion(lease.Version3x)
		f.await("alarm", 10*time.Second, func() bool { return w.metric("taking_suspended") == 1 })
		w2 := f.start("dredge-b")
		f.advance(time.Minute)
		if f.owned()[w.id] != 1 || f.owned()[w2.id] != 0 {
			f.Errorf("after the flip:\n%s", f.dump())
		}
	})
}

// The tables of KCL 3.0 to 3.4.
func TestFollowerInALegacyLayout(t *testing.T) {
	inFleet(t, 1, func(f *fleet) {
		for name, key := range map[string]string{"app-CoordinatorState": "key", "app-WorkerMetricStats": "wid"} {
			_, err := f.client.CreateTable(f.Context(), &dynamodb.CreateTableInput{
				TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest,
				AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(key), AttributeType: types.ScalarAttributeTypeS}},
				KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(key), KeyType: types.KeyTypeHash}},
			})
			if err != nil {
				f.Fatal(err)
			}
		}
		f.advance(5 * time.Second) // the tables are being made
		if _, err := f.client.PutItem(f.Context(), &dynamodb.PutItemInput{
			TableName: aws.String("app-CoordinatorState"), Item: map[string]types.AttributeValue{"key": s("Migration3.0"), "cv": s(lease.Version3x)},
		}); err != nil {
			f.Fatal(err)
		}
		w := f.start("dredge-a")
		keys := firstShards(f, 1)
		worker := func() bool {
			out, err := f.client.GetItem(f.Context(), &dynamodb.GetItemInput{
				TableName: aws.String("app-WorkerMetricStats"), ConsistentRead: aws.Bool(true), Key: map[string]types.AttributeValue{"wid": s(w.id)},
			})
			return err == nil && len(out.Item) == 7
		}
		f.await("announced", time.Minute, worker)
		if f.row(w.id) != nil {
			f.Error("the lease table got a row that is no lease")
		}
		f.assign(keys[0], w.id)
		f.await("read", 15*time.Second, f.isRead(w, keys[0]))
	})
}
