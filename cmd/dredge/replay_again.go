package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	cluster "dredge/druid"
	"dredge/pipeline"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink"
	"dredge/sink/druid"
	"dredge/stream"
)

// span is a span of time given as T1..T2; the zero span is none.
type span struct{ from, to time.Time }

func (s span) isZero() bool { return s.to.IsZero() }

// parseSpan reads FROM..TO, each in one of the forms of parseWhen.
func parseSpan(flag, text string, now time.Time) (s span, err error) {
	if text == "" {
		return s, nil
	}
	from, to, ok := strings.Cut(text, "..")
	if !ok {
		return s, fmt.Errorf("--%s: %q is no span; write for example 2026-03-01T12:00:00Z..2026-03-01T14:00:00Z", flag, text)
	}
	if s.from, err = parseWhen(flag, from, now); err != nil {
		return span{}, err
	}
	if s.to, err = parseWhen(flag, to, now); err != nil {
		return span{}, err
	}
	if !s.from.Before(s.to) || s.to.After(now) {
		return span{}, fmt.Errorf("--%s: %s is not before %s, or that is not past yet", flag, s.from.Format(time.RFC3339), s.to.Format(time.RFC3339))
	}
	return s, nil
}

// newReplacement makes outputs that replace the hours of s in Druid, in every table that the configuration fills, whichever way it fills
// them. What cannot become a row was dead-lettered the first time, so it is only counted.
func newReplacement(c config.Config, s span, log zerolog.Logger, reg prometheus.Registerer) (*outputs, *druid.Replacement, error) {
	if c.Druid.Overlord == "" {
		return nil, nil, errors.New("druid.overlord: is empty; write the address of the Druid whose hours --replace means")
	}
	cfg := c.Sink.Druid
	if c.Sink.Type == config.SinkKafka {
		cfg.Minute, cfg.Late = c.Sink.Kafka.MinuteTopic != "", c.Sink.Kafka.LateTopic != ""
	}
	if err := cfg.Validate(); err != nil {
		return nil, nil, fmt.Errorf("sink.druid: %w", err)
	}
	c.Sink.Druid = cfg
	out := &outputs{deadLetter: sink.Count(sink.Discard{}, reg)}
	deps, err := druidDeps(c, out, log, reg)
	if err != nil {
		return nil, nil, errors.Join(err, out.close())
	}
	if deps.Encoder, err = newEncoder(c.Rows); err != nil {
		return nil, nil, errors.Join(err, out.close())
	}
	if deps.Minute, err = encode.NewMinute(c.Rows.Columns(row.Minute)); err != nil {
		return nil, nil, errors.Join(err, out.close())
	}
	r, err := druid.NewReplacement(cfg, deps, s.from.UTC(), s.to.UTC())
	if err != nil {
		return nil, nil, errors.Join(err, out.close())
	}
	out.sink, out.check = r, r.Check
	return out, r, nil
}

// refuseToAppend says no when Druid has rows already of what would be appended: in the span, or at all when that is not known.
func refuseToAppend(ctx context.Context, c config.Config, s span) error {
	if c.Druid.Overlord == "" || c.Sink.Type == config.SinkFile {
		return nil
	}
	client, err := cluster.NewClient(c.Druid)
	if err != nil {
		return err
	}
	defer client.Close()
	when := "in " + s.from.UTC().Format(time.RFC3339) + " to " + s.to.UTC().Format(time.RFC3339)
	if s.isZero() {
		s, when = span{time.UnixMilli(0), time.Now().Add(24 * time.Hour)}, "already"
	}
	n, err := client.CountRows(ctx, c.Druid.Datasources.Raw, s.from, s.to)
	if err != nil {
		return fmt.Errorf("looking for rows that are there already: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("%s has %d rows %s, which would then be there twice: replace whole hours with --replace FROM..TO, write another name into druid.datasources, or add to them with --append",
			c.Druid.Datasources.Raw, n, when)
	}
	return nil
}

