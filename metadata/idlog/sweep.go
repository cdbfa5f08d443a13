package idlog

import (
	"context"
	"time"
)

// deadAfter is how long a stream's manifest must not have changed before the stream may be swept away.
const deadAfter = time.Hour

// sweep deletes streams whose writers are gone, once both snapshots of this Writer hold all that they said. It returns how many.
// One process at a time does it, from the goroutine that writes snapshots.
func (w *Writer) sweep(ctx context.Context) (int, error) {
	covers := w.covers()
	if covers == nil {
		return 0, nil
	}
	list, err := w.deps.Bucket.List(ctx, manifestPrefix)
	if err != nil {
		return 0, err
	}
	// Ages are by the clock of the blob store: the newest manifest is about its present.
	var newest time.Time
	modified := map[string]time.Time{}
	for _, o := range list {
		name, ok := streamOfManifest(o.Key)
		if !ok {
			continue
		}
		if o.Modified.After(newest) {
			newest = o.Modified
		}
		if o.Modified.After(modified[name]) {
			modified[name] = o.Modified
		}
	}
	swept := 0
	for name, at := range modified {
		if name == w.m.Stream || newest.Sub(at) < deadAfter {
			continue
		}
		ok, err := w.spent(ctx, name, covers[name])
		if err != nil {
			return swept, err
		}
		if !ok {
			continue
		}
		if err := w.remove(ctx, name); err != nil {
			return swept, err
		}
		swept++
	}
	return swept, nil
}

// spent says whether nothing of a stream lies beyond covered.
func (w *Writer) spent(ctx context.Context, name string, covered int64) (bool, error) {
	for slot := range int64(slots) {
		data, err := w.deps.Bucket.Read(ctx, manifestKey(name, slot), maxManifest)
		if err != nil {
			continue // a slot that was never written, or cannot be read: the other one decides
		}
		m, err := decodeManifest(data, name)
		if err != nil {
			return false, nil //nolint:nilerr // damaged: a person may want to look at it
		}
		if m.last() > covered {
			return false, nil
		}
	}
	return true, ctx.Err()
}

// covers is what both snapshots of this Writer hold of other streams; empty before there are two.
func (w *Writer) covers() map[string]int64 {
	if len(w.m.Snapshots) < keptSnapshots {
		return nil
	}
	return w.m.Snapshots[keptSnapshots-1].Covers
}

// remove deletes a stream, its manifest first: what no manifest names nobody reads.
func (w *Writer) remove(ctx context.Context, name string) error {
	for _, prefix := range []string{manifestPrefix, segmentPrefix, snapshotPrefix} {
		list, err := w.deps.Bucket.List(ctx, prefix+name+"/")
		if err != nil {
			return err
		}
		for _, o := range list {
			if err := w.deps.Bucket.Delete(ctx, o.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
