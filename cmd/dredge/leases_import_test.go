package main

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake/awsfaketest"
)

// vmwareTable makes the table "old" as vmware-go-kcl-v2 makes it.
func (b *leaseBench) vmwareTable() {
	b.Helper()
	if _, err := awsfaketest.DynamoDB(b.server).CreateTable(b.Context(), &dynamodb.CreateTableInput{
		TableName:            aws.String("old"),
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("ShardID"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("ShardID"), KeyType: types.KeyTypeHash}},
		BillingMode:          types.BillingModePayPerRequest,
	}); err != nil {
		b.Fatal(err)
	}
}

// vmwareRow writes a row as vmware-go-kcl-v2 does: the whole item, at every checkpoint and renewal.
func (b *leaseBench) vmwareRow(shard, worker string, timeout time.Time, checkpoint string) {
	b.Helper()
	item := map[string]types.AttributeValue{
		"ShardID":      &types.AttributeValueMemberS{Value: shard},
		"AssignedTo":   &types.AttributeValueMemberS{Value: worker},
		"LeaseTimeout": &types.AttributeValueMemberS{Value: timeout.UTC().Format(time.RFC3339Nano)},
	}
	if checkpoint != "" {
		item["Checkpoint"] = &types.AttributeValueMemberS{Value: checkpoint}
	}
	if _, err := awsfaketest.DynamoDB(b.server).PutItem(b.Context(), &dynamodb.PutItemInput{TableName: aws.String("old"), Item: item}); err != nil {
		b.Fatal(err)
	}
}

func TestImportVMware(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		b.vmwareTable()
		past := time.Now().Add(-time.Minute)
		at := b.put(1)
		// The first shard was split and read to its end; one of its children was never checkpointed, the other never seen.
		if err := b.server.Kinesis().Split("flows", shard0); err != nil {
			b.Fatal(err)
		}
		b.vmwareRow(shard0, "w1", past, lease.ShardEnd)
		b.vmwareRow(shard1, "w1", past, at)
		b.vmwareRow(shard2, "", past, "")
		b.vmwareRow("shardId-000000000003", "w2", past, "")
		b.vmwareRow("shardId-long-gone", "w2", past, "17")

		args := []string{"import-vmware", "old", "--table", "new", "--stream", "flows"}
		plan := `
SHARD                 CHECKPOINT                                                WHY
shardId-000000000000  SHARD_END                                                 checkpoint of vmware-go-kcl
shardId-000000000001  ` + at + `  checkpoint of vmware-go-kcl
shardId-000000000002  TRIM_HORIZON                                              never checkpointed
shardId-000000000003  TRIM_HORIZON                                              never checkpointed, but it has parents or was being read
shardId-000000000004  TRIM_HORIZON                                              no row of vmware-go-kcl covers it
shardId-long-gone     -                                                         left out: the stream does not list this shard any more

`
		b.want(plan+"dry run: 5 leases would be created in new; add --apply to write them\n", args...)
		if n := b.server.Count("CreateTable"); n != 2 { // of app and of old
			b.Errorf("a dry run made a table: %d", n)
		}
		b.want(plan+"5 leases created in new; check them with: dredge leases verify --watch 0\n", append(args, "--apply")...)

		store, err := lease.NewDynamoDB("new", awsfaketest.DynamoDB(b.server))
		if err != nil {
			b.Fatal(err)
		}
		b.store = store
		ended, child := b.get(shard0), b.get("shardId-000000000004")
		if len(ended.Children) != 2 || !ended.Checkpoint.IsShardEnd() || ended.Owner != "" || ended.Counter != 0 {
			b.Errorf("the ended shard's row: %+v", ended)
		}
		if len(child.Parents) != 1 || child.Parents[0] != shard0 || child.HashRange == nil {
			b.Errorf("the unseen child's row: %+v", child)
		}
		b.want("5 leases watched for 0s: 0 faults\n", "verify", "--table", "new", "--stream", "flows", "--watch", "0")

		got, err := b.run(append(args, "--apply")...)
		if err != nil || !strings.Contains(got, "0 leases created") || strings.Count(got, "kept: the table has a lease for it") != 4 {
			b.Errorf("a second import: %v\n%s", err, got)
		}
	})
}

func TestImportVMwareOfAggregatedRecords(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		b.vmwareTable()
		at := b.put(0)
		b.vmwareRow(shard0, "w1", time.Now().Add(-time.Minute), at)
		got, err := b.run("import-vmware", "old", "--table", "new", "--stream", "flows", "--aggregated")
		if err != nil || !strings.Contains(got, at+":2147483647 ") {
			b.Errorf("%v\n%s", err, got)
		}
	})
}

func TestImportVMwareRefusesATableInUse(t *testing.T) {
	withLeases(t, func(b *leaseBench) {
		b.vmwareTable()
		args := []string{"import-vmware", "old", "--table", "new", "--stream", "flows", "--apply"}
		b.vmwareRow(shard0, "w1", time.Now().Add(5*time.Second), "17")
		b.refused(args, "in use", `"w1" holds shardId-000000000000`, "stop the whole vmware-go-kcl fleet")

		// A worker whose clock is behind goes on although its lease looks as if it had run out.
		b.vmwareRow(shard0, "w1", time.Now().Add(-time.Minute), "17")
		go func() {
			<-time.After(5 * time.Second)
			b.vmwareRow(shard0, "w1", time.Now().Add(-time.Minute), "18")
		}()
		b.refused(args, "in use", "rows changed within 10s")

		// The new table has workers.
		b.lease(0, "20", "dredge-a")
		b.refused([]string{"import-vmware", "old", "--table", "app", "--stream", "flows", "--apply"}, "in use", `"dredge-a" owns shardId-000000000000`)
		b.refused([]string{"import-vmware", "app", "--table", "new", "--stream", "flows"}, "Amazon's KCL already")
		b.refused([]string{"import-vmware", "none", "--table", "new", "--stream", "flows"}, `"none"`, "does not exist")
		b.vmwareRow(shard1, "", time.Now(), "not a number")
		b.refused(args, `row "shardId-000000000001"`, "mend or delete")
		if n := b.server.Count("CreateTable"); n != 2 {
			b.Errorf("a refused import made a table: %d", n)
		}
	})
}
