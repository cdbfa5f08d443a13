package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/kinesis/kpl"
	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/leaseadmin"
	"dredge/flowlog"
	"dredge/flowlog/envelope"
)

// streamPlace is a record in a stream, as the columns partition and position, the dead letters and the log say it.
type streamPlace struct {
	// key is the lease key: the shard's id, with account:stream:epoch before it where an application reads several streams.
	key string
	at  lease.Checkpoint
	// sub says that one user record of an aggregate is meant.
	sub bool
}

// parseStreamPlace reads LEASE-KEY:SEQUENCE or LEASE-KEY:SEQUENCE:SUB-SEQUENCE.
func parseStreamPlace(text string) (streamPlace, error) {
	fault := func(why string) (streamPlace, error) {
		return streamPlace{}, fmt.Errorf("--at: %q %s; write partition and position of the row, as shardId-000000000001:49590338271490256608559692538361571095921575989136588898", text, why)
	}
	i := strings.LastIndex(text, "shardId-")
	if i < 0 {
		return fault("names no shard")
	}
	shard, position, ok := strings.Cut(text[i:], ":")
	if !ok {
		return fault("has no sequence number")
	}
	sequence, sub, hasSub := strings.Cut(position, ":")
	p := streamPlace{key: text[:i] + shard, sub: hasSub}
	var n uint64
	var err error
	if hasSub {
		if n, err = strconv.ParseUint(sub, 10, 31); err != nil {
			return fault("has a sub-sequence number that is none")
		}
	}
	if p.at, err = lease.ParseCheckpoint(sequence, int64(n)); err != nil || !p.at.IsSequence() {
		return fault("has a sequence number that is none")
	}
	return p, nil
}

// shard is the shard's id.
func (p streamPlace) shard() string { return p.key[strings.LastIndex(p.key, "shardId-"):] }

// fetchTimeout bounds the reading of one record.
const fetchTimeout = 30 * time.Second

// fetch reads the record at p.
func (p streamPlace) fetch(ctx context.Context, c config.Config, clients awsClients) (types.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	streams, err := newLeaseStreams(ctx, c, "", clients)
	if err != nil {
		return types.Record{}, err
	}
	name := ""
	if account, stream, epoch, _, ok := leaseadmin.ParseKey(p.key); ok {
		name = account + ":" + stream + ":" + epoch
	}
	stream, ok := streams[name]
	if !ok {
		return types.Record{}, fmt.Errorf("--at: no stream of the configuration belongs to %q; give the configuration of the worker with -c", p.key)
	}
	return readRecord(ctx, stream.API, stream.Stream, p)
}

// recordReader is what of Kinesis it takes to read one record.
type recordReader interface {
	GetShardIterator(ctx context.Context, in *awskinesis.GetShardIteratorInput, opts ...func(*awskinesis.Options)) (*awskinesis.GetShardIteratorOutput, error)
	GetRecords(ctx context.Context, in *awskinesis.GetRecordsInput, opts ...func(*awskinesis.Options)) (*awskinesis.GetRecordsOutput, error)
}

var _ recordReader = kinesis.API(nil)

func readRecord(ctx context.Context, api recordReader, s leaseadmin.Stream, p streamPlace) (types.Record, error) {
	in := &awskinesis.GetShardIteratorInput{
		ShardId: aws.String(p.shard()), ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: aws.String(p.at.Sequence),
	}
	if in.StreamName = &s.Name; s.ARN != "" {
		in.StreamName, in.StreamARN = nil, &s.ARN
	}
	it, err := api.GetShardIterator(ctx, in)
	if err != nil {
		return types.Record{}, fmt.Errorf("read %s of %s: %w", p.at, p.key, err)
	}
	out, err := api.GetRecords(ctx, &awskinesis.GetRecordsInput{ShardIterator: it.ShardIterator, StreamARN: in.StreamARN, Limit: aws.Int32(1)})
	if err != nil {
		return types.Record{}, fmt.Errorf("read %s of %s: %w", p.at, p.key, err)
	}
	if len(out.Records) == 0 || aws.ToString(out.Records[0].SequenceNumber) != p.at.Sequence {
		return types.Record{}, fmt.Errorf("%s has no record %s any more: the stream keeps its records for a limited time, 24 hours unless it was told otherwise", p.key, p.at.Sequence)
	}
	return out.Records[0], nil
}

// payloads takes the record apart as a worker does, and returns those that p means.
func (p streamPlace) payloads(data []byte) ([]payloadAt, error) {
	if !kpl.IsAggregated(data) {
		if p.sub {
			return nil, fmt.Errorf("--at: the record at %s is no aggregate; leave :%d out", p.at.Sequence, p.at.Sub)
		}
		return []payloadAt{{at: p.at, data: data}}, nil
	}
	var splitter kpl.Splitter
	records, err := splitter.Split(data)
	if err != nil {
		// A worker passes on whole what it can't take apart.
		return []payloadAt{{at: lease.Checkpoint{Sequence: p.at.Sequence}, data: data}}, nil //nolint:nilerr // no fault of the trace
	}
	var list []payloadAt
	for i, r := range records {
		list = append(list, payloadAt{at: lease.Checkpoint{Sequence: p.at.Sequence, Sub: int64(i)}, data: r.Data})
	}
	if !p.sub {
		return list, nil
	}
	if p.at.Sub >= int64(len(list)) {
		return nil, fmt.Errorf("--at: the aggregate at %s has %d records; write a sub-sequence number from 0 to %d", p.at.Sequence, len(list), len(list)-1)
	}
	return list[p.at.Sub : p.at.Sub+1], nil
}

