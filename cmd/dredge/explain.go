package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/enrich"
	"dredge/enrich/rules"
	"dredge/enrich/segment"
	"dredge/flowlog"
	"dredge/flowlog/envelope"
	"dredge/internal/telemetry"
	"dredge/metadata/geo"
	"dredge/metadata/idlog"
	"dredge/metadata/store"
	"dredge/row"
)

type explainOptions struct {
	config, identity, log, format string
	partition, position, at       string
	index                         uint32
	indexed                       bool // index was given
	json                          bool
}

func newExplainCmd() *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [-c FILE] [--identity EVENTS.jsonl | --log URL] [--format FORMAT] LINE | FILE:LINE | -",
		Short: "Say step by step why a flow-log line gives the row that it gives",
		Long: `explain takes one flow-log line and prints every step to its row: the fields, the addresses that were chosen,
the interface and the direction, for each end the scope, everybody who had the address with times and evidence,
the grade and why; then the client side, whether this observation counts, the path, what is published of public
addresses, what the declared edges say and your rules do, and the row itself with all columns.

The line is given as text, or as FILE:LINE as ` + "`dredge parse`" + ` and the dead letters name it (the line of a text file, or
the number of the message in an envelope), or comes on standard input (- or nothing; every line is explained).
Identity comes from --identity, --log or the configuration, read whole as ` + "`dredge replay`" + ` does; all lines of FILE
count as heartbeats. --partition, --position and --index say where the line stood in a stream, and make the row id.

--at PARTITION:POSITION traces a record of the stream itself: it is read from Kinesis (-c says where), every line of it is explained
(or the one with --index), and the lease table says whether the sink has acknowledged its rows. Partition and position stand in the rows
(rows.column_sets: lineage), in dead letters and in the log.

Exit code 1 when a line can't be decoded or the input can't be read.`,
		Example: `  dredge explain --identity events.jsonl flows.log:17
  dredge explain --identity events.jsonl '2 123456789010 eni-1 10.0.0.5 10.0.0.6 40000 443 6 20 4249 1418530010 1418530070 ACCEPT OK'
  dredge explain -c dredge.yaml --at shardId-000000000001:49590338271490256608559692538361571095921575989136588898
  dredge explain -c dredge.yaml --json --partition shardId-000000000001 --position 4950 --index 3 < line.txt`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.indexed = cmd.Flags().Changed("index")
			return runExplain(cmd.Context(), o, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addConfigFlag(cmd, &o.config)
	f := cmd.Flags()
	f.StringVar(&o.identity, "identity", "", "file or folder of identity events (JSON Lines)")
	f.StringVar(&o.log, "log", "", "an identity log, as file:///a/directory or s3://bucket/prefix")
	f.StringVar(&o.format, "format", "", "layout of the line, as ${version} ${account-id} …, or names with spaces; without it that of the configuration, or a header line")
	f.StringVar(&o.partition, "partition", "", "shard or file that the line was read from")
	f.StringVar(&o.position, "position", "", "sequence number of its payload")
	f.StringVar(&o.at, "at", "", "place of a record in the stream, PARTITION:POSITION: it is read from there and traced to the sink")
	f.Uint32Var(&o.index, "index", 0, "the line's place in its payload, from 0")
	f.BoolVar(&o.json, "json", false, "print one JSON object per line")
	return cmd
}

// explainer explains lines with the identity that was loaded.
type explainer struct {
	o        explainOptions
	cfg      config.Config
	known    *store.Store
	public   *geo.Geo // nil when nothing is configured
	join     *enrich.Enricher
	rules    *rules.Rules
	segments *segment.Segments // nil when no edges are declared
	sight    *enrich.Sightings
	columns  []row.Column
	decoder  *flowlog.Decoder
	chooser  *flowlog.Chooser
	// arrived is when the line entered the stream; zero when that is not known.
	arrived  time.Time
	lines    int
	rejected bool
}

