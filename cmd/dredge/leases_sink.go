package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/consumer/kinesis/lease"
	"dredge/consumer/kinesis/leaseadmin"
	"dredge/internal/telemetry"
	"dredge/sink/kafka"
	"dredge/stream"
)

// positionKeeper is a sink that keeps positions of its own, under the lasting names of shards.
type positionKeeper interface {
	Position(ctx context.Context, name string) (at stream.Position, found bool, err error)
	SetPosition(ctx context.Context, name string, at stream.Position) error
}

// keptPositions are what the sink of the configuration keeps beside the lease table.
type keptPositions struct {
	positionKeeper
	streams leaseStreams
	where   string
	closers
}

// keptPositions opens the sink's positions; nil when it keeps none, or when no configuration says what the sink is.
func (t *leaseTool) keptPositions() (*keptPositions, error) {
	c := t.config
	if c.Sink.Type != config.SinkKafka || c.Sink.Kafka.Mode != kafka.ExactlyOnce {
		return nil, nil
	}
	out, err := newOutputs(c, io.Discard, &workerLeases{}, zerolog.Nop(), telemetry.NewRegistry())
	if err != nil {
		return nil, err
	}
	k, ok := out.sink.(positionKeeper)
	if !ok {
		return nil, errors.Join(errors.New("BUG: the exactly-once sink keeps no positions"), out.close())
	}
	return &keptPositions{positionKeeper: k, streams: t.streams, where: "topic " + c.Sink.Kafka.ExactlyOnce.CheckpointsTopic, closers: out.closers}, nil
}

// name is what the sink calls the shard of l.
func (k *keptPositions) name(ctx context.Context, l lease.Lease) (string, error) {
	s, ok := k.streams[leaseadmin.StreamOf(l)]
	if !ok {
		return "", fmt.Errorf("lease %q: which stream is it of? the sink's positions go by the stream's name and time of creation; write -c FILE with kinesis.stream_name, or --stream", l.Key)
	}
	name, err := s.lasting(ctx)
	return name + "/" + l.Shard(), err
}

// placeOf is c as a sink keeps it: "" when it names no record.
func placeOf(c lease.Checkpoint) stream.Position {
	if c.IsSequence() {
		return c.Position()
	}
	return ""
}

// prepare makes move carry the sink's side, too.
func (k *keptPositions) prepare(ctx context.Context, l lease.Lease, move *leaseadmin.Move) (before stream.Position, err error) {
	name, err := k.name(ctx, l)
	if err != nil {
		return "", err
	}
	if before, _, err = k.Position(ctx, name); err != nil {
		return "", err
	}
	if before != "" {
		if move.Sink, err = lease.ParsePosition(before); err != nil {
			return "", fmt.Errorf("the position of shard %q in %s: %w", name, k.where, err)
		}
	}
	move.SetSink = func(ctx context.Context) error { return k.SetPosition(ctx, name, placeOf(move.To)) }
	return before, nil
}

func newCheckpointAdoptCmd(f *leaseFlags, connect connector) *cobra.Command {
	return &cobra.Command{
		Use:   "adopt -c FILE SHARD...",
		Short: "Take the lease's position over for shards that exactly-once has no record of",
		Long: `Write the position of the lease into the topic of committed positions, for shards that have no record there: those of an
application that was in another mode until now. After this the shard is read on from its lease's position, exactly once. It is
sink.kafka.exactly_once.adopt for single shards, and nothing has to be removed from the configuration afterwards.

A shard that has a record is left alone: its later position wins without help.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, shards []string) (err error) {
			ctx := cmd.Context()
			t, err := f.open(ctx, connect)
			if err != nil {
				return err
			}
			kept, err := t.keptPositions()
			if err != nil {
				return err
			}
			if kept == nil {
				return errors.New("the sink keeps no positions: write -c FILE with sink.type: kafka and sink.kafka.mode: exactly-once")
			}
			defer func() { err = errors.Join(err, kept.close()) }()
			listing, err := t.list(ctx)
			if err != nil {
				return err
			}
			chosen, err := findAll(listing.Leases, shards)
			if err != nil {
				return err
			}
			for _, l := range chosen {
				if err := kept.adopt(ctx, l, cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (k *keptPositions) adopt(ctx context.Context, l lease.Lease, out io.Writer) error {
	name, err := k.name(ctx, l)
	if err != nil {
		return err
	}
	at, found, err := k.Position(ctx, name)
	if err != nil {
		return err
	}
	if found {
		fmt.Fprintf(out, "%s: has a record in %s, at %s; nothing was changed\n", l.Key, k.where, orNothing(at))
		return nil
	}
	at = placeOf(l.Checkpoint)
	if err := k.SetPosition(ctx, name, at); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: adopted at %s in %s\n", l.Key, orNothing(at), k.where)
	return nil
}

func orNothing(at stream.Position) string { return cmp.Or(string(at), "no position") }
