package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/internal/flowgen"
)

// result is what one measurement gave.
type result struct {
	Rows, RowBytes int64
	// Named counts the ends that got a name, two per row: subjects that do the same job have the same.
	Named  int64
	CPU    float64 // seconds, user and system
	PeakMB int64
	// Seconds by the clock, which say little on a shared machine.
	Seconds float64
}

// job turns payloads into rows. Each shard has its own; emit must be done with row when it returns.
type job interface {
	payload(data []byte, emit func(key uint64, row []byte)) error
	named() int64
}

// measure runs a yardstick: it prepares, says "ready" on stdout, waits for a line on stdin, reads until every line of the
// workload has become an acknowledged row, and prints its result.
func measure(ctx context.Context, o options, prepare func(*flowgen.Bulk) (func() job, error)) error {
	bulk, err := workload(o, o.mix)
	if err != nil {
		return err
	}
	makeJob, err := prepare(bulk)
	if err != nil {
		return err
	}
	api := kinesis.New(kinesis.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(o.aws), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	var client *kgo.Client
	if o.kafka != "" {
		if client, err = producer(o); err != nil {
			return err
		}
		defer client.Close()
	}
	shards, err := api.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String(o.stream)})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	var line string
	if _, err := fmt.Scanln(&line); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	before := cpuSeconds()
	var rows, rowBytes atomic.Int64
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := errors.New("all rows are acknowledged")
	ack := func(n, size int64) {
		rowBytes.Add(size)
		if rows.Add(n) == int64(o.lines) {
			cancel(done)
		}
	}
	var wg sync.WaitGroup
	var jobs []job
	for _, s := range shards.Shards {
		j := makeJob()
		jobs = append(jobs, j)
		wg.Go(func() {
			if err := readShard(work, api, o.stream, *s.ShardId, j, newEmitter(client, ack)); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(work); !errors.Is(err, done) {
		return err
	}
	r := result{Rows: rows.Load(), RowBytes: rowBytes.Load(), CPU: cpuSeconds() - before, PeakMB: peakMB()}
	for _, j := range jobs {
		r.Named += j.named()
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func readShard(ctx context.Context, api *kinesis.Client, stream, shard string, j job, out *emitter) error {
	it, err := api.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: &stream, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	next := it.ShardIterator
	pause := time.NewTicker(200 * time.Millisecond) // a shard takes five reads a second
	defer pause.Stop()
	for next != nil && ctx.Err() == nil {
		answer, err := api.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next, Limit: aws.Int32(10_000)})
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		for _, r := range answer.Records {
			if err := j.payload(r.Data, out.emit); err != nil {
				return err
			}
			out.flush(ctx)
		}
		next = answer.NextShardIterator
		if len(answer.Records) == 0 {
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// ignoreEnd drops the errors that come from the end of the measurement.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end was asked for, and the error says only that
	}
	return err
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func peakMB() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss / 1024
}
