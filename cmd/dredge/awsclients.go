package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/sink/kafka"
)

// awsClients are the two clients that the consumer needs, and what other ones are made of. They share nothing: a renewal must
// not wait for a connection or a retry budget that reads have used up.
type awsClients struct {
	kinesis *awskinesis.Client
	leases  *dynamodb.Client
	base    aws.Config
	// stream is the client for one stream: with the credentials of its role, in the region of its ARN. It calls nobody yet.
	stream func(kinesis.StreamConfig) (kinesis.API, error)
}

// sessionName is how the sessions of assumed roles appear in CloudTrail.
const sessionName = "dredge"

// streamClients makes clients per stream. Streams without a role of their own share one.
func streamClients(base aws.Config, endpoints config.AWSConfig, shared *awskinesis.Client, options func(*awskinesis.Options)) func(kinesis.StreamConfig) (kinesis.API, error) {
	roles := sts.NewFromConfig(base, func(o *sts.Options) { o.BaseEndpoint = endpoint(endpoints.STSEndpoint, o.BaseEndpoint) })
	return func(s kinesis.StreamConfig) (kinesis.API, error) {
		own := base
		if s.StreamARN != "" {
			a, err := arn.Parse(s.StreamARN)
			if err != nil || a.Service != "kinesis" || a.Region == "" {
				return nil, fmt.Errorf("stream_arn: %q is no ARN of a Kinesis stream; it looks like arn:aws:kinesis:REGION:ACCOUNT:stream/NAME", s.StreamARN)
			}
			own.Region = a.Region
		}
		if s.RoleARN == "" && own.Region == base.Region {
			return shared, nil
		}
		if s.RoleARN != "" {
			if a, err := arn.Parse(s.RoleARN); err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "role/") {
				return nil, fmt.Errorf("role_arn: %q is no ARN of a role; it looks like arn:aws:iam::ACCOUNT:role/NAME", s.RoleARN)
			}
			// The cache asks for new credentials before the old ones end.
			own.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(roles, s.RoleARN, func(o *stscreds.AssumeRoleOptions) {
				o.RoleSessionName = sessionName
			}))
		}
		return awskinesis.NewFromConfig(own, options), nil
	}
}

// loadAWS reads the settings that the SDK reads, with the default chain of credentials.
func loadAWS(ctx context.Context, c config.AWSConfig) (aws.Config, error) {
	opts := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(kinesis.Transport)),
	}
	if c.Region != "" {
		opts = append(opts, awsconfig.WithRegion(c.Region))
	}
	if c.Profile != "" {
		opts = append(opts, awsconfig.WithSharedConfigProfile(c.Profile))
	}
	base, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return base, fmt.Errorf("load AWS settings: %w", err)
	}
	return base, nil
}

// mskKeys are the credentials of the default chain, for Kafka's AWS_MSK_IAM. Nothing is looked up before the first connection.
func mskKeys(c config.AWSConfig) kafka.AWSCredentials {
	load := sync.OnceValues(func() (aws.Config, error) { return loadAWS(context.Background(), c) })
	return func(ctx context.Context) (kafka.AWSKeys, error) {
		base, err := load()
		if err != nil {
			return kafka.AWSKeys{}, err
		}
		k, err := base.Credentials.Retrieve(ctx)
		return kafka.AWSKeys{AccessKey: k.AccessKeyID, SecretKey: k.SecretAccessKey, SessionToken: k.SessionToken}, err
	}
}

// newAWSClients makes clients with the default chain of credentials. leaseTimeout bounds one call to the lease table.
func newAWSClients(ctx context.Context, c config.AWSConfig, leaseTimeout time.Duration) (awsClients, error) {
	base, err := loadAWS(ctx, c)
	if err != nil {
		return awsClients{}, err
	}
	if base.Region == "" {
		return awsClients{}, errors.New("aws.region: is not set; write it, or set AWS_REGION")
	}
	return clientsFrom(base, c, leaseTimeout), nil
}

func clientsFrom(base aws.Config, c config.AWSConfig, leaseTimeout time.Duration) awsClients {
	// The SDK would write warnings about cut-off answers to standard error; what matters of them comes back as errors.
	base.Logger = logging.Nop{}
	reads := func(o *awskinesis.Options) {
		o.BaseEndpoint = endpoint(c.KinesisEndpoint, o.BaseEndpoint)
		// The reader has its own back-off; the SDK's would hide throttling from it.
		o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 2)
		kinesis.FastAnswers(o)
	}
	shared := awskinesis.NewFromConfig(base, reads)
	return awsClients{
		base:    base,
		kinesis: shared,
		stream:  streamClients(base, c, shared, reads),
		leases: dynamodb.NewFromConfig(base, func(o *dynamodb.Options) {
			o.BaseEndpoint = endpoint(c.DynamoDBEndpoint, o.BaseEndpoint)
			o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 2)
			if o.HTTPClient == nil || c.DynamoDBEndpoint == "" {
				o.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(kinesis.Transport).WithTimeout(leaseTimeout)
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
