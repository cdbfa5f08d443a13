package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/internal/flowgen"
	"dredge/internal/retry"
)

// Bounds of one PutRecords request.
const (
	maxPutRecords = 500
	maxPutBytes   = 4 << 20
)

// putter sends payloads with PutRecords, in order as far as Kinesis lets it.
type putter struct {
	client *awskinesis.Client
	stream string
	batch  []types.PutRecordsRequestEntry
	size   int
	lines  int
	// records and retried count what was sent and sent again.
	records, retried int
}

func (p *putter) add(ctx context.Context, pl *flowgen.Payload) error {
	if len(p.batch) == maxPutRecords || p.size+len(pl.Data) > maxPutBytes {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.batch = append(p.batch, types.PutRecordsRequestEntry{Data: pl.Data, PartitionKey: aws.String(pl.PartitionKey)})
	p.size += len(pl.Data) + len(pl.PartitionKey)
	p.lines += pl.Lines
	return nil
}

// flush sends the batch and sends again what Kinesis refused, until everything is in or ctx ends.
func (p *putter) flush(ctx context.Context) error {
	backoff := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for len(p.batch) > 0 {
		out, err := p.client.PutRecords(ctx, &awskinesis.PutRecordsInput{StreamName: &p.stream, Records: p.batch})
		if err != nil {
			return fmt.Errorf("put records into stream %q: %w", p.stream, err)
		}
		failed := p.batch[:0]
		for i := range out.Records {
			if out.Records[i].ErrorCode != nil {
				failed = append(failed, p.batch[i])
			}
		}
		p.records += len(out.Records) - len(failed)
		p.retried += len(failed)
		clear(p.batch[len(failed):])
		p.batch = failed
		if len(failed) == 0 {
			break
		}
		if err := retry.Sleep(ctx, backoff.Next()); err != nil {
			return err
		}
	}
	p.size = 0
	return nil
}

// kinesisClient reaches a stream. Emulators take any credentials, so that a machine without any can use them.
func (f *generateFlags) kinesisClient(ctx context.Context) (*awskinesis.Client, error) {
	base, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(f.region))
	if err != nil {
		return nil, fmt.Errorf("load AWS settings: %w", err)
	}
	return awskinesis.NewFromConfig(base, func(o *awskinesis.Options) {
		if f.endpoint == "" {
			return
		}
		o.BaseEndpoint = &f.endpoint
		if os.Getenv("AWS_ACCESS_KEY_ID") == "" && os.Getenv("AWS_PROFILE") == "" {
			o.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
		}
	}), nil
}

// toStream puts payloads when they are due, until the time is over or ctx ends, which is no fault.
func (f *generateFlags) toStream(
	ctx context.Context, client *awskinesis.Client, sim *flowgen.Sim, pace flowgen.Pace, progress io.Writer,
) (err error) {
	events, err := createLines(f.identityOut)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, events.close()) }()
	truth, err := createLines(f.truthOut)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, truth.close()) }()
	p := &putter{client: client, stream: f.stream}
	said := time.Now()
	report := func() {
		fmt.Fprintf(progress, "put %d lines in %d records, %d sent again\n", p.lines, p.records, p.retried)
		said = time.Now()
	}
	defer report()
	for it := range sim.Until(pace.Begin.Add(f.length)) {
		if ahead := time.Until(pace.Due(it.Arrive)); ahead > 0 {
			// Whoever follows the events must have them as soon as they are told.
			if err := errors.Join(p.flush(ctx), events.out.Flush()); err != nil {
				return ended(ctx, err)
			}
			if err := retry.Sleep(ctx, ahead); err != nil {
				return ended(ctx, err)
			}
		}
		if time.Since(said) > 10*time.Second {
			report()
		}
		if it.Event != nil {
			if err := events.event(it.Event); err != nil {
				return fmt.Errorf("write events: %w", err)
			}
			continue
		}
		if err := p.add(ctx, it.Payload); err != nil {
			return ended(ctx, err)
		}
		if err := truth.truth(it.Payload.LogGroup, it.Payload.Truth); err != nil {
			return fmt.Errorf("write truth: %w", err)
		}
	}
	return ended(ctx, p.flush(ctx))
}

// ended forgives the end of ctx: an interrupted generator did its work.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the person pressed ^C
	}
	return err
}
