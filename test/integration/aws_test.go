//go:build integration

package integration

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/lease/leasetest"
	"dredge/internal/awsfake/contract"
)

// The known deviations of the emulators from AWS. All else that the suites check holds.
var (
	kinesisMock = []contract.Deviation{
		// AWS lists the shards that were open at the horizon; this lists their children too.
		contract.TrimHorizonListsAll,
		// AWS answers 400 InvalidArgumentException; this answers 500.
		contract.BadIteratorIsServerError,
		// AWS answers InvalidArgumentException to both of these; this returns an iterator.
		contract.BadSequenceAccepted,
		contract.ForeignSequenceAccepted,
		// AWS refuses the 501st record; this stores it.
		contract.NoPutRecordsBound,
		// Ranges are off by one: the first of four shards ends at 2^126-2; with AWS, at 2^126-1.
		contract.OtherHashBoundaries,
		// A closed shard ends at 9223372036854775807, which is below every record in it.
		contract.ConstantEndingSequence,
	}
	dynamoDBLocal = []contract.Deviation{
		// AWS tells whether point-in-time recovery is on; this answers UnknownOperationException.
		contract.NoContinuousBackups,
		// "Tagging is not currently supported in DynamoDB Local."
		contract.NoTags,
	}
)

func TestKinesisMock(t *testing.T) {
	t.Parallel()
	client := kinesis.NewFromConfig(awsConfig(t, "DREDGE_TEST_KINESIS"))
	contract.Kinesis(t, client, contract.Options{Prefix: prefix(), Wait: pause, Deviations: kinesisMock})
}

func TestDynamoDBLocal(t *testing.T) {
	t.Parallel()
	client := dynamodb.NewFromConfig(awsConfig(t, "DREDGE_TEST_DYNAMODB"))
	contract.DynamoDB(t, client, contract.Options{Prefix: prefix(), Wait: pause, Deviations: dynamoDBLocal})
}

// TestLeaseTable runs the contract of lease.Store over Amazon's own implementation of conditions and indexes.
func TestLeaseTable(t *testing.T) {
	t.Parallel()
	client := dynamodb.NewFromConfig(awsConfig(t, "DREDGE_TEST_DYNAMODB"))
	run := prefix()
	var tables atomic.Int64
	leasetest.Run(t, func(t *testing.T) lease.Store {
		table := fmt.Sprintf("%sleases-%d", run, tables.Add(1))
		store, err := lease.NewDynamoDB(table, client)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := client.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &table}); err != nil {
				t.Error(err)
			}
		})
		return store
	})
}

// prefix keeps what this run makes apart from what an earlier one left in the same server.
func prefix() string { return strconv.FormatInt(time.Now().UnixNano(), 36) + "-" }

// awsConfig is for clients of the server whose endpoint the environment variable holds. The emulators take any key.
func awsConfig(t *testing.T, variable string) aws.Config {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return aws.Config{
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDINTEGRATION", "integration", ""),
		BaseEndpoint: aws.String(setting(t, variable)),
		HTTPClient:   &http.Client{Transport: transport},
	}
}
