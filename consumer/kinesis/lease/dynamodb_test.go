package lease_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/lease/leasetest"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

const table = "app"

// newDynamoDB is a store over a fake DynamoDB, with a client as the service configures it: one retry.
func newDynamoDB(t *testing.T, cfg awsfake.Config) (*awsfake.Server, *dynamodb.Client, *lease.DynamoDB) {
	t.Helper()
	server := awsfaketest.NewServer(t, cfg)
	client := awsfaketest.DynamoDB(server, func(o *dynamodb.Options) { o.RetryMaxAttempts = 2 })
	store, err := lease.NewDynamoDB(table, client)
	if err != nil {
		t.Fatal(err)
	}
	return server, client, store
}

func TestDynamoDB(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) lease.Store {
		_, _, store := newDynamoDB(t, awsfake.Config{})
		return store
	})
}

// Some servers do not return the row with a failed condition; the store then reads it.
func TestDynamoDBWithoutOldItem(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) lease.Store {
		_, client, _ := newDynamoDB(t, awsfake.Config{})
		store, err := lease.NewDynamoDB(table, noOldItem{client})
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}

type noOldItem struct{ *dynamodb.Client }

func (c noOldItem) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	in.ReturnValuesOnConditionCheckFailure = ""
	return c.Client.UpdateItem(ctx, in, opts...)
}

// Every write lands and loses its reply; the SDK's own retry then finds the condition broken by its first try.
func TestDynamoDBLostReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, _, store := newDynamoDB(t, awsfake.Config{})
		ctx := t.Context()
		if err := store.Init(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(ctx, lease.Lease{Key: "s", Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}}); err != nil {
			t.Fatal(err)
		}
		free, err := store.Get(ctx, "s")
		if err != nil {
			t.Fatal(err)
		}
		lose := func() *awsfake.Injection {
			return server.Inject(awsfake.Fault{Op: "UpdateItem", Kind: awsfake.LostReply, Times: 1})
		}
		struck := []*awsfake.Injection{lose()}
		l, err := store.Take(ctx, free, "dredge-a")
		if err != nil || l.Counter != 1 {
			t.Fatalf("Take = %+v, %v", l, err)
		}
		for i, r := range []lease.Renewal{{}, {Checkpoint: lease.Checkpoint{Sequence: "10"}}, {Checkpoint: lease.Checkpoint{Sequence: "20"}, ThroughputKBps: 1.5}} {
			struck = append(struck, lose())
			if l, err = store.Renew(ctx, l, r); err != nil || l.Counter != int64(i+2) {
				t.Fatalf("Renew(%+v) = %+v, %v", r, l, err)
			}
		}
		// The refusal of the retry is lost too: the caller's next renewal must find its way.
		server.Inject(awsfake.Fault{Op: "UpdateItem", Kind: awsfake.LostReply, Times: 2})
		stale, err := store.Renew(ctx, l, lease.Renewal{Checkpoint: lease.Checkpoint{Sequence: "30"}})
		if err == nil || errors.Is(err, lease.ErrLost) {
			t.Fatalf("Renew with all replies lost = %v", err)
		}
		if l, err = store.Renew(ctx, stale, lease.Renewal{Checkpoint: lease.Checkpoint{Sequence: "40"}}); err != nil || l.Checkpoint.Sequence != "40" || l.Counter != 6 {
			t.Fatalf("Renew after that = %+v, %v", l, err)
		}
		struck = append(struck, lose())
		if err := store.Evict(ctx, l); err != nil {
			t.Fatal(err)
		}
		got, err := store.Get(ctx, "s")
		if err != nil || got.Owner != "" || got.Counter != 7 {
			t.Errorf("evicted row = %+v, %v", got, err)
		}
		for i, s := range struck {
			if s.Struck() != 1 {
				t.Errorf("reply %d was not lost", i)
			}
		}
	})
}

func TestDynamoDBTableIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, store := newDynamoDB(t, awsfake.Config{TableDelay: 20 * time.Second})
		start := time.Now()
		if err := store.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 20*time.Second || took > 22*time.Second {
			t.Errorf("Init took %s of a table that takes 20s", took)
		}
		if _, err := store.List(t.Context()); err != nil {
			t.Errorf("List after Init: %v", err)
		}
	})
}

func TestDynamoDBRefusesForeignTables(t *testing.T) {
	_, client, store := newDynamoDB(t, awsfake.Config{})
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:            aws.String(table),
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("ShardID"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("ShardID"), KeyType: types.KeyTypeHash}},
		BillingMode:          types.BillingModePayPerRequest,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Init(t.Context()); !errors.Is(err, lease.ErrForeignTable) || !strings.Contains(err.Error(), `"ShardID"`) {
		t.Errorf("Init = %v", err)
	}
}

