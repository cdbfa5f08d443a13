package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/s3"
	"dredge/flowlog"
	"dredge/pipeline"
)

// mouthfuls is the reading of flow logs from S3, as one process does it.
type mouthfuls struct {
	// gatherer is nil when only mouthfuls are read, worker when they are only formed.
	gatherer *s3.Gatherer
	worker   *s3.Worker
}

// readsKinesis says whether a stream is configured. A service that reads S3 needs none.
func readsKinesis(c config.Config) bool {
	return !c.S3.Enabled() || !reflect.DeepEqual(c.Kinesis, kinesis.DefaultConfig())
}

// sourceNames names what is read, for people.
func sourceNames(c config.Config) string {
	names := ""
	if readsKinesis(c) {
		names = "Kinesis " + streamNames(c.Kinesis)
	}
	if c.S3.Enabled() {
		if names != "" {
			names += ", "
		}
		names += "S3 by " + c.S3.MouthfulQueue
	}
	return names
}

func s3Clients(c config.AWSConfig, base aws.Config) (*sqs.Client, *awss3.Client, *dynamodb.Client) {
	queues := sqs.NewFromConfig(base, func(o *sqs.Options) { o.BaseEndpoint = endpoint(c.SQSEndpoint, o.BaseEndpoint) })
	files := awss3.NewFromConfig(base, func(o *awss3.Options) {
		o.BaseEndpoint = endpoint(c.S3Endpoint, o.BaseEndpoint)
		o.UsePathStyle = c.S3Endpoint != "" // emulators have no names for buckets
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	ledger := dynamodb.NewFromConfig(base, func(o *dynamodb.Options) { o.BaseEndpoint = endpoint(c.DynamoDBEndpoint, o.BaseEndpoint) })
	return queues, files, ledger
}

// newMouthfuls makes what reads S3 into p, and forms mouthfuls where the queue for that is configured; nil when nothing is.
func newMouthfuls(c config.Config, base aws.Config, p *pipeline.Pipeline, slots s3.Slots, log zerolog.Logger, reg prometheus.Registerer) (*mouthfuls, error) {
	if !c.S3.Enabled() {
		return nil, nil //nolint:nilnil // nothing is to be made
	}
	queues, files, ledger := s3Clients(c.AWS, base)
	var (
		m   mouthfuls
		err error
	)
	m.worker, err = s3.NewWorker(c.S3, s3.WorkerDeps{
		SQS: queues, Store: files, Ledger: ledger, Processor: processor(p), Budget: p.Budget(), Slots: slots,
		IsHeader: flowlog.IsHeader, Log: log, Metrics: reg,
	})
	if err != nil || c.S3.Gather.Queue == "" {
		return &m, err
	}
	m.gatherer, err = s3.NewGatherer(c.S3, s3.GathererDeps{SQS: queues, Ledger: ledger, Log: log, Metrics: reg})
	return &m, err
}

// consume runs all that takes flow logs in, until ctx ends or one of them fails.
func (s *service) consume(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	if s.worker != nil {
		work.Go(func() error { return s.worker.Run(ctx) })
	}
	if s.mouthfuls != nil {
		work.Go(func() error { return s.mouthfuls.worker.Run(ctx) })
		if s.mouthfuls.gatherer != nil {
			work.Go(func() error { return s.mouthfuls.gatherer.Run(ctx) })
		}
	}
	return work.Wait()
}

// consumersReady says whether what reads Kinesis and S3 is ready.
func (s *service) consumersReady() error {
	switch {
	case s.drain.wasAsked():
		return errors.New("drained on request")
	case s.mouthfuls != nil && !s.mouthfuls.worker.Ready():
		return fmt.Errorf("the ledger %s was not found yet", s.cfg.S3.LedgerTable)
	case s.worker == nil:
		return nil
	}
	return s.leasesReady()
}

func checkQueue(ctx context.Context, api *sqs.Client, url string) (string, error) {
	out, err := api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}})
	if err != nil {
		return "", fmt.Errorf("ask for the depth of %s: %w; check the URL, aws.region, and the permission sqs:GetQueueAttributes", url, err)
	}
	return fmt.Sprintf(": %s messages wait, %s are in flight", out.Attributes["ApproximateNumberOfMessages"], out.Attributes["ApproximateNumberOfMessagesNotVisible"]), nil
}

func checkLedger(ctx context.Context, api *dynamodb.Client, table string) (string, error) {
	_, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	if _, missing := errors.AsType[*ddbtypes.ResourceNotFoundException](err); missing {
		return fmt.Sprintf(": %s does not exist yet; run and gather create it", table), nil
	}
	if err != nil {
		return "", fmt.Errorf("describe table %s: %w; check aws.region and the permission dynamodb:DescribeTable", table, err)
	}
	return ": " + table, nil
}
