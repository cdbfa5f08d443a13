package contract

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Deviations of DynamoDB emulators.
const (
	// NoOldItem: a failed condition never carries the item.
	NoOldItem Deviation = "ReturnValuesOnConditionCheckFailure is ignored"
	// NoTransactions: TransactWriteItems and TransactGetItems are missing.
	NoTransactions Deviation = "transactions are not implemented"
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

// sameItem compares items; the order of a set means nothing.
func sameItem() cmp.Options {
	sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	return cmp.Options{
		sorted, cmpopts.EquateEmpty(),
		cmpopts.IgnoreUnexported(
			types.AttributeValueMemberS{}, types.AttributeValueMemberN{}, types.AttributeValueMemberB{}, types.AttributeValueMemberBOOL{},
			types.AttributeValueMemberNULL{}, types.AttributeValueMemberSS{}, types.AttributeValueMemberNS{}, types.AttributeValueMemberBS{},
			types.AttributeValueMemberL{}, types.AttributeValueMemberM{}),
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
	if diff := cmp.Diff(want, d.get(t, at(key)), sameItem()); diff != "" {
		t.Errorf("item %q (-want +got):\n%s", key, diff)
	}
}

func (d *dynamoTest) storesTypes(t *testing.T) {
	it := row{
		"k": str("types"), "empty": str(""), "text": str("a\"\\\n\u2028é"), "number": num("-12.5"),
		"bytes": &types.AttributeValueMemberB{Value: []byte{0, 1, 255}}, "yes": &types.AttributeValueMemberBOOL{Value: true},
		"no": &types.AttributeValueMemberBOOL{}, "null": &types.AttributeValueMemberNULL{Value: true},
		"set": set("b", "a"), "numbers": numSet("1", "2"), "blobs": &types.AttributeValueMemberBS{Value: [][]byte{{1}, {2}}},
		"list": seq(str("x"), num("1"), seq()), "map": tree(row{"a": tree(row{}), "b": num("2")}),
	}
	d.put(t, it)
	d.want(t, "types", it)
	must(d.DeleteItem(d.ctx, &dynamodb.DeleteItemInput{TableName: &d.table, Key: at("types")}))(t)
	d.want(t, "types", nil)
	must(d.DeleteItem(d.ctx, &dynamodb.DeleteItemInput{TableName: &d.table, Key: at("types")}))(t)
}

func (d *dynamoTest) canonicalNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "007": "7", "1.500": "1.5", "1e3": "1000", "12E-1": "1.2", "+5": "5", ".5": "0.5",
		"12345678901234567890123456789012345678": "12345678901234567890123456789012345678",
		"0.000001":                               "0.000001",
	} {
		d.put(t, row{"k": str("n"), "n": num(in)})
		d.want(t, "n", row{"k": str("n"), "n": num(want)})
	}
	d.put(t, row{"k": str("n"), "n": num("0.1")})
	must(d.UpdateItem(d.ctx, &dynamodb.UpdateItemInput{
		TableName: &d.table, Key: at("n"), UpdateExpression: aws.String("SET n = n + :x, m = :big - n ADD c :c"),
		ExpressionAttributeValues: row{":x": num("0.2"), ":big": num("1000000000000000000000"), ":c": num("-3")},
	}))(t)
	d.want(t, "n", row{"k": str("n"), "n": num("0.3"), "m": num("999999999999999999999.9"), "c": num("-3")})
}

