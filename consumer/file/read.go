package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"dredge/consumer/text"
	"dredge/consumer/window"
	"dredge/stream"
)

const (
	// closeTimeout bounds the closing of a handler after ctx ended.
	closeTimeout = 10 * time.Second
	// rewindTries bounds the rewinds in a row without progress.
	rewindTries = 10
)

// errStdin says that what was lost cannot be read again.
var errStdin = errors.New("standard input cannot be read again")

// read brings one file to its end.
func (s *Source) read(ctx context.Context, path string) (err error) {
	h, at, err := s.d.Processor.Open(ctx, path)
	if err != nil {
		return fmt.Errorf("open sink: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if cerr := h.Close(ctx); cerr != nil {
			err = errors.Join(err, fmt.Errorf("close sink: %w", cerr))
		}
	}()
	from, err := parsePosition(at)
	if err != nil {
		return fmt.Errorf("the sink's position: %w", err)
	}
	for tries := 0; ; tries++ {
		safe, err := s.pass(ctx, path, from, h)
		rewind, ok := errors.AsType[*stream.RewindError](err)
		if !ok {
			return err
		}
		to, perr := parsePosition(rewind.To)
		if perr != nil {
			return errors.Join(err, perr)
		}
		if next := max(from, safe, to); next > from {
			from, tries = next, 0
		}
		switch {
		case path == Stdin:
			return errors.Join(err, errStdin)
		case tries == rewindTries:
			return fmt.Errorf("%d rewinds without progress: %w", tries, err)
		}
		s.m.rewinds.Inc()
		s.d.Log.Warn().Err(err).Str("path", path).Int64("offset", from).Msg("file is read again from an earlier position")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(tries)*100*time.Millisecond + rand.N(100*time.Millisecond)):
		}
	}
}

// parsePosition reads an offset; "" is the beginning.
func parsePosition(p stream.Position) (int64, error) {
	if p == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(p), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("position %q is not an offset in a file", string(p))
	}
	return n, nil
}

// pass reads from an offset to the end, and returns the offset up to which everything is durable.
func (s *Source) pass(ctx context.Context, path string, from int64, h stream.Handler) (safe int64, err error) {
	raw, info, err := s.open(path)
	if err != nil {
		return from, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	arrived := time.Now()
	if info != nil {
		arrived = info.ModTime()
	}
	plain, err := text.Decompressed(raw)
	if err != nil {
		return from, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	blocks := text.NewBlocks(plain, s.cfg.BlockSize, s.cfg.MaxValueSize, s.d.IsHeader)
	if err := blocks.SkipTo(from); err != nil {
		return from, err
	}
	win, err := window.New(s.cfg.MaxInFlight)
	if err != nil {
		return from, err
	}
	err = s.deliver(ctx, path, blocks, arrived, win, h)
	safe, perr := parsePosition(win.Close())
	return max(from, safe), errors.Join(err, perr)
}

// deliver hands the pieces over. An error that the sink reports later ends it.
func (s *Source) deliver(ctx context.Context, path string, blocks *text.Blocks, arrived time.Time, win *window.Window, h stream.Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The largest piece, twice: in the reader and as handed over.
	reserve := 2 * int64(s.cfg.BlockSize)
	for {
		if err := s.d.Budget.Acquire(ctx, reserve); err != nil {
			return window.CauseOr(ctx, err)
		}
		done, err := func() (bool, error) {
			defer s.d.Budget.Release(reserve)
			b, err := blocks.Next()
			if errors.Is(err, io.EOF) {
				return true, nil
			}
			if err != nil {
				// What came before it was good, and is waited for.
				return true, fmt.Errorf("after %d bytes of text: %w", blocks.Offset(), err)
			}
			s.m.bytes.Add(float64(b.Text))
			s.m.payloads.Inc()
			if b.Cut {
				s.m.cut.Inc()
			}
			return false, s.handle(ctx, cancel, path, b, arrived, win, h)
		}()
		if !done && err != nil {
			return err
		}
		if done {
			if ferr := h.Flush(ctx); ferr != nil {
				return errors.Join(window.CauseOr(ctx, fmt.Errorf("flush: %w", ferr)), err)
			}
			return errors.Join(win.Err(), err)
		}
	}
}

func (s *Source) handle(ctx context.Context, cancel context.CancelCauseFunc, path string, b text.Block, arrived time.Time, win *window.Window, h stream.Handler) error {
	at := stream.Position(strconv.FormatInt(b.End, 10))
	chunk := stream.Chunk{Partition: path, Last: at, Payloads: []stream.Payload{{Data: b.Data, At: at, Arrived: arrived}}}
	return win.Deliver(ctx, h, chunk, cancel)
}
