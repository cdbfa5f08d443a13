package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"dredge/internal/flowgen"

	"github.com/spf13/cobra"
)

// linesPerConnection is what the simulated estate writes on average.
const linesPerConnection = 5

type generateFlags struct {
	stream, endpoint, region string
	out                      string
	gzip                     bool
	identityOut, truthOut    string
	policy, delay, offset    string
	rate, scale              float64
	length, backlog          time.Duration
	start                    string
	seed                     uint64
}

func newGenerateCmd() *cobra.Command {
	f := generateFlags{policy: "all", delay: "fast", offset: "exact", rate: 300, scale: 1, length: 10 * time.Minute, seed: 1, region: flowgen.Home}
	cmd := &cobra.Command{
		Use:   "generate (--out DIR | --stream NAME)",
		Short: "Write the flow logs of a simulated AWS estate to files or into a Kinesis stream",
		Long: `generate simulates an AWS estate: accounts, VPCs with overlapping addresses, applications that scale and lose members,
pods, tasks, load balancers and gateways. It writes the flow logs that AWS would write, and the identity events that say,
late and incompletely, who had which address when.

With --out it writes files as fast as it can, dated up to now: one flow log with a header line for each VPC, events.jsonl
(identity events) and truth.jsonl (who really was at both ends of every line).

With --stream it puts CloudWatch subscription messages into a Kinesis stream in real time, and appends the identity events
to --identity-out as they become known. Log groups have different formats; they are printed in the form that the
configuration wants them.

The same flags with the same --seed and --start give the same bytes.`,
		Example: `  dredge generate --out ./estate --for 10m
  dredge replay --identity ./estate/events.jsonl ./estate/flows-*.log
  dredge generate --stream flow-logs --endpoint http://127.0.0.1:4566 --identity-out events.jsonl --for 1h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("identity") && f.out != "" {
				f.policy = "hindsight"
			}
			return f.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.out, "out", "", "directory to write files into; it is made, and files of the same names are replaced")
	fl.BoolVar(&f.gzip, "gzip", false, "compress the flow logs in --out")
	fl.StringVar(&f.stream, "stream", "", "name of an existing Kinesis data stream")
	fl.StringVar(&f.endpoint, "endpoint", "", "URL of Kinesis, for emulators and private endpoints; AWS's own when empty")
	fl.StringVar(&f.region, "region", f.region, "AWS region of the stream")
	fl.StringVar(&f.identityOut, "identity-out", "", "file for identity events as JSON Lines; with --out the default is events.jsonl there")
	fl.StringVar(&f.truthOut, "truth-out", "", "file for the truth of every line as JSON Lines; with --out the default is truth.jsonl there")
	fl.StringVar(&f.policy, "identity", f.policy,
		"who tells identity: crawl, crawl+events (late and lossy), all (gap-free feeds), none; with --out the default is hindsight, perfect knowledge")
	fl.Float64Var(&f.rate, "rate", f.rate, "flow-log lines per second, about")
	fl.Float64Var(&f.scale, "scale", f.scale, "size of the estate; 1 is about 330 instances, pods and tasks")
	fl.DurationVar(&f.length, "for", f.length, "how much time to simulate; with --stream how long to run")
	fl.DurationVar(&f.backlog, "backlog", 0, "with --stream, history that is put at once before live traffic")
	fl.StringVar(&f.delay, "delay", f.delay, "delivery delay of flow logs: fast (seconds) or cloudwatch (1 to 11 minutes, as measured)")
	fl.StringVar(&f.offset, "start-offset", f.offset, "how a record's start relates to its first packet: exact, early (to -60s) or either (-58s to +61s), as measured")
	fl.StringVar(&f.start, "start", "", "time at which the simulation begins, like 2026-03-01T12:00:00Z; with --out the default is --for before now")
	fl.Uint64Var(&f.seed, "seed", f.seed, "seed of the simulation")
	return cmd
}

func (f *generateFlags) run(ctx context.Context, progress io.Writer) error {
	if (f.out == "") == (f.stream == "") {
		return errors.New("generate: write either --out DIR or --stream NAME")
	}
	if f.length <= 0 || f.backlog < 0 {
		return fmt.Errorf("--for %s, --backlog %s: write a positive time; 10m suits a first try", f.length, f.backlog)
	}
	if f.start != "" && f.stream != "" {
		return errors.New("--start: a stream takes its time from the clock; write --backlog for history")
	}
	cfg, err := f.config(time.Now())
	if err != nil {
		return err
	}
	sim, err := flowgen.New(cfg)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	if f.out != "" {
		return f.toFiles(ctx, sim, cfg.Start.Add(f.length), progress)
	}
	client, err := f.kinesisClient(ctx)
	if err != nil {
		return err
	}
	printLayouts(progress, sim)
	return f.toStream(ctx, client, sim, flowgen.Pace{Begin: cfg.Start.Add(f.backlog), Start: cfg.Start, Backlog: f.backlog, Speed: 1}, progress)
}

func (f *generateFlags) config(now time.Time) (flowgen.Config, error) {
	cfg := flowgen.DefaultConfig(now.Add(-f.backlog))
	cfg.Seed, cfg.Scale, cfg.ConnRate = f.seed, f.scale, f.rate/linesPerConnection
	if f.out != "" {
		cfg.Start = now.Add(-f.length)
		cfg.Logs.Envelope = flowgen.Lines
	}
	if f.start != "" {
		t, err := time.Parse(time.RFC3339, f.start)
		if err != nil {
			return cfg, fmt.Errorf("--start: %q is no time; write one like 2026-03-01T12:00:00Z", f.start)
		}
		cfg.Start = t
	}
	switch f.delay {
	case "fast":
		cfg.Logs.Delay = flowgen.FastDelay()
	case "cloudwatch":
		cfg.Logs.Delay = flowgen.CloudWatchDelay()
	default:
		return cfg, fmt.Errorf("--delay: %q is unknown; write fast or cloudwatch", f.delay)
	}
	switch f.offset {
	case "exact":
		cfg.Logs.Offset = flowgen.StartExact
	case "early":
		cfg.Logs.Offset = flowgen.StartEarly
	case "either":
		cfg.Logs.Offset = flowgen.StartEither
	default:
		return cfg, fmt.Errorf("--start-offset: %q is unknown; write exact, early or either", f.offset)
	}
	if f.policy == "hindsight" {
		if f.out == "" {
			return cfg, errors.New("--identity: hindsight is for files; write crawl, crawl+events or all")
		}
		cfg.Identity.Policy, cfg.Keep = flowgen.Silent, 0
	} else {
		policy, err := flowgen.ParsePolicy(f.policy)
		if err != nil {
			return cfg, fmt.Errorf("--identity: %w", err)
		}
		cfg.Identity.Policy = policy
	}
	cfg.Expect = f.out != "" || f.truthOut != ""
	return cfg, nil
}

// printLayouts says which log group has which layout, as rules that the configuration takes.
func printLayouts(w io.Writer, sim *flowgen.Sim) {
	groups := sim.LogGroups()
	fmt.Fprintln(w, "rules:")
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(w, "  - log_group: %s\n    format: %s\n", group, groups[group])
	}
}
