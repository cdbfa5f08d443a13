package idlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dredge/internal/blob"
	"dredge/metadata/event"
)

// longSleep is after how long without a look a Reader begins anew with a snapshot: whole streams may have come and gone.
const longSleep = 5 * time.Minute

// Poll looks at the log once and tells the target everything that is new in it. The error is of the store of blobs; what is
// damaged in the log is counted, logged and passed over.
func (r *Reader) Poll(ctx context.Context) error {
	began := r.deps.Now()
	list, err := r.deps.Bucket.List(ctx, manifestPrefix)
	if err != nil {
		return err
	}
	if err := r.readManifests(ctx, list); err != nil {
		return err
	}
	r.mu.Lock()
	asleep := !r.state.looked.IsZero() && began.Sub(r.state.looked) > longSleep
	r.mu.Unlock()
	if !r.base || asleep {
		if err := r.load(ctx, func(snapshotRef) bool { return true }); err != nil {
			return err
		}
		r.base = true
	}
	whole := true
	for _, name := range slices.Sorted(maps.Keys(r.streams)) { // names begin with role and time: older ones first
		ok, err := r.catchUp(ctx, name, r.streams[name])
		if err != nil {
			return err
		}
		whole = whole && ok
	}
	if err := r.heal(ctx); err != nil {
		return err
	}
	r.finish(began, whole)
	return nil
}

// readManifests reads the slots that changed.
func (r *Reader) readManifests(ctx context.Context, list []blob.Info) error {
	present := map[string]bool{}
	for _, o := range list {
		name, ok := streamOfManifest(o.Key)
		if !ok || r.ignored(name) {
			continue
		}
		if present[name] = true; len(present) > maxStreams {
			return fmt.Errorf("log of more than %d streams; remove what old ones left behind", maxStreams)
		}
		if r.seen[o.Key] == o.Version {
			continue
		}
		if err := r.readManifest(ctx, o, name); err != nil {
			return err
		}
	}
	for name, st := range r.streams {
		if !present[name] {
			r.past[name] = st.applied
			delete(r.streams, name)
		}
	}
	maps.DeleteFunc(r.seen, func(key, _ string) bool { name, _ := streamOfManifest(key); return !present[name] })
	return nil
}

func (r *Reader) readManifest(ctx context.Context, o blob.Info, name string) error {
	data, err := r.deps.Bucket.Read(ctx, o.Key, maxManifest)
	if errors.Is(err, blob.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, blob.ErrTooLarge) {
		return err
	}
	var m *manifest
	if err == nil {
		m, err = decodeManifest(data, name)
	}
	r.seen[o.Key] = o.Version
	if err != nil {
		r.damaged(r.metrics.damagedManifests, o.Key, err)
		return nil
	}
	st := r.streams[name]
	if st == nil {
		st = &stream{m: m, applied: r.past[name]}
		r.streams[name] = st
	}
	if m.Generation > st.m.Generation {
		st.m = m
	}
	if o.Modified.After(st.modified) {
		st.modified = o.Modified
	}
	return nil
}

// catchUp tells the target the segments that it lacks, and says whether it has now what there is.
func (r *Reader) catchUp(ctx context.Context, name string, st *stream) (bool, error) {
	if len(st.m.Segments) > 0 && st.applied < st.m.Segments[0].First-1 {
		r.lose(name, st, st.m.Segments[0].First-1)
	}
	told := false
	for _, seg := range st.m.Segments {
		if seg.Last <= st.applied {
			continue
		}
		err := r.apply(ctx, seg.objectRef, false)
		switch {
		case err == nil:
			told = true
			st.applied = seg.Last
			r.metrics.segments.Inc()
		case errors.Is(err, blob.ErrNotExist) && st.absent != seg.Key:
			// It was merged into another one and deleted after the manifest was read: the next look shows where it went.
			st.absent = seg.Key
			return false, nil
		case errors.Is(err, ErrCorrupt), errors.Is(err, blob.ErrNotExist):
			r.damaged(r.metrics.damagedSegments, seg.Key, err)
			r.lose(name, st, seg.Last)
		default:
			return false, err
		}
	}
	if told {
		r.metrics.delay.Observe(max(0, r.deps.Now().Sub(time.UnixMilli(st.m.Written)).Seconds()))
	}
	return true, nil
}

