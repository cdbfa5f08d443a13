// Package idlog is the identity log: what sources told and what traffic showed, kept in a blob store, so that a whole fleet shares
// it and a new worker knows it at once.
//
// A log is a set of streams. Each is written by one process in one life: a sonar's holds events, a worker's holds sightings.
// A stream is a row of numbered segments, and snapshots that hold what many segments of many streams said, under a manifest that
// is replaced as a whole. Everything is checksummed: what is half written or damaged is counted, and what was readable before it
// is read instead. Since events commute, streams need no order among each other and two writers at once are safe.
//
//	manifest/STREAM/{0,1}        two slots, written in turn, so that the manifest before always survives
//	segment/STREAM/FIRST-LAST    what was told, in order; small ones are merged into larger ones
//	snapshot/STREAM/N-PART       everything up to a segment of each stream: as events, and as a store keeps it
//	leader/TERM                  whose turn it is to run the sources
package idlog

import (
	"context"
	"io"
	"time"

	"dredge/internal/blob"
	"dredge/metadata/event"
)

// Bucket is where a log lies: *blob.Bucket, or a fake with faults.
type Bucket interface {
	Read(ctx context.Context, key string, limit int64) ([]byte, error)
	// Write replaces an object as a whole; Create makes one that must not be there.
	Write(ctx context.Context, key string, data []byte) error
	Create(ctx context.Context, key string, data []byte) error
	List(ctx context.Context, prefix string) ([]blob.Info, error)
	Delete(ctx context.Context, key string) error
}

// Target takes what a log holds.
type Target interface {
	// Apply takes one event; it refuses and counts faulty ones. The event's texts may be kept.
	Apply(e *event.Event) error
	// Observe takes one sighting.
	Observe(s Sighting)
}

// Snapshotter makes the content of snapshots, which this package stores without understanding it.
type Snapshotter interface {
	// Codec names the format. Readers pass over snapshots of codecs that they do not know.
	Codec() string
	// Snapshot calls add with pieces of at most MaxSection bytes, each used only during the call. It holds at least what was
	// told before the call; progress in it vouches for nothing that is not in it.
	Snapshot(add func(Section) error) error
}

// Compact makes and takes the compact form of a snapshot: what a store was told, as the store keeps it. It loads many times faster than events, and
// says nothing of who told what and when.
type Compact interface {
	// SnapshotCodec names the format and its version. Readers take the events instead of what they do not know.
	SnapshotCodec() string
	// WriteSnapshot holds at least what was told before the call; progress in it vouches for nothing that is not in it.
	WriteSnapshot(w io.Writer) error
	// ReadSnapshot takes in what WriteSnapshot wrote, in addition to what is known. After an error what was taken in is true, and
	// no progress was.
	ReadSnapshot(r io.Reader) error
}

// now returns the clock to use.
func clock(f func() time.Time) func() time.Time {
	if f == nil {
		return time.Now
	}
	return f
}
