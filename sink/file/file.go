// Package file is the sink that writes rows as JSON Lines to a file or to standard output, and rolled-up rows to a second file when
// that is asked for: a row then counts as delivered when it stands in both.
//
// All partitions share one file. Rows count as delivered when the block that holds them was handed to the operating system
// whole, or is on the disk when fsync asks for that. A full disk is waited out without losing or tearing a line; a path that
// cannot be written, standard output that leads to a full disk, or a reader that closed the pipe, ends the Writers. The sink keeps no positions and fences nobody.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/row"
	"dredge/row/rollup"
	"dredge/sink"
	"dredge/sink/internal/ack"
	"dredge/stream"
)

// Encoder appends the JSON of row i of b, without a newline. It is called by many goroutines at once.
type Encoder interface {
	Append(dst []byte, b *row.Batch, i int) []byte
}

// MinuteEncoder writes rolled-up rows; encode.Minute is one. It is called by many goroutines at once.
type MinuteEncoder interface {
	rollup.Dimensions
	// Append appends the JSON of a rolled-up row, without a newline.
	Append(dst []byte, minute int64, dims []byte, s *row.Sums) []byte
}

// Deps is what a Sink works with.
type Deps struct {
	Encoder Encoder
	// Minute is needed when a path for rolled-up rows is configured.
	Minute   MinuteEncoder
	Registry prometheus.Registerer
	// Stdout is written to when the path is -.
	Stdout io.Writer
	// Log is told when rows begin to wait for an output that can't be written, and when they no longer do.
	Log zerolog.Logger
}

// Sink makes Writers that share one file. It is safe for concurrent use.
type Sink struct {
	cfg     Config
	encoder Encoder
	journal *journal
	// minute is nil when no rolled-up rows are written; rollups then are, too.
	minute        *journal
	minuteEncoder MinuteEncoder
	rollups       *rollup.Metrics
	// late is nil when late rows are written with the others.
	late *journal
}

// New makes a Sink. Nothing is opened before the first row. The caller closes the Sink.
func New(cfg Config, deps Deps) (*Sink, error) {
	return newSink(cfg, deps, osFiles{deps.Stdout})
}

func newSink(cfg Config, deps Deps, open opener) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Sink{cfg: cfg, encoder: deps.Encoder, journal: newJournal(cfg, open, newMetrics("dredge_sink_file_", deps.Registry), deps.Log)}
	if cfg.MinutePath != "" {
		if deps.Minute == nil {
			return nil, errors.New("minute_path: is set, but there is no encoder of rolled-up rows")
		}
		second := cfg
		second.Path = cfg.MinutePath
		s.minute = newJournal(second, open, newMetrics("dredge_sink_file_minute_", deps.Registry), deps.Log)
		s.minuteEncoder, s.rollups = deps.Minute, rollup.NewMetrics(deps.Registry)
	}
	if cfg.LatePath != "" {
		second := cfg
		second.Path = cfg.LatePath
		s.late = newJournal(second, open, newMetrics("dredge_sink_file_late_", deps.Registry), deps.Log)
	}
	return s, nil
}

// Check says whether the paths can be written, without creating them.
func (s *Sink) Check(context.Context) error {
	err := check(s.cfg.Path)
	if s.minute != nil {
		err = errors.Join(err, check(s.cfg.MinutePath))
	}
	if s.late != nil {
		err = errors.Join(err, check(s.cfg.LatePath))
	}
	return err
}

