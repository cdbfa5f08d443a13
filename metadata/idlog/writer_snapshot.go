package idlog

import (
	"context"
	"fmt"
)

// writeSnapshot writes everything anew and then forgets the segments that the snapshot before it covers: should the new one be
// damaged, that one and the segments since still tell everything.
func (w *Writer) writeSnapshot(ctx context.Context) error {
	began := w.deps.Now()
	covers := map[string]int64{}
	if w.deps.Covers != nil {
		covers = w.deps.Covers()
	}
	covers[w.m.Stream] = w.m.last()
	if covers[w.m.Stream] == 0 {
		covers[w.m.Stream] = w.next - 1
	}
	w.snapshot++
	ref := snapshotRef{Codec: w.deps.Snapshotter.Codec(), At: began.UnixMilli(), Covers: covers}
	parts := partWriter{w: w, ctx: ctx}
	if err := parts.all(w.deps.Snapshotter.Snapshot, &ref.Parts); err != nil {
		return fmt.Errorf("writing snapshot: %w", err)
	}
	if w.deps.State != nil {
		ref.State = &stateRef{Codec: w.deps.State.SnapshotCodec()}
		if err := parts.all(parts.state, &ref.State.Parts); err != nil {
			return fmt.Errorf("writing snapshot of state: %w", err)
		}
	}
	m := w.m
	old := m.Snapshots
	m.Snapshots = append([]snapshotRef{ref}, old...)
	var gone []snapshotRef
	if len(m.Snapshots) > keptSnapshots {
		m.Snapshots, gone = m.Snapshots[:keptSnapshots], m.Snapshots[keptSnapshots:]
	}
	var covered []segmentRef
	if len(old) > 0 {
		upTo := old[0].Covers[m.Stream]
		n := 0
		for n < len(m.Segments) && m.Segments[n].Last <= upTo {
			n++
		}
		covered, m.Segments = m.Segments[:n], m.Segments[n:]
	}
	if err := w.publish(ctx, m); err != nil {
		return err
	}
	w.forgetSmall()
	w.discard(covered...)
	for _, s := range gone {
		for _, p := range s.objects() {
			w.garbage = append(w.garbage, garbage{p.Key, w.deps.Now()})
		}
	}
	w.metrics.snapshots.Inc()
	w.metrics.snapshotBytes.Set(float64(parts.bytes))
	w.metrics.snapshotSeconds.Observe(w.deps.Now().Sub(began).Seconds())
	return nil
}

// partWriter gathers sections into parts.
type partWriter struct {
	w      *Writer
	ctx    context.Context //nolint:containedctx // lives as long as one call
	refs   []objectRef
	next   int // number of the next part
	frames []byte
	n      int
	bytes  int64
}

// all writes the sections that there are, and says in refs where it is: at least one part.
func (p *partWriter) all(sections func(add func(Section) error) error, refs *[]objectRef) error {
	p.refs = nil
	if err := sections(p.add); err != nil {
		return err
	}
	if p.n > 0 || len(p.refs) == 0 {
		if err := p.flush(); err != nil {
			return err
		}
	}
	*refs = p.refs
	return nil
}

func (p *partWriter) add(s Section) error {
	frames, err := p.w.codec.appendFrame(p.frames, s)
	if err != nil {
		return err
	}
	p.frames, p.n = frames, p.n+1
	if len(p.frames) < partBytes {
		return nil
	}
	return p.flush()
}

func (p *partWriter) flush() error {
	var part objectRef
	if err := p.w.writeObject(p.ctx, &part, snapshotKey(p.w.m.Stream, p.w.snapshot, p.next), wrapObject(p.frames, p.n)); err != nil {
		return err
	}
	p.refs = append(p.refs, part)
	p.next++
	p.bytes += part.Bytes
	p.frames, p.n = p.frames[:0], 0
	return nil
}

// state adds what the Compact writes, in sections.
func (p *partWriter) state(add func(Section) error) error {
	out := stateWriter{add: add}
	if err := p.w.deps.State.WriteSnapshot(&out); err != nil {
		return err
	}
	return out.flush()
}

// stateWriter makes sections of what is written to it.
type stateWriter struct {
	add func(Section) error
	buf []byte
}

func (s *stateWriter) Write(b []byte) (int, error) {
	if s.buf = append(s.buf, b...); len(s.buf) < sectionTarget {
		return len(b), nil
	}
	return len(b), s.flush()
}

func (s *stateWriter) flush() error {
	for len(s.buf) > 0 {
		n := min(len(s.buf), MaxSection)
		if err := s.add(Section{State, s.buf[:n]}); err != nil {
			return err
		}
		s.buf = s.buf[:copy(s.buf, s.buf[n:])]
	}
	return nil
}
