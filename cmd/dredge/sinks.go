package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/consumer/kinesis"
	"dredge/consumer/s3"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink"
	"dredge/sink/druid"
	"dredge/sink/file"
	"dredge/sink/kafka"
	"dredge/stream"
)

// outputs are the sink and the dead letter that the configuration asks for.
type outputs struct {
	sink       sink.Sink
	deadLetter sink.DeadLetter
	// slots is the sink once more when it commits exactly once, for what has no leases; else nil.
	slots s3.Slots
	// check tries the connections, makes the topics that are missing and may be made, and says what is wrong.
	check func(context.Context) error
	// describe names the sink and its guarantee for people.
	describe string
	closers
}

// sinkLeases is what a sink that keeps its own account of positions asks of the source.
type sinkLeases interface {
	kafka.Leases
	druid.Leases
}

// newOutputs makes them. leases is nil for a source that has none.
func newOutputs(c config.Config, stdout io.Writer, leases sinkLeases, log zerolog.Logger, reg prometheus.Registerer) (*outputs, error) {
	enc, err := newEncoder(c.Rows)
	if err != nil {
		return nil, err
	}
	minute, err := encode.NewMinute(c.Rows.Columns(row.Minute))
	if err != nil {
		return nil, err
	}
	out := &outputs{check: func(context.Context) error { return nil }}
	letters := sink.DeadLetter(sink.Discard{})
	exactlyOnce := c.Sink.Type == config.SinkKafka && c.Sink.Kafka.Mode == kafka.ExactlyOnce
	var inTransaction *kafka.Letters
	switch c.DeadLetter.Type {
	case config.DeadLetterFile:
		f, err := file.NewDeadLetter(c.DeadLetter.File, file.Deps{Registry: reg, Stdout: stdout, Log: log})
		if err != nil {
			return nil, fmt.Errorf("dead_letter.file: %w", err)
		}
		letters = f
		out.add(f.Close)
	case config.DeadLetterKafka:
		k, err := kafka.NewDeadLetter(c.Sink.Kafka, log, mskKeys(c.AWS))
		if err != nil {
			return nil, fmt.Errorf("dead_letter: %w", err)
		}
		letters = k
		out.add(func() error { k.Close(); return nil })
		out.check = k.Check
		if exactlyOnce {
			inTransaction = kafka.NewLetters(c.Sink.Kafka)
			letters = inTransaction // k stays for its check
		}
	}
	out.deadLetter = sink.Count(letters, reg)
	switch c.Sink.Type {
	case config.SinkKafka:
		k, err := kafka.New(c.Sink.Kafka, kafka.Deps{
			Encoder: enc, Minute: minute, DeadLetter: out.deadLetter, Registry: reg, Log: log,
			AWS: mskKeys(c.AWS), Application: application(c), Leases: leases, Letters: inTransaction,
		})
		if err != nil {
			return nil, fmt.Errorf("sink.kafka: %w", err)
		}
		letterCheck := out.check
		out.check = func(ctx context.Context) error { return errors.Join(k.Check(ctx), letterCheck(ctx)) }
		out.sink = k
		if exactlyOnce {
			out.slots = slots{k}
		}
		out.describe = describeKafka(c.Sink.Kafka)
		out.add(func() error { k.Close(); return nil })
	case config.SinkDruid:
		if err := out.addDruid(c, enc, minute, leases, log, reg); err != nil {
			return nil, errors.Join(err, out.close())
		}
	case config.SinkFile:
		f, err := file.New(c.Sink.File, file.Deps{Encoder: enc, Minute: minute, Registry: reg, Stdout: stdout, Log: log})
		if err != nil {
			return nil, fmt.Errorf("sink.file: %w", err)
		}
		out.sink = f
		letterCheck := out.check
		out.check = func(ctx context.Context) error { return errors.Join(f.Check(ctx), letterCheck(ctx)) }
		out.describe = fmt.Sprintf("file %s, at least once", c.Sink.File.Path)
		out.add(f.Close)
	}
	return out, nil
}

// describeKafka names the topics of rows and their guarantee.
func describeKafka(c kafka.Config) string {
	text := "Kafka topic " + c.Topic
	if c.MinuteTopic != "" {
		text += ", by minute " + c.MinuteTopic
	}
	if c.LateTopic != "" {
		text += ", late rows " + c.LateTopic
	}
	if c.Mode == kafka.ExactlyOnce {
		return text + ", exactly once for readers of committed rows"
	}
	return text + ", at least once"
}

// application is whose transactional ids they are. A service without a stream goes by its ledger.
func application(c config.Config) string { return cmp.Or(c.Kinesis.Application, c.S3.LedgerTable) }

// slots makes a Kafka sink's slots those of S3.
type slots struct{ sink *kafka.Sink }

// Slot implements s3.Slots.
func (s slots) Slot(name string) s3.Slot { return slot{s.sink.Slot(name)} }

type slot struct{ *kafka.Slot }

// Enter implements s3.Slot.
func (s slot) Enter(partition string, st s3.Stint) { s.Slot.Enter(partition, st) }

// workerLeases is the worker's leases for a sink that is made before the worker.
type workerLeases struct{ worker *kinesis.Worker }

func (l *workerLeases) Name(ctx context.Context, partition string) (string, error) {
	return l.worker.Name(ctx, partition)
}

func (l *workerLeases) Prove(ctx context.Context, partition string) (stream.Position, error) {
	return l.worker.Prove(ctx, partition)
}

func (l *workerLeases) Compare(a, b stream.Position) int { return l.worker.Compare(a, b) }

func (l *workerLeases) Prepare(ctx context.Context, partition string, after, at stream.Position, state []byte) error {
	return l.worker.Prepare(ctx, partition, after, at, state)
}

func (l *workerLeases) Prepared(ctx context.Context, partition string) (checkpoint, at stream.Position, state []byte, err error) {
	return l.worker.Prepared(ctx, partition)
}
