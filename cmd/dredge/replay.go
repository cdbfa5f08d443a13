package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	source "dredge/consumer/file"
	"dredge/enrich"
	"dredge/flowlog"
	"dredge/internal/telemetry"
	identity "dredge/metadata/file"
	"dredge/metadata/store"
	"dredge/pipeline"
	"dredge/row"
	"dredge/sink"
	"dredge/sink/druid"
	"dredge/stream"
)

type replayOptions struct {
	config, identity, out, format string
	sets                          []string
	// fromKinesis and replace are spans of time, T1..T2.
	fromKinesis, replace string
	appendRows           bool
	// clients makes the clients of AWS; tests put others here.
	clients func(context.Context, config.Config) (awsClients, error)
}

func newReplayCmd() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay [-c FILE] [--identity EVENTS.jsonl] [--out FILE|-] [--replace T1..T2] FILE|DIR|-… | --from-kinesis T1..T2",
		Short: "Run files of flow logs, or a stream once more, through the whole pipeline",
		Long: `replay reads flow logs from files (plain, gzip, zstd or Parquet; lines, CloudWatch envelopes or JSON), names both
ends and writes rows. All identity events are read before the first flow, so it names with full hindsight:
files are read twice, once for what their lines prove about addresses and once for the rows, so their order
changes nothing; standard input and pipes are read once.

Without a configuration file, raw rows go to standard output as JSON Lines; the layout of the lines comes
from a header line, or from --format. The books stand on standard error at the end. Exit code 1 when a
file could not be read; rejected lines are counted and told, and the rest is replayed.

--from-kinesis reads what arrived in the configured streams within a span, without touching any lease.
--replace has the rows take the place of all that Druid holds of whole hours of flow time, in both grains; rows of
other hours are left out. Flow logs arrive up to a quarter of an hour late, and more after an outage: read longer than
the hours that you replace. Where Druid has rows already, replay refuses to add to them unless --append says so.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (o.fromKinesis == "") {
				return errors.New("name files, folders or - for standard input; or write --from-kinesis T1..T2")
			}
			o.clients = func(ctx context.Context, c config.Config) (awsClients, error) {
				return newAWSClients(ctx, c.AWS, c.Kinesis.FailoverTime)
			}
			return runReplay(cmd.Context(), o, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addConfigFlag(cmd, &o.config)
	cmd.Flags().StringVar(&o.identity, "identity", "", "file or folder of identity events (JSON Lines)")
	cmd.Flags().StringVarP(&o.out, "out", "o", "", "file to write rows to, - for standard output; .gz and .zst compress")
	cmd.Flags().StringVar(&o.format, "format", "", "layout of lines without a header, as ${version} ${account-id} …, or names with spaces")
	cmd.Flags().StringVar(&o.fromKinesis, "from-kinesis", "", "read the configured streams, what arrived from T1 to T2 (RFC 3339, or how long ago: 26h..1h)")
	cmd.Flags().StringVar(&o.replace, "replace", "", "replace these whole hours of flow time in Druid, T1..T2")
	cmd.Flags().BoolVar(&o.appendRows, "append", false, "add rows also where Druid has rows already")
	cmd.Flags().StringSliceVar(&o.sets, "columns", nil, "column sets to write beside the core columns (see docs/reference/rows.md)")
	return cmd
}

// configuration is the file's, or the defaults, with the flags over it.
func (o replayOptions) configuration() (config.Config, error) {
	c, err := config.Load(o.config, os.Environ())
	if err != nil {
		return c, err
	}
	if o.out != "" {
		c.Sink.Type, c.Sink.File.Path = config.SinkFile, o.out
	}
	if o.identity != "" {
		c.Identity.File.Path = o.identity
	}
	if o.format != "" {
		c.Pipeline.Formats.Default = o.format
	}
	for _, s := range o.sets {
		c.Rows.ColumnSets = append(c.Rows.ColumnSets, row.Set(s))
	}
	// The past may lie before any retention: a replay forgets nothing.
	c.Identity.Store.Retention = maxRetention
	c.Rows.LateAfter = 0 // everything of the past is late
	return c, c.Validate()
}

// maxRetention is the longest that the store accepts.
const maxRetention = 31 * 24 * time.Hour

func runReplay(ctx context.Context, o replayOptions, paths []string, in io.Reader, out, errOut io.Writer) error {
	c, err := o.configuration()
	if err != nil {
		return err
	}
	log := telemetry.NewLogger(telemetry.LogConfig{Level: "warn", Format: "auto"}, errOut, isTerminal(errOut))
	reg := telemetry.NewRegistry()
	now := time.Now()
	arrived, err := parseSpan("from-kinesis", o.fromKinesis, now)
	if err != nil {
		return err
	}
	hours, err := parseSpan("replace", o.replace, now)
	if err != nil {
		return err
	}
	var outputs *outputs
	var replacement *druid.Replacement
	if hours.isZero() {
		if !o.appendRows {
			if err := refuseToAppend(ctx, c, arrived); err != nil {
				return err
			}
		}
		outputs, err = newOutputs(c, out, nil, log, reg)
	} else {
		outputs, replacement, err = newReplacement(c, hours, log, reg)
	}
	if err != nil {
		return err
	}
	if err := replaceOutput(o.out, paths); err != nil {
		return errors.Join(err, outputs.close())
	}
	if err := outputs.check(ctx); err != nil {
		return errors.Join(err, outputs.close())
	}
	known, err := loadIdentity(ctx, c, log, reg)
	if err != nil {
		return errors.Join(err, outputs.close())
	}
	// Whatever a line of any file proves about an address is known before the first one is named; so the order in which files are
	// read changes no name. What comes on standard input or through a pipe passes once.
	foreknown := arrived.isZero() && !slices.ContainsFunc(paths, passesOnce)
	if foreknown {
		if err := takeHeartbeats(ctx, c, known, paths); err != nil {
			return errors.Join(err, outputs.close())
		}
	}
	deps := coreDeps{sink: outputs.sink, deadLetter: outputs.deadLetter, identity: known, foreknown: foreknown, log: log, reg: reg}
	if public, err := loadPublic(ctx, c); err != nil {
		return errors.Join(err, outputs.close())
	} else if public != nil {
		deps.public = public
	}
	core, err := newCore(c, deps)
	if err != nil {
		return errors.Join(err, outputs.close())
	}
	p := core.pipeline
	if arrived.isZero() {
		err = readFiles(ctx, paths, in, errOut, p, log, reg)
	} else {
		var clients awsClients
		if clients, err = o.clients(ctx, c); err == nil {
			err = readKinesis(ctx, c, clients, arrived, p, log, reg)
		}
	}
	if replacement != nil {
		err = publish(ctx, replacement, hours, err, p, errOut)
	}
	err = errors.Join(err, outputs.close())
	books := p.Books().Snapshot()
	printBooks(errOut, books, p.Rejects())
	if err := errors.Join(err, books.CheckAtRest()); err != nil {
		return &exitError{code: 1, err: err}
	}
	return nil
}

// passesOnce says that what path holds cannot be read a second time.
func passesOnce(path string) bool {
	info, err := os.Stat(path)
	return path == source.Stdin || err == nil && !info.IsDir() && !info.Mode().IsRegular()
}

// readFiles runs files through p and shows how far that is.
func readFiles(ctx context.Context, paths []string, in io.Reader, errOut io.Writer, p *pipeline.Pipeline, log zerolog.Logger, reg prometheus.Registerer) error {
	src, err := source.New(replaySource(paths), source.Deps{
		Processor: p, Budget: p.Budget(), IsHeader: flowlog.IsHeader, Stdin: in, Log: log, Metrics: reg,
	})
	if err != nil {
		return err
	}
	bar := newProgress(errOut, paths, src, p)
	var shown errgroup.Group
	showing, stop := context.WithCancel(ctx)
	shown.Go(func() error { bar.run(showing); return nil })
	err = src.Run(ctx)
	stop()
	return errors.Join(err, shown.Wait())
}

// publish replaces the hours, unless reading failed: half of an hour's rows must not take the place of all.
func publish(ctx context.Context, r *druid.Replacement, hours span, err error, p *pipeline.Pipeline, errOut io.Writer) error {
	if err = errors.Join(err, p.Books().Snapshot().CheckAtRest()); err != nil {
		return fmt.Errorf("%w; nothing was replaced", err)
	}
	n, err := r.Publish(ctx)
	if err == nil {
		fmt.Fprintf(errOut, "%s to %s now have %d rows; %d rows of other hours were left out\n", hours.from.UTC().Format(time.RFC3339), hours.to.UTC().Format(time.RFC3339), n, r.Outside())
	}
	return err
}

// replaceOutput empties the file of --out. The sink appends, which suits a service that starts anew; a replay done twice would leave
// every row twice. A file that is an input, too, is left as it is.
func replaceOutput(path string, inputs []string) error {
	if path == "" || path == "-" {
		return nil
	}
	// What is not there, or is a pipe or a device, has nothing to empty; the sink tells what is wrong with it.
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		if isInput(info, inputs) {
			return fmt.Errorf("--out: %q is read as well, and would be lost; write another path", path)
		}
		if err := os.Truncate(path, 0); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	return nil
}

// isInput says whether file is one of the inputs, or lies in a folder of them.
func isInput(file fs.FileInfo, inputs []string) bool {
	for _, root := range inputs {
		found := false
		_ = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // what can't be read is no file that could be lost, and reading tells what is wrong with it
			}
			if info, err := os.Stat(p); err == nil && os.SameFile(info, file) {
				found = true
				return fs.SkipAll
			}
			return nil
		})
		if found {
			return true
		}
	}
	return false
}

// loadIdentity reads all identity events.
func loadIdentity(ctx context.Context, c config.Config, log zerolog.Logger, reg *prometheus.Registry) (*store.Store, error) {
	known, err := store.New(c.Identity.Store, store.Dependencies{Registerer: reg, Now: time.Now})
	if err != nil {
		return nil, err
	}
	if c.Identity.File.Path != "" {
		src, err := identity.New(c.Identity.File, identity.Dependencies{Target: known, Logger: log, Registerer: reg})
		if err != nil {
			return nil, err
		}
		if err := src.LoadAll(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.Identity.Networks.Tell(known); err != nil {
		return nil, fmt.Errorf("identity.networks: %w", err)
	}
	known.HugePages()
	return known, nil
}

// takeHeartbeats reads the files once for nothing but what their lines prove about addresses. It tells no fault: the reading that
// makes rows meets the same ones, and counts them.
func takeHeartbeats(ctx context.Context, c config.Config, known *store.Store, paths []string) error {
	sightings, err := enrich.NewSightings(known, heartbeats{Store: known})
	if err != nil {
		return err
	}
	reg, log := telemetry.NewRegistry(), zerolog.Nop()
	p, err := pipeline.New(c.Pipeline, pipeline.Deps{Sink: nowhere{}, Enricher: nobody{}, Observer: sightings, Log: log, Registry: reg})
	if err != nil {
		return err
	}
	src, err := source.New(replaySource(paths), source.Deps{Processor: p, Budget: p.Budget(), IsHeader: flowlog.IsHeader, Log: log, Metrics: reg})
	if err != nil {
		return err
	}
	if err := src.Run(ctx); ctx.Err() != nil {
		return err
	}
	return nil
}

// nobody makes no rows.
type nobody struct{}

func (nobody) Enrich(*flowlog.Batch, *row.Batch) {}

// nowhere is a sink that has delivered everything already.
type nowhere struct{}

func (nowhere) Open(context.Context, string) (sink.Writer, stream.Position, error) {
	return nowhere{}, "", nil
}

func (nowhere) Write(_ context.Context, _ *row.Batch, _ stream.Position, done func(error)) error {
	done(nil)
	return nil
}
func (nowhere) Flush(context.Context) error { return nil }
func (nowhere) Close(context.Context) error { return nil }

func replaySource(paths []string) source.Config {
	c := source.DefaultConfig()
	c.Paths = paths
	return c
}

// printBooks tells what became of every line, and shows the first of those that were not understood.
func printBooks(w io.Writer, b pipeline.Snapshot, rejects []pipeline.Reject) {
	total := func(m map[string]int64) (n int64) {
		for _, v := range m {
			n += v
		}
		return n
	}
	each := func(name string, m map[string]int64) {
		if total(m) == 0 {
			return
		}
		fmt.Fprintf(w, "  %-14s %d", name, total(m))
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if m[k] > 0 {
				fmt.Fprintf(w, "  %s %d", k, m[k])
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "lines %d, decoded %d, delivered %d\n", b.Lines, b.Decoded, b.Delivered)
	each("skipped", b.Skipped)
	each("rejected", b.Rejected)
	each("dropped", b.Dropped)
	each("dead-lettered", b.DeadLettered)
	each("abandoned", b.Abandoned)
	faults := map[string]int64{}
	for k, v := range b.Payloads {
		if k != "ok" {
			faults[k] = v
		}
	}
	each("unreadable", faults)
	const shown = 10
	slices.Reverse(rejects)
	for i, r := range rejects {
		if i == shown {
			fmt.Fprintf(w, "… and more; `dredge parse` tells every one of them\n")
			break
		}
		fmt.Fprintf(w, "%s: %s: %s\n", filepath.Base(r.Partition), r.Reason, r.Detail)
	}
}
