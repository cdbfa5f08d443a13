package lease_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
)

func TestTableOptions(t *testing.T) {
	f := func(want string, o lease.TableOptions) {
		t.Helper()
		err := o.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Validate(%+v) = %v, want %q in it", o, err, want)
		}
	}
	f("", lease.DefaultTableOptions())
	f("", lease.TableOptions{BillingMode: lease.BillingProvisioned, ReadCapacity: 10, WriteCapacity: 10})
	f("billing_mode", lease.TableOptions{})
	f("write_capacity", lease.TableOptions{BillingMode: lease.BillingProvisioned, ReadCapacity: 10})
	f("have no meaning", lease.TableOptions{BillingMode: lease.BillingOnDemand, ReadCapacity: 10})
	f("tags", lease.TableOptions{BillingMode: lease.BillingOnDemand, Tags: map[string]string{"": "x"}})
}

// A missing table is made as asked; one that exists is left as it is.
func TestTableIsMadeAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, _ := newDynamoDB(t, awsfake.Config{TableDelay: 2 * time.Second})
		options := lease.TableOptions{
			BillingMode: lease.BillingProvisioned, ReadCapacity: 7, WriteCapacity: 9, Tags: map[string]string{"team": "network"},
			PointInTimeRecovery: true, DeletionProtection: true, KMSKey: "alias/leases",
		}
		asked := &recordingClient{Client: client}
		for range 2 {
			store, err := lease.NewDynamoDB(table, asked, lease.WithTableOptions(options))
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Init(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if len(asked.created) != 1 || asked.backups != 1 {
			t.Fatalf("%d CreateTable and %d UpdateContinuousBackups, want 1 each", len(asked.created), asked.backups)
		}
		in := asked.created[0]
		if sse := in.SSESpecification; sse == nil || !aws.ToBool(sse.Enabled) || aws.ToString(sse.KMSMasterKeyId) != "alias/leases" || sse.SSEType != types.SSETypeKms {
			t.Errorf("encryption = %+v", sse)
		}
		out, err := client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(table)})
		if err != nil {
			t.Fatal(err)
		}
		if p := out.Table.ProvisionedThroughput; aws.ToInt64(p.ReadCapacityUnits) != 7 || aws.ToInt64(p.WriteCapacityUnits) != 9 {
			t.Errorf("throughput = %+v", p)
		}
		if !aws.ToBool(out.Table.DeletionProtectionEnabled) {
			t.Error("no deletion protection")
		}
		tags, err := client.ListTagsOfResource(t.Context(), &dynamodb.ListTagsOfResourceInput{ResourceArn: out.Table.TableArn})
		if err != nil || len(tags.Tags) != 1 || aws.ToString(tags.Tags[0].Value) != "network" {
			t.Errorf("tags = %+v, %v", tags, err)
		}
		backups, err := client.DescribeContinuousBackups(t.Context(), &dynamodb.DescribeContinuousBackupsInput{TableName: aws.String(table)})
		if err != nil || backups.ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusEnabled {
			t.Errorf("point-in-time recovery: %+v, %v", backups, err)
		}
	})
}

func TestMissingTableIsAnErrorOfItsOwn(t *testing.T) {
	_, _, store := newDynamoDB(t, awsfake.Config{})
	ctx := t.Context()
	l := lease.Lease{Key: "s", Owner: "me", Counter: 1, Checkpoint: lease.Checkpoint{Sequence: "5"}}
	for what, call := range map[string]func() error{
		"List":         func() error { _, err := store.List(ctx); return err },
		"Get":          func() error { _, err := store.Get(ctx, "s"); return err },
		"Create":       func() error { _, err := store.Create(ctx, l); return err },
		"Renew":        func() error { _, err := store.Renew(ctx, l, lease.Renewal{}); return err },
		"Take":         func() error { _, err := store.Take(ctx, l, "other"); return err },
		"Evict":        func() error { return store.Evict(ctx, l) },
		"BeginHandOff": func() error { _, err := store.BeginHandOff(ctx, l, "other"); return err },
		"EndHandOff":   func() error { return store.EndHandOff(ctx, l) },
		"UpdateMeta":   func() error { return store.UpdateMeta(ctx, "s", lease.Meta{Children: []string{"x"}}) },
		"Delete":       func() error { return store.Delete(ctx, l) },
	} {
		if err := call(); !errors.Is(err, lease.ErrNoTable) || !strings.Contains(err.Error(), table) {
			t.Errorf("%s = %v, want ErrNoTable with the table's name", what, err)
		}
	}
}

// Each kind of write lands and loses its reply; the repeat by the SDK, or by the caller, ends as if nothing had happened.
func TestLostRepliesOfEveryWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, _, store := newDynamoDB(t, awsfake.Config{})
		ctx := t.Context()
		if err := store.Init(ctx); err != nil {
			t.Fatal(err)
		}
		step := func(op string, write func() error) {
			t.Helper()
			struck := server.Inject(awsfake.Fault{Op: op, Kind: awsfake.LostReply, Times: 1})
			if err := write(); err != nil {
				t.Fatal(err)
			}
			if struck.Struck() != 1 {
				t.Fatalf("no reply to %s was lost", op)
			}
		}
		get := func() lease.Lease {
			t.Helper()
			l, err := store.Get(ctx, "s")
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		step("PutItem", func() error {
			_, err := store.Create(ctx, lease.Lease{Key: "s", Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}})
			return err
		})
		l := get()
		step("UpdateItem", func() (err error) { l, err = store.Take(ctx, l, "dredge-a"); return err })
		step("UpdateItem", func() (err error) { l, err = store.BeginHandOff(ctx, l, "dredge-b"); return err })
		step("UpdateItem", func() (err error) {
			l, err = store.Renew(ctx, l, lease.Renewal{Checkpoint: lease.Checkpoint{Sequence: "7"}})
			return err
		})
		step("UpdateItem", func() error { return store.EndHandOff(ctx, l) })
		l = get()
		if l.Owner != "dredge-b" || l.InHandOff() || l.Counter != 3 || l.OwnerSwitches != 0 || l.Checkpoint.Sequence != "7" {
			t.Errorf("after the hand-off: %+v", l)
		}
		step("UpdateItem", func() error { return store.UpdateMeta(ctx, "s", lease.Meta{Children: []string{"x", "y"}}) })
		step("UpdateItem", func() (err error) {
			l, err = store.Renew(ctx, l, lease.Renewal{Checkpoint: lease.Checkpoint{Sequence: lease.ShardEnd}})
			return err
		})
		step("UpdateItem", func() error { return store.Evict(ctx, l) })
		l = get()
		if l.Owner != "" || l.Counter != 5 || !slices.Equal(l.Children, []string{"x", "y"}) {
			t.Errorf("after the end: %+v", l)
		}
		step("DeleteItem", func() error { return store.Delete(ctx, l) })
		if _, err := store.Get(ctx, "s"); !errors.Is(err, lease.ErrNotFound) {
			t.Errorf("after the delete: %v", err)
		}
	})
}
