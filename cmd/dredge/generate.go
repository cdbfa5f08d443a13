package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dredge/internal/flowgen"
	"dredge/metadata/event"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/klauspost/compress/gzip"
	"github.com/spf13/cobra"
)

// Bounds of one PutRecords request.
const (
	maxPutRecords = 500
	maxPutBytes   = 4 << 20
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

// jsonLines writes lines to a file that may be absent.
type jsonLines struct {
	file *os.File
	out  *bufio.Writer
	buf  []byte
}

// createLines opens path; an empty one gives a writer that writes nothing.
func createLines(path string) (*jsonLines, error) {
	if path == "" {
		return &jsonLines{out: bufio.NewWriter(io.Discard)}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create file: %w", err)
	}
	return &jsonLines{file: file, out: bufio.NewWriterSize(file, 64<<10)}, nil
}

func (j *jsonLines) event(e *event.Event) error {
	var err error
	if j.buf, err = event.Append(j.buf[:0], e); err != nil {
		return err
	}
	_, err = j.out.Write(j.buf)
	return err
}

// truthLine is one line of truth.jsonl.
type truthLine struct {
	LogGroup  string `json:"log_group"`
	Interface string `json:"interface_id"`
	Src       string `json:"src_ip"`
	Dst       string `json:"dst_ip"`
	SrcPort   uint16 `json:"src_port"`
	DstPort   uint16 `json:"dst_port"`
	Protocol  uint8  `json:"protocol"`
	Reject    bool   `json:"reject,omitempty"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	First     int64  `json:"first_packet"`
	Last      int64  `json:"last_packet"`
	Packets   int64  `json:"packets"`
	Bytes     int64  `json:"bytes"`
	SrcApp    string `json:"src_app,omitempty"`
	DstApp    string `json:"dst_app,omitempty"`
	SrcOwner  string `json:"src_owner,omitempty"`
	DstOwner  string `json:"dst_owner,omitempty"`
	Counted   bool   `json:"counted,omitempty"`
	Flow      uint64 `json:"flow"`
}

func (j *jsonLines) truth(group string, list []flowgen.Expected) error {
	if j.file == nil {
		return nil
	}
	enc := json.NewEncoder(j.out)
	for i := range list {
		e := &list[i]
		if e.Status != "OK" {
			continue
		}
		err := enc.Encode(truthLine{
			LogGroup: group, Interface: e.Interface, Src: e.Src.String(), Dst: e.Dst.String(), SrcPort: e.SrcPort, DstPort: e.DstPort,
			Protocol: e.Protocol, Reject: e.Reject, Start: e.Start, End: e.End, First: e.First, Last: e.Last, Packets: e.Packets,
			Bytes: e.Bytes, SrcApp: e.SrcApp, DstApp: e.DstApp, SrcOwner: e.SrcOwner, DstOwner: e.DstOwner, Counted: e.Counted, Flow: e.Flow,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// close writes what is left. A file that can't be written is an error even when the simulation went well.
func (j *jsonLines) close() error {
	err := j.out.Flush()
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
	}
	return err
}

// flowFile is the flow log of one log group.
type flowFile struct {
	*jsonLines
	zip *gzip.Writer
}

func createFlowFile(dir, group, header string, compress bool) (*flowFile, error) {
	name := "flows-" + group[strings.LastIndexByte(group, '/')+1:] + ".log"
	if compress {
		name += ".gz"
	}
	lines, err := createLines(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	f := &flowFile{jsonLines: lines}
	if compress {
		f.zip = gzip.NewWriter(lines.file)
		lines.out.Reset(f.zip)
	}
	_, err = fmt.Fprintln(f.out, header)
	return f, err
}

func (f *flowFile) close() error {
	if f.zip == nil {
		return f.jsonLines.close()
	}
	return errors.Join(f.out.Flush(), f.zip.Close(), f.file.Close())
}

// toFiles simulates up to end and writes everything that has arrived by then.
func (f *generateFlags) toFiles(ctx context.Context, sim *flowgen.Sim, end time.Time, progress io.Writer) (err error) {
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	path := func(set, name string) string {
		if set != "" {
			return set
		}
		return filepath.Join(f.out, name)
	}
	var closers []func() error
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
	}()
	events, err := createLines(path(f.identityOut, "events.jsonl"))
	if err != nil {
		return err
	}
	closers = append(closers, events.close)
	truth, err := createLines(path(f.truthOut, "truth.jsonl"))
	if err != nil {
		return err
	}
	closers = append(closers, truth.close)
	files := map[string]*flowFile{}
	for group, layout := range sim.LogGroups() {
		file, err := createFlowFile(f.out, group, layout.String(), f.gzip)
		if err != nil {
			return err
		}
		closers = append(closers, file.close)
		files[group] = file
	}
	lines, told := 0, 0
	for it := range sim.Until(end) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if it.Event != nil {
			told++
			if err := events.event(it.Event); err != nil {
				return fmt.Errorf("write events: %w", err)
			}
			continue
		}
		lines += it.Payload.Lines
		if _, err := files[it.Payload.LogGroup].out.Write(it.Payload.Data); err != nil {
			return fmt.Errorf("write flow log: %w", err)
		}
		if err := truth.truth(it.Payload.LogGroup, it.Payload.Truth); err != nil {
			return fmt.Errorf("write truth: %w", err)
		}
	}
	if f.policy == "hindsight" {
		list, err := sim.Hindsight()
		if err != nil {
			return err
		}
		for i := range list {
			if err := events.event(&list[i]); err != nil {
				return fmt.Errorf("write events: %w", err)
			}
		}
		told = len(list)
	}
	fmt.Fprintf(progress, "wrote %d flow-log lines of %d log groups and %d identity events to %s\n", lines, len(files), told, f.out)
	return nil
}

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
	for backoff := 100 * time.Millisecond; len(p.batch) > 0; backoff = min(2*backoff, 5*time.Second) {
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
		if err := wait(ctx, backoff); err != nil {
			return err
		}
	}
	p.size = 0
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
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
			if err := wait(ctx, ahead); err != nil {
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
