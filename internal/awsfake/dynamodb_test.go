package awsfake_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// createTable makes a table whose hash key is leaseKey.
func createTable(t testing.TB, c *dynamodb.Client, name string) {
	t.Helper()
	_, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("leaseKey"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("leaseKey"), AttributeType: types.ScalarAttributeTypeS}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func timeToLive(attribute string) *types.TimeToLiveSpecification {
	return &types.TimeToLiveSpecification{AttributeName: &attribute, Enabled: aws.Bool(true)}
}

func TestStaleReads(t *testing.T) {
	clock := newClock()
	s := awsfaketest.NewServer(t, awsfake.Config{Clock: clock.Now, ReadLag: time.Second})
	c := awsfaketest.DynamoDB(s)
	createTable(t, c, "leases")
	write := func(item string) {
		t.Helper()
		if err := s.DynamoDB().PutRaw("leases", []byte(item)); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(consistent bool) int {
		t.Helper()
		out, err := c.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("leases"), ConsistentRead: &consistent})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Items)
	}
	write(`{"leaseKey":{"S":"a"}}`)
	if stale, fresh := seen(false), seen(true); stale != 0 || fresh != 1 {
		t.Errorf("at once: %d stale, %d consistent; want 0 and 1", stale, fresh)
	}
	clock.Advance(time.Second)
	if n := seen(false); n != 1 {
		t.Errorf("after the lag: %d; want 1", n)
	}
	key := map[string]types.AttributeValue{"leaseKey": &types.AttributeValueMemberS{Value: "a"}}
	if _, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("leases"), Key: key}); err != nil {
		t.Fatal(err)
	}
	if stale, fresh := seen(false), seen(true); stale != 1 || fresh != 0 {
		t.Errorf("after a deletion: %d stale, %d consistent; want 1 and 0", stale, fresh)
	}
	clock.Advance(time.Second)
	if n := seen(false); n != 0 {
		t.Errorf("after the lag of a deletion: %d; want 0", n)
	}
}

func TestExpireItems(t *testing.T) {
	clock := newClock()
	s := awsfaketest.NewServer(t, awsfake.Config{Clock: clock.Now})
	c := awsfaketest.DynamoDB(s)
	createTable(t, c, "ledger")
	in := &dynamodb.UpdateTimeToLiveInput{TableName: aws.String("ledger"), TimeToLiveSpecification: timeToLive("expires")}
	if _, err := c.UpdateTimeToLive(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for key, at := range map[string]time.Time{"past": clock.Now(), "future": clock.Now().Add(time.Second)} {
		if err := s.DynamoDB().PutRaw("ledger", fmt.Appendf(nil, `{"leaseKey":{"S":%q},"expires":{"N":"%d"}}`, key, at.Unix())); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.DynamoDB().ExpireItems("ledger"); n != 1 || s.DynamoDB().Item("ledger", "past") != nil || s.DynamoDB().Item("ledger", "future") == nil {
		t.Errorf("%d expired; left %v", n, s.DynamoDB().Items("ledger"))
	}
}