func (d *dynamoTest) refusesBadValues(t *testing.T) {
	for name, it := range map[string]row{
		"empty set":           {"k": str("x"), "a": set()},
		"duplicates":          {"k": str("x"), "a": set("a", "a")},
		"equal numbers":       {"k": str("x"), "a": numSet("1", "1.0")},
		"not a number":        {"k": str("x"), "a": num("one")},
		"39 digits":           {"k": str("x"), "a": num("123456789012345678901234567890123456789")},
		"too great":           {"k": str("x"), "a": num("1e126")},
		"too small":           {"k": str("x"), "a": num("1e-131")},
		"no key":              {"a": str("x")},
		"empty key":           {"k": str("")},
		"key of another type": {"k": num("1")},
		"400 KB":              {"k": str("x"), "a": str(strings.Repeat("x", 400<<10))},
	} {
		_, err := d.PutItem(d.ctx, &dynamodb.PutItemInput{TableName: &d.table, Item: it})
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantCode(t, err, "ValidationException")
	}
	for _, key := range []row{{}, {"other": str("x")}, {"k": str("x"), "b": str("y")}} {
		_, err := d.GetItem(d.ctx, &dynamodb.GetItemInput{TableName: &d.table, Key: key})
		wantCode(t, err, "ValidationException")
	}
}

func (d *dynamoTest) conditions(t *testing.T) {
	d.put(t, row{
		"k": str("c"), "counter": num("10"), "owner": str("worker-1"), "parents": set("p1", "p2"),
		"list": seq(str("x"), num("2")), "map": tree(row{"in": str("deep")}), "flag": &types.AttributeValueMemberBOOL{Value: true},
	})
	values := row{
		":9": num("9"), ":10": num("10.0"), ":11": num("11"), ":two": num("2"), ":w": str("worker-1"), ":work": str("work"), ":x": str("x"),
		":p1": str("p1"), ":p3": str("p3"), ":set": set("p2", "p1"), ":deep": str("deep"), ":S": str("S"), ":zz": str("zz"),
		":true": &types.AttributeValueMemberBOOL{Value: true},
	}
	names := map[string]string{"#o": "owner", "#c": "counter", "#l": "list", "#m": "map", "#in": "in"}
	for condition, want := range map[string]bool{
		"attribute_exists(#o)":              true,
		"attribute_not_exists(#o)":          false,
		"attribute_not_exists(absent)":      true,
		"attribute_exists(#m.#in)":          true,
		"attribute_exists(#l[1])":           true,
		"attribute_exists(#l[2])":           false,
		"#c = :10":                          true,
		"#c = :9":                           false,
		"#c <> :9":                          true,
		"absent <> :9":                      true,
		"absent = :9":                       false,
		"absent < :9":                       false,
		"#c < :11":                          true,
		"#c <= :10":                         true,
		"#c > :9":                           true,
		"#c >= :11":                         false,
		"#o < :9":                           false,
		"#c BETWEEN :9 AND :11":             true,
		"#c between :10 and :10":            true,
		"#o IN (:x, :w)":                    true,
		"#o IN (:x)":                        false,
		"begins_with(#o, :work)":            true,
		"begins_with(#o, :x)":               false,
		"contains(parents, :p1)":            true,
		"contains(parents, :p3)":            false,
		"contains(#o, :work)":               true,
		"contains(#l, :x)":                  true,
		"attribute_type(#o, :S)":            true,
		"attribute_type(#c, :S)":            false,
		"size(parents) = :two":              true,
		"size(#o) > :two":                   true,
		"size(#m) < :two":                   true,
		"parents = :set":                    true,
		"#m.#in = :deep":                    true,
		"#l[0] = :x":                        true,
		"flag = :true":                      true,
		"NOT #c = :9":                       true,
		"NOT (#c = :9 OR #c = :10)":         false,
		"#c = :9 OR #o = :w":                true,
		"#c = :9 OR #o = :w AND #c = :9":    false,
		"(#c = :9 OR #o = :w) AND #c = :10": true,
		"NOT #c = :9 AND #o = :zz":          false,
		"attribute_not_exists(absent) AND NOT (#c = :11)": true,
	} {
		in := &dynamodb.DeleteItemInput{
			TableName: &d.table, Key: at("c"), ConditionExpression: &condition,
			ExpressionAttributeValues: mentioned(condition, values), ExpressionAttributeNames: mentioned(condition, names),
		}
		it := d.get(t, at("c"))
		_, err := d.DeleteItem(d.ctx, in)
		var failed *types.ConditionalCheckFailedException
		switch {
		case err == nil:
			d.put(t, it)
		case !errors.As(err, &failed):
			t.Errorf("%s: %v", condition, err)
			continue
		}
		if (err == nil) != want {
			t.Errorf("%s: held = %t; want %t", condition, err == nil, want)
		}
	}
}