func runExplain(ctx context.Context, o explainOptions, args []string, in io.Reader, out, errOut io.Writer) error {
	if err := o.checkAt(args); err != nil {
		return err
	}
	x, err := newExplainer(ctx, o, errOut)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	if o.at != "" {
		err := x.traceRecord(ctx, w)
		if err := errors.Join(err, w.Flush()); err != nil || !x.rejected {
			return err
		}
		return &exitError{code: 1}
	}
	src, err := openExplained(args, in)
	if err != nil {
		return err
	}
	defer src.Close()
	if src.path != "" {
		if err := takeHeartbeats(ctx, x.cfg, x.known, []string{src.path}); err != nil {
			return err
		}
	}
	if err := x.read(ctx, src, w, errOut); err != nil {
		return errors.Join(err, w.Flush())
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	switch {
	case x.rejected:
		return &exitError{code: 1}
	case x.lines == 0 && src.number > 0:
		return fmt.Errorf("%s has no line %d", src.path, src.number)
	case x.lines == 0:
		return errors.New("no line was given; write one, FILE:LINE, or - for standard input")
	}
	return nil
}

func newExplainer(ctx context.Context, o explainOptions, errOut io.Writer) (*explainer, error) {
	c, err := replayOptions{config: o.config, identity: o.identity, format: o.format}.configuration()
	if err != nil {
		return nil, err
	}
	log := telemetry.NewLogger(telemetry.LogConfig{Level: "warn", Format: "auto"}, errOut, isTerminal(errOut))
	reg := telemetry.NewRegistry()
	x := &explainer{o: o, cfg: c, decoder: flowlog.NewDecoder()}
	if x.known, err = loadIdentity(ctx, c, log, reg); err != nil {
		return nil, err
	}
	if err := x.readLog(ctx, log); err != nil {
		return nil, err
	}
	if x.public, err = loadPublic(ctx, c); err != nil {
		return nil, err
	}
	all := c.Rows
	all.ColumnSets = nil
	for _, s := range row.Sets() {
		all.ColumnSets = append(all.ColumnSets, s.Name)
	}
	x.columns = all.Columns(row.Raw)
	if x.rules, err = rules.New(c.Rules, nil); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	deps := enrich.Deps{Resolver: x.known, Registerer: reg}
	if x.segments, err = loadSegments(c, log, nil); err != nil {
		return nil, err
	}
	if x.segments != nil {
		deps.Segments = x.segments
	}
	if x.public != nil {
		deps.Public = x.public
	}
	if x.join, err = enrich.New(enrich.Config{NamingGrades: c.Identity.Store.Naming(), ColumnSets: all.ColumnSets}, deps); err != nil {
		return nil, err
	}
	if x.sight, err = enrich.NewSightings(x.known, heartbeats{Store: x.known}); err != nil {
		return nil, err
	}
	if x.chooser, err = flowlog.NewChooser(c.Pipeline.Formats); err != nil {
		return nil, fmt.Errorf("--format: %w", err)
	}
	return x, nil
}

// readLog takes in the identity log of --log, else the configuration's own one.
func (x *explainer) readLog(ctx context.Context, log zerolog.Logger) error {
	url := x.o.log
	if url == "" && x.o.identity == "" {
		if lc, err := x.cfg.Identity.SonarLog(); err == nil { // else the configuration has none
			url = lc.URL
		}
	}
	if url == "" {
		return nil
	}
	k := knowledge{store: x.known, fold: idlog.NewFold(maxRetention)}
	return k.readLog(ctx, url, log)
}

// explained is what was asked to be explained: a line of a file, or every line of a text.
type explained struct {
	io.Reader
	io.Closer
	// path and number are set for FILE:LINE.
	path   string
	number int64
}

// openExplained finds out what args mean. A line has spaces, so one argument without any that ends with a number is FILE:LINE.
func openExplained(args []string, stdin io.Reader) (*explained, error) {
	text := strings.TrimSpace(strings.Join(args, " "))
	if text == "" || text == "-" {
		return &explained{Reader: stdin, Closer: io.NopCloser(nil)}, nil
	}
	path, digits, found := cutLast(text, ":")
	if number, err := strconv.ParseInt(digits, 10, 64); found && len(args) == 1 && err == nil && number > 0 {
		f, err := os.Open(path)
		if err != nil {
			if pe, ok := errors.AsType[*fs.PathError](err); ok {
				err = pe.Err
			}
			return nil, fmt.Errorf("open %q: %w", path, err)
		}
		return &explained{Reader: f, Closer: f, path: path, number: number}, nil
	}
	if !strings.ContainsAny(text, " \t{") {
		return nil, fmt.Errorf("%q is no flow-log line and no FILE:LINE; write %s:1 for the first line of a file, or the line in quotes", text, text)
	}
	return &explained{Reader: strings.NewReader(text + "\n"), Closer: io.NopCloser(nil)}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// read explains the lines that were asked for.
func (x *explainer) read(ctx context.Context, src *explained, out *bufio.Writer, errOut io.Writer) error {
	r := envelope.NewReader(math.MaxInt64, flowlog.MaxLine)
	plain, err := uncompressed(src.Reader)
	if err != nil {
		return err
	}
	defer plain.Close()
	r.ResetReader(plain)
	for r.Next() {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if src.number > 0 && r.Number() != src.number {
			continue
		}
		x.lines++
		report, err := x.line(r)
		if err != nil {
			x.rejected = true
			if err := out.Flush(); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if _, err := fmt.Fprintf(errOut, "%s: %v\n", x.place(src, r), err); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			continue
		}
		if err := x.print(out, report); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if src.number > 0 {
			return nil
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the line: %w", err)
	}
	return nil
}

func (x *explainer) place(src *explained, r *envelope.Reader) string {
	if src.path != "" {
		return fmt.Sprintf("%s:%d", src.path, r.Number())
	}
	return fmt.Sprintf("line %d", r.Number())
}

func (x *explainer) print(out *bufio.Writer, report *explanation) error {
	if x.o.json {
		return printJSON(out, report)
	}
	if x.lines > 1 {
		if _, err := out.WriteString("\n"); err != nil {
			return err
		}
	}
	return report.write(out)
}

// line explains the reader's present line; the error says why it can't be decoded.
func (x *explainer) line(r *envelope.Reader) (*explanation, error) {
	batch, err := x.decode(r, x.o.index)
	if err != nil {
		return nil, err
	}
	record := &batch.Records[0]
	report := &explanation{Line: string(r.Line()), Layout: record.Format.Names(), Fields: flowlog.AppendJSON(nil, record)}
	if !enrich.Flow(record) {
		report.NoRow = noRow(record)
		return report, nil
	}
	x.sight.Observe(batch)
	var rows row.Batch
	facts := x.join.Explain(batch, 0, &rows)
	return report, x.report(report, record, &facts, &rows)
}

// decode makes a batch of the reader's present line alone.
func (x *explainer) decode(r *envelope.Reader, index uint32) (*flowlog.Batch, error) {
	switch {
	case r.Kind() == envelope.KindMalformed:
		return nil, fmt.Errorf("%s: a JSON object that is neither a message nor a record: %.80q", envelope.FaultBadJSON, r.Line())
	case r.TooLong():
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", flowlog.ReasonTooLong, r.Size(), flowlog.MaxLine)
	}
	meta := r.Meta()
	format, _ := x.chooser.Choose(meta.LogGroup, meta.LogStream, meta.Owner)
	if h := r.Header(); h != nil && (x.o.format == "" || r.Kind() == envelope.KindRecord) {
		var err error
		if format, err = x.chooser.Header(h); err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
	}
	batch := &flowlog.Batch{
		Partition: x.o.partition,
		Origins:   []flowlog.Origin{{Position: x.o.position, Arrived: x.arrived, LogGroup: meta.LogGroup, LogStream: meta.LogStream}},
	}
	if reason := x.decoder.Append(batch, format, r.Line(), 0, index); reason != flowlog.ReasonNone {
		return nil, flowlog.Explain(format, r.Line())
	}
	return batch, nil
}

func noRow(r *flowlog.Record) string {
	switch r.Status {
	case flowlog.StatusNoData:
		return "log-status is NODATA: the interface had no traffic in that time; the line is counted as skipped"
	case flowlog.StatusSkipData:
		return "log-status is SKIPDATA: AWS skipped records in that time; the line is counted as skipped"
	default:
		return "the record has not both addresses, so it is no flow; the line is counted as dropped by the enricher"
	}
}
