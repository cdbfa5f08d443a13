package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go/logging"

	"dredge/config"
	"dredge/consumer/kinesis"
)

// awsClients are the two clients that the consumer needs. They share nothing: a renewal must not wait for a connection or a
// retry budget that reads have used up.
type awsClients struct {
	kinesis *awskinesis.Client
	leases  *dynamodb.Client
}

// newAWSClients makes clients with the default chain of credentials. leaseTimeout bounds one call to the lease table.
func newAWSClients(ctx context.Context, c config.AWSConfig, leaseTimeout time.Duration) (awsClients, error) {
	var opts []func(*awsconfig.LoadOptions) error
	if c.Region != "" {
		opts = append(opts, awsconfig.WithRegion(c.Region))
	}
	if c.Profile != "" {
		opts = append(opts, awsconfig.WithSharedConfigProfile(c.Profile))
	}
	base, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return awsClients{}, fmt.Errorf("load AWS settings: %w", err)
	}
	if base.Region == "" {
		return awsClients{}, errors.New("aws.region: is not set; write it, or set AWS_REGION")
	}
	return clientsFrom(base, c, leaseTimeout), nil
}

func clientsFrom(base aws.Config, c config.AWSConfig, leaseTimeout time.Duration) awsClients {
	// The SDK would write warnings about cut-off answers to standard error; what matters of them comes back as errors.
	base.Logger = logging.Nop{}
	return awsClients{
		kinesis: awskinesis.NewFromConfig(base, func(o *awskinesis.Options) {
			o.BaseEndpoint = endpoint(c.KinesisEndpoint, o.BaseEndpoint)
			// The reader has its own back-off; the SDK's would hide throttling from it.
			o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 2)
			kinesis.FastAnswers(o)
		}),
		leases: dynamodb.NewFromConfig(base, func(o *dynamodb.Options) {
			o.BaseEndpoint = endpoint(c.DynamoDBEndpoint, o.BaseEndpoint)
			o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 2)
			if o.HTTPClient == nil || c.DynamoDBEndpoint == "" {
				o.HTTPClient = &http.Client{Timeout: leaseTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone()} //nolint:forcetypeassert // documented type
			}
		}),
	}
}

func endpoint(url string, otherwise *string) *string {
	if url == "" {
		return otherwise
	}
	return &url
}
