package contract

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// legacyLeaseWrites is a lease's life as Java KCL 2.7 and 3.5 write it, with the parameters from before expressions.
func (d *dynamoTest) legacyLeaseWrites(t *testing.T) {
	equals := func(v value) types.ExpectedAttributeValue { return types.ExpectedAttributeValue{Value: v} }
	absent := types.ExpectedAttributeValue{Exists: aws.Bool(false)}
	set1 := func(v value) types.AttributeValueUpdate {
		return types.AttributeValueUpdate{Action: types.AttributeActionPut, Value: v}
	}
	add := types.AttributeValueUpdate{Action: types.AttributeActionAdd, Value: num("1")}
	gone := types.AttributeValueUpdate{Action: types.AttributeActionDelete}

	lease := row{"k": str("shard"), "leaseCounter": num("0"), "checkpoint": str("TRIM_HORIZON"), "ownerSwitchesSinceCheckpoint": num("0")}
	create := &dynamodb.PutItemInput{TableName: &d.table, Item: lease, Expected: map[string]types.ExpectedAttributeValue{"k": absent}}
	must(d.PutItem(d.ctx, create))(t)
	_, err := d.PutItem(d.ctx, create)
	wantCode(t, err, "ConditionalCheckFailedException")

	step := func(updates map[string]types.AttributeValueUpdate, expected map[string]types.ExpectedAttributeValue, code string) row {
		t.Helper()
		out, err := d.UpdateItem(d.ctx, &dynamodb.UpdateItemInput{
			TableName: &d.table, Key: at("shard"), AttributeUpdates: updates, Expected: expected, ReturnValues: types.ReturnValueAllNew,
		})
		if code != "" {
			wantCode(t, err, code)
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes
	}
	take := map[string]types.AttributeValueUpdate{"leaseOwner": set1(str("a")), "leaseCounter": set1(num("1")), "checkpointOwner": gone}
	step(take, map[string]types.ExpectedAttributeValue{"leaseCounter": equals(num("0"))}, "")
	step(take, map[string]types.ExpectedAttributeValue{"leaseCounter": equals(num("0"))}, "ConditionalCheckFailedException")
	renew := map[string]types.AttributeValueUpdate{"leaseCounter": set1(num("2")), "throughputKBps": set1(num("0.353142"))}
	step(renew, map[string]types.ExpectedAttributeValue{"leaseCounter": equals(num("1")), "checkpointOwner": absent}, "")
	handOff := map[string]types.AttributeValueUpdate{"leaseOwner": set1(str("b")), "checkpointOwner": set1(str("a"))}
	step(handOff, map[string]types.ExpectedAttributeValue{
		"k": {Exists: aws.Bool(true), Value: str("shard")}, "leaseOwner": equals(str("a")), "checkpointOwner": absent,
	}, "")
	step(renew, map[string]types.ExpectedAttributeValue{"leaseCounter": equals(num("2")), "checkpointOwner": absent}, "ConditionalCheckFailedException")
	got := step(map[string]types.AttributeValueUpdate{"leaseOwner": set1(str("b")), "leaseCounter": add, "checkpointOwner": gone, "ownerSwitchesSinceCheckpoint": add},
		map[string]types.ExpectedAttributeValue{"leaseOwner": equals(str("b")), "checkpointOwner": equals(str("a"))}, "")
	want := row{
		"k": str("shard"), "leaseCounter": num("3"), "leaseOwner": str("b"), "checkpoint": str("TRIM_HORIZON"),
		"ownerSwitchesSinceCheckpoint": num("1"), "throughputKBps": num("0.353142"),
	}
	wantItem(t, "lease", want, got)
	_, err = d.UpdateItem(d.ctx, &dynamodb.UpdateItemInput{
		TableName: &d.table, Key: at("shard"), AttributeUpdates: renew, ConditionExpression: aws.String("attribute_exists(k)"),
	})
	wantCode(t, err, "ValidationException")
}

func (d *dynamoTest) legacyComparisons(t *testing.T) {
	d.put(t, row{"k": str("c"), "n": num("5"), "s": str("text"), "set": set("a")})
	for _, tt := range []struct {
		name     string
		operator types.ComparisonOperator
		values   []value
		want     bool
	}{
		{"n", types.ComparisonOperatorEq, []value{num("5")}, true},
		{"n", types.ComparisonOperatorNe, []value{num("5")}, false},
		{"n", types.ComparisonOperatorLt, []value{num("6")}, true},
		{"n", types.ComparisonOperatorLe, []value{num("4")}, false},
		{"n", types.ComparisonOperatorGt, []value{num("4")}, true},
		{"n", types.ComparisonOperatorGe, []value{num("6")}, false},
		{"n", types.ComparisonOperatorBetween, []value{num("4"), num("6")}, true},
		{"n", types.ComparisonOperatorIn, []value{num("4"), num("5")}, true},
		{"n", types.ComparisonOperatorNotNull, nil, true},
		{"absent", types.ComparisonOperatorNull, nil, true},
		{"s", types.ComparisonOperatorBeginsWith, []value{str("te")}, true},
		{"set", types.ComparisonOperatorContains, []value{str("a")}, true},
		{"set", types.ComparisonOperatorNotContains, []value{str("a")}, false},
	} {
		_, err := d.PutItem(d.ctx, &dynamodb.PutItemInput{
			TableName: &d.table, Item: d.get(t, at("c")),
			Expected: map[string]types.ExpectedAttributeValue{tt.name: {ComparisonOperator: tt.operator, AttributeValueList: tt.values}},
		})
		if (err == nil) != tt.want {
			t.Errorf("%s %s: held = %t (%v); want %t", tt.name, tt.operator, err == nil, err, tt.want)
		}
	}
	out := must(d.Scan(d.ctx, &dynamodb.ScanInput{
		TableName: &d.table, AttributesToGet: []string{"n"}, ConditionalOperator: types.ConditionalOperatorOr,
		ScanFilter: map[string]types.Condition{
			"n": {ComparisonOperator: types.ComparisonOperatorGt, AttributeValueList: []value{num("100")}},
			"s": {ComparisonOperator: types.ComparisonOperatorEq, AttributeValueList: []value{str("text")}},
		},
	}))(t)
	if len(out.Items) != 1 {
		t.Fatalf("Scan found %d items; want 1", len(out.Items))
	}
	wantItem(t, "Scan", row{"n": num("5")}, out.Items[0])
}
