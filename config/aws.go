package config

import (
	"errors"
	"fmt"
	"net/url"
)

// AWSConfig says how AWS is reached. Credentials come from the default chain (environment, shared files, container or
// instance role) and are never written here.
type AWSConfig struct {
	// Region is the AWS region; empty takes AWS_REGION or the shared config file.
	Region string `yaml:"region"`
	// Profile is a profile of the shared config file; empty takes AWS_PROFILE.
	Profile string `yaml:"profile"`
	// KinesisEndpoint overrides the URL of Kinesis, for emulators and private endpoints.
	KinesisEndpoint string `yaml:"kinesis_endpoint"`
	// DynamoDBEndpoint overrides the URL of DynamoDB, for emulators and private endpoints.
	DynamoDBEndpoint string `yaml:"dynamodb_endpoint"`
	// EC2Endpoint overrides the URL of EC2.
	EC2Endpoint string `yaml:"ec2_endpoint"`
	// ECSEndpoint overrides the URL of ECS.
	ECSEndpoint string `yaml:"ecs_endpoint"`
	// S3Endpoint overrides the URL of S3, whose buckets are then part of the path.
	S3Endpoint string `yaml:"s3_endpoint"`
	// SQSEndpoint overrides the URL of SQS.
	SQSEndpoint string `yaml:"sqs_endpoint"`
	// STSEndpoint overrides the URL of the token service that roles are assumed with.
	STSEndpoint string `yaml:"sts_endpoint"`
}

// Validate reports every fault of c.
func (c AWSConfig) Validate() error {
	return errors.Join(
		checkURL("kinesis_endpoint", c.KinesisEndpoint),
		checkURL("dynamodb_endpoint", c.DynamoDBEndpoint),
		checkURL("ec2_endpoint", c.EC2Endpoint),
		checkURL("ecs_endpoint", c.ECSEndpoint),
		checkURL("s3_endpoint", c.S3Endpoint),
		checkURL("sqs_endpoint", c.SQSEndpoint),
		checkURL("sts_endpoint", c.STSEndpoint),
	)
}

func checkURL(key, value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s: %q is no URL; write for example https://kinesis.eu-west-1.amazonaws.com", key, value)
	}
	if u.User != nil { // it would stand in what `dredge config` and the page show
		return fmt.Errorf("%s: an address holds no user or password; the default chain has AWS's credentials", key)
	}
	return nil
}