func check(path string) error {
	if path == Stdout {
		return nil
	}
	o := output{cfg: Config{Path: path}}
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return fmt.Errorf("path: %q is a directory; write a file in it, for example %q", path, filepath.Join(path, "rows.jsonl"))
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return o.fault("opening", err)
		}
		return f.Close()
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".dredge-check-*")
	if err != nil {
		return o.fault("writing beside", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Open makes a Writer for partition.
func (s *Sink) Open(ctx context.Context, partition string) (sink.Writer, stream.Position, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if s.journal.closing.Err() != nil {
		return nil, "", errClosed
	}
	w := &Writer{sink: s, partition: partition}
	if s.minute != nil {
		w.rollup = rollup.New(s.minuteEncoder, s.rollups)
	}
	return w, "", nil
}

// Close writes what waits if that is possible at once, and completes the files.
func (s *Sink) Close() error {
	var errs []error
	for _, j := range s.journals() {
		errs = append(errs, j.close())
	}
	return errors.Join(errs...)
}

// journals are the files that are written.
func (s *Sink) journals() []*journal {
	list := []*journal{s.journal}
	if s.minute != nil {
		list = append(list, s.minute)
	}
	if s.late != nil {
		list = append(list, s.late)
	}
	return list
}

// Writer takes the rows of one partition. done runs while the file is held, so it must not write to the sink.
type Writer struct {
	sink      *Sink
	partition string
	acks      ack.Queue
	buf       []byte
	rollup    *rollup.Aggregator // nil without rolled-up rows
}

// chunk is how much a Writer encodes before it takes its turn at the file.
const chunk = 64 << 10

// Write encodes the rows of b and adds them to the block. It waits while two blocks are full and cannot be written.
func (w *Writer) Write(ctx context.Context, b *row.Batch, _ stream.Position, done func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, err := w.acks.Add(done)
	if err != nil {
		return err
	}
	if err := w.write(ctx, b, e); err != nil {
		e.Abort()
		return err
	}
	return e.Handed()
}

func (w *Writer) write(ctx context.Context, b *row.Batch, e *ack.Entry) error {
	if w.sink.late == nil {
		if err := w.encode(ctx, b, e, w.sink.journal, func(*row.Row) bool { return true }); err != nil {
			return err
		}
		return w.rollUp(ctx, b, e)
	}
	if err := w.encode(ctx, b, e, w.sink.journal, func(r *row.Row) bool { return !r.Late }); err != nil {
		return err
	}
	if err := w.encode(ctx, b, e, w.sink.late, func(r *row.Row) bool { return r.Late }); err != nil {
		return err
	}
	return w.rollUp(ctx, b, e)
}

// encode adds the rows of b that belong there to the block of j.
func (w *Writer) encode(ctx context.Context, b *row.Batch, e *ack.Entry, j *journal, belongs func(*row.Row) bool) error {
	rows := 0
	w.buf = w.buf[:0]
	for i := range b.Rows {
		if belongs(&b.Rows[i]) {
			w.buf = append(w.sink.encoder.Append(w.buf, b, i), '\n')
			rows++
		}
		if rows == 0 || len(w.buf) < chunk && i < len(b.Rows)-1 {
			continue
		}
		if err := j.append(ctx, w.buf, rows, e); err != nil {
			return err
		}
		w.buf, rows = w.buf[:0], 0
	}
	return nil
}

// rollUp adds the rolled-up rows of b to their own block. A Write is rolled up as a whole and alone, so what one done tells of stands in no
// other one's rows.
func (w *Writer) rollUp(ctx context.Context, b *row.Batch, e *ack.Entry) error {
	if w.rollup == nil || len(b.Rows) == 0 {
		return nil
	}
	if w.sink.late == nil {
		w.rollup.Add(b)
	} else {
		w.rollup.AddTimely(b)
	}
	rows := w.rollup.Len()
	if rows == 0 {
		return nil
	}
	w.buf = w.buf[:0]
	w.rollup.Drain(func(r *rollup.Row) {
		w.buf = append(w.sink.minuteEncoder.Append(w.buf, r.Minute, r.Dimensions, &r.Sums), '\n')
	})
	return w.sink.minute.append(ctx, w.buf, rows, e)
}

// Flush writes the block now.
func (w *Writer) Flush(ctx context.Context) error {
	if w.acks.Len() > 0 {
		for _, j := range w.sink.journals() {
			if err := j.flush(ctx); err != nil {
				return err
			}
		}
	}
	return w.acks.Flush(ctx)
}

// Close reports what is not written. Its rows may still be written with others.
func (w *Writer) Close(context.Context) error {
	w.acks.Close(fmt.Errorf("partition %q: writer closed before its rows were written", w.partition))
	return nil
}