// mentioned is those of the placeholders that the expression uses; nil for none, since AWS refuses an empty map.
func mentioned[V any](expression string, placeholders map[string]V) map[string]V {
	used := strings.FieldsFunc(expression, func(r rune) bool { return strings.ContainsRune(" ()[],.=<>", r) })
	var out map[string]V
	for name, v := range placeholders {
		if slices.Contains(used, name) {
			if out == nil {
				out = map[string]V{}
			}
			out[name] = v
		}
	}
	return out
}

func (d *dynamoTest) conditionErrors(t *testing.T) {
	for _, tt := range []struct {
		condition string
		names     map[string]string
		values    row
	}{
		{"", nil, nil},
		{"a =", nil, nil},
		{"a = :v", nil, nil},
		{"#n = :v", nil, row{":v": num("1")}},
		{"attribute_exists(a)", nil, row{":unused": num("1")}},
		{"attribute_exists(a)", map[string]string{"#unused": "x"}, nil},
		{"attribute_exists(a) AND", nil, nil},
		{"(attribute_exists(a)", nil, nil},
		{"status = :v", nil, row{":v": num("1")}}, // a reserved word
		{"frobnicate(a)", nil, nil},
		{"a ! :v", nil, row{":v": num("1")}},
		{"a < :v", nil, row{":v": set("x")}},
		{"a BETWEEN :v AND :w", nil, row{":v": num("2"), ":w": num("1")}},
	} {
		_, err := d.DeleteItem(d.ctx, &dynamodb.DeleteItemInput{
			TableName: &d.table, Key: at("x"), ConditionExpression: &tt.condition,
			ExpressionAttributeNames: tt.names, ExpressionAttributeValues: tt.values,
		})
		if err == nil {
			t.Errorf("%q: accepted", tt.condition)
			continue
		}
		wantCode(t, err, "ValidationException")
	}
}

func (d *dynamoTest) failedCondition(t *testing.T) {
	lease := row{"k": str("lease"), "leaseCounter": num("5"), "leaseOwner": str("a")}
	d.put(t, lease)
	in := &dynamodb.UpdateItemInput{
		TableName: &d.table, Key: at("lease"), UpdateExpression: aws.String("SET leaseCounter = :n"), ConditionExpression: aws.String("leaseCounter = :c"),
		ExpressionAttributeValues: row{":n": num("5"), ":c": num("4")}, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	_, err := d.UpdateItem(d.ctx, in)
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		t.Fatalf("error = %v", err)
	}
	d.want(t, "lease", lease)
	// A condition on a missing row fails, and nothing appears.
	in.Key = at("absent")
	_, err = d.UpdateItem(d.ctx, in)
	wantCode(t, err, "ConditionalCheckFailedException")
	d.want(t, "absent", nil)
	d.skip(t, NoOldItem)
	if diff := cmp.Diff(lease, failed.Item, sameItem()); diff != "" {
		t.Errorf("the error's item (-want +got):\n%s", diff)
	}
}

func (d *dynamoTest) update(t *testing.T, key, expression string, names map[string]string, values row) error {
	t.Helper()
	_, err := d.UpdateItem(d.ctx, &dynamodb.UpdateItemInput{
		TableName: &d.table, Key: at(key), UpdateExpression: &expression, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
	})
	return err
}

