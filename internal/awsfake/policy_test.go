package awsfake_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"

	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
)

// What a policy does not allow is answered as IAM answers, and is not done.
func TestPolicy(t *testing.T) {
	var asked []string
	s := awsfaketest.NewServer(t, awsfake.Config{Policy: func(r awsfake.Request) bool {
		asked = append(asked, r.Service+":"+r.Operation+" "+r.Resource)
		return r.Operation == "ListShards"
	}})
	if err := s.Kinesis().CreateStream("flows", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := awsfaketest.Kinesis(s).ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("flows")}); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
	_, err := awsfaketest.DynamoDB(s).Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("none")})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "AccessDeniedException" {
		t.Errorf("what is not allowed, of a table that does not exist: %v", err)
	}
	if len(asked) != 2 || asked[0] != "kinesis:ListShards flows" || asked[1] != "dynamodb:Scan none" {
		t.Errorf("the policy was asked %q", asked)
	}
}
