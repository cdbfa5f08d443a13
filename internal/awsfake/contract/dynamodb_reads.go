package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

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

func (d *dynamoTest) projections(t *testing.T) {
	d.put(t, row{"k": str("p"), "a": num("1"), "m": tree(row{"x": num("1"), "y": num("2")}), "l": seq(num("0"), num("1"), num("2"))})
	out := must(d.GetItem(d.ctx, &dynamodb.GetItemInput{
		TableName: &d.table, Key: at("p"), ProjectionExpression: aws.String("a, #m.x, l[2], absent"),
		ExpressionAttributeNames: map[string]string{"#m": "m"},
	}))(t)
	wantItem(t, "projection", row{"a": num("1"), "m": tree(row{"x": num("1")}), "l": seq(num("2"))}, out.Item)
	_, err := d.GetItem(d.ctx, &dynamodb.GetItemInput{TableName: &d.table, Key: at("p"), ProjectionExpression: aws.String("m, m.x")})
	wantCode(t, err, "ValidationException")
}
