// Package pipeline turns chunks into delivered rows: expand, decode, gate, enrich, write. It keeps the books and the byte
// budget (docs/design.md, life of a record).
package pipeline

import (
	"dredge/flowlog"
	"dredge/row"
)

// Enricher fills out from in. It is total: no I/O, no error, no blocking.
type Enricher interface {
	Enrich(in *flowlog.Batch, out *row.Batch)
}

// Observer is shown every decoded batch before the gate. It takes heartbeats: sightings of interface and address.
type Observer interface {
	Observe(in *flowlog.Batch)
}

// Watermarks tells how far identity knowledge is complete.
type Watermarks interface {
	// Complete says whether every source that matters for in has told everything up to t (Unix milliseconds). When it has
	// not, changed is closed at the next progress of any of them.
	Complete(in *flowlog.Batch, t int64) (ok bool, changed <-chan struct{})
}
