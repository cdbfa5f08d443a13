package kinesis

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"dredge/consumer/kinesis/kpl"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// aggregate is testdata/kpl-aggregate.json.
type aggregate struct {
	Record      []byte `json:"record"`
	UserRecords []struct {
		PartitionKey    string `json:"partition_key"`
		ExplicitHashKey string `json:"explicit_hash_key"`
		Data            []byte `json:"data"`
	} `json:"user_records"`
}

func readAggregate(t *testing.T) (a aggregate) {
	t.Helper()
	raw, err := os.ReadFile("testdata/kpl-aggregate.json")
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestI9Aggregates: an aggregate that other code than ours has made yields all its user records, in order. A worker that dies after each number of them
// leaves the sequence number and the sub-sequence number of the last in Java's two attributes, and the next worker delivers the rest and nothing twice.
func TestI9Aggregates(t *testing.T) {
	a := readAggregate(t)
	records, err := new(kpl.Splitter).Split(a.Record)
	if err != nil || len(records) != len(a.UserRecords) {
		t.Fatalf("%d user records and %v, want %d", len(records), err, len(a.UserRecords))
	}
	for i, want := range a.UserRecords {
		got := records[i]
		if string(got.PartitionKey) != want.PartitionKey || string(got.ExplicitHashKey) != want.ExplicitHashKey || string(got.Data) != string(want.Data) {
			t.Errorf("user record %d: %q %q %q, want %+v", i, got.PartitionKey, got.ExplicitHashKey, got.Data, want)
		}
	}
	for done := 1; done < len(a.UserRecords); done++ {
		overSDK(t, 1, func(b *bench, server *awsfake.Server) {
			b.sink.refuse(true)
			first := b.start("dredge-a")
			_, sequence, err := server.Kinesis().Put(b.cfg.StreamName, "k", a.Record)
			if err != nil {
				t.Fatal(err)
			}
			b.written = nil
			for _, r := range a.UserRecords {
				b.written = append(b.written, string(r.Data))
			}
			b.await("in flight", 30*time.Second, func() bool { return b.sink.chunks() == 1 })
			b.sink.settleFirst(done)
			checkpoint := func() (string, string) {
				b.Helper()
				row := rawLease(b, server, shardID(0))
				s, _ := row["checkpoint"].(*dynamotypes.AttributeValueMemberS)
				n, _ := row["checkpointSubSequenceNumber"].(*dynamotypes.AttributeValueMemberN)
				if s == nil || n == nil {
					b.Fatalf("checkpoint %T, checkpointSubSequenceNumber %T", row["checkpoint"], row["checkpointSubSequenceNumber"])
				}
				return s.Value, n.Value
			}
			wantSub := strconv.Itoa(done - 1)
			b.await("checkpoint in the middle of the aggregate", 10*time.Second, func() bool {
				s, sub := checkpoint()
				return s == sequence && sub == wantSub
			})
			first.kill()
			b.sink.refuse(false)
			b.start("dredge-b")
			b.wantAll(3 * b.cfg.FailoverTime)
			b.sink.mu.Lock()
			if !slices.Equal(b.sink.durable, b.written) {
				b.Errorf("after %d: delivered %q, want %q", done, b.sink.durable, b.written)
			}
			b.sink.mu.Unlock()
			b.await("checkpoint of the whole", 10*time.Second, func() bool {
				s, sub := checkpoint()
				return s == sequence && sub == strconv.Itoa(len(a.UserRecords)-1)
			})
		})
	}
}

// rawLease is a row of the lease table as DynamoDB has it.
func rawLease(b *bench, server *awsfake.Server, key string) map[string]dynamotypes.AttributeValue {
	b.Helper()
	out, err := awsfaketest.DynamoDB(server).GetItem(b.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(b.cfg.Table()), ConsistentRead: aws.Bool(true),
		Key: map[string]dynamotypes.AttributeValue{"leaseKey": &dynamotypes.AttributeValueMemberS{Value: key}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return out.Item
}
