package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dredge/internal/awsfake"
	"dredge/internal/flowgen"
	"dredge/metadata/event"
)

const stream = "vpc-flow-logs"

// world is what dredge reads: a stream of an estate's flow logs, and the file of its identity events. It lives in this process, so
// that its own memory is not dredge's.
type world struct {
	sim    *flowgen.Sim
	aws    *awsfake.Server
	begin  time.Time
	events *os.File
	out    *bufio.Writer
	// lines and payloads were put into the stream, told are identity events.
	lines, payloads, told int64
	// backlog are the lines that are in the stream before dredge starts.
	backlog int64
}

// before is how long the estate has lived when dredge starts: identity is as large as it gets from the beginning.
const before = 2 * 10 * time.Minute

func newWorld(ctx context.Context, p plan, dir string) (*world, error) {
	w := &world{begin: time.Now()}
	cfg := flowgen.Demo(w.begin.Add(-before))
	cfg.Seed, cfg.ConnRate, cfg.Check, cfg.Baseline = p.seed, p.rate, false, false
	cfg.Logs.Delay = flowgen.FastDelay()
	var err error
	if w.sim, err = flowgen.New(cfg); err != nil {
		return nil, err
	}
	if w.events, err = os.Create(filepath.Join(dir, "events.jsonl")); err != nil {
		return nil, err
	}
	w.out = bufio.NewWriterSize(w.events, 1<<20)
	w.aws = awsfake.New(awsfake.Config{Limits: awsfake.Limits{ReadBytes: true, ReadCalls: true}})
	if err := w.aws.Listen(ctx, "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := w.aws.Kinesis().CreateStream(stream, p.shards); err != nil {
		return nil, err
	}
	err = w.advance(ctx, w.begin)
	w.backlog = w.lines
	return w, err
}

// advance delivers everything that is due at t.
func (w *world) advance(ctx context.Context, t time.Time) error {
	var line []byte
	for item := range w.sim.Until(t) {
		if ctx.Err() != nil {
			return nil
		}
		if item.Event != nil {
			var err error
			if line, err = event.Append(line[:0], item.Event); err != nil {
				return err
			}
			if _, err := w.out.Write(line); err != nil {
				return fmt.Errorf("write identity events: %w", err)
			}
			w.told++
			continue
		}
		if _, _, err := w.aws.Kinesis().Put(stream, item.Payload.PartitionKey, item.Payload.Data); err != nil {
			return err
		}
		w.payloads++
		w.lines += int64(item.Payload.Lines)
	}
	return w.out.Flush()
}

func (w *world) close() {
	_ = w.events.Close() // flushed after each step
	_ = w.aws.Close()    // the process ends with it
}
