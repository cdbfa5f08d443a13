package contract

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Deviations of DynamoDB emulators.
const (
	// NoOldItem: a failed condition never carries the item.
	NoOldItem Deviation = "ReturnValuesOnConditionCheckFailure is ignored"
	// NoTransactions: TransactWriteItems and TransactGetItems are missing.
	NoTransactions Deviation = "transactions are not implemented"
	// NoTags: TagResource and ListTagsOfResource are missing.
	NoTags Deviation = "tags are not implemented"
	// NoTimeToLive: UpdateTimeToLive is missing.
	NoTimeToLive Deviation = "UpdateTimeToLive is not implemented"
	// NoContinuousBackups: DescribeContinuousBackups is missing.
	NoContinuousBackups Deviation = "DescribeContinuousBackups is not implemented"
	// NoDeletionProtection: DeletionProtectionEnabled has no effect.
	NoDeletionProtection Deviation = "deletion protection is ignored"
	// NotAtomic: two conditional writes may both win.
	NotAtomic Deviation = "conditional writes race"
)

// DynamoDB runs the suite. It makes and deletes tables of its own.
func DynamoDB(t *testing.T, client *dynamodb.Client, o Options) {
	tests := []struct {
		name string
		sort string // range key, a number; empty for none
		run  func(*dynamoTest, *testing.T)
	}{
		{"StoresTypes", "", (*dynamoTest).storesTypes},
		{"CanonicalNumbers", "", (*dynamoTest).canonicalNumbers},
		{"RefusesBadValues", "", (*dynamoTest).refusesBadValues},
		{"Conditions", "", (*dynamoTest).conditions},
		{"ConditionErrors", "", (*dynamoTest).conditionErrors},
		{"FailedCondition", "", (*dynamoTest).failedCondition},
		{"Updates", "", (*dynamoTest).updates},
		{"UpdateErrors", "", (*dynamoTest).updateErrors},
		{"ReturnValues", "", (*dynamoTest).returnValues},
		{"LegacyLeaseWrites", "", (*dynamoTest).legacyLeaseWrites},
		{"LegacyComparisons", "", (*dynamoTest).legacyComparisons},
		{"Query", "n", (*dynamoTest).query},
		{"ScanPages", "", (*dynamoTest).scanPages},
		{"ScanByMegabyte", "", (*dynamoTest).scanByMegabyte},
		{"Index", "", (*dynamoTest).index},
		{"Batches", "", (*dynamoTest).batches},
		{"Transactions", "", (*dynamoTest).transactions},
		{"OneWinner", "", (*dynamoTest).oneWinner},
		{"Projections", "", (*dynamoTest).projections},
		{"TableSettings", "", (*dynamoTest).tableSettings},
		{"UnknownTable", "", (*dynamoTest).unknownTable},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &dynamoTest{Client: client, Options: o, table: fmt.Sprintf("%stable-%d", o.Prefix, i), ctx: t.Context()}
			d.create(t, tt.sort)
			tt.run(d, t)
		})
	}
}

// dynamoTest is one test with a table of its own, whose hash key is the string k.
type dynamoTest struct {
	*dynamodb.Client
	Options
	table string
	ctx   context.Context //nolint:containedctx // the test's
}

type (
	value = types.AttributeValue
	row   = map[string]value
)

func str(s string) value       { return &types.AttributeValueMemberS{Value: s} }
func num(s string) value       { return &types.AttributeValueMemberN{Value: s} }
func set(s ...string) value    { return &types.AttributeValueMemberSS{Value: s} }
func numSet(s ...string) value { return &types.AttributeValueMemberNS{Value: s} }
func seq(v ...value) value     { return &types.AttributeValueMemberL{Value: v} }
func tree(m row) value         { return &types.AttributeValueMemberM{Value: m} }
func at(key string) row        { return row{"k": str(key)} }

// show writes an item in one canonical way; the order of a set means nothing.
func show(it row) string { return showValue(tree(it)) }

func showValue(v value) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberSS:
		return fmt.Sprintf("SS%q", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberNS:
		return fmt.Sprintf("NS%q", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberBS:
		return fmt.Sprintf("BS%q", slices.SortedFunc(slices.Values(v.Value), bytes.Compare))
	case *types.AttributeValueMemberL:
		parts := make([]string, len(v.Value))
		for i, e := range v.Value {
			parts[i] = showValue(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *types.AttributeValueMemberM:
		parts := []string{}
		for _, name := range slices.Sorted(maps.Keys(v.Value)) {
			parts = append(parts, fmt.Sprintf("%q: %s", name, showValue(v.Value[name])))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *types.AttributeValueMemberS:
		return fmt.Sprintf("%q", v.Value)
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberB:
		return fmt.Sprintf("B%q", v.Value)
	case *types.AttributeValueMemberBOOL:
		return strconv.FormatBool(v.Value)
	case *types.AttributeValueMemberNULL:
		return "null"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// wantItem compares two items.
func wantItem(t *testing.T, what string, want, got row) {
	t.Helper()
	if w, g := show(want), show(got); w != g || (want == nil) != (got == nil) {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func (d *dynamoTest) create(t *testing.T, sort string) {
	t.Helper()
	in := &dynamodb.CreateTableInput{
		TableName: &d.table, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("k"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("k"), AttributeType: types.ScalarAttributeTypeS}},
	}
	if sort != "" {
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: &sort, KeyType: types.KeyTypeRange})
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &sort, AttributeType: types.ScalarAttributeTypeN})
	}
	must(d.CreateTable(d.ctx, in))(t)
	d.active(t)
	t.Cleanup(func() {
		if _, err := d.DeleteTable(context.WithoutCancel(d.ctx), &dynamodb.DeleteTableInput{TableName: &d.table}); err != nil {
			t.Error(err)
		}
	})
}

func (d *dynamoTest) active(t *testing.T) {
	t.Helper()
	d.until(t, "table "+d.table+" being ACTIVE", func() bool {
		out := must(d.DescribeTable(d.ctx, &dynamodb.DescribeTableInput{TableName: &d.table}))(t).Table
		for _, x := range out.GlobalSecondaryIndexes {
			if x.IndexStatus != types.IndexStatusActive {
				return false
			}
		}
		return out.TableStatus == types.TableStatusActive
	})
}

func (d *dynamoTest) put(t *testing.T, it row) {
	t.Helper()
	must(d.PutItem(d.ctx, &dynamodb.PutItemInput{TableName: &d.table, Item: it}))(t)
}

func (d *dynamoTest) get(t *testing.T, key row) row {
	t.Helper()
	return must(d.GetItem(d.ctx, &dynamodb.GetItemInput{TableName: &d.table, Key: key, ConsistentRead: aws.Bool(true)}))(t).Item
}

func (d *dynamoTest) want(t *testing.T, key string, want row) {
	t.Helper()
	wantItem(t, fmt.Sprintf("item %q", key), want, d.get(t, at(key)))
}