func (d *dynamoTest) updates(t *testing.T) {
	base := row{"k": str("u"), "n": num("1"), "s": set("a", "b"), "l": seq(num("0"), num("1"), num("2")), "m": tree(row{"x": num("1"), "y": num("2")})}
	for _, tt := range []struct {
		expression string
		values     row
		want       row // what differs from base; nil removes
	}{
		{"SET a = :v", row{":v": str("x")}, row{"a": str("x")}},
		{"SET a = n, n = :v", row{":v": num("5")}, row{"a": num("1"), "n": num("5")}},
		{"SET n = n + :v", row{":v": num("2")}, row{"n": num("3")}},
		{"SET n = :v - n", row{":v": num("2")}, row{"n": num("1")}},
		{"SET a = if_not_exists(a, :v), n = if_not_exists(n, :v)", row{":v": num("9")}, row{"a": num("9")}},
		{"SET c = if_not_exists(c, :zero) + :one", row{":zero": num("0"), ":one": num("1")}, row{"c": num("1")}},
		{"SET l = list_append(l, :v)", row{":v": seq(num("3"))}, row{"l": seq(num("0"), num("1"), num("2"), num("3"))}},
		{"SET l[1] = :v", row{":v": str("x")}, row{"l": seq(num("0"), str("x"), num("2"))}},
		{"SET l[9] = :v", row{":v": str("x")}, row{"l": seq(num("0"), num("1"), num("2"), str("x"))}},
		{"SET m.z = :v REMOVE m.x", row{":v": str("x")}, row{"m": tree(row{"y": num("2"), "z": str("x")})}},
		{"REMOVE n, absent", nil, row{"n": nil}},
		{"REMOVE l[0], l[1]", nil, row{"l": seq(num("2"))}},
		{"ADD n :v, c :v", row{":v": num("4")}, row{"n": num("5"), "c": num("4")}},
		{"ADD s :v", row{":v": set("b", "c")}, row{"s": set("a", "b", "c")}},
		{"DELETE s :v", row{":v": set("b", "z")}, row{"s": set("a")}},
		{"DELETE s :v", row{":v": set("b", "a")}, row{"s": nil}},
		{"set a = :v remove n add c :n delete s :s", row{":v": str("x"), ":n": num("1"), ":s": set("a")}, row{"a": str("x"), "n": nil, "c": num("1"), "s": set("b")}},
	} {
		d.put(t, base)
		if err := d.update(t, "u", tt.expression, nil, tt.values); err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		want := maps.Clone(base)
		for name, v := range tt.want {
			if want[name] = v; v == nil {
				delete(want, name)
			}
		}
		if diff := cmp.Diff(want, d.get(t, at("u")), sameItem()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.expression, diff)
		}
	}
	// An update makes the item if it is missing.
	if err := d.update(t, "new", "SET #o = :v", map[string]string{"#o": "owner"}, row{":v": str("x")}); err != nil {
		t.Error(err)
	}
	d.want(t, "new", row{"k": str("new"), "owner": str("x")})
}

func (d *dynamoTest) updateErrors(t *testing.T) {
	d.put(t, row{"k": str("u"), "s": str("text"), "m": tree(row{"x": num("1")})})
	for expression, values := range map[string]row{
		"SET k = :v":                {":v": str("other")},
		"SET a = b":                 nil,
		"SET s = s + :v":            {":v": num("1")},
		"SET a.b = :v":              {":v": num("1")},
		"SET s.b = :v":              {":v": num("1")},
		"SET a = :v, a = :w":        {":v": num("1"), ":w": num("2")},
		"SET m = :v, m.x = :v":      {":v": num("1")},
		"SET a = :v SET b = :v":     {":v": num("1")},
		"ADD s :v":                  {":v": num("1")},
		"ADD a :v":                  {":v": str("x")},
		"DELETE s :v":               {":v": num("1")},
		"SET a :v":                  {":v": num("1")},
		"SET a = :v":                {":v": num("1"), ":unused": num("2")},
		"FROB a":                    nil,
		"SET status = :v":           {":v": num("1")},
		"SET a = list_append(s,:v)": {":v": seq()},
	} {
		err := d.update(t, "u", expression, nil, values)
		if err == nil {
			t.Errorf("%s: accepted", expression)
			continue
		}
		wantCode(t, err, "ValidationException")
	}
	d.want(t, "u", row{"k": str("u"), "s": str("text"), "m": tree(row{"x": num("1")})})
}