// readKinesis runs what arrived in the streams within s through p. It has a lease table of its own, in memory, so that the service's leases
// are neither read nor written.
func readKinesis(ctx context.Context, c config.Config, clients awsClients, s span, p *pipeline.Pipeline, log zerolog.Logger, reg prometheus.Registerer) error {
	cfg := pastReads(c.Kinesis, s)
	past := &passed{processor: p, span: s, shards: map[string]bool{}, reads: map[string]time.Time{}}
	worker, err := kinesis.New(cfg, kinesis.Deps{
		Kinesis: clients.kinesis, StreamAPI: clients.stream, Leases: lease.NewMemory(), Processor: past, Budget: p.Budget(), Log: log, Metrics: reg,
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var all errgroup.Group
	all.Go(func() error { return worker.Run(running) })
	all.Go(func() error {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for !past.all(worker.Status()) {
			select {
			case <-tick.C:
			case <-running.Done():
				return nil
			}
		}
		stop()
		return nil
	})
	err = all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, past.failed())
}

// pastReads is c for one worker that reads all shards of all streams from the begin of s on, whatever c says of where the service starts, of
// how its shards are shared, and of the stream consumer that its shards are read as: Kinesis would end the service's subscriptions.
func pastReads(c kinesis.Config, s span) kinesis.Config {
	c.InitialPosition, c.InitialTimestamp = lease.AtTimestamp, s.from
	c.Mode, c.MaxLeases, c.GiveUp = kinesis.Mode2x, 0, 0
	c.Reader, c.ConsumerName, c.ConsumerARN = kinesis.ReaderPolling, "", ""
	c.Streams = slices.Clone(c.Streams)
	for i := range c.Streams {
		stream := &c.Streams[i]
		stream.InitialPosition, stream.InitialTimestamp = "", time.Time{}
		stream.Reader, stream.ConsumerName, stream.ConsumerARN = "", "", ""
	}
	return c
}

// passed is a Processor that lets through what arrived within a span, and knows which shards were read beyond it.
type passed struct {
	processor stream.Processor
	span      span

	mu     sync.Mutex
	shards map[string]bool
	reads  map[string]time.Time // the first read that ended beyond the span
	err    error
}

// all says whether every shard was read to its end, or beyond the span.
func (p *passed) all(s kinesis.Status) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return true
	}
	for _, sh := range s.Shards {
		if !sh.Finished && !p.shards[sh.Key] && !p.readBeyond(sh) {
			return false
		}
	}
	return len(s.Shards) > 0
}

// readBeyond says whether the reads of sh have come beyond the span, which also holds for a shard in which nothing arrives, and all rows are
// durable: what is not when the worker ends is never read again. What a read has brought was handed over when there is another one. p.mu is
// held.
func (p *passed) readBeyond(sh kinesis.ShardStatus) bool {
	if sh.LastRead.IsZero() || sh.LastRead.Add(-sh.Behind).Before(p.span.to) {
		return false
	}
	first, seen := p.reads[sh.Key]
	if !seen {
		p.reads[sh.Key] = sh.LastRead
	}
	return seen && sh.LastRead.After(first) && sh.InFlight == 0
}

func (p *passed) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Open implements stream.Processor.
func (p *passed) Open(ctx context.Context, partition string) (stream.Handler, stream.Position, error) {
	h, at, err := p.processor.Open(ctx, partition)
	if err != nil {
		return nil, "", err
	}
	return &passing{Handler: h, of: p, partition: partition}, at, nil
}

type passing struct {
	stream.Handler
	of        *passed
	partition string
}

// Handle implements stream.Handler. Beyond the span it makes durable what came before, and then waits to be ended.
func (h *passing) Handle(ctx context.Context, c stream.Chunk, progress func(stream.Position, error)) error {
	within := c
	within.Payloads = nil
	beyond := false
	for _, p := range c.Payloads {
		switch {
		case !p.Arrived.Before(h.of.span.to):
			beyond = true
		case !p.Arrived.Before(h.of.span.from):
			within.Payloads = append(within.Payloads, p)
		}
	}
	told := func(at stream.Position, err error) {
		progress(at, h.of.fatal(err))
	}
	if err := h.Handler.Handle(ctx, within, told); err != nil {
		return h.of.fatal(err)
	}
	if !beyond {
		return nil
	}
	if err := h.Flush(ctx); err != nil {
		return h.of.fatal(err)
	}
	h.of.mu.Lock()
	h.of.shards[h.partition] = true
	h.of.mu.Unlock()
	<-ctx.Done()
	return context.Cause(ctx)
}

// fatal keeps the first error that no retry mends, which ends the run.
func (p *passed) fatal(err error) error {
	if permanent, ok := errors.AsType[*stream.PermanentError](err); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err == nil {
			p.err = permanent
		}
	}
	return err
}
