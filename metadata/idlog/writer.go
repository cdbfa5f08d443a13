package idlog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// WriterDeps are what a Writer needs from outside.
type WriterDeps struct {
	Bucket Bucket
	Logger zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Snapshotter makes snapshots; nil writes none, and segments are kept for the retention only.
	Snapshotter Snapshotter
	// State adds the compact form to snapshots; nil leaves it out. It was told all that Snapshotter was.
	State Compact
	// Covers says, before Snapshotter is called, what its content holds of other streams; nil is nothing.
	Covers func() map[string]int64
	// Covered says up to which of this stream's segments others' snapshots hold everything, so that they may be deleted; nil is none.
	Covered func(stream string) int64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Bounds of what a Writer keeps in memory and in its manifest.
const (
	// maxPending is how many bytes may wait to be written; sources wait beyond it.
	maxPending = 8 << 20
	// mergeAfter is how many small segments are merged into one, mergeBytes how large that may be.
	mergeAfter = 32
	mergeBytes = 4 << 20
	// partBytes is about how large the parts of a snapshot are.
	partBytes = 16 << 20
	// graceTime is how long an object that is no longer named stays, for readers that have just read the older manifest.
	graceTime = time.Minute
	// refreshAfter is how often a quiet stream's manifest is written again, so that readers see that its writer lives.
	refreshAfter = 30 * time.Second
	// closeTime bounds the last write of an ending process.
	closeTime = 5 * time.Second
)

// Writer writes one stream. Emit and Observe may be called by any goroutine while Run runs.
type Writer struct {
	settings  Settings
	deps      WriterDeps
	interval  time.Duration
	retention time.Duration
	codec     *codec
	metrics   *writerMetrics

	mu sync.Mutex
	// room is closed and replaced whenever pending bytes were taken.
	room chan struct{}
	// pending are sections in the order of telling; the last one may still grow.
	pending      []Section
	pendingBytes int
	loaded       bool
	closed       bool

	// The rest is Run's.
	m manifest
	// small are the newest segments, as frames, as long as they may be merged.
	small []smallSegment
	// ready is a segment that was cut but is not published yet, after a failed write.
	ready    *smallSegment
	garbage  []garbage
	next     int64 // number of the next segment
	snapshot int64 // number of the last snapshot
	lastSnap time.Time
	fault    string
}

type smallSegment struct {
	ref    segmentRef
	frames []byte
	n      int
}

// garbage is an object that nothing names any more.
type garbage struct {
	key   string
	since time.Time
}

// NewStream makes up the name of a stream: one life of one process on this host.
func NewStream(role Role, host string, now time.Time) (string, error) {
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("naming a stream: %w", err)
	}
	host = regexp.MustCompile(`[^A-Za-z0-9-]+`).ReplaceAllString(host, "-")
	if len(host) > 64 {
		host = host[:64]
	}
	return fmt.Sprintf("%s-%s-%s-%s", role, strconv.FormatInt(now.UnixMilli(), 36), host, hex.EncodeToString(b)), nil
}

// NewWriter returns a Writer of a new stream of that role. It writes nothing yet. retention is how long the stores of the readers
// keep history.
func NewWriter(s Settings, role Role, retention time.Duration, deps WriterDeps) (*Writer, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("making identity log writer: %w", err)
	}
	if deps.Bucket == nil {
		return nil, errors.New("BUG: identity log writer without a bucket")
	}
	deps.Now = clock(deps.Now)
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	stream, err := NewStream(role, host, deps.Now())
	if err != nil {
		return nil, err
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	w := &Writer{
		settings: s, deps: deps, interval: s.FlushInterval, retention: retention, codec: c, metrics: newWriterMetrics(deps.Registerer),
		room: make(chan struct{}), next: 1,
		m: manifest{Version: manifestVersion, Stream: stream, Role: role},
	}
	if role == Worker {
		w.interval = s.SightingsInterval
	}
	return w, nil
}

// Stream returns the name of the stream.
func (w *Writer) Stream() string { return w.m.Stream }

// SetLoaded says that the log from now on holds everything that the sources had to tell at one time.
func (w *Writer) SetLoaded() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loaded = true
}

// errClosed is what Emit returns when the Writer has ended.
var errClosed = errors.New("the identity log's writer has ended")