func (d *dynamoTest) returnValues(t *testing.T) {
	old := row{"k": str("r"), "a": num("1"), "b": num("2")}
	for kind, want := range map[types.ReturnValue]row{
		types.ReturnValueNone:       nil,
		types.ReturnValueAllOld:     old,
		types.ReturnValueAllNew:     {"k": str("r"), "a": num("10"), "b": num("2"), "c": num("3")},
		types.ReturnValueUpdatedOld: {"a": num("1")},
		types.ReturnValueUpdatedNew: {"a": num("10"), "c": num("3")},
	} {
		d.put(t, old)
		out := must(d.UpdateItem(d.ctx, &dynamodb.UpdateItemInput{
			TableName: &d.table, Key: at("r"), UpdateExpression: aws.String("SET a = :a, c = :c"),
			ExpressionAttributeValues: row{":a": num("10"), ":c": num("3")}, ReturnValues: kind,
		}))(t)
		if diff := cmp.Diff(want, out.Attributes, sameItem()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	d.put(t, old)
	put := must(d.PutItem(d.ctx, &dynamodb.PutItemInput{TableName: &d.table, Item: at("r"), ReturnValues: types.ReturnValueAllOld}))(t)
	if diff := cmp.Diff(old, put.Attributes, sameItem()); diff != "" {
		t.Errorf("PutItem (-want +got):\n%s", diff)
	}
	deleted := must(d.DeleteItem(d.ctx, &dynamodb.DeleteItemInput{TableName: &d.table, Key: at("r"), ReturnValues: types.ReturnValueAllOld}))(t)
	if diff := cmp.Diff(at("r"), deleted.Attributes, sameItem()); diff != "" {
		t.Errorf("DeleteItem (-want +got):\n%s", diff)
	}
}

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
	if diff := cmp.Diff(want, got, sameItem()); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
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
	if diff := cmp.Diff([]row{{"n": num("5")}}, out.Items, sameItem()); diff != "" {
		t.Errorf("Scan (-want +got):\n%s", diff)
	}
}

func (d *dynamoTest) query(t *testing.T) {
	for _, n := range []string{"10", "9", "-1", "2.5", "100"} {
		d.put(t, row{"k": str("a"), "n": num(n), "even": str(map[bool]string{true: "y", false: "n"}[n == "10" || n == "100"])})
		d.put(t, row{"k": str("b"), "n": num(n)})
	}
	ask := func(condition string, values row, change func(*dynamodb.QueryInput)) []string {
		t.Helper()
		in := &dynamodb.QueryInput{TableName: &d.table, KeyConditionExpression: &condition, ExpressionAttributeValues: row{":k": str("a")}}
		maps.Copy(in.ExpressionAttributeValues, values)
		if change != nil {
			change(in)
		}
		got := []string{}
		for {
			out := must(d.Query(d.ctx, in))(t)
			for _, it := range out.Items {
				if it["k"].(*types.AttributeValueMemberS).Value != "a" {
					t.Errorf("%s gave %v", condition, it)
				}
				got = append(got, it["n"].(*types.AttributeValueMemberN).Value)
			}
			if out.LastEvaluatedKey == nil {
				return got
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
	}
	backward := func(in *dynamodb.QueryInput) { in.ScanIndexForward = aws.Bool(false) }
	paged := func(in *dynamodb.QueryInput) { in.Limit = aws.Int32(2) }
	pagedBackward := func(in *dynamodb.QueryInput) { in.ScanIndexForward, in.Limit = aws.Bool(false), aws.Int32(2) }
	filtered := func(in *dynamodb.QueryInput) {
		in.FilterExpression, in.ExpressionAttributeValues[":y"] = aws.String("even = :y"), str("y")
	}
	for _, tt := range []struct {
		condition string
		values    row
		change    func(*dynamodb.QueryInput)
		want      []string
	}{
		{"k = :k", nil, nil, []string{"-1", "2.5", "9", "10", "100"}},
		{"k = :k", nil, backward, []string{"100", "10", "9", "2.5", "-1"}},
		{"k = :k", nil, paged, []string{"-1", "2.5", "9", "10", "100"}},
		{"k = :k", nil, pagedBackward, []string{"100", "10", "9", "2.5", "-1"}},
		{"k = :k", nil, filtered, []string{"10", "100"}},
		{"k = :k AND n > :n", row{":n": num("9")}, nil, []string{"10", "100"}},
		{"n BETWEEN :lo AND :hi AND k = :k", row{":lo": num("2"), ":hi": num("10")}, nil, []string{"2.5", "9", "10"}},
		{"k = :k and n = :n", row{":n": num("9.0")}, nil, []string{"9"}},
		{"k = :k AND n = :n", row{":n": num("7")}, nil, []string{}},
	} {
		if got := ask(tt.condition, tt.values, tt.change); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q; want %q", tt.condition, got, tt.want)
		}
	}
	for _, bad := range []string{"n = :n", "k > :k AND n = :n", "k = :k OR n = :n", "k = :k AND even = :n"} {
		_, err := d.Query(d.ctx, &dynamodb.QueryInput{
			TableName: &d.table, KeyConditionExpression: &bad,
			ExpressionAttributeValues: mentioned(bad, row{":n": num("1"), ":k": str("a")}),
		})
		wantCode(t, err, "ValidationException")
	}
	legacy := must(d.Query(d.ctx, &dynamodb.QueryInput{TableName: &d.table, KeyConditions: map[string]types.Condition{
		"k": {ComparisonOperator: types.ComparisonOperatorEq, AttributeValueList: []value{str("a")}},
		"n": {ComparisonOperator: types.ComparisonOperatorLt, AttributeValueList: []value{num("9")}},
	}}))(t)
	if legacy.Count != 2 {
		t.Errorf("KeyConditions found %d; want 2", legacy.Count)
	}
}

func (d *dynamoTest) scanPages(t *testing.T) {
	want := map[string]bool{}
	for i := range 23 {
		key := fmt.Sprintf("shardId-%012d", i)
		want[key] = true
		d.put(t, row{"k": str(key), "n": num(fmt.Sprint(i))})
	}
	collect := func(change func(*dynamodb.ScanInput)) (keys []string, pages, scanned int) {
		in := &dynamodb.ScanInput{TableName: &d.table}
		change(in)
		for {
			out := must(d.Scan(d.ctx, in))(t)
			pages++
			scanned += int(out.ScannedCount)
			for _, it := range out.Items {
				keys = append(keys, it["k"].(*types.AttributeValueMemberS).Value)
			}
			if out.LastEvaluatedKey == nil {
				return keys, pages, scanned
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
	}
	check := func(what string, keys []string) {
		t.Helper()
		seen := map[string]bool{}
		for _, k := range keys {
			seen[k] = true
		}
		if len(keys) != len(want) || !maps.Equal(seen, want) {
			t.Errorf("%s: %d keys, %d different; want %d", what, len(keys), len(seen), len(want))
		}
	}
	keys, pages, _ := collect(func(in *dynamodb.ScanInput) { in.Limit = aws.Int32(5) })
	check("pages of 5", keys)
	if pages != 5 {
		t.Errorf("%d pages; want 5", pages)
	}
	keys = nil
	for segment := range int32(3) {
		part, _, _ := collect(func(in *dynamodb.ScanInput) { in.Segment, in.TotalSegments = &segment, aws.Int32(3) })
		keys = append(keys, part...)
	}
	check("segments", keys)
	filtered, _, scanned := collect(func(in *dynamodb.ScanInput) {
		in.Limit, in.FilterExpression, in.ExpressionAttributeValues = aws.Int32(5), aws.String("n < :n"), row{":n": num("3")}
	})
	if len(filtered) != 3 || scanned != 23 {
		t.Errorf("filter: %d items of %d scanned; want 3 of 23", len(filtered), scanned)
	}
	// A page's last key may be deleted before the next page is asked for.
	out := must(d.Scan(d.ctx, &dynamodb.ScanInput{TableName: &d.table, Limit: aws.Int32(10)}))(t)
	must(d.DeleteItem(d.ctx, &dynamodb.DeleteItemInput{TableName: &d.table, Key: out.LastEvaluatedKey}))(t)
	rest := must(d.Scan(d.ctx, &dynamodb.ScanInput{TableName: &d.table, ExclusiveStartKey: out.LastEvaluatedKey}))(t)
	if rest.Count != 13 {
		t.Errorf("after a deleted key: %d items; want 13", rest.Count)
	}
	count := must(d.Scan(d.ctx, &dynamodb.ScanInput{TableName: &d.table, Select: types.SelectCount}))(t)
	if count.Count != 22 || len(count.Items) != 0 {
		t.Errorf("COUNT: %d with %d items", count.Count, len(count.Items))
	}
}

func (d *dynamoTest) scanByMegabyte(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	for i := range 5 {
		d.put(t, row{"k": str(fmt.Sprint(i)), "big": str(big)})
	}
	first := must(d.Scan(d.ctx, &dynamodb.ScanInput{TableName: &d.table}))(t)
	if first.Count != 4 || first.LastEvaluatedKey == nil {
		t.Fatalf("first page: %d items, last key %v; want 4", first.Count, first.LastEvaluatedKey)
	}
	second := must(d.Scan(d.ctx, &dynamodb.ScanInput{TableName: &d.table, ExclusiveStartKey: first.LastEvaluatedKey}))(t)
	if second.Count != 1 || second.LastEvaluatedKey != nil {
		t.Errorf("second page: %d items, last key %v", second.Count, second.LastEvaluatedKey)
	}
}

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

func (d *dynamoTest) batches(t *testing.T) {
	var writes []types.WriteRequest
	var keys []row
	for i := range 25 {
		key := at(fmt.Sprint(i))
		keys = append(keys, key)
		writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: key}})
	}
	out := must(d.BatchWriteItem(d.ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{d.table: writes}}))(t)
	if len(out.UnprocessedItems) != 0 {
		t.Errorf("unprocessed: %v", out.UnprocessedItems)
	}
	must(d.BatchWriteItem(d.ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{
		d.table: {{DeleteRequest: &types.DeleteRequest{Key: at("3")}}},
	}}))(t)
	got := must(d.BatchGetItem(d.ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
		d.table: {Keys: keys, ConsistentRead: aws.Bool(true)},
	}}))(t)
	if n := len(got.Responses[d.table]); n != 24 {
		t.Errorf("%d items; want 24", n)
	}
	_, err := d.BatchWriteItem(d.ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{
		d.table: append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: at("26")}}),
	}})
	wantCode(t, err, "ValidationException")
	_, err = d.BatchWriteItem(d.ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{d.table: {writes[0], writes[0]}}})
	wantCode(t, err, "ValidationException")
}

