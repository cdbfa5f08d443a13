package store

import (
	"slices"
	"sync"
	"time"

	"dredge/metadata"
)

// source is one teller of events, by its src.
type source struct {
	name string
	// whole is its progress over everything that it tells, progress that of single scopes; 0 is none.
	whole    int64
	progress map[metadata.Scope]int64
	// told are the scopes that it ever told something of.
	told  map[metadata.Scope]struct{}
	heard time.Time
	// idle is whether the last tick found it silent for too long.
	idle bool
}

// upTo returns how far src has told sc; ok is false when it does not matter there: a source that never said how far it is (an
// event feed, which may lose events) or that tells nothing of sc.
func (src *source) upTo(sc metadata.Scope) (t int64, ok bool) {
	t, ok = src.progress[sc]
	if _, told := src.told[sc]; told && src.whole > 0 {
		return max(t, src.whole), true
	}
	return t, ok
}

// watermarks keeps who has told how much.
type watermarks struct {
	mu      sync.Mutex
	sources map[string]*source
	// byScope are the sources that matter in a scope.
	byScope map[metadata.Scope][]*source
	// expected are sources that are configured but were never heard: they hold every scope back until they are.
	expected map[string]time.Time
	// changed is closed and replaced at every progress.
	changed chan struct{}
	publish func(sc metadata.Scope, t int64)
}

func newWatermarks(publish func(metadata.Scope, int64)) *watermarks {
	return &watermarks{
		sources: map[string]*source{}, byScope: map[metadata.Scope][]*source{}, expected: map[string]time.Time{},
		changed: make(chan struct{}), publish: publish,
	}
}

func (w *watermarks) source(name string, now time.Time) *source {
	src := w.sources[name]
	if src == nil {
		src = &source{name: name, progress: map[metadata.Scope]int64{}, told: map[metadata.Scope]struct{}{}}
		w.sources[name] = src
	}
	src.heard = now
	return src
}

// hear notes that a source told something of sc (NoScope: of no scope in particular) and returns its name, kept once for all.
func (w *watermarks) hear(name string, sc metadata.Scope, now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	src := w.source(name, now)
	if sc == metadata.NoScope {
		return src.name
	}
	if _, ok := src.told[sc]; !ok {
		src.told[sc] = struct{}{}
		if src.whole > 0 {
			w.update(src, sc)
		}
	}
	return src.name
}

// tell notes progress of a source over sc, NoScope being all that it tells.
func (w *watermarks) tell(name string, sc metadata.Scope, t int64, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	src := w.source(name, now)
	delete(w.expected, name)
	if sc == metadata.NoScope {
		src.whole = max(src.whole, t)
		for told := range src.told {
			w.update(src, told)
		}
	} else {
		src.progress[sc] = max(src.progress[sc], t)
		w.update(src, sc)
	}
	w.broadcast()
}

func (w *watermarks) broadcast() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// update recomputes the watermark of sc after src changed there.
func (w *watermarks) update(src *source, sc metadata.Scope) {
	if !slices.Contains(w.byScope[sc], src) {
		w.byScope[sc] = append(w.byScope[sc], src)
	}
	low := int64(forever)
	for _, s := range w.byScope[sc] {
		if t, ok := s.upTo(sc); ok {
			low = min(low, t)
		}
	}
	w.publish(sc, low)
}

// complete says whether every source that is not idle has told scopes up to t.
func (w *watermarks) complete(scopes []metadata.Scope, t int64, now time.Time, idleAfter time.Duration) (bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, since := range w.expected {
		if now.Sub(since) < idleAfter {
			return false, w.changed
		}
	}
	for _, sc := range scopes {
		for _, src := range w.byScope[sc] {
			if upTo, ok := src.upTo(sc); ok && upTo < t && now.Sub(src.heard) < idleAfter {
				return false, w.changed
			}
		}
	}
	return true, w.changed
}

// maxProgress is how many scopes of one source completeEverywhere looks at.
const maxProgress = 64

// completeEverywhere says that complete would be true whatever the scopes. It looks at sources, not at scopes, and does not look far: false
// means nothing.
func (w *watermarks) completeEverywhere(t int64, now time.Time, idleAfter time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, since := range w.expected {
		if now.Sub(since) < idleAfter {
			return false
		}
	}
	for _, src := range w.sources {
		if now.Sub(src.heard) >= idleAfter {
			continue
		}
		if src.whole > 0 && src.whole < t && len(src.told) > 0 || len(src.progress) > maxProgress {
			return false
		}
		for sc := range src.progress {
			if upTo, ok := src.upTo(sc); ok && upTo < t {
				return false
			}
		}
	}
	return true
}

// tick wakes whoever waits for a source that has become idle since the last tick.
func (w *watermarks) tick(now time.Time, idleAfter time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wake := false
	for name, since := range w.expected {
		if now.Sub(since) >= idleAfter {
			delete(w.expected, name)
			wake = true
		}
	}
	for _, src := range w.sources {
		idle := now.Sub(src.heard) >= idleAfter
		wake = wake || idle && !src.idle
		src.idle = idle
	}
	if wake {
		w.broadcast()
	}
}

// expect holds every scope back until name makes progress or stays silent too long.
func (w *watermarks) expect(name string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.sources[name]; !known {
		w.expected[name] = now
	}
}

// SourceStatus is how far one source has told.
type SourceStatus struct {
	Name string
	// Progress is the least progress over its scopes in Unix milliseconds; 0 when it never said, as event feeds do.
	Progress int64
	// Heard is when it last told anything; Idle says that it no longer holds flows back.
	Heard time.Time
	Idle  bool
}

func (w *watermarks) status(now time.Time, idleAfter time.Duration) []SourceStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]SourceStatus, 0, len(w.sources))
	for _, src := range w.sources {
		low := int64(forever)
		for _, t := range src.progress {
			low = min(low, max(t, src.whole))
		}
		if len(src.progress) == 0 {
			low = src.whole
		}
		out = append(out, SourceStatus{src.name, low, src.heard, now.Sub(src.heard) >= idleAfter})
	}
	slices.SortFunc(out, func(a, b SourceStatus) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}
