package contract

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// index is KCL's own: added to a table with rows, keys only, on the lease's owner.
func (d *dynamoTest) index(t *testing.T) {
	d.put(t, row{"k": str("s1"), "leaseOwner": str("a"), "leaseCounter": num("1")})
	d.put(t, row{"k": str("s2"), "leaseOwner": str("b")})
	d.put(t, row{"k": str("s3")})
	must(d.UpdateTable(d.ctx, &dynamodb.UpdateTableInput{
		TableName: &d.table,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("leaseOwner"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("k"), AttributeType: types.ScalarAttributeTypeS},
		},
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName: aws.String("LeaseOwnerToLeaseKeyIndex"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("leaseOwner"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("k"), KeyType: types.KeyTypeRange},
			},
		}}},
	}))(t)
	d.active(t)
	owned := func(owner string, want ...string) {
		t.Helper()
		var got []string
		d.until(t, fmt.Sprintf("the index showing %q for %q", want, owner), func() bool {
			got = nil
			out := must(d.Query(d.ctx, &dynamodb.QueryInput{
				TableName: &d.table, IndexName: aws.String("LeaseOwnerToLeaseKeyIndex"), Limit: aws.Int32(100),
				KeyConditionExpression: aws.String("leaseOwner = :leaseOwner"), ExpressionAttributeValues: row{":leaseOwner": str(owner)},
			}))(t)
			for _, it := range out.Items {
				if len(it) != 2 {
					t.Errorf("KEYS_ONLY shows %v", it)
				}
				got = append(got, it["k"].(*types.AttributeValueMemberS).Value)
			}
			return slices.Equal(got, want)
		})
	}
	owned("a", "s1")
	if err := d.update(t, "s2", "SET leaseOwner = :o", nil, row{":o": str("a")}); err != nil {
		t.Fatal(err)
	}
	owned("a", "s1", "s2")
	owned("b")
	if err := d.update(t, "s1", "REMOVE leaseOwner", nil, nil); err != nil {
		t.Fatal(err)
	}
	must(d.DeleteItem(d.ctx, &dynamodb.DeleteItemInput{TableName: &d.table, Key: at("s3")}))(t)
	owned("a", "s2")
	err := d.update(t, "s1", "SET leaseOwner = :o", nil, row{":o": num("1")})
	wantCode(t, err, "ValidationException")
	_, err = d.Query(d.ctx, &dynamodb.QueryInput{
		TableName: &d.table, IndexName: aws.String("absent"),
		KeyConditionExpression: aws.String("leaseOwner = :o"), ExpressionAttributeValues: row{":o": str("a")},
	})
	wantCode(t, err, "ValidationException")
}

func (d *dynamoTest) tableSettings(t *testing.T) {
	out := must(d.DescribeTable(d.ctx, &dynamodb.DescribeTableInput{TableName: &d.table}))(t).Table
	if out.BillingModeSummary == nil || out.BillingModeSummary.BillingMode != types.BillingModePayPerRequest || out.CreationDateTime == nil || *out.TableArn == "" {
		t.Errorf("table = %+v", out)
	}
	_, err := d.CreateTable(d.ctx, &dynamodb.CreateTableInput{
		TableName: &d.table, BillingMode: types.BillingModePayPerRequest, KeySchema: out.KeySchema, AttributeDefinitions: out.AttributeDefinitions,
	})
	wantCode(t, err, "ResourceInUseException")
	if names := must(d.ListTables(d.ctx, &dynamodb.ListTablesInput{}))(t).TableNames; !slices.Contains(names, d.table) {
		t.Errorf("ListTables = %q", names)
	}
	t.Run("Tags", func(t *testing.T) {
		if d.deviates(t, NoTags) {
			return
		}
		must(d.TagResource(d.ctx, &dynamodb.TagResourceInput{ResourceArn: out.TableArn, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("net")}}}))(t)
		if tags := must(d.ListTagsOfResource(d.ctx, &dynamodb.ListTagsOfResourceInput{ResourceArn: out.TableArn}))(t).Tags; len(tags) != 1 || *tags[0].Value != "net" {
			t.Errorf("tags = %v", tags)
		}
	})
	t.Run("TimeToLive", func(t *testing.T) {
		if d.deviates(t, NoTimeToLive) {
			return
		}
		must(d.UpdateTimeToLive(d.ctx, &dynamodb.UpdateTimeToLiveInput{
			TableName: &d.table, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)},
		}))(t)
		got := must(d.DescribeTimeToLive(d.ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &d.table}))(t).TimeToLiveDescription
		if got.TimeToLiveStatus != types.TimeToLiveStatusEnabled || *got.AttributeName != "expires" {
			t.Errorf("time to live = %+v", got)
		}
	})
	t.Run("ContinuousBackups", func(t *testing.T) {
		if d.deviates(t, NoContinuousBackups) {
			return
		}
		got := must(d.DescribeContinuousBackups(d.ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &d.table}))(t).ContinuousBackupsDescription
		if got.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusDisabled {
			t.Errorf("point-in-time recovery = %+v", got.PointInTimeRecoveryDescription)
		}
	})
	t.Run("DeletionProtection", func(t *testing.T) {
		if d.deviates(t, NoDeletionProtection) {
			return
		}
		for _, on := range []bool{true, false} {
			must(d.UpdateTable(d.ctx, &dynamodb.UpdateTableInput{TableName: &d.table, DeletionProtectionEnabled: &on}))(t)
			d.active(t)
			if on {
				_, err := d.DeleteTable(d.ctx, &dynamodb.DeleteTableInput{TableName: &d.table})
				wantCode(t, err, "ValidationException")
			}
		}
	})
}

func (d *dynamoTest) unknownTable(t *testing.T) {
	name := aws.String(d.table + "-absent")
	_, err := d.DescribeTable(d.ctx, &dynamodb.DescribeTableInput{TableName: name})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = d.GetItem(d.ctx, &dynamodb.GetItemInput{TableName: name, Key: at("x")})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = d.Scan(d.ctx, &dynamodb.ScanInput{TableName: name})
	wantCode(t, err, "ResourceNotFoundException")
}