func (d *dynamoTest) transactions(t *testing.T) {
	d.skip(t, NoTransactions)
	d.put(t, row{"k": str("a"), "n": num("1")})
	items := []types.TransactWriteItem{
		{Update: &types.Update{TableName: &d.table, Key: at("a"), UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: row{":one": num("1")}}},
		{Put: &types.Put{TableName: &d.table, Item: at("b"), ConditionExpression: aws.String("attribute_not_exists(k)")}},
		{ConditionCheck: &types.ConditionCheck{TableName: &d.table, Key: at("c"), ConditionExpression: aws.String("attribute_not_exists(k)")}},
	}
	in := &dynamodb.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: aws.String("token-1")}
	must(d.TransactWriteItems(d.ctx, in))(t)
	// The same token again does nothing and succeeds.
	must(d.TransactWriteItems(d.ctx, in))(t)
	d.want(t, "a", row{"k": str("a"), "n": num("2")})
	d.want(t, "b", at("b"))
	// One failed condition cancels all of it.
	_, err := d.TransactWriteItems(d.ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		t.Fatalf("error = %v", err)
	}
	codes := []string{}
	for _, r := range cancelled.CancellationReasons {
		codes = append(codes, aws.ToString(r.Code))
	}
	if !slices.Equal(codes, []string{"None", "ConditionalCheckFailed", "None"}) {
		t.Errorf("reasons = %q", codes)
	}
	d.want(t, "a", row{"k": str("a"), "n": num("2")})
	_, err = d.TransactWriteItems(d.ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Delete: &types.Delete{TableName: &d.table, Key: at("a")}}, {Put: &types.Put{TableName: &d.table, Item: at("a")}},
	}})
	wantCode(t, err, "ValidationException")
	got := must(d.TransactGetItems(d.ctx, &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
		{Get: &types.Get{TableName: &d.table, Key: at("b")}}, {Get: &types.Get{TableName: &d.table, Key: at("absent")}},
	}}))(t).Responses
	if len(got) != 2 || len(got[0].Item) != 1 || got[1].Item != nil {
		t.Errorf("responses = %v", got)
	}
}

