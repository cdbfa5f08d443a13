package text

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/consumer/window"
	"dredge/internal/retry"
	"dredge/stream"
)

const (
	// closeTimeout bounds the closing of a handler after ctx ended.
	closeTimeout = 10 * time.Second
	// rewindTries bounds the rewinds in a row without progress.
	rewindTries = 10
)

// Pieces yields a file piece by piece.
type Pieces interface {
	// Next returns the next piece, io.EOF after the last one. Any other error is the file's; what came before it is good.
	Next() (Block, error)
	Close() error
}

// Counters are moved for each piece, and for each time that a file is read again.
type Counters struct{ Bytes, Payloads, Cut, Rewinds prometheus.Counter }

// Reader brings files to their end: it hands their pieces to a Processor, waits until their rows are durable, and reads again what
// the sink lost. A file is a partition. The methods of a Reader may be called concurrently.
type Reader struct {
	Processor stream.Processor
	Budget    stream.Budget
	// PieceSize is about how many bytes a piece has: twice that is asked of Budget, for it is held where it is read and as handed over.
	PieceSize int64
	// MaxInFlight bounds the pieces of one file whose rows are not yet durable.
	MaxInFlight int
	// Again says why a file cannot be read a second time; nil when each can.
	Again    func(partition string) error
	Counters Counters
	Log      zerolog.Logger
}

// Open begins to read a file at a position. It also says when the file was written.
type Open func(ctx context.Context, from int64) (in Pieces, written time.Time, err error)

// Read brings a file to its end, from a position on or from where the sink stands, whichever is later. It returns the position up to which
// the rows are durable, whatever happens. An error of the sink goes before one of the file.
func (r *Reader) Read(ctx context.Context, partition string, from int64, open Open) (safe int64, err error) {
	h, at, err := r.Processor.Open(ctx, partition)
	if err != nil {
		return from, fmt.Errorf("open sink: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if cerr := h.Close(ctx); cerr != nil {
			err = errors.Join(err, fmt.Errorf("close sink: %w", cerr))
		}
	}()
	stands, err := ParsePosition(at)
	if err != nil {
		return from, fmt.Errorf("the sink's position: %w", err)
	}
	from = max(from, stands)
	for tries := 0; ; tries++ {
		safe, err := r.pass(ctx, partition, from, h, open)
		rewind, ok := errors.AsType[*stream.RewindError](err)
		if !ok {
			return safe, err
		}
		to, perr := ParsePosition(rewind.To)
		if perr != nil {
			return safe, errors.Join(err, perr)
		}
		if next := max(from, safe, to); next > from {
			from, tries = next, 0
		}
		if r.Again != nil {
			if refusal := r.Again(partition); refusal != nil {
				return from, errors.Join(err, refusal)
			}
		}
		if tries == rewindTries {
			return from, fmt.Errorf("%d rewinds without progress: %w", tries, err)
		}
		r.Counters.Rewinds.Inc()
		r.Log.Warn().Err(err).Str("file", partition).Int64("position", from).Msg("file is read again from an earlier position")
		if err := retry.Sleep(ctx, time.Duration(tries)*100*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
			return from, err
		}
	}
}

// pass reads from a position to the end, and returns the position up to which everything is durable.
func (r *Reader) pass(ctx context.Context, partition string, from int64, h stream.Handler, open Open) (safe int64, err error) {
	in, written, err := open(ctx, from)
	if err != nil {
		return from, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	win, err := window.New(r.MaxInFlight)
	if err != nil {
		return from, err
	}
	d := delivery{Reader: r, partition: partition, written: written, in: in, window: win, handler: h}
	err = d.run(ctx)
	safe, perr := ParsePosition(win.Close())
	return max(from, safe), errors.Join(err, perr)
}

// delivery is one pass over a file.
type delivery struct {
	*Reader
	partition string
	written   time.Time
	in        Pieces
	window    *window.Window
	handler   stream.Handler
}

// run hands all pieces over and waits for their rows. An error that the sink reports later ends it.
func (d *delivery) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var fault error
	for fault == nil {
		if err := d.Budget.Acquire(ctx, 2*d.PieceSize); err != nil {
			return window.CauseOr(ctx, err)
		}
		b, err := d.in.Next()
		fault = err
		if fault == nil {
			err = d.hand(ctx, b, cancel)
		}
		d.Budget.Release(2 * d.PieceSize)
		if fault == nil && err != nil {
			return err
		}
	}
	// What came before the fault is good, and is waited for.
	if err := d.handler.Flush(ctx); err != nil {
		return window.CauseOr(ctx, fmt.Errorf("flush: %w", err))
	}
	if err := d.window.Err(); err != nil {
		return err
	}
	if errors.Is(fault, io.EOF) {
		return nil
	}
	return fault
}

// hand hands one piece over. failed is called with what the sink says of it later.
func (d *delivery) hand(ctx context.Context, b Block, failed func(error)) error {
	d.Counters.Bytes.Add(float64(b.Text))
	d.Counters.Payloads.Inc()
	if b.Cut {
		d.Counters.Cut.Inc()
	}
	at := Position(b.End)
	return d.window.Deliver(ctx, d.handler, stream.Chunk{
		Partition: d.partition, Last: at, Behind: max(0, time.Since(d.written)),
		Payloads: []stream.Payload{{Data: b.Data, At: at, Arrived: d.written}},
	}, failed)
}