// Emit takes events to be written soon. It waits while too much waits to be written, which happens only while the store of blobs
// is away. An error means that ctx or the Writer has ended.
func (w *Writer) Emit(ctx context.Context, events []event.Event) error {
	for i := range events {
		line, err := event.Append(nil, &events[i])
		if err != nil {
			return err
		}
		for {
			room, ok, err := w.put(Events, line)
			if err != nil {
				return err
			}
			if ok {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-room:
			}
		}
	}
	return nil
}

// Observe takes a sighting to be written soon, and says whether there was room. It never waits.
func (w *Writer) Observe(s Sighting) bool {
	if !s.valid() {
		return false
	}
	_, ok, err := w.put(Sightings, appendSighting(nil, &s))
	return ok && err == nil
}

func (w *Writer) put(k Kind, data []byte) (room <-chan struct{}, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return nil, false, errClosed
	case w.pendingBytes+len(data) > maxPending:
		return w.room, false, nil
	}
	if n := len(w.pending); n == 0 || w.pending[n-1].Kind != k || len(w.pending[n-1].Payload)+len(data) > sectionTarget {
		w.pending = append(w.pending, Section{Kind: k})
	}
	last := &w.pending[len(w.pending)-1]
	last.Payload = append(last.Payload, data...)
	w.pendingBytes += len(data)
	return nil, true, nil
}

// Run writes until ctx ends, then writes what is left, for up to five seconds. Faults of the store are logged once, counted and
// retried: nothing that was taken is lost as long as the process lives. It returns nil.
func (w *Writer) Run(ctx context.Context) error {
	defer w.codec.close()
	w.lastSnap = w.deps.Now()
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		w.report(w.step(ctx))
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	w.mu.Lock()
	w.closed = true
	close(w.room)
	w.room = make(chan struct{})
	w.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	w.m.Closed = true
	w.report(w.flush(last, true))
	return nil
}

func (w *Writer) report(err error) {
	switch {
	case err == nil:
		if w.fault != "" {
			w.deps.Logger.Info().Str("stream", w.m.Stream).Msg("identity log is written again")
		}
		w.fault = ""
	case err.Error() != w.fault:
		w.fault = err.Error()
		w.metrics.failures.Inc()
		w.deps.Logger.Error().Err(err).Str("stream", w.m.Stream).Msg("identity log cannot be written")
	default:
		w.metrics.failures.Inc()
	}
}

// step is what is done every interval.
func (w *Writer) step(ctx context.Context) error {
	err := w.flush(ctx, false)
	now := w.deps.Now()
	if err == nil && w.deps.Snapshotter != nil && now.Sub(w.lastSnap) >= w.settings.SnapshotInterval {
		w.lastSnap = now
		if err = w.writeSnapshot(ctx); err == nil && w.m.Role == Tracker {
			var swept int
			swept, err = w.sweep(ctx)
			w.metrics.swept.Add(float64(swept))
		}
	}
	return errors.Join(err, w.collect(ctx))
}

// flush writes what is pending as segments and publishes them. force publishes even when nothing changed.
func (w *Writer) flush(ctx context.Context, force bool) error {
	published := false
	for w.ready != nil || w.cut() {
		if err := w.publishSegment(ctx); err != nil {
			return err
		}
		published = true
	}
	w.mu.Lock()
	loaded := w.loaded
	w.mu.Unlock()
	quiet := w.deps.Now().Sub(time.UnixMilli(w.m.Written)) >= refreshAfter
	if force || !published && (loaded != w.m.Loaded || quiet || w.m.Generation == 0) {
		m := w.m
		m.Loaded = loaded
		return w.publish(ctx, m)
	}
	return nil
}

// cut makes a segment of what is pending and says whether there was any.
func (w *Writer) cut() bool {
	w.mu.Lock()
	sections, bytes := w.pending, 0
	for i := range sections {
		if bytes += len(sections[i].Payload); bytes > mergeBytes { // the rest goes into the next one
			sections = sections[:i+1]
			break
		}
	}
	w.pending = w.pending[len(sections):]
	w.pendingBytes -= min(bytes, w.pendingBytes)
	if len(w.pending) == 0 {
		w.pending = nil
	}
	close(w.room)
	w.room = make(chan struct{})
	w.mu.Unlock()
	if len(sections) == 0 {
		return false
	}
	seg := smallSegment{ref: segmentRef{First: w.next, Last: w.next}}
	for _, s := range sections {
		frames, err := w.codec.appendFrame(seg.frames, s)
		if err != nil {
			w.report(fmt.Errorf("BUG: %w", err)) // sections are cut far below the bound
			continue
		}
		seg.frames, seg.n = frames, seg.n+1
	}
	w.next++
	w.ready = &seg
	return true
}

