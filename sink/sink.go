// Package sink is the contract of everything that takes rows: Kafka, Druid, files.
//
// The pipeline opens one Writer for each partition it works on. A Writer is told rows and the position after them and says,
// in order, when everything up to a position is durable. Retries of transient faults happen inside the sink and nowhere else;
// rows that no retry can save go to the dead letter and count as handled.
package sink

import (
	"context"

	"dredge/row"
	"dredge/stream"
)

// Sink makes Writers.
type Sink interface {
	// Open claims partition for this worker, fencing any earlier owner, and returns the position up to which the sink already
	// holds everything ("" when it keeps none). The start is the later of this and the lease's checkpoint.
	Open(ctx context.Context, partition string) (Writer, stream.Position, error)
}

// Writer takes the rows of one partition.
//
// The errors given to done and returned by Write are those of package stream: ErrFenced, RewindError, PermanentError;
// a context's error means that the caller gave up.
type Writer interface {
	// Write hands the rows up to last over. One goroutine per Writer, in position order. On return nothing of b is referenced:
	// encoded bytes belong to the sink until the last promise ran, even after ctx ended. done is called once, in order, when
	// everything up to last is durable; the sink decides how many Writes share one commit, but never commits right after a
	// Write whose last did not advance. When Write returns an error, done is not called for that Write.
	Write(ctx context.Context, b *row.Batch, last stream.Position, done func(error)) error
	// Flush commits now: it returns when every done of earlier Writes has run, or ctx is over.
	Flush(ctx context.Context) error
	// Close flushes nothing: what is not committed is reported to done with an error before Close returns.
	Close(ctx context.Context) error
}

// Letter is one input that could not become a row, with everything needed to find it again.
type Letter struct {
	Partition string
	// At is the payload's position (sequence and sub-sequence number).
	At stream.Position
	// Index is the line's place in its payload, from 0; -1 when the payload as a whole is meant.
	Index int
	// LogGroup, LogStream and Account are what the line's CloudWatch envelope says of it; they choose its layout. Empty outside of one.
	LogGroup, LogStream, Account string
	// Reason is a declared constant (flowlog.Reason, envelope.Fault, …): it becomes a metric label.
	Reason string
	// Detail says what was wrong in words.
	Detail string
	// Data is the line or payload, cut to the dead letter's size limit. Borrowed until Put returns.
	Data []byte
	// Size is the length of the line or payload before it was cut.
	Size int
}

// DeadLetter keeps what could not become a row.
type DeadLetter interface {
	// Put keeps l. It may buffer; Flush makes it durable. Concurrent calls are allowed.
	Put(ctx context.Context, l Letter) error
	// Flush returns when everything put before is durable. The pipeline calls it before it reports a position that passes a letter.
	Flush(ctx context.Context) error
}
