package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"dredge/internal/awsfake"
	"dredge/internal/flowgen"
	"dredge/metadata/event"
)

const (
	demoStream = "vpc-flow-logs"
	demoTopic  = "flows_raw"
	demoShards = 4
)

// world is everything outside of dredge in the demonstration: the estate, the stream that its flow logs arrive in, and the
// file that its identity events are written to.
type world struct {
	sim    *flowgen.Sim
	pace   flowgen.Pace
	aws    *awsfake.Server
	events *os.File
	out    *bufio.Writer

	mu   sync.Mutex
	sent worldCount
}

// worldCount is what was put into the stream so far.
type worldCount struct{ payloads, lines, control, bytes, events int64 }

func newWorld(now time.Time, seed uint64, events string) (*world, error) {
	pace := flowgen.DemoPace(now)
	cfg := flowgen.Demo(pace.Start)
	cfg.Seed = seed
	sim, err := flowgen.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("make the estate: %w", err)
	}
	f, err := os.OpenFile(events, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := &world{sim: sim, pace: pace, aws: awsfake.New(awsfake.Config{Limits: awsfake.Limits{ReadBytes: true, ReadCalls: true}}), events: f, out: bufio.NewWriterSize(f, 1<<20)}
	if err := w.aws.Kinesis().CreateStream(demoStream, demoShards); err != nil {
		return nil, err
	}
	return w, nil
}

// run feeds the stream and the event file at the world's pace until ctx ends.
func (w *world) run(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := w.advance(ctx, w.pace.Virtual(time.Now())); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(w.out.Flush(), w.events.Close())
		case <-tick.C:
		}
	}
}

// advance delivers everything that is due at virtual time to. Events go before the lines that arrive at the same time only if
// they really arrive before: the file is flushed whenever a payload follows.
func (w *world) advance(ctx context.Context, to time.Time) error {
	var line []byte
	for item := range w.sim.Until(to) {
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
			w.add(worldCount{events: 1})
			continue
		}
		p := item.Payload
		if _, _, err := w.aws.Kinesis().Put(demoStream, p.PartitionKey, p.Data); err != nil {
			return fmt.Errorf("put into the stream: %w", err)
		}
		n := worldCount{payloads: 1, lines: int64(p.Lines), bytes: int64(len(p.Data))}
		if p.Lines == 0 {
			n.control = 1
		}
		w.add(n)
	}
	return w.out.Flush()
}

func (w *world) add(n worldCount) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent.payloads += n.payloads
	w.sent.lines += n.lines
	w.sent.control += n.control
	w.sent.bytes += n.bytes
	w.sent.events += n.events
}

func (w *world) count() worldCount {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// split divides the first open shard in two, as an operator or auto-scaling would.
func (w *world) split() (string, error) {
	for _, s := range w.aws.Kinesis().Shards(demoStream) {
		if s.Closed.IsZero() {
			return s.ID, w.aws.Kinesis().Split(demoStream, s.ID)
		}
	}
	return "", errors.New("no open shard to split")
}
