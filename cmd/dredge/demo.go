package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/internal/telemetry"
)

type demoOptions struct {
	runFor  time.Duration
	addr    string
	seed    uint64
	verbose bool
}

func newDemoCmd() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine: a simulated estate, fake Kinesis and DynamoDB, a Kafka-protocol broker, the real worker",
		Long: `demo simulates an AWS estate whose instances, pods and load balancers come and go, delivers its flow logs
through a fake Kinesis, runs the real worker, splits a shard on the way, reads every row back from
Kafka and compares it with the truth. Nothing leaves this machine. Ctrl-C ends it.

Exit code 0 means: the books balance, every line was delivered once, no name was wrong, and at least
97 % of the ends that had an owner were named.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().DurationVar(&o.runFor, "for", 0, "end after this time; 0 runs until Ctrl-C")
	cmd.Flags().StringVar(&o.addr, "addr", "127.0.0.1:8080", "address of the page; port 0 takes any free one")
	cmd.Flags().Uint64Var(&o.seed, "seed", 1, "seed of the simulated estate")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show the worker's log")
	return cmd
}

// demoNamedShare is the share of owned ends that must be named for exit code 0.
const demoNamedShare = 0.97

func runDemo(ctx context.Context, o demoOptions, out, errOut io.Writer) (err error) {
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return fmt.Errorf("--addr: %q is not host:port; write for example 127.0.0.1:8080", o.addr)
	}
	if o.runFor < 0 {
		return fmt.Errorf("--for %s: write a positive time, or 0 to run until Ctrl-C", o.runFor)
	}
	dir, err := os.MkdirTemp("", "dredge-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := zerolog.Nop()
	if o.verbose {
		log = telemetry.NewLogger(telemetry.LogConfig{Level: "info", Format: "auto"}, errOut, isTerminal(errOut))
	}
	events := filepath.Join(dir, "identity.jsonl")
	w, err := newWorld(time.Now(), o.seed, events)
	if err != nil {
		return err
	}
	if err := w.aws.Listen(ctx, "127.0.0.1:0"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.aws.Close()) }()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, demoTopic))
	if err != nil {
		return fmt.Errorf("start the Kafka-protocol broker: %w", err)
	}
	defer broker.Close()
	check, err := newAudit(w.sim.Truth(), broker.ListenAddrs()[0], demoTopic)
	if err != nil {
		return err
	}

	cfg := demoConfig(w, broker.ListenAddrs()[0], events, o.addr)
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("BUG: the demo's configuration: %w", err)
	}
	// The backlog is in the stream and the identity file before the worker starts, as it would be on any real first start.
	if err := w.advance(ctx, w.pace.Virtual(w.pace.Begin)); err != nil {
		return err
	}
	base := aws.Config{Region: w.aws.Region(), Credentials: credentials.NewStaticCredentialsProvider("demo", "demo", "")}
	svc, err := newService(cfg, clientsFrom(base, cfg.AWS, cfg.Kinesis.FailoverTime/3), log, telemetry.NewRegistry())
	if err != nil {
		return err
	}
	addr, err := svc.listen(ctx)
	if err != nil {
		return errors.Join(err, svc.close())
	}
	d := &demo{o: o, w: w, svc: svc, check: check, out: out, live: isTerminal(out), url: "http://" + addr.String() + "/"}
	return d.run(ctx)
}

// demoConfig is an ordinary configuration: what is special about the demonstration is only where things are.
func demoConfig(w *world, broker, events, addr string) config.Config {
	c := config.Default()
	c.HTTP.Listen = addr
	c.AWS.KinesisEndpoint, c.AWS.DynamoDBEndpoint, c.AWS.Region = w.aws.URL(), w.aws.URL(), w.aws.Region()
	c.Kinesis.Application, c.Kinesis.StreamName = "dredge-demo", demoStream
	c.Kinesis.ShardSyncInterval = 5 * time.Second
	// One worker on a laptop, whose lid may be closed for a moment: that must cost it neither its leases, which nobody else wants, nor its names.
	c.Kinesis.FailoverTime, c.Kinesis.TakeInterval = 3*time.Minute, 2*time.Second
	c.Kinesis.GiveUp = 0 // to nobody
	c.Identity.Store.IdleAfter = 10 * time.Minute
	c.Kinesis.IdleWait = 300 * time.Millisecond
	c.Identity.File.Path = events
	c.Identity.File.PollInterval = 100 * time.Millisecond
	c.Pipeline.Hold = 5 * time.Second
	for group, layout := range w.sim.LogGroups() {
		c.Pipeline.Formats.Rules = append(c.Pipeline.Formats.Rules, ruleFor(group, layout.String()))
	}
	c.Sink.Type = config.SinkKafka
	c.Sink.Kafka.Brokers, c.Sink.Kafka.Topic = []string{broker}, demoTopic
	c.Sink.Kafka.Replication = 1
	return c
}

type demo struct {
	o     demoOptions
	w     *world
	svc   *service
	check *audit
	out   io.Writer
	live  bool
	url   string
	split string
}

// run plays the world against the service, then lets the service drain and judges the result. Everything it starts has ended
// when it returns.
func (d *demo) run(ctx context.Context) error {
	fmt.Fprintf(d.out, "dredge demo: a simulated estate, 4 Kinesis shards, the real worker, a Kafka-protocol broker\npage: %s   Ctrl-C ends it\n\n", d.url)
	playing, stopWorld := context.WithCancel(ctx)
	defer stopWorld()
	serving, stopService := context.WithCancel(context.WithoutCancel(ctx))
	defer stopService()
	auditing, stopAudit := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAudit()

	var background errgroup.Group
	background.Go(func() error { defer stopWorld(); return d.svc.run(serving) })
	background.Go(func() error { return d.check.run(auditing) })
	world := make(chan error, 1)
	go func() { world <- d.w.run(playing) }()

	begin := time.Now()
	d.play(playing, begin)
	stopWorld()
	err := <-world

	// A person who presses Ctrl-C gets the same verdict as the clock: what was sent must arrive.
	d.await()
	d.endLive()
	stopService()
	d.awaitAudit()
	stopAudit()
	err = errors.Join(err, background.Wait())
	verdict := d.report(time.Since(begin))
	return errors.Join(err, verdict)
}

// play shows the live summary until the time is over, and splits a shard on the way.
func (d *demo) play(ctx context.Context, begin time.Time) {
	end := make(<-chan time.Time)
	splitAfter := 12 * time.Second
	if d.o.runFor > 0 {
		end = time.After(d.o.runFor)
		splitAfter = min(splitAfter, d.o.runFor/3)
	}
	split := time.After(splitAfter)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-split:
			if id, err := d.w.split(); err == nil {
				d.split = id
			}
		case <-tick.C:
			d.showLive(time.Since(begin))
		}
	}
}

const demoDrain = 90 * time.Second

// await lets the worker finish what is in the stream: all lines that were sent are in the books and none is in flight.
func (d *demo) await() {
	deadline := time.After(demoDrain)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		b := d.svc.core.pipeline.Books().Snapshot()
		if sent := d.w.count(); b.Lines-b.Skipped["control"] >= sent.lines && b.InFlight == 0 {
			return
		}
		select {
		case <-deadline:
			return // the report says what is missing
		case <-tick.C:
			d.showLive(-1)
		}
	}
}

// auditStall is how long the audit may make no progress before the report says what is missing.
const auditStall = 15 * time.Second

// awaitAudit waits until the audit has read what was delivered.
func (d *demo) awaitAudit() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last, since := int64(-1), time.Now()
	for range tick.C {
		n := d.check.snapshot()
		read := n.rows + n.duplicates + n.unreadable
		if read >= d.svc.core.pipeline.Books().Snapshot().Delivered {
			return
		}
		if read > last {
			last, since = read, time.Now()
		}
		if time.Since(since) > auditStall {
			return
		}
	}
}
