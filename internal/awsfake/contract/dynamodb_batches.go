package contract

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

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
	if d.deviates(t, NoTransactions) {
		return
	}
	d.put(t, row{"k": str("a"), "n": num("1")})
	items := []types.TransactWriteItem{
		{Update: &types.Update{TableName: &d.table, Key: at("a"), UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: row{":one": num("1")}}},
		{Put: &types.Put{TableName: &d.table, Item: at("b"), ConditionExpression: aws.String("attribute_not_exists(k)")}},
		{ConditionCheck: &types.ConditionCheck{TableName: &d.table, Key: at("c"), ConditionExpression: aws.String("attribute_not_exists(k)")}},
	}
	in := &dynamodb.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: &d.table}
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
	if d.deviates(t, NotAtomic) {
		return
	}
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
