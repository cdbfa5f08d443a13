package idlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// ReaderDeps are what a Reader needs from outside.
type ReaderDeps struct {
	Bucket Bucket
	// Target takes what the log holds. Required.
	Target Target
	// State is the Target's compact form: snapshots are read in it where they have it. nil reads events only.
	State  Compact
	Logger zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Reader brings a Target up to date with a log and keeps it so. Ready, Status and Covers may be asked by any goroutine.
type Reader struct {
	cfg      Config
	settings Settings
	deps     ReaderDeps
	codec    *codec
	metrics  *readerMetrics
	parser   event.Parser

	// The rest but state is Run's.
	seen    map[string]string // manifest slot → version that was read
	streams map[string]*stream
	// past is what the target has of streams that are gone from the log.
	past map[string]int64
	// lost says for each stream up to which segment something of it could not be read and stands in no snapshot that was. Until
	// a newer snapshot makes up for it, progress is not believed: it vouches for what is not known here.
	lost map[string]int64
	// bad are the objects that are damaged for good.
	bad map[string]struct{}
	// base: the first snapshot was chosen.
	base  bool
	fault string

	mu    sync.Mutex
	state readerState
	// own are streams that this process writes itself.
	own map[string]struct{}
}

// stream is what the Reader knows of one stream.
type stream struct {
	m *manifest
	// modified is when its manifest was written last, by the clock of the blob store.
	modified time.Time
	// applied is the newest segment that the target has, or that is lost.
	applied int64
	// absent is a segment that the manifest names and that was not there at the last look.
	absent string
}

type readerState struct {
	// looked is when the last complete look began; zero before the first.
	looked  time.Time
	missing string
	streams int
	err     string
	// applied is what the target has of each stream; covered is up to where two readable snapshots have it.
	applied, covered map[string]int64
}

// Status is how far a Reader is.
type Status struct {
	// Looked is when the last complete look at the log began.
	Looked  time.Time
	Streams int
	// Missing says what keeps the log from being loaded, Fault what cannot be read at present; empty when nothing does.
	Missing, Fault string
}

// NewReader returns a Reader. It reads nothing yet.
func NewReader(cfg Config, s Settings, deps ReaderDeps) (*Reader, error) {
	if err := errors.Join(cfg.Validate(), s.Validate()); err != nil {
		return nil, fmt.Errorf("making identity log reader: %w", err)
	}
	if deps.Bucket == nil || deps.Target == nil {
		return nil, errors.New("BUG: identity log reader without a bucket or a target")
	}
	deps.Now = clock(deps.Now)
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	return &Reader{
		cfg: cfg, settings: s, deps: deps, codec: c, metrics: newReaderMetrics(cfg.URL, deps.Registerer),
		parser: event.Parser{Now: deps.Now}, seen: map[string]string{}, streams: map[string]*stream{}, past: map[string]int64{}, lost: map[string]int64{}, bad: map[string]struct{}{}, own: map[string]struct{}{},
		state: readerState{missing: "was not looked at yet"},
	}, nil
}

// URL is where the log lies.
func (r *Reader) URL() string { return r.cfg.URL }

// Run looks at the log every poll interval until ctx ends. Whatever cannot be read is logged once, counted and tried again. It
// returns nil.
func (r *Reader) Run(ctx context.Context) error {
	defer r.codec.close()
	ticker := time.NewTicker(r.settings.PollInterval)
	defer ticker.Stop()
	for {
		err := r.Poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		r.report(err)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (r *Reader) report(err error) {
	switch {
	case err == nil:
		if r.fault != "" {
			r.deps.Logger.Info().Str("log", r.cfg.URL).Msg("identity log is read again")
		}
		r.fault = ""
		return
	case err.Error() != r.fault:
		r.fault = err.Error()
		r.deps.Logger.Error().Err(err).Str("log", r.cfg.URL).Msg("identity log cannot be read")
	}
	r.metrics.failures.Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.err = r.fault
}

// Ready returns nil when the target has the newest snapshot and everything after it, as of at most max_lag ago.
func (r *Reader) Ready() error {
	st := r.Status()
	switch {
	case st.Looked.IsZero() && st.Fault != "":
		return fmt.Errorf("identity log %s: %s", r.cfg.URL, st.Fault)
	case st.Missing != "":
		return fmt.Errorf("identity log %s: %s", r.cfg.URL, st.Missing)
	}
	if age := r.deps.Now().Sub(st.Looked); age > r.settings.MaxLag {
		return fmt.Errorf("identity log %s was last read %s ago", r.cfg.URL, age.Round(time.Second))
	}
	return nil
}

// Status says how far the Reader is.
func (r *Reader) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{Looked: r.state.looked, Streams: r.state.streams, Missing: r.state.missing, Fault: r.state.err}
}

// Covers returns up to which segment of each stream the target has everything. The map is the caller's.
func (r *Reader) Covers() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]int64, len(r.state.applied)+1)
	maps.Copy(out, r.state.applied)
	return out
}

// Covered returns up to which segment a stream stands in two snapshots of a sonar, so that its writer may forget them.
func (r *Reader) Covered(stream string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.covered[stream]
}

// Ignore leaves a stream out from now on: the target has what this process writes itself.
func (r *Reader) Ignore(stream string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own[stream] = struct{}{}
}

func (r *Reader) ignored(stream string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.own[stream]
	return ok
}