// lose notes that segments up to n of a stream cannot be read. Sightings that are lost make no answer wrong; events do.
func (r *Reader) lose(name string, st *stream, n int64) {
	st.applied = n
	if st.m.Role == Tracker {
		r.lost[name] = max(r.lost[name], n)
	}
}

// heal makes up for lost segments with a snapshot that holds what they said.
func (r *Reader) heal(ctx context.Context) error {
	if len(r.lost) == 0 {
		return nil
	}
	return r.load(ctx, func(s snapshotRef) bool {
		for name, n := range r.lost {
			if s.Covers[name] < n {
				return false
			}
		}
		return true
	})
}

// apply reads one object and tells the target what it holds. The object is proved to be whole first.
func (r *Reader) apply(ctx context.Context, o objectRef, snapshot bool) error {
	data, err := r.object(ctx, o)
	if err != nil {
		return err
	}
	return r.codec.each(data, func(s Section) error {
		switch s.Kind {
		case Events:
			r.tell(s.Payload, snapshot)
			return nil
		case Sightings:
			n := 0
			err := eachSighting(s.Payload, func(x *Sighting) { n++; r.deps.Target.Observe(*x) })
			r.metrics.sightings.Add(float64(n))
			return err
		default:
			r.metrics.unknown.Inc()
			return nil
		}
	})
}

// object returns the content of an object that is the one that the manifest names.
func (r *Reader) object(ctx context.Context, o objectRef) ([]byte, error) {
	data, err := r.deps.Bucket.Read(ctx, o.Key, MaxObject)
	if errors.Is(err, blob.ErrTooLarge) {
		return nil, corrupt("%w", err)
	}
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != o.Bytes || checksum(data) != o.CRC {
		return nil, corrupt("object of %d bytes is not the one that the manifest names", len(data))
	}
	return data, nil
}

// tell parses lines. Faulty ones are counted, by the target when it refuses them.
func (r *Reader) tell(lines []byte, snapshot bool) {
	n, refused := 0, 0
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\n"))
		var e event.Event
		if r.parser.Parse(line, &e) != nil {
			refused++
			continue
		}
		if e.Op == event.Progress && len(r.lost) > 0 && !snapshot {
			continue
		}
		if r.deps.Target.Apply(&e) != nil {
			refused++
			continue
		}
		n++
	}
	r.metrics.events.Add(float64(n))
	r.metrics.refused.Add(float64(refused))
}

func (r *Reader) damaged(counter interface{ Inc() }, key string, err error) {
	counter.Inc()
	r.deps.Logger.Error().Err(err).Str("log", r.cfg.URL).Str("object", key).Msg("object of the identity log cannot be used")
}

// finish publishes what the look found.
func (r *Reader) finish(began time.Time, whole bool) {
	loaded, sonars := false, 0
	applied, covered := map[string]int64{}, map[string]int64{}
	var snapshots []snapshotRef
	for name, st := range r.streams {
		applied[name] = st.applied
		if st.m.Role == Tracker {
			sonars++
			loaded = loaded || st.m.Loaded
			if len(st.m.Snapshots) == keptSnapshots {
				snapshots = append(snapshots, st.m.Snapshots[keptSnapshots-1])
			}
		}
	}
	for _, s := range snapshots {
		for name, n := range s.Covers {
			covered[name] = max(covered[name], n)
		}
	}
	s := readerState{streams: len(r.streams), applied: applied, covered: covered}
	switch {
	case !whole:
		s.missing = "some segments are being rewritten"
	case r.cfg.SightingsOnly:
	case sonars == 0:
		s.missing = "no dredge sonar has written it yet"
	case !loaded:
		s.missing = "the sources of its dredge sonar have not told everything yet"
	}
	if len(r.lost) > 0 {
		s.err = "events of it are damaged: what it names is provisional until its dredge sonar writes the next snapshot"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.looked = r.state.looked
	if whole {
		s.looked = began
	}
	r.state = s
}
