package lease_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
)

func str(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }

func putIn(t *testing.T, client *dynamodb.Client, name string, it map[string]types.AttributeValue) {
	t.Helper()
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(name), Item: it}); err != nil {
		t.Fatal(err)
	}
}

func makeTable(t *testing.T, client *dynamodb.Client, name, key string) {
	t.Helper()
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(key), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(key), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Without a state of 3.x no row that is no lease is ever written: older Java workers would stop.
func TestAnnounceNeedsAState(t *testing.T) {
	server, _, store := newDynamoDB(t, awsfake.Config{})
	if err := store.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Announce(t.Context(), "dredge-a", time.Now()); !errors.Is(err, lease.ErrNoState) {
		t.Errorf("Announce before the state was read = %v", err)
	}
	if v, err := store.ClientVersion(t.Context()); v != "" || err != nil {
		t.Fatalf("ClientVersion = %q, %v", v, err)
	}
	if err := store.Announce(t.Context(), "dredge-a", time.Now()); !errors.Is(err, lease.ErrNoState) {
		t.Errorf("Announce = %v", err)
	}
	if err := store.Retire(t.Context(), "dredge-a"); err != nil {
		t.Errorf("Retire of who was never announced = %v", err)
	}
	if n := server.Count("UpdateItem") + server.Count("PutItem") + server.Count("DeleteItem"); n != 0 {
		t.Errorf("%d writes", n)
	}
}

// Where state and workers stand: in the lease table, in tables of their own, or in the lease table again after these were merged into it.
func TestClientVersionInEachLayout(t *testing.T) {
	for name, set := range map[string]func(*testing.T, *dynamodb.Client){
		"one table": func(t *testing.T, c *dynamodb.Client) {
			t.Helper()
			putIn(t, c, table, map[string]types.AttributeValue{"leaseKey": str("Migration3.0"), "cv": str(lease.Version3x), "entityType": str("CLIENT_VERSION_MIGRATION")})
		},
		"own tables": func(t *testing.T, c *dynamodb.Client) {
			t.Helper()
			makeTable(t, c, table+"-CoordinatorState", "key")
			makeTable(t, c, table+"-WorkerMetricStats", "wid")
			putIn(t, c, table+"-CoordinatorState", map[string]types.AttributeValue{"key": str("Migration3.0"), "cv": str(lease.Version3x)})
			putIn(t, c, table+"-CoordinatorState", map[string]types.AttributeValue{"key": str("TableMigration3.5"), "tm": str("TABLE_MIGRATION_STATUS_DEPLOYED")})
		},
		"merged": func(t *testing.T, c *dynamodb.Client) {
			t.Helper()
			makeTable(t, c, table+"-CoordinatorState", "key")
			putIn(t, c, table+"-CoordinatorState", map[string]types.AttributeValue{"key": str("Migration3.0"), "cv": str(lease.VersionUpgrade)})
			putIn(t, c, table+"-CoordinatorState", map[string]types.AttributeValue{"key": str("TableMigration3.5"), "tm": str("TABLE_MIGRATION_STATUS_COMPLETE")})
			putIn(t, c, table, map[string]types.AttributeValue{"leaseKey": str("Migration3.0"), "cv": str(lease.Version3x), "entityType": str("CLIENT_VERSION_MIGRATION")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, client, store := newDynamoDB(t, awsfake.Config{})
			if err := store.Init(t.Context()); err != nil {
				t.Fatal(err)
			}
			set(t, client)
			if v, err := store.ClientVersion(t.Context()); v != lease.Version3x || err != nil {
				t.Fatalf("ClientVersion = %q, %v", v, err)
			}
			if err := store.Announce(t.Context(), "dredge-a", time.Unix(1_795_319_404, 0)); err != nil {
				t.Fatal(err)
			}
			where, key := table, "leaseKey"
			if name == "own tables" {
				where, key = table+"-WorkerMetricStats", "wid"
			}
			row := func() map[string]types.AttributeValue {
				out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{
					TableName: aws.String(where), ConsistentRead: aws.Bool(true), Key: map[string]types.AttributeValue{key: str("dredge-a")},
				})
				if err != nil {
					t.Fatal(err)
				}
				return out.Item
			}
			want := map[string]string{key: "S", "entityType": "S", "lut": "N", "sts": "M", "opr": "M", "sup": "N", "slu": "N"}
			if got := shape(row()); !maps.Equal(got, want) {
				t.Errorf("worker's row %v, want the attributes of Java's %v", got, want)
			}
			if lut := row()["lut"].(*types.AttributeValueMemberN).Value; lut != "1795319404" {
				t.Errorf("lut = %s, want seconds", lut)
			}
			if err := store.Retire(t.Context(), "dredge-a"); err != nil || row() != nil {
				t.Errorf("Retire = %v, row %v", err, row())
			}
		})
	}
}

// A worker's id that is a lease's key must not turn the lease into a worker's row.
func TestAnnounceSparesLeases(t *testing.T) {
	_, client, store := newDynamoDB(t, awsfake.Config{})
	ctx := t.Context()
	if err := store.Init(ctx); err != nil {
		t.Fatal(err)
	}
	putIn(t, client, table, map[string]types.AttributeValue{"leaseKey": str("Migration3.0"), "cv": str(lease.Version3x), "entityType": str("CLIENT_VERSION_MIGRATION")})
	if _, err := store.Create(ctx, lease.Lease{Key: "shardId-000000000000", Checkpoint: lease.Checkpoint{Sequence: "5"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ClientVersion(ctx); err != nil {
		t.Fatal(err)
	}
	if err := store.Announce(ctx, "shardId-000000000000", time.Now()); err == nil || !strings.Contains(err.Error(), "worker_id") {
		t.Errorf("Announce = %v", err)
	}
	if err := store.Retire(ctx, "shardId-000000000000"); err != nil {
		t.Error(err)
	}
	if l, err := store.Get(ctx, "shardId-000000000000"); err != nil || l.Checkpoint.Sequence != "5" {
		t.Errorf("the lease is %+v, %v", l, err)
	}
}

// Assigned leases, by a scan while there is no index, then by the index.
func TestAssigned(t *testing.T) {
	server, client, store := newDynamoDB(t, awsfake.Config{})
	ctx := t.Context()
	if err := store.Init(ctx); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 6 {
		key := fmt.Sprintf("shardId-%012d", i)
		l := lease.Lease{Key: key, Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}}
		if _, err := store.Create(ctx, l); err != nil {
			t.Fatal(err)
		}
		owner := "java-b"
		if i%2 == 0 {
			owner, want = "dredge-a", append(want, key)
		}
		if _, err := store.Take(ctx, l, owner); err != nil {
			t.Fatal(err)
		}
	}
	check := func(scans int) {
		t.Helper()
		server.ResetCounts()
		got, err := store.Assigned(ctx, "dredge-a")
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Assigned = %q, %v; want %q", got, err, want)
		}
		if n := server.Count("Scan"); n != scans {
			t.Errorf("%d scans, want %d", n, scans)
		}
	}
	check(1)
	_, err := client.UpdateTable(ctx, &dynamodb.UpdateTableInput{
		TableName: aws.String(table),
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("leaseKey"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("leaseOwner"), AttributeType: types.ScalarAttributeTypeS},
		},
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName: aws.String("LeaseOwnerToLeaseKeyIndex"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("leaseOwner"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("leaseKey"), KeyType: types.KeyTypeRange},
			},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	check(0)
}