// publishSegment writes w.ready and names it in the manifest. Whatever fails is tried again with the same content.
func (w *Writer) publishSegment(ctx context.Context) error {
	seg := w.ready
	if err := w.writeObject(ctx, &seg.ref.objectRef, segmentKey(w.m.Stream, seg.ref.First, seg.ref.Last), wrapObject(seg.frames, seg.n)); err != nil {
		return err
	}
	small := append(w.small, *seg) //nolint:gocritic // w.small is replaced when the manifest names the segment
	m := w.m
	m.Segments = append(slices.Clip(m.Segments), seg.ref)
	var merged []segmentRef
	if size := framesSize(small); len(small) >= mergeAfter || size >= mergeBytes {
		all, err := w.merge(ctx, small)
		if err != nil {
			return err
		}
		if len(small) > 1 {
			merged = m.Segments[len(m.Segments)-len(small):]
			m.Segments = append(m.Segments[:len(m.Segments)-len(small):len(m.Segments)-len(small)], all)
		}
		small = nil
	}
	w.mu.Lock()
	m.Loaded = w.loaded
	w.mu.Unlock()
	n := w.expired(m.Segments)
	old := m.Segments[:n]
	m.Segments = m.Segments[n:]
	if err := w.publish(ctx, m); err != nil {
		return err
	}
	w.small, w.ready = small, nil
	w.forgetSmall()
	w.discard(merged...)
	w.discard(old...)
	w.metrics.segments.Inc()
	w.metrics.bytes.Add(float64(seg.ref.Bytes))
	return nil
}

// merge writes one object with the content of all of small.
func (w *Writer) merge(ctx context.Context, small []smallSegment) (segmentRef, error) {
	ref := segmentRef{First: small[0].ref.First, Last: small[len(small)-1].ref.Last}
	if len(small) == 1 {
		return small[0].ref, nil
	}
	var frames []byte
	n := 0
	for _, s := range small {
		frames = append(frames, s.frames...)
		n += s.n
	}
	err := w.writeObject(ctx, &ref.objectRef, segmentKey(w.m.Stream, ref.First, ref.Last), wrapObject(frames, n))
	return ref, err
}

func framesSize(list []smallSegment) (n int) {
	for _, s := range list {
		n += len(s.frames)
	}
	return n
}

// expired returns how many of the oldest segments may be forgotten: those that others' snapshots hold, and of a stream that
// nobody takes snapshots of what would make its manifest too long.
func (w *Writer) expired(list []segmentRef) int {
	n := max(0, len(list)-maxSegments/2)
	if w.deps.Covered == nil || w.deps.Snapshotter != nil {
		return n
	}
	upTo := w.deps.Covered(w.m.Stream)
	for n < len(list) && list[n].Last <= upTo {
		n++
	}
	return n
}

func (w *Writer) writeObject(ctx context.Context, ref *objectRef, key string, data []byte) error {
	*ref = objectRef{Key: key, Bytes: int64(len(data)), CRC: checksum(data)}
	return w.deps.Bucket.Write(ctx, key, data)
}

// publish writes m as the next generation, over the older slot.
func (w *Writer) publish(ctx context.Context, m manifest) error {
	m.Generation++
	m.Written = w.deps.Now().UnixMilli()
	data, err := m.encode()
	if err != nil {
		return err
	}
	if err := w.deps.Bucket.Write(ctx, manifestKey(m.Stream, m.Generation), data); err != nil {
		return err
	}
	w.m = m
	return nil
}

// forgetSmall drops those small segments that the manifest no longer names.
func (w *Writer) forgetSmall() {
	if n := len(w.small) - len(w.m.Segments); n > 0 {
		w.small = w.small[n:]
	}
}

func (w *Writer) discard(refs ...segmentRef) {
	for _, r := range refs {
		w.garbage = append(w.garbage, garbage{r.Key, w.deps.Now()})
	}
}

// collect deletes what nothing has named for a while.
func (w *Writer) collect(ctx context.Context) error {
	now := w.deps.Now()
	for len(w.garbage) > 0 && now.Sub(w.garbage[0].since) >= graceTime {
		if err := w.deps.Bucket.Delete(ctx, w.garbage[0].key); err != nil {
			return err
		}
		w.garbage = w.garbage[1:]
	}
	return nil
}
