package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"dredge/config"
	"dredge/flowlog"
	"dredge/internal/telemetry"
	"dredge/pipeline"
	"dredge/row"
	"dredge/sink"
	"dredge/sink/kafka"
	"dredge/stream"
)

func newDLQReplayCmd() *cobra.Command {
	var choice letterChoice
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay [-c FILE] [--format LAYOUT] [FILE…]",
		Short: "Run dead letters through the whole pipeline, into the sink",
		Long: `replay runs the lines and payloads of dead letters through the whole pipeline again, for example with a format
that was missing. Each row gets the id that it would have had: that of the letter's partition, position and index.
What fails again is counted and told, and is not put into the dead letter a second time. Letters that were cut
(max_data_bytes), and rows that were too large for a sink, cannot be run again. Letters do not go away: running
them twice writes their rows twice.

A line is run with the log group, log stream and account that it came with, so the rules of pipeline.formats choose its
layout as they would have; --format takes the place of all rules.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDLQReplay(cmd.Context(), &choice, o, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	choice.flags(cmd)
	cmd.Flags().StringVar(&o.identity, "identity", "", "file or folder of identity events (JSON Lines)")
	cmd.Flags().StringVarP(&o.out, "out", "o", "", "file to write rows to, - for standard output, in place of the configured sink")
	cmd.Flags().StringVar(&o.format, "format", "", "layout of all lines in place of the rules of pipeline.formats, as ${version} ${account-id} …, or names with spaces")
	return cmd
}

func runDLQReplay(ctx context.Context, choice *letterChoice, o replayOptions, files []string, out, errOut io.Writer) (err error) {
	o.config = choice.config
	c, err := o.configuration()
	if err != nil {
		return err
	}
	if o.format != "" {
		c.Pipeline.Formats.Rules = nil
	}
	if c.Sink.Type == config.SinkKafka && c.Sink.Kafka.Mode == kafka.ExactlyOnce {
		return errors.New("sink.kafka.mode: letters have no leases to be exact by; write at-least-once for this run")
	}
	log := telemetry.NewLogger(telemetry.LogConfig{Level: "warn", Format: "auto"}, errOut, isTerminal(errOut))
	reg := telemetry.NewRegistry()
	sinkOnly := c
	sinkOnly.DeadLetter.Type = config.DeadLetterNone
	outputs, err := newOutputs(sinkOnly, out, nil, log, reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, outputs.close()) }()
	if err := outputs.check(ctx); err != nil {
		return err
	}
	known, err := loadIdentity(ctx, c, log, reg)
	if err != nil {
		return err
	}
	core, err := newCore(c, coreDeps{sink: outputs.sink, deadLetter: outputs.deadLetter, identity: known, wrap: withIndexes, log: log, reg: reg})
	if err != nil {
		return err
	}
	r := &letterRun{pipeline: core.pipeline, handlers: map[string]stream.Handler{}}
	unreadable, err := choice.each(ctx, c, files, func(l deadLetter) error { return r.take(ctx, l) })
	err = errors.Join(err, r.finish(ctx))
	books := core.pipeline.Books().Snapshot()
	printBooks(errOut, books, core.pipeline.Rejects())
	for reason, n := range r.left {
		fmt.Fprintf(errOut, "%d letters were not run again: %s\n", n, reason)
	}
	if unreadable > 0 {
		err = errors.Join(err, fmt.Errorf("%d lines are no dead letters", unreadable))
	}
	if err = errors.Join(err, books.CheckAtRest()); err != nil {
		return &exitError{code: 1, err: err}
	}
	return nil
}

// letterRun hands letters to the pipeline, each as a payload of its partition.
type letterRun struct {
	pipeline *pipeline.Pipeline
	handlers map[string]stream.Handler
	left     map[string]int

	mu   sync.Mutex
	lost error
}

func (r *letterRun) take(ctx context.Context, l deadLetter) error {
	reason := ""
	switch {
	case l.Reason == kafka.ReasonRowTooLarge:
		reason = "they hold rows that were too large, not lines"
	case l.Size > len(l.Data):
		reason = "they were cut when they were written; raise dead_letter.file.max_data_bytes, or sink.kafka.dead_letter.max_data_bytes"
	}
	if reason != "" {
		if r.left == nil {
			r.left = map[string]int{}
		}
		r.left[reason]++
		return nil
	}
	h := r.handlers[l.Partition]
	if h == nil {
		var err error
		if h, _, err = r.pipeline.Open(ctx, l.Partition); err != nil {
			return err
		}
		r.handlers[l.Partition] = h
	}
	data, err := enveloped(l.Letter)
	if err != nil {
		return err
	}
	at := indexed(l.Letter.At, l.Index)
	return h.Handle(ctx, stream.Chunk{
		Partition: l.Partition, Payloads: []stream.Payload{{Data: data, At: at, Arrived: l.At}}, Last: at,
	}, func(_ stream.Position, err error) {
		if err != nil {
			r.mu.Lock()
			r.lost = errors.Join(r.lost, err)
			r.mu.Unlock()
		}
	})
}

// finish waits until all rows are durable.
func (r *letterRun) finish(ctx context.Context) error {
	var errs []error
	for _, h := range r.handlers {
		errs = append(errs, h.Flush(ctx))
	}
	for _, h := range r.handlers {
		errs = append(errs, h.Close(context.WithoutCancel(ctx)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(append(errs, r.lost)...)
}

// enveloped puts a line back into a CloudWatch envelope of its log group, if it came in one: what the envelope says chooses the layout.
func enveloped(l sink.Letter) ([]byte, error) {
	if l.Index < 0 || l.LogGroup == "" && l.LogStream == "" && l.Account == "" || !utf8.Valid(l.Data) {
		return l.Data, nil
	}
	type event struct {
		Message string `json:"message"`
	}
	return json.Marshal(struct {
		MessageType string  `json:"messageType"`
		Owner       string  `json:"owner"`
		LogGroup    string  `json:"logGroup"`
		LogStream   string  `json:"logStream"`
		LogEvents   []event `json:"logEvents"`
	}{"DATA_MESSAGE", l.Account, l.LogGroup, l.LogStream, []event{{string(l.Data)}}})
}

// indexMark stands between a position and the index of a letter's line in its payload, on the way through the pipeline.
const indexMark = "#"

func indexed(at stream.Position, index int) stream.Position {
	if index < 0 {
		return at // the letter is the whole payload
	}
	return stream.Position(string(at) + indexMark + strconv.Itoa(index))
}

// withIndexes gives the only line of each letter the position and the index that it had, which its row's id is made of.
func withIndexes(next pipeline.Enricher) pipeline.Enricher { return indexes{next} }

type indexes struct{ next pipeline.Enricher }

func (e indexes) Enrich(in *flowlog.Batch, out *row.Batch) {
	for i := range in.Records {
		r := &in.Records[i]
		o := &in.Origins[r.Origin]
		position, text, ok := strings.Cut(o.Position, indexMark)
		if !ok {
			continue
		}
		if index, err := strconv.ParseUint(text, 10, 32); err == nil {
			o.Position, r.Index = position, uint32(index)
		}
	}
	e.next.Enrich(in, out)
}