type payloadAt struct {
	at   lease.Checkpoint
	data []byte
}

// deliveryStep says how far a record came on its way to the sink.
type deliveryStep struct {
	// Checkpoint is the place in the shard up to which the sink has everything; Owner is who reads the shard now.
	Checkpoint string `json:"checkpoint,omitempty"`
	Owner      string `json:"owner,omitempty"`
	// Acknowledged says that the record lies before the checkpoint; nil when that isn't known.
	Acknowledged *bool  `json:"acknowledged"`
	Why          string `json:"why"`
}

// delivered asks the lease table how far the shard's checkpoint is: a position is only told when the sink has acknowledged every row up to it.
func (p streamPlace) delivered(ctx context.Context, c config.Config, clients awsClients) *deliveryStep {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	out := &deliveryStep{}
	table, err := lease.NewDynamoDB(c.Kinesis.Table(), clients.leases)
	if err != nil {
		out.Why = "the lease table cannot be asked: " + err.Error()
		return out
	}
	l, err := table.Get(ctx, p.key)
	if err != nil {
		out.Why = fmt.Sprintf("the lease table %s cannot be asked: %v", c.Kinesis.Table(), err)
		return out
	}
	out.Checkpoint, out.Owner = l.Checkpoint.String(), l.Owner
	done := l.Checkpoint.Compare(p.at) >= 0
	out.Acknowledged = &done
	switch {
	case l.Checkpoint.IsShardEnd():
		out.Why = "the shard was read to its end, and everything in it was acknowledged by the sink"
	case done:
		out.Why = "the shard's checkpoint is at or behind this record, so the sink has acknowledged all of its rows"
	default:
		out.Why = "the shard's checkpoint lies before this record: its rows are on their way, or it was not read yet"
	}
	return out
}

// traceRecord explains every line of the record at o.at, or the one with o.index.
func (x *explainer) traceRecord(ctx context.Context, out *bufio.Writer) error {
	clients, err := newAWSClients(ctx, x.cfg.AWS, fetchTimeout)
	if err != nil {
		return err
	}
	return x.at(ctx, clients, func(report *explanation) error {
		if err := x.print(out, report); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	})
}

// at explains every line of the record at o.at, or the one with o.index.
func (x *explainer) at(ctx context.Context, clients awsClients, show func(*explanation) error) error {
	p, err := parseStreamPlace(x.o.at)
	if err != nil {
		return err
	}
	record, err := p.fetch(ctx, x.cfg, clients)
	if err != nil {
		return err
	}
	payloads, err := p.payloads(record.Data)
	if err != nil {
		return err
	}
	delivery := p.delivered(ctx, x.cfg, clients)
	x.o.partition = p.key
	only := x.o.index
	for _, heartbeats := range [...]bool{true, false} { // whatever the record proves is known before its first line is explained
		for _, payload := range payloads {
			x.o.position, x.arrived = string(payload.at.Position()), aws.ToTime(record.ApproximateArrivalTimestamp)
			if err := x.payload(payload.data, heartbeats, only, delivery, show); err != nil {
				return err
			}
		}
	}
	if x.lines == 0 {
		return fmt.Errorf("the record at %s of %s has no such line", p.at, p.key)
	}
	return nil
}

// payload explains the lines of one payload, or the one that was asked for, or only takes its heartbeats.
func (x *explainer) payload(data []byte, heartbeats bool, only uint32, delivery *deliveryStep, show func(*explanation) error) error {
	r := envelope.NewReader(int64(x.cfg.Pipeline.MaxInflated), flowlog.MaxLine)
	r.Reset(data)
	for index := uint32(0); r.Next(); index++ {
		if heartbeats {
			if batch, err := x.decode(r, index); err == nil {
				x.sight.Observe(batch)
			}
			continue
		}
		if x.o.indexed && index != only {
			continue
		}
		x.lines++
		x.o.index = index
		report, err := x.line(r)
		if err != nil {
			x.rejected = true
			report = &explanation{Line: string(r.Line()), NoRow: "the line cannot be decoded: " + err.Error()}
		}
		report.Place = &placeStep{Partition: x.o.partition, Position: x.o.position, Index: index, Arrived: x.arrived.UTC().Format(time.RFC3339Nano)}
		report.Delivery = delivery
		if err := show(report); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil && !heartbeats {
		return fmt.Errorf("the payload at %s is cut short: %w", x.o.position, err)
	}
	return nil
}

// placeStep says where a line stood.
type placeStep struct {
	Partition string `json:"partition"`
	Position  string `json:"position"`
	Index     uint32 `json:"index"`
	Arrived   string `json:"arrived"`
}

// checkAt says what goes together with --at.
func (o *explainOptions) checkAt(args []string) error {
	switch {
	case o.at == "":
		return nil
	case o.config == "":
		return errors.New("--at: reads the record from its stream; name the stream's configuration with -c")
	case len(args) > 0 || o.partition != "" || o.position != "":
		return errors.New("--at: is the place of the line; leave out the line, --partition and --position")
	default:
		return nil
	}
}
