package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/consumer/s3"
	"dredge/consumer/s3/s3test"
	"dredge/enrich"
	"dredge/flowlog"
	"dredge/flowlog/envelope"
	"dredge/internal/awsfake"
	"dredge/internal/awsfake/awsfaketest"
	"dredge/internal/flowgen"
	"dredge/metadata"
	"dredge/metadata/store"
	"dredge/pipeline"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink/file"
)

// day is a simulated day that lies whole in a stream and in two buckets.
type day struct {
	*rig
	identity *store.Store
	rows     row.Config
	// lines are those of the files; controls stand in the stream only, and count as lines there.
	lines, controls int64
}

// B6: the same results as the stream path. The flow logs of one simulated day are read from Kinesis (CloudWatch envelopes), from S3 as
// text and from S3 as Parquet, with the same knowledge of who had which address. By every dimension of a row, and by the
// applications of both ends together, the sums of bytes, packets and flows are equal, all and counted ones. `make full` (DREDGE_FULL=1) runs
// 115,000 lines, a minute to a record; `make test` runs the same day with ten minutes to a record.
func TestB6SameDayThroughKinesisAndS3(t *testing.T) {
	inBubble(t, 2, awsfake.Config{}, func(r *rig) {
		d := &day{rig: r, rows: row.Config{ColumnSets: []row.Set{row.Evidence, row.Endpoint}, Time: row.AtStart}}
		cfg := metadata.DefaultConfig()
		cfg.Retention = 7 * 24 * time.Hour
		var err error
		if d.identity, err = store.New(cfg, store.Dependencies{Registerer: prometheus.NewRegistry()}); err != nil {
			t.Fatal(err)
		}
		interval := 10 * time.Minute
		if os.Getenv("DREDGE_FULL") != "" {
			interval = time.Minute
		}
		begin := time.Now().Truncate(time.Hour)
		l := r.newLoad(6, func(c *flowgen.Config) {
			c.Start, c.ConnRate, c.Scale, c.Identity.ProgressEvery, c.Check, c.Expect = begin, 0.02, 0.03, time.Hour, false, false
			c.Logs.Interval = interval
		})
		<-time.After(time.Until(begin.Add(25 * time.Hour)))
		d.fill(l.sim, begin.Add(24*time.Hour))

		d.throughKinesis("learns") // what traffic proves is known before it counts
		stream := d.throughKinesis("stream")
		text, parquet := d.throughS3("text"), d.throughS3("parquet")
		if n := len(stream["src_app+dst_app"]); n < 20 {
			t.Errorf("%d pairs of applications in the day; that compares little", n)
		}
		for name, got := range map[string]map[string]map[string]counted{"text": text, "parquet": parquet} {
			for dimension, want := range stream {
				if diff := cmp.Diff(want, got[dimension]); diff != "" {
					t.Errorf("%s: sums by %s (-Kinesis +S3):\n%s", name, dimension, clip(diff))
				}
			}
			if len(got) != len(stream) {
				t.Errorf("%s has %d dimensions, Kinesis %d", name, len(got), len(stream))
			}
		}
		t.Logf("%d lines, %d dimensions", d.lines, len(stream))
	})
}

func clip(s string) string { return s[:min(len(s), 1000)] }

// fill lets a day pass in the simulation, and puts its flow logs into the stream and into files of five minutes for each log group.
func (d *day) fill(sim *flowgen.Sim, end time.Time) {
	d.Helper()
	layouts := sim.LogGroups()
	texts := map[string]*strings.Builder{} // by group and five minutes
	reader := envelope.NewReader(1<<30, 1<<20)
	for item := range sim.Until(end) {
		if item.Event != nil {
			if err := d.identity.Apply(item.Event); err != nil {
				d.Fatal(err)
			}
			continue
		}
		p := item.Payload
		d.put(p.PartitionKey, p.Data)
		reader.Reset(p.Data)
		for reader.Next() {
			group := reader.Meta().LogGroup
			key := fmt.Sprintf("AWSLogs/%s/vpcflowlogs/us-east-1/%s_%s", reader.Meta().Owner, strings.ReplaceAll(strings.Trim(group, "/"), "/", "-"), item.Arrive.Truncate(5*time.Minute).Format("20060102T1504Z"))
			b := texts[key]
			if b == nil {
				b = &strings.Builder{}
				fmt.Fprintln(b, layouts[group])
				texts[key] = b
			}
			b.Write(reader.Line())
			b.WriteByte('\n')
			d.lines++
		}
		if err := reader.Err(); err != nil {
			d.Fatal(err)
		}
		d.controls += int64(reader.Controls())
	}
	for _, kind := range []string{"text", "parquet"} {
		d.aws.S3().CreateBucket(kind, false)
		d.aws.SQS().CreateQueue(kind + "-files")
		d.aws.SQS().CreateQueue(kind + "-mouthfuls")
		if err := d.aws.S3().Announce(kind, kind+"-files", "", ""); err != nil {
			d.Fatal(err)
		}
	}
	for key, b := range texts {
		if _, err := d.aws.S3().Put("text", key+".log.gz", s3test.Gzip([]byte(b.String()))); err != nil {
			d.Fatal(err)
		}
		columns, err := s3test.Parquet([]byte(b.String()))
		if err != nil {
			d.Fatal(err)
		}
		if _, err := d.aws.S3().Put("parquet", key+".log.parquet", columns); err != nil {
			d.Fatal(err)
		}
	}
}

// counted are sums over all observations and over those that count.
type counted struct{ All, Counted sums }

