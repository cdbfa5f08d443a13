// Package stream is what crosses the border between a source of payloads (Kinesis shards, S3 mouthfuls, files) and the
// pipeline that turns them into rows.
//
// A source reads Chunks of one partition and hands each to a Handler. The Handler reports, in order, how far the rows
// made from them are durable; only that position may be checkpointed. Nothing here knows AWS, flow logs or sinks.
package stream

import (
	"context"
	"time"
)

// Position is a place in one partition. It is opaque outside the source that made it: only that source can compare two of
// them. The empty Position lies before everything.
type Position string

// Payload is the content of one Kinesis record, of one user record after KPL de-aggregation, or of one part of a file.
type Payload struct {
	// Data is borrowed: it stays valid and unchanged until the Handle call that received it returns.
	Data []byte
	// At is the position of this payload; a checkpoint at At means that this payload is done with.
	At Position
	// Arrived is when the payload entered the stream: ApproximateArrivalTimestamp, or LastModified of a file.
	Arrived time.Time
}

// Chunk is what one read of one partition yields: payloads in order, and the position after them.
type Chunk struct {
	// Partition is the lease key: the (stream-qualified) shard id, a mouthful's id or a file's path.
	Partition string
	Payloads  []Payload
	// Last is the position after the chunk. It may lie beyond the last payload (an empty read that moved on).
	Last Position
	// Behind is how far the chunk was behind the tip when it was read (MillisBehindLatest).
	Behind time.Duration
}

// Processor makes a Handler for each partition that becomes this worker's.
type Processor interface {
	// Open claims partition in the sink, fencing any earlier owner, and returns the position up to which the sink already
	// holds everything ("" when the sink keeps none). The source starts at the later of this and its own checkpoint.
	Open(ctx context.Context, partition string) (Handler, Position, error)
}

// Handler takes the chunks of one partition. One goroutine calls it.
type Handler interface {
	// Handle takes c. When it returns, nothing of c is referenced any more, whatever the result; rows made from c may
	// still be on their way. progress is called later, from any goroutine but in position order and never concurrently
	// with itself for one Handler: progress(p, nil) says that everything up to p is durable, progress(p, err) that the rows
	// after the last good position will never be. The final call for a chunk carries c.Last. Handle blocks while the
	// process has no room for more, which is the only back-pressure there is. After Handle returned an error, progress is
	// not called for what that call had not yet handed to the sink.
	Handle(ctx context.Context, c Chunk, progress func(Position, error)) error
	// Flush returns when everything handed over is durable and reported, or ctx is over. Used at drain and shard end.
	Flush(ctx context.Context) error
	// Close gives the partition up. Progress is not called after it returned.
	Close(ctx context.Context) error
}

// Budget bounds the bytes that the process holds. A source reserves before it reads and gives back what it did not use.
type Budget interface {
	// Acquire blocks, first come first served, until n bytes are free or ctx is over.
	Acquire(ctx context.Context, n int64) error
	// Release gives n bytes back.
	Release(n int64)
}
