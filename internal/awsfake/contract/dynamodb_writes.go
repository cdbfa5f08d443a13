package contract

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

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
	if d.deviates(t, NoOldItem) {
		return
	}
	wantItem(t, "the error's item", lease, failed.Item)
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
		wantItem(t, tt.expression, want, d.get(t, at("u")))
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
		wantItem(t, string(kind), want, out.Attributes)
	}
	d.put(t, old)
	put := must(d.PutItem(d.ctx, &dynamodb.PutItemInput{TableName: &d.table, Item: at("r"), ReturnValues: types.ReturnValueAllOld}))(t)
	wantItem(t, "PutItem", old, put.Attributes)
	deleted := must(d.DeleteItem(d.ctx, &dynamodb.DeleteItemInput{TableName: &d.table, Key: at("r"), ReturnValues: types.ReturnValueAllOld}))(t)
	wantItem(t, "DeleteItem", at("r"), deleted.Attributes)
}