// through runs a consumer until all lines of the day are through, and returns the sums of its rows by dimension and value.
func (d *day) through(name string, lines int64, consumer func(p *pipeline.Pipeline, reg *prometheus.Registry, log zerolog.Logger) []func(context.Context) error) map[string]map[string]counted {
	d.Helper()
	columns := d.rows.Columns(row.Raw)
	encoder, err := encode.NewJSON(columns)
	if err != nil {
		d.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	cfg := file.DefaultConfig()
	cfg.Path = filepath.Join(d.TempDir(), name+".jsonl")
	out, err := file.New(cfg, file.Deps{Encoder: encoder, Registry: reg})
	if err != nil {
		d.Fatal(err)
	}
	join, err := enrich.New(enrich.Config{NamingGrades: metadata.DefaultConfig().Naming(), ColumnSets: d.rows.ColumnSets}, enrich.Deps{Resolver: d.identity, Registerer: reg})
	if err != nil {
		d.Fatal(err)
	}
	sightings, err := enrich.NewSightings(d.identity, heartbeats{d.identity})
	if err != nil {
		d.Fatal(err)
	}
	log := zerolog.New(zerolog.NewTestWriter(d.T)).Level(zerolog.ErrorLevel)
	p, err := pipeline.New(d.pipeline, pipeline.Deps{Sink: out, Enricher: join, Observer: sightings, Log: log, Registry: reg})
	if err != nil {
		d.Fatal(err)
	}
	ctx, stop := context.WithCancel(d.Context())
	defer stop()
	var work errgroup.Group
	for _, run := range consumer(p, reg, log) {
		work.Go(func() error { return run(ctx) })
	}
	var books pipeline.Snapshot
	for range 300 {
		if books = p.Books().Snapshot(); books.Lines >= lines && books.InFlight == 0 {
			break
		}
		d.wait(time.Second)
	}
	stop()
	if err := work.Wait(); err != nil {
		d.Errorf("%s: %v", name, err)
	}
	if err := out.Close(); err != nil {
		d.Error(err)
	}
	if books.Lines != lines {
		d.Errorf("%s: %d lines are through, want %d", name, books.Lines, lines)
	}
	if err := p.Books().Snapshot().CheckAtRest(); err != nil {
		d.Errorf("%s: %v", name, err)
	}
	got := map[string]map[string]counted{}
	add := func(dimension, value string, m map[string]any) {
		if got[dimension] == nil {
			got[dimension] = map[string]counted{}
		}
		s := got[dimension][value]
		s.All.add(number(d.T, m, "bytes"), number(d.T, m, "packets"), number(d.T, m, "flows"))
		if m["counted"] == true {
			s.Counted.add(number(d.T, m, "bytes"), number(d.T, m, "packets"), number(d.T, m, "flows"))
		}
		got[dimension][value] = s
	}
	for _, m := range readRows(d.T, cfg.Path, columns) {
		for _, c := range columns {
			if c.Role == row.Dimension && c.Name != "log_group" && c.Name != "row_id" { // S3 has no log groups, and a row is named by where its line lay
				add(c.Name, fmt.Sprint(m[c.Name]), m)
			}
		}
		add("src_app+dst_app", fmt.Sprint(m["src_app"], " ", m["dst_app"]), m)
	}
	return got
}

func (d *day) throughKinesis(name string) map[string]map[string]counted {
	d.Helper()
	return d.through(name, d.lines+d.controls, func(p *pipeline.Pipeline, reg *prometheus.Registry, log zerolog.Logger) []func(context.Context) error {
		cfg := d.consumer
		cfg.Application, cfg.WorkerID = name, name
		leases, err := lease.NewDynamoDB(cfg.Table(), awsfaketest.DynamoDB(d.aws))
		if err != nil {
			d.Fatal(err)
		}
		w, err := kinesis.New(cfg, kinesis.Deps{Kinesis: awsfaketest.Kinesis(d.aws), Leases: leases, Processor: p, Budget: p.Budget(), Log: log, Metrics: reg})
		if err != nil {
			d.Fatal(err)
		}
		return []func(context.Context) error{w.Run}
	})
}

func (d *day) throughS3(name string) map[string]map[string]counted {
	d.Helper()
	return d.through(name, d.lines, func(p *pipeline.Pipeline, reg *prometheus.Registry, log zerolog.Logger) []func(context.Context) error {
		cfg := s3.DefaultConfig()
		cfg.Gather.Queue, cfg.MouthfulQueue = d.aws.SQS().CreateQueue(name+"-files"), d.aws.SQS().CreateQueue(name+"-mouthfuls")
		cfg.LedgerTable, cfg.Gather.MaxBytes = name+"-ledger", 200_000
		base := awsfaketest.AWSConfig(d.aws)
		queues, ledger := sqs.NewFromConfig(base), dynamodb.NewFromConfig(base)
		g, err := s3.NewGatherer(cfg, s3.GathererDeps{SQS: queues, Ledger: ledger, Log: log, Metrics: reg})
		if err != nil {
			d.Fatal(err)
		}
		w, err := s3.NewWorker(cfg, s3.WorkerDeps{
			SQS: queues, Ledger: ledger, Store: awss3.NewFromConfig(base), Processor: p, Budget: p.Budget(), IsHeader: flowlog.IsHeader, Log: log, Metrics: reg,
		})
		if err != nil {
			d.Fatal(err)
		}
		return []func(context.Context) error{g.Run, w.Run}
	})
}