// javaTables are tables that Amazon's KCL left behind: see "source" in the file.
func javaTables(t *testing.T) map[string][]map[string]types.AttributeValue {
	t.Helper()
	raw, err := os.ReadFile("testdata/java-tables.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tables map[string][]map[string]map[string]any `json:"tables"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	out := map[string][]map[string]types.AttributeValue{}
	for name, rows := range file.Tables {
		for _, row := range rows {
			it := map[string]types.AttributeValue{}
			for attr, v := range row {
				it[attr] = attributeValue(v)
			}
			out[name] = append(out[name], it)
		}
	}
	return out
}

func attributeValue(v map[string]any) types.AttributeValue {
	switch {
	case v["S"] != nil:
		return &types.AttributeValueMemberS{Value: v["S"].(string)}
	case v["N"] != nil:
		return &types.AttributeValueMemberN{Value: v["N"].(string)}
	case v["SS"] != nil:
		ss := &types.AttributeValueMemberSS{}
		for _, s := range v["SS"].([]any) {
			ss.Value = append(ss.Value, s.(string))
		}
		return ss
	default: // lists and maps stand only in rows that are no leases
		return &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{}}
	}
}

func put(t *testing.T, client *dynamodb.Client, it map[string]types.AttributeValue) {
	t.Helper()
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: it}); err != nil {
		t.Fatal(err)
	}
}

func TestDynamoDBReadsJavaTables(t *testing.T) {
	for name, want := range map[string]struct {
		leases, foreign int
		version         string
		row             lease.Lease
	}{
		"kcl-2.7.2": {leases: 4, row: lease.Lease{
			Key: "shardId-000000000000", Owner: "n2", Counter: 1, Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon},
			HashRange: &lease.HashRange{Start: "0", End: "85070591730234615865843651857942052862"},
		}},
		"kcl-3.5.1 during a hand-off": {leases: 4, foreign: 4, version: "CLIENT_VERSION_3X", row: lease.Lease{
			Key: "shardId-000000000001", Owner: "b3", CheckpointOwner: "a3", Counter: 55, EntityType: "LEASE",
			Checkpoint: lease.Checkpoint{Sequence: "49680448671279063202069164182185263621581486078570790930"},
			HashRange:  &lease.HashRange{Start: "85070591730234615865843651857942052863", End: "170141183460469231731687303715884105725"},
		}},
		"kcl-3.5.1 after a reshard": {leases: 7, foreign: 5, version: "CLIENT_VERSION_3X", row: lease.Lease{
			Key: "shardId-000000000006", Owner: "c3", Counter: 3, EntityType: "LEASE",
			Checkpoint: lease.Checkpoint{Sequence: "49680448895468454682897518623717429445219546650455834722"},
			Parents:    []string{"shardId-000000000002", "shardId-000000000003"},
			HashRange:  &lease.HashRange{Start: "170141183460469231731687303715884105726", End: "340282366920938463463374607431768211455"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, client, store := newDynamoDB(t, awsfake.Config{})
			if err := store.Init(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, it := range javaTables(t)[name] {
				put(t, client, it)
			}
			got, err := store.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Leases) != want.leases || got.Foreign != want.foreign || got.Malformed != 0 || got.ClientVersion != want.version {
				t.Errorf("%d leases, %d foreign, %d malformed, version %q; want %d, %d, 0, %q",
					len(got.Leases), got.Foreign, got.Malformed, got.ClientVersion, want.leases, want.foreign, want.version)
			}
			i := slices.IndexFunc(got.Leases, func(l lease.Lease) bool { return l.Key == want.row.Key })
			if i < 0 {
				t.Fatalf("no row %s", want.row.Key)
			}
			got.Leases[i].ThroughputKBps = 0
			if d := cmp.Diff(want.row, got.Leases[i]); d != "" {
				t.Errorf("row (-want +got):\n%s", d)
			}
		})
	}
}

// shape is the attributes of a row and their types.
func shape(it map[string]types.AttributeValue) map[string]string {
	out := map[string]string{}
	for attr, v := range it {
		out[attr] = strings.TrimPrefix(fmt.Sprintf("%T", v), "*types.AttributeValueMember")
	}
	return out
}