// oneWinner lets writers race for one counter; each round must have exactly one winner.
func (d *dynamoTest) oneWinner(t *testing.T) {
	d.skip(t, NotAtomic)
	d.put(t, row{"k": str("race"), "n": num("0")})
	const rounds, contenders = 20, 8
	for round := range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := 0
		for range contenders {
			wg.Go(func() {
				_, err := d.UpdateItem(d.ctx, &dynamodb.UpdateItemInput{
					TableName: &d.table, Key: at("race"), UpdateExpression: aws.String("SET n = :new"), ConditionExpression: aws.String("n = :old"),
					ExpressionAttributeValues: row{":old": num(fmt.Sprint(round)), ":new": num(fmt.Sprint(round + 1))},
				})
				if err == nil {
					mu.Lock()
					winners++
					mu.Unlock()
				} else if _, ok := errors.AsType[*types.ConditionalCheckFailedException](err); !ok {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if winners != 1 {
			t.Fatalf("round %d: %d winners", round, winners)
		}
	}
}

func (d *dynamoTest) projections(t *testing.T) {
	d.put(t, row{"k": str("p"), "a": num("1"), "m": tree(row{"x": num("1"), "y": num("2")}), "l": seq(num("0"), num("1"), num("2"))})
	out := must(d.GetItem(d.ctx, &dynamodb.GetItemInput{
		TableName: &d.table, Key: at("p"), ProjectionExpression: aws.String("a, #m.x, l[2], absent"),
		ExpressionAttributeNames: map[string]string{"#m": "m"},
	}))(t)
	if diff := cmp.Diff(row{"a": num("1"), "m": tree(row{"x": num("1")}), "l": seq(num("2"))}, out.Item, sameItem()); diff != "" {
		t.Errorf("projection (-want +got):\n%s", diff)
	}
	_, err := d.GetItem(d.ctx, &dynamodb.GetItemInput{TableName: &d.table, Key: at("p"), ProjectionExpression: aws.String("m, m.x")})
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
	must(d.TagResource(d.ctx, &dynamodb.TagResourceInput{ResourceArn: out.TableArn, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("net")}}}))(t)
	if tags := must(d.ListTagsOfResource(d.ctx, &dynamodb.ListTagsOfResourceInput{ResourceArn: out.TableArn}))(t).Tags; len(tags) != 1 || *tags[0].Value != "net" {
		t.Errorf("tags = %v", tags)
	}
	t.Run("TimeToLive", func(t *testing.T) {
		d.skip(t, NoTimeToLive)
		must(d.UpdateTimeToLive(d.ctx, &dynamodb.UpdateTimeToLiveInput{
			TableName: &d.table, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)},
		}))(t)
		got := must(d.DescribeTimeToLive(d.ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &d.table}))(t).TimeToLiveDescription
		if got.TimeToLiveStatus != types.TimeToLiveStatusEnabled || *got.AttributeName != "expires" {
			t.Errorf("time to live = %+v", got)
		}
	})
	t.Run("ContinuousBackups", func(t *testing.T) {
		d.skip(t, NoContinuousBackups)
		got := must(d.DescribeContinuousBackups(d.ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &d.table}))(t).ContinuousBackupsDescription
		if got.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusDisabled {
			t.Errorf("point-in-time recovery = %+v", got.PointInTimeRecoveryDescription)
		}
	})
	t.Run("DeletionProtection", func(t *testing.T) {
		d.skip(t, NoDeletionProtection)
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
