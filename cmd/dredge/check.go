package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/lease"
	"dredge/druid"
	"dredge/flowlog"
	"dredge/internal/telemetry"
)

func newCheckCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Validate the configuration, try every connection, say what is wrong and what to write instead",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadService(path)
			if err != nil {
				return err
			}
			return runCheck(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

// checkTimeout bounds each single check.
const checkTimeout = 15 * time.Second

// runCheck runs every check, also after one has failed: a person mends all of them in one go.
func runCheck(ctx context.Context, c config.Config, out io.Writer) error {
	clients, err := newAWSClients(ctx, c.AWS, checkTimeout)
	if err != nil {
		return err
	}
	// Built as run builds it, and thrown away: what cannot be built is found here, too.
	svc, err := newService(c, clients, zerolog.Nop(), telemetry.NewRegistry())
	if err != nil {
		return err
	}
	defer svc.close() //nolint:errcheck // nothing was written
	failed := 0
	check := func(name string, f func(context.Context) (string, error)) {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		note, err := f(ctx)
		if err != nil {
			failed++
			fmt.Fprintf(out, "FAIL  %s: %v\n", name, err)
			return
		}
		fmt.Fprintf(out, "ok    %s%s\n", name, note)
	}
	check("configuration", func(context.Context) (string, error) { return "", nil })
	if c.S3.Enabled() {
		queues, _, ledger := s3Clients(c.AWS, clients.base)
		check("mouthful queue", func(ctx context.Context) (string, error) { return checkQueue(ctx, queues, c.S3.MouthfulQueue) })
		if c.S3.Gather.Queue != "" {
			check("queue of new files", func(ctx context.Context) (string, error) { return checkQueue(ctx, queues, c.S3.Gather.Queue) })
		}
		check("ledger", func(ctx context.Context) (string, error) { return checkLedger(ctx, ledger, c.S3.LedgerTable) })
	}
	for _, stream := range c.Kinesis.AllStreams() {
		if svc.worker == nil {
			break
		}
		name := "kinesis stream"
		if len(c.Kinesis.Streams) > 0 {
			name += " " + stream.String()
		}
		check(name, func(ctx context.Context) (string, error) { return checkStream(ctx, clients, stream) })
	}
	if svc.worker != nil {
		check("lease table", func(ctx context.Context) (string, error) { return checkTable(ctx, clients.leases, c) })
	}
	var file fileKnowledge
	check("identity", func(ctx context.Context) (note string, err error) {
		note, file, err = checkIdentity(ctx, c, time.Now())
		return note, err
	})
	if svc.kube != nil {
		check("kubernetes", func(ctx context.Context) (string, error) { return "", svc.kube.Check(ctx) })
	}
	check("declared edges", func(context.Context) (string, error) {
		if svc.core.segments == nil {
			return ": none; segmentation.file says who may talk to whom", nil
		}
		return ": " + svc.core.segments.Describe(), nil
	})
	if c.Druid.Prices != "" {
		check("prices", func(context.Context) (string, error) {
			p, err := druid.LoadPrices(c.Druid.Prices)
			return ": of " + p.Date + ", in " + p.Currency, err
		})
	}
	check("public addresses", func(ctx context.Context) (string, error) { return checkPublic(ctx, c) })
	for _, src := range svc.aws.list {
		check("identity "+strings.Join(src.Names(), ", "), func(ctx context.Context) (string, error) {
			fine, err := src.Check(ctx)
			return ": " + strings.Join(fine, ", "), err
		})
	}
	check("sink", func(ctx context.Context) (string, error) { return ": " + svc.outputs.describe, svc.outputs.check(ctx) })
	for _, a := range append(c.HTTP.Advice(), identityAdvice(c, file)...) {
		fmt.Fprintf(out, "note  %s\n", a)
	}
	printAdvice(out, c.Pipeline.Formats)
	if failed > 0 {
		return &exitError{code: 1, err: fmt.Errorf("%d of the checks failed", failed)}
	}
	return nil
}

func checkStream(ctx context.Context, clients awsClients, stream kinesis.StreamConfig) (string, error) {
	api, err := clients.stream(stream)
	if err != nil {
		return "", err
	}
	in := &awskinesis.ListShardsInput{}
	if stream.StreamARN != "" {
		in.StreamARN = &stream.StreamARN
	} else {
		in.StreamName = &stream.StreamName
	}
	out, err := api.ListShards(ctx, in)
	if err != nil {
		hint := "kinesis.stream_name, aws.region, and the permission kinesis:ListShards"
		if stream.RoleARN != "" {
			hint += ", and that this process may assume " + stream.RoleARN + " (sts:AssumeRole, and the role's trust policy)"
		}
		return "", fmt.Errorf("list shards: %w; check %s", err, hint)
	}
	open := 0
	for _, s := range out.Shards {
		if s.SequenceNumberRange != nil && s.SequenceNumberRange.EndingSequenceNumber == nil {
			if open++; open > 1 || stream.Reader == kinesis.ReaderFanOut {
				continue
			}
			if err := checkRead(ctx, api, in, s.ShardId); err != nil {
				return "", err
			}
		}
	}
	if out.NextToken != nil {
		return fmt.Sprintf(": more than %d shards", len(out.Shards)), nil
	}
	return fmt.Sprintf(": %d shards, %d open", len(out.Shards), open), nil
}

// checkRead makes the calls of a polling reader once, at the tip of a shard, where there is next to nothing to read.
func checkRead(ctx context.Context, api kinesis.API, stream *awskinesis.ListShardsInput, shard *string) error {
	it, err := api.GetShardIterator(ctx, &awskinesis.GetShardIteratorInput{
		StreamName: stream.StreamName, StreamARN: stream.StreamARN, ShardId: shard, ShardIteratorType: kinesistypes.ShardIteratorTypeLatest,
	})
	if err != nil {
		return fmt.Errorf("get an iterator: %w; check the permission kinesis:GetShardIterator", err)
	}
	_, err = api.GetRecords(ctx, &awskinesis.GetRecordsInput{ShardIterator: it.ShardIterator, StreamARN: stream.StreamARN, Limit: aws.Int32(1)})
	if _, throttled := errors.AsType[*kinesistypes.ProvisionedThroughputExceededException](err); throttled {
		return nil // by whoever else reads; it was allowed
	}
	if err != nil {
		return fmt.Errorf("get records: %w; check the permissions kinesis:GetRecords and, where a key of yours encrypts the stream, kms:Decrypt", err)
	}
	return nil
}

func checkTable(ctx context.Context, api *dynamodb.Client, c config.Config) (string, error) {
	name := c.Kinesis.Table()
	out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
	if _, missing := errors.AsType[*ddbtypes.ResourceNotFoundException](err); missing {
		return fmt.Sprintf(": %s does not exist yet; run creates it", name), nil
	}
	if err != nil {
		return "", fmt.Errorf("describe table %s: %w; check aws.region and the permission dynamodb:DescribeTable", name, err)
	}
	for _, k := range out.Table.KeySchema {
		if k.KeyType == ddbtypes.KeyTypeHash && k.AttributeName != nil && *k.AttributeName != "leaseKey" {
			return "", fmt.Errorf("table %s has the key %q, so it is no KCL lease table; write another kinesis.lease_table", name, *k.AttributeName)
		}
	}
	// Every worker does these two before it takes a lease; the second is asked of two tables.
	table, err := lease.NewDynamoDB(name, api, lease.WithApplication(c.Kinesis.Application))
	if err != nil {
		return "", err
	}
	leases, err := table.List(ctx)
	if err != nil {
		return "", fmt.Errorf("%w; check the permission dynamodb:Scan on %s", err, name)
	}
	if _, err := table.ClientVersion(ctx); err != nil {
		return "", fmt.Errorf("%w; check the permission dynamodb:GetItem on %s and on %s-CoordinatorState, a table that need not exist", err, name, c.Kinesis.Application)
	}
	return fmt.Sprintf(": %s, %d leases", name, len(leases.Leases)), nil
}

// layoutAdvice is what one configured layout lacks.
type layoutAdvice struct {
	name    string // where the layout holds
	missing []flowlog.MissingField
}

// adviceOn says for every configured layout that lacks fields which ones, and what that costs.
func adviceOn(rules flowlog.Rules) []layoutAdvice {
	list := []layoutAdvice{}
	add := func(name, format string) {
		f, err := flowlog.ParseFormat(format)
		if err != nil {
			return // the configuration is valid, so this does not happen
		}
		if missing := flowlog.Advice(f); len(missing) > 0 {
			list = append(list, layoutAdvice{name, missing})
		}
	}
	if rules.Default != "" {
		add("lines without a rule", rules.Default)
	}
	for _, r := range rules.Rules {
		add(fmt.Sprintf("log group %q stream %q account %q", r.LogGroup, r.LogStream, r.Account), r.Format)
	}
	return list
}

func printAdvice(out io.Writer, rules flowlog.Rules) {
	list := adviceOn(rules)
	for _, a := range list {
		fmt.Fprintf(out, "\n%s: the layout has no\n", a.name)
		for _, m := range a.missing {
			fmt.Fprintf(out, "  %-26s %s\n", m.Field, m.Cost)
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(out, "\nA flow log's layout cannot be changed; a new one with everything that dredge uses is created with\n  %s\n", flowlog.Recommended())
	}
}

// logAdvice says the same at the start of the service, a line for each layout.
func logAdvice(log zerolog.Logger, rules flowlog.Rules) {
	for _, a := range adviceOn(rules) {
		costs := zerolog.Dict()
		for _, m := range a.missing {
			costs = costs.Str(m.Field.String(), m.Cost)
		}
		log.Warn().Str("layout_of", a.name).Dict("missing", costs).Str("format_to_create", flowlog.Recommended()).
			Msg("a configured layout lacks fields that dredge uses")
	}
}