// A row that we made and worked on has the attributes and types of one that Java made and worked on.
func TestDynamoDBRowsLookLikeJavas(t *testing.T) {
	_, client, store := newDynamoDB(t, awsfake.Config{})
	ctx := t.Context()
	if err := store.Init(ctx); err != nil {
		t.Fatal(err)
	}
	raw := func(key string) map[string]types.AttributeValue {
		t.Helper()
		out, err := client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: aws.String(table), ConsistentRead: aws.Bool(true), Key: map[string]types.AttributeValue{"leaseKey": &types.AttributeValueMemberS{Value: key}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.Item
	}
	java := map[string]map[string]types.AttributeValue{}
	for _, it := range javaTables(t)["kcl-3.5.1 after a reshard"] {
		java[it["leaseKey"].(*types.AttributeValueMemberS).Value] = it
	}
	for key, steps := range map[string][]lease.Renewal{
		"shardId-000000000006": {{Checkpoint: lease.Checkpoint{Sequence: "10"}}},
		"shardId-000000000003": {{ThroughputKBps: 0.5}, {Checkpoint: lease.Checkpoint{Sequence: lease.ShardEnd}}},
	} {
		l := lease.Lease{Key: key, Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}, HashRange: &lease.HashRange{Start: "0", End: "1"}}
		if ss, ok := java[key]["parentShardId"].(*types.AttributeValueMemberSS); ok {
			l.Parents = ss.Value
		}
		if _, err := store.Create(ctx, l); err != nil {
			t.Fatal(err)
		}
		fresh := map[string]string{
			"leaseKey": "S", "leaseCounter": "N", "ownerSwitchesSinceCheckpoint": "N", "checkpoint": "S", "checkpointSubSequenceNumber": "N",
			"entityType": "S", "startingHashKey": "S", "endingHashKey": "S",
		}
		if len(l.Parents) > 0 {
			fresh["parentShardId"] = "SS"
		}
		if d := cmp.Diff(fresh, shape(raw(key))); d != "" {
			t.Errorf("%s, created (-want +got):\n%s", key, d)
		}
		l, err := store.Take(ctx, l, "dredge-a")
		if err != nil {
			t.Fatal(err)
		}
		if ss, ok := java[key]["childShardIds"].(*types.AttributeValueMemberSS); ok {
			if err := store.UpdateMeta(ctx, key, lease.Meta{Children: ss.Value}); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range steps {
			if l, err = store.Renew(ctx, l, r); err != nil {
				t.Fatal(err)
			}
		}
		want, got := shape(java[key]), shape(raw(key))
		if _, ok := want["throughputKBps"]; !ok || got["throughputKBps"] == "" {
			delete(want, "throughputKBps") // written once it is known
			delete(got, "throughputKBps")
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s, worked on (-java +ours):\n%s", key, d)
		}
	}
}

func TestDynamoDBLeavesStrangeRowsAlone(t *testing.T) {
	_, client, store := newDynamoDB(t, awsfake.Config{})
	ctx := t.Context()
	if err := store.Init(ctx); err != nil {
		t.Fatal(err)
	}
	s := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	n := func(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
	base := map[string]types.AttributeValue{
		"leaseCounter": n("1"), "checkpoint": s("TRIM_HORIZON"), "checkpointSubSequenceNumber": n("0"), "ownerSwitchesSinceCheckpoint": n("0"),
	}
	row := func(key string, change map[string]types.AttributeValue) {
		it := maps.Clone(base)
		it["leaseKey"] = s(key)
		for attr, v := range change {
			if it[attr] = v; v == nil {
				delete(it, attr)
			}
		}
		put(t, client, it)
	}
	row("good", nil)
	row("good with a number as pending state", map[string]types.AttributeValue{"pendingCheckpoint": s("5"), "pendingCheckpointState": n("0")})
	row("good with an unknown attribute", map[string]types.AttributeValue{"colour": s("red")})
	row("good with strange throughput", map[string]types.AttributeValue{"throughputKBps": s("fast")})
	row("no counter", map[string]types.AttributeValue{"leaseCounter": nil})
	row("counter is text", map[string]types.AttributeValue{"leaseCounter": s("1")})
	row("counter beyond 64 bits", map[string]types.AttributeValue{"leaseCounter": n("99999999999999999999")})
	row("no checkpoint", map[string]types.AttributeValue{"checkpoint": nil})
	row("checkpoint is nonsense", map[string]types.AttributeValue{"checkpoint": s("yesterday")})
	row("parents are text", map[string]types.AttributeValue{"parentShardId": s("x")})
	row("of another kind", map[string]types.AttributeValue{"entityType": s("STREAM")})
	got, err := store.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Leases) != 4 || got.Malformed != 6 || got.Foreign != 1 {
		t.Errorf("%d leases, %d malformed, %d foreign; want 4, 6, 1", len(got.Leases), got.Malformed, got.Foreign)
	}
	if _, err := store.Get(ctx, "of another kind"); !errors.Is(err, lease.ErrNotFound) {
		t.Errorf("Get of another kind of row = %v, want ErrNotFound", err)
	}
}

// A table of more than one page.
func TestDynamoDBScansAllPages(t *testing.T) {
	server, client, store := newDynamoDB(t, awsfake.Config{})
	ctx := t.Context()
	if err := store.Init(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 9 { // 300 kB each, and a page holds 1 MB
		put(t, client, map[string]types.AttributeValue{
			"leaseKey":     &types.AttributeValueMemberS{Value: fmt.Sprintf("shardId-%012d", i)},
			"leaseCounter": &types.AttributeValueMemberN{Value: "1"}, "checkpoint": &types.AttributeValueMemberS{Value: "LATEST"},
			"pendingCheckpointState": &types.AttributeValueMemberB{Value: make([]byte, 300_000)},
		})
	}
	got, err := store.List(ctx)
	if err != nil || len(got.Leases) != 9 {
		t.Fatalf("List = %d leases, %v; want 9", len(got.Leases), err)
	}
	if n := server.Count("Scan"); n < 3 {
		t.Errorf("%d Scan requests for 2.7 MB", n)
	}
}
