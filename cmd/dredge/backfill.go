package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"dredge/config"
	"dredge/consumer/s3"
	"dredge/druid"
	"dredge/flowlog"
	"dredge/internal/blob"
	"dredge/internal/telemetry"
	"dredge/metadata/idlog"
	"dredge/metadata/store"
	druidsink "dredge/sink/druid"
)

type backfillOptions struct {
	config, run, out, topic string
	replace                 string // a span of time, T1..T2
	span                    timeSpan
	prefixes                []string
	accounts, regions       []string
	dryRun, appendRows      bool
	unattributed            bool
}

func newBackfillCmd() *cobra.Command {
	var o backfillOptions
	cmd := &cobra.Command{
		Use:   "backfill -c FILE --prefix s3://BUCKET/PREFIX --from T --to T",
		Short: "Read flow logs of the past from S3, named as owners were then",
		Long: `backfill lists files of flow logs in S3, groups them into mouthfuls and reads them through the whole pipeline: no queue is
needed. Owners are those of the time of each flow, by identity.file and identity.logs. What was read stands in the ledger
s3.ledger_table under the name of the run, so the same command goes on where an earlier one ended, and several at once share
the work; --run with another name reads everything once more.

--from and --to bound when flows ended; files are chosen by the time in their names. It refuses a time before the retention
of identity (identity.store.retention), when nobody knows any more who had which address, unless --unattributed is given;
rows then say before-retention. It refuses to write where rows may be already: give it a topic of its own (--topic), a file
(--out), or --append if rows may stand there twice.

--replace has the rows take the place of all that Druid holds of whole hours of flow time, in both grains, once every file was
read; rows of other hours are left out. Files of flows that began in these hours come up to a quarter of an hour later, so --to
must be that much later. Such a run is whole or nothing: it does not go on where an earlier one ended.

--dry-run lists, prints files, bytes and what AWS will charge, about, and says when the time would be refused.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(o.config, os.Environ())
			if err != nil {
				return err
			}
			clients, err := newAWSClients(cmd.Context(), c.AWS, checkTimeout)
			if err != nil {
				return err
			}
			return runBackfill(cmd.Context(), o, c, clients, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addConfigFlag(cmd, &o.config)
	o.span.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&o.prefixes, "prefix", nil, "where files are, as s3://bucket/prefix; may be given more than once")
	f.StringSliceVar(&o.accounts, "accounts", nil, "accounts to read, by the key's; all when empty")
	f.StringSliceVar(&o.regions, "regions", nil, "regions to read, by the key's; all when empty")
	f.StringVar(&o.run, "run", "", "name of this reading in the ledger; made of the other flags when empty")
	f.StringVarP(&o.out, "out", "o", "", "file to write rows to instead of the sink, - for standard output")
	f.StringVar(&o.topic, "topic", "", "Kafka topic for raw rows instead of sink.kafka.topic")
	f.StringVar(&o.replace, "replace", "", "replace these whole hours of flow time in Druid, T1..T2")
	f.BoolVar(&o.dryRun, "dry-run", false, "only list; print files, bytes and cost")
	f.BoolVar(&o.appendRows, "append", false, "write where rows of that time may be already")
	f.BoolVar(&o.unattributed, "unattributed", false, "read what is older than identity remembers; its rows name no private end")
	return cmd
}

// backfillConfig applies the flags to c.
func (o backfillOptions) backfillConfig(c *config.Config, now time.Time) (s3.BackfillConfig, error) {
	b := s3.BackfillConfig{Run: o.run}
	var err error
	b.Prefixes, b.Accounts, b.Regions = o.prefixes, o.accounts, o.regions
	if b.From, b.To, err = o.span.interval(now); err != nil {
		return b, err
	}
	if b.Run == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %s %s", b.Prefixes, b.Accounts, b.Regions, o.span.from, o.span.to))
		b.Run = hex.EncodeToString(sum[:6])
	}
	if o.out != "" {
		c.Sink.Type, c.Sink.File.Path = config.SinkFile, o.out
	}
	if o.topic != "" {
		c.Sink.Kafka.Topic = o.topic
		c.Sink.Kafka.MinuteTopic, c.Sink.Kafka.LateTopic = "", ""
	}
	c.Rows.LateAfter = 0 // everything of the past is late
	b.S3 = c.S3
	return b, b.Validate()
}

// stragglers is how long after the beginning of a flow its file comes at most: an aggregation of ten minutes, and AWS's delay.
const stragglers = 15 * time.Minute

// replacing applies --replace to b: what has to be read for it, and a run of its own, as rows that were only taken stand in no ledger.
func (o backfillOptions) replacing(b *s3.BackfillConfig, now time.Time) (hours span, err error) {
	if hours, err = parseSpan("replace", o.replace, now); err != nil || hours.isZero() {
		return hours, err
	}
	switch {
	case o.run != "" || o.out != "" || o.topic != "" || o.appendRows:
		return hours, errors.New("--replace: goes with none of --run, --out, --topic and --append: its rows take the place of others, all at once")
	case b.From.After(hours.from) || b.To.Before(hours.to.Add(stragglers)):
		return hours, fmt.Errorf("--replace: flows of these hours stand in files from %s to %s; write that as --from and --to, or more",
			hours.from.Format(time.RFC3339), hours.to.Add(stragglers).Format(time.RFC3339))
	}
	b.Run += "-" + strconv.FormatInt(now.UnixMilli(), 36)
	return hours, nil
}

func runBackfill(ctx context.Context, o backfillOptions, c config.Config, clients awsClients, out, errOut io.Writer) error {
	now := time.Now()
	topic := c.Sink.Kafka.Topic
	b, err := o.backfillConfig(&c, now)
	if err != nil {
		return err
	}
	hours, err := o.replacing(&b, now)
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	_, files, ledger := s3Clients(c.AWS, clients.base)
	plan, err := b.Plan(ctx, files)
	if err != nil {
		return err
	}
	if o.dryRun {
		printPlan(out, b, plan)
	} else {
		printPlan(errOut, b, plan)
	}
	if plan.Files == 0 {
		return nil
	}
	if err := o.remembered(c, b.From, now); err != nil || o.dryRun {
		return err
	}
	log := telemetry.NewLogger(telemetry.LogConfig{Level: "warn", Format: "auto"}, errOut, isTerminal(errOut))
	reg := telemetry.NewRegistry()
	f := filling{backfillOptions: o, config: c, hours: hours, plan: plan, lister: files, errOut: errOut}
	if hours.isZero() {
		if err := o.mayWrite(ctx, c, topic, b.Selection); err != nil {
			return err
		}
		var leases sinkLeases = &workerLeases{} // of no worker: slots have none
		if c.Sink.Type == config.SinkDruid {
			leases = nil
		}
		f.outputs, err = newOutputs(c, out, leases, log, reg)
	} else {
		f.outputs, f.replacement, err = newReplacement(c, hours, log, reg)
	}
	if err != nil {
		return err
	}
	if err := f.outputs.check(ctx); err != nil {
		return errors.Join(err, f.outputs.close())
	}
	books, err := f.read(ctx, b, s3.WorkerDeps{Store: files, Ledger: ledger, Slots: f.outputs.slots, IsHeader: flowlog.IsHeader, Log: log, Metrics: reg}, reg)
	return errors.Join(err, f.outputs.close(), books)
}

// filling is a backfill that is allowed and may begin.
type filling struct {
	backfillOptions
	config      config.Config
	hours       span // to be replaced
	plan        s3.Plan
	lister      s3.Lister
	outputs     *outputs
	replacement *druidsink.Replacement // nil when rows are added
	errOut      io.Writer
}

// read does the work. balance says what is wrong with the books.
func (f *filling) read(ctx context.Context, b s3.BackfillConfig, d s3.WorkerDeps, reg *prometheus.Registry) (balance, err error) {
	c := f.config
	known, err := loadIdentity(ctx, c, d.Log, reg)
	if err != nil {
		return nil, err
	}
	if err := loadIdentityLogs(ctx, c.Identity, known, d.Log); err != nil {
		return nil, err
	}
	known.Trim(time.Now()) // what a service would have forgotten names nobody here either
	deps := coreDeps{sink: f.outputs.sink, deadLetter: f.outputs.deadLetter, identity: known, log: d.Log, reg: reg}
	if public, err := loadPublic(ctx, c); err != nil {
		return nil, err
	} else if public != nil {
		deps.public = public
	}
	core, err := newCore(c, deps)
	if err != nil {
		return nil, err
	}
	d.Processor, d.Budget = processor(core.pipeline), core.pipeline.Budget()
	fill, err := s3.NewBackfill(b, f.lister, d)
	if err != nil {
		return nil, err
	}
	var shown errgroup.Group
	showing, stop := context.WithCancel(ctx)
	shown.Go(func() error { showBackfill(showing, f.errOut, f.plan, fill.Progress); return nil })
	err = fill.Run(ctx)
	stop()
	_ = shown.Wait() // it returns no error
	snapshot := core.pipeline.Books().Snapshot()
	printBooks(f.errOut, snapshot, core.pipeline.Rejects())
	at := fill.Progress()
	fmt.Fprintf(f.errOut, "run %s: %d files read, %d of them quarantined\n", b.Run, at.Files, at.Quarantined)
	if err == nil && at.Quarantined > 0 {
		err = fmt.Errorf("%d files could not be read; the items backfill:%s:file:… of the ledger %s have the reasons", at.Quarantined, b.Run, c.S3.LedgerTable)
	}
	if f.replacement != nil {
		if err == nil && at.Lost > 0 {
			err = fmt.Errorf("the claims on %d mouthfuls were lost, so rows may have been taken twice; run it again", at.Lost)
		}
		err = publish(ctx, f.replacement, f.hours, err, core.pipeline, f.errOut)
	}
	return snapshot.CheckAtRest(), err
}

// remembered refuses a time of which identity knows nothing any more.
func (o backfillOptions) remembered(c config.Config, from, now time.Time) error {
	kept := c.Identity.Store.Retention
	if o.unattributed || !from.Before(now.Add(-kept)) {
		return nil
	}
	return fmt.Errorf("--from %s is %s ago, and identity.store.retention is %s: nobody knows who had an address then, and no row would name a private end; "+
		"raise the retention (and that of the identity log's writers) if its log or files reach back, or write --unattributed",
		from.Format(time.RFC3339), now.Sub(from).Round(time.Hour), kept)
}

// mayWrite refuses to add rows to those of the same time. topic is that of the configuration.
func (o backfillOptions) mayWrite(ctx context.Context, c config.Config, topic string, s s3.Selection) error {
	switch {
	case o.appendRows || o.topic != "" && o.topic != topic:
		return nil
	case c.Sink.Type == config.SinkFile:
		if info, err := os.Stat(c.Sink.File.Path); c.Sink.File.Path != "-" && err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			return fmt.Errorf("sink.file.path: %s has rows already; write --out with another file, or --append", c.Sink.File.Path)
		}
		return nil
	case c.Druid.Overlord == "" && c.Druid.Broker == "":
		return fmt.Errorf("rows of that time may be in topic %s already, and no druid is configured to ask; write --topic with one of their own, or --append", topic)
	}
	client, err := druid.NewClient(c.Druid)
	if err != nil {
		return err
	}
	defer client.Close()
	n, err := client.CountRows(ctx, c.Druid.Datasources.Raw, s.From, s.To)
	if err != nil {
		return fmt.Errorf("ask whether there are rows already: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("datasource %s has %d rows from %s to %s already; replace whole hours with --replace, write --topic with one of their own, or --append to have them twice",
			c.Druid.Datasources.Raw, n, s.From.Format(time.RFC3339), s.To.Format(time.RFC3339))
	}
	return nil
}

// loadIdentityLogs reads all configured identity logs as they stand now.
func loadIdentityLogs(ctx context.Context, c config.IdentityConfig, known *store.Store, log zerolog.Logger) error {
	for _, lc := range c.Logs {
		bucket, err := blob.New(lc.URL)
		if err != nil {
			return fmt.Errorf("identity.logs: %w", err)
		}
		r, err := idlog.NewReader(lc, c.LogSettings, idlog.ReaderDeps{Bucket: bucket, Target: &logTarget{store: known}, Logger: log})
		if err == nil {
			err = r.Poll(ctx)
		}
		if err := errors.Join(err, bucket.Close()); err != nil {
			return fmt.Errorf("identity.logs: %w", err)
		}
	}
	return nil
}

// printPlan says what will be read.
func printPlan(w io.Writer, b s3.BackfillConfig, p s3.Plan) {
	fmt.Fprintf(w, "run %s: %d files (%d Parquet), %s, %d days, %d accounts, %d regions, from %s to %s\n", b.Run, p.Files, p.Parquet, sizeText(p.Bytes),
		len(p.ByDay), len(p.ByAccount), len(p.ByRegion), b.From.Format(time.RFC3339), b.To.Format(time.RFC3339))
	for _, day := range slices.Sorted(maps.Keys(p.ByDay)) {
		fmt.Fprintf(w, "  %-12s %s\n", strings.TrimSpace(day+" "), sizeText(p.ByDay[day]))
	}
	fmt.Fprintf(w, "about %d mouthfuls; requests to S3 and DynamoDB cost about $%.2f\n", p.Mouthfuls, p.Cost())
}

func sizeText(n int64) string {
	const unit = 1024
	switch {
	case n >= unit*unit*unit:
		return fmt.Sprintf("%.1f GiB", float64(n)/(unit*unit*unit))
	case n >= unit*unit:
		return fmt.Sprintf("%.1f MiB", float64(n)/(unit*unit))
	}
	return fmt.Sprintf("%d bytes", n)
}

// showBackfill draws a bar on a terminal, and writes a line every half a minute elsewhere.
func showBackfill(ctx context.Context, w io.Writer, plan s3.Plan, progress func() s3.Progress) {
	live := isTerminal(w)
	every := 30 * time.Second
	if live {
		every = 200 * time.Millisecond
	}
	began := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if live {
				fmt.Fprint(w, "\r\x1b[K")
			}
			return
		case <-tick.C:
		}
		at := progress()
		rate := float64(at.Bytes) / time.Since(began).Seconds()
		text := fmt.Sprintf("%d of %d files, %s of %s, %s/s", at.Files, plan.Files, sizeText(at.Bytes), sizeText(plan.Bytes), sizeText(int64(rate)))
		if live {
			fmt.Fprintf(w, "\r\x1b[K%s %s", barOf(at.Bytes, plan.Bytes), text)
		} else {
			fmt.Fprintln(w, text)
		}
	}
}
