package idlog

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"dredge/internal/blob"
)

// load tells the target the newest snapshot that is whole and suits, if there is one.
func (r *Reader) load(ctx context.Context, suits func(snapshotRef) bool) error {
	var all []snapshotRef
	for _, st := range r.streams {
		all = append(all, st.m.Snapshots...)
	}
	// One of a sonar holds all streams, one of a worker its own sightings only.
	slices.SortFunc(all, func(a, b snapshotRef) int {
		return cmp.Or(cmp.Compare(len(b.Covers), len(a.Covers)), cmp.Compare(b.At, a.At))
	})
	for _, ref := range all {
		if !suits(ref) {
			continue
		}
		if ok, err := r.applySnapshot(ctx, ref); ok || err != nil {
			return err
		}
	}
	return nil
}

// applySnapshot tells the target a snapshot and says whether it was whole: in its compact form where both sides know it, else as
// events. What stands before a damaged part is true as well, and progress stands last.
func (r *Reader) applySnapshot(ctx context.Context, ref snapshotRef) (bool, error) {
	ok, err := r.applyState(ctx, ref.State)
	if !ok && err == nil {
		ok, err = r.applyEvents(ctx, ref)
	}
	if !ok || err != nil {
		return false, err
	}
	for name, n := range ref.Covers {
		if st := r.streams[name]; st != nil {
			st.applied = max(st.applied, n)
		}
		if r.lost[name] <= n {
			delete(r.lost, name)
		}
	}
	r.metrics.snapshots.Inc()
	return true, nil
}

func (r *Reader) applyEvents(ctx context.Context, ref snapshotRef) (bool, error) {
	if ref.Codec != FoldCodec {
		r.metrics.unknown.Inc()
		return false, nil
	}
	if r.anyBad(ref.Parts) {
		return false, nil
	}
	for _, p := range ref.Parts {
		if err := r.apply(ctx, p, true); err != nil {
			return false, r.unusable(p.Key, err)
		}
	}
	return true, nil
}

func (r *Reader) anyBad(parts []objectRef) bool {
	return slices.ContainsFunc(parts, func(p objectRef) bool { _, bad := r.bad[p.Key]; return bad })
}

// unusable notes that an object of a snapshot is damaged for good, and returns err when it is not.
func (r *Reader) unusable(key string, err error) error {
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, blob.ErrNotExist) {
		return err
	}
	r.bad[key] = struct{}{}
	r.damaged(r.metrics.damagedSnapshots, key, err)
	return nil
}

// applyState lets the target read a snapshot's compact form, and says whether it did.
func (r *Reader) applyState(ctx context.Context, ref *stateRef) (bool, error) {
	if ref == nil || r.deps.State == nil || ref.Codec != r.deps.State.SnapshotCodec() || len(ref.Parts) == 0 || r.anyBad(ref.Parts) {
		return false, nil
	}
	in := &stateReader{r: r, ctx: ctx, parts: ref.Parts}
	err := r.deps.State.ReadSnapshot(in)
	switch {
	case err == nil:
		return true, nil
	case in.err != nil:
		return false, r.unusable(in.key, in.err)
	default: // whole as an object, and no snapshot
		return false, r.unusable(in.key, corrupt("%w", err))
	}
}

// stateReader reads the sections of a snapshot's compact form, one object at a time.
type stateReader struct {
	r     *Reader
	ctx   context.Context //nolint:containedctx // lives as long as one call
	parts []objectRef
	key   string // of the object that is being read
	err   error

	frames        []frame
	scratch, rest []byte
}

func (s *stateReader) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		switch {
		case len(s.frames) > 0:
			var sec Section
			sec, s.scratch, s.err = s.r.codec.section(s.frames[0], s.scratch)
			s.frames = s.frames[1:]
			if sec.Kind == State {
				s.rest = sec.Payload
			}
		case len(s.parts) == 0:
			return 0, io.EOF
		default:
			s.open()
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// open reads the next object.
func (s *stateReader) open() {
	o := s.parts[0]
	s.parts, s.key = s.parts[1:], o.Key
	var data []byte
	if data, s.err = s.r.object(s.ctx, o); s.err == nil {
		s.frames, s.err = checkObject(data)
	}
}
