package awsfake_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// filled is a server whose one shard holds total bytes in records of the given size, and an iterator at its horizon.
func filled(b *testing.B, size, total int) (*awsfake.Server, *kinesis.Client, *string) {
	b.Helper()
	s := awsfaketest.NewListeningServer(b, awsfake.Config{})
	if err := s.Kinesis().CreateStream("flows", 1); err != nil {
		b.Fatal(err)
	}
	data := []byte(strings.Repeat("flow log line\n", size/14+1)[:size])
	for range total / size {
		if _, _, err := s.Kinesis().Put("flows", "key", data); err != nil {
			b.Fatal(err)
		}
	}
	c := awsfaketest.Kinesis(s)
	out, err := c.GetShardIterator(b.Context(), &kinesis.GetShardIteratorInput{
		StreamName: aws.String("flows"), ShardId: aws.String(shard0), ShardIteratorType: kinesistypes.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		b.Fatal(err)
	}
	return s, c, out.ShardIterator
}

// BenchmarkGetRecords reads 10 MB answers over loopback TCP. MB/s counts the records' data, not base64.
func BenchmarkGetRecords(b *testing.B) {
	const total = 10_000_000
	for _, size := range []int{2_000, 20_000, 200_000} {
		b.Run(fmt.Sprintf("client=http/record=%d", size), func(b *testing.B) {
			s, _, it := filled(b, size, total)
			body := fmt.Sprintf(`{"ShardIterator":%q}`, *it)
			client := &http.Client{Transport: &http.Transport{ReadBufferSize: 256 << 10}}
			defer client.CloseIdleConnections()
			b.SetBytes(total)
			b.ReportAllocs()
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.URL(), strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set("X-Amz-Target", "Kinesis_20131202.GetRecords")
				req.Header.Set("Content-Type", "application/x-amz-json-1.1")
				resp, err := client.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || n < total*4/3 {
					b.Fatalf("%d bytes, %v", n, err)
				}
			}
		})
		b.Run(fmt.Sprintf("client=sdk/record=%d", size), func(b *testing.B) {
			_, c, it := filled(b, size, total)
			b.SetBytes(total)
			b.ReportAllocs()
			for b.Loop() {
				out, err := c.GetRecords(b.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
				if err != nil || len(out.Records) != total/size {
					b.Fatal(len(out.Records), err)
				}
			}
		})
	}
}

// BenchmarkPut writes through the Go API, as generators do.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{2_000, 20_000} {
		b.Run(fmt.Sprintf("record=%d", size), func(b *testing.B) {
			clock := newClock()
			s := awsfake.New(awsfake.Config{Clock: clock.Now})
			if err := s.Kinesis().CreateStream("flows", 4); err != nil {
				b.Fatal(err)
			}
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := s.Kinesis().Put("flows", "key", data); err != nil {
					b.Fatal(err)
				}
				if i%1000 == 0 { // keep the memory bounded
					clock.Advance(1)
					if err := s.Kinesis().Trim("flows", clock.Now()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkRenew is a lease's renewal through the SDK over loopback TCP.
func BenchmarkRenew(b *testing.B) {
	s := awsfaketest.NewListeningServer(b, awsfake.Config{})
	c := awsfaketest.DynamoDB(s)
	createTable(b, c, "leases")
	if err := s.DynamoDB().PutRaw("leases", []byte(`{"leaseKey":{"S":"shard"},"leaseCounter":{"N":"0"},"leaseOwner":{"S":"worker"}}`)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, err := c.UpdateItem(b.Context(), &dynamodb.UpdateItemInput{
			TableName: aws.String("leases"), Key: map[string]types.AttributeValue{"leaseKey": &types.AttributeValueMemberS{Value: "shard"}},
			UpdateExpression: aws.String("SET leaseCounter = :next"), ConditionExpression: aws.String("leaseCounter = :c AND attribute_not_exists(checkpointOwner)"),
			ExpressionAttributeValues: map[string]types.AttributeValue{
				":c": &types.AttributeValueMemberN{Value: fmt.Sprint(i)}, ":next": &types.AttributeValueMemberN{Value: fmt.Sprint(i + 1)},
			},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
