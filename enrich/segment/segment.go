// Package segment judges flows by declared edges: a file that says who may talk to whom.
//
// The file in force is an immutable, compiled policy behind an atomic pointer. A new one is read and checked aside and swapped in; a
// bad one leaves the old in force. Judging loads it once for each row, waits for nobody and allocates nothing.
package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/row"
)

// Dependencies are what Segments need from outside.
type Dependencies struct {
	Logger zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
}

// Segments judge flows. Safe for concurrent use, also with Load and Run.
type Segments struct {
	log     zerolog.Logger
	metrics *metrics

	// policy is replaced as a whole by Load, Run and Prepare; nil until a file was read, and when there is none.
	policy atomic.Pointer[policy]
	// changed makes Run follow another configuration.
	changed chan struct{}

	mu      sync.Mutex // one load at a time; it guards what follows
	cfg     Config
	content []byte // in force
	bad     []byte // refused, so that it is not read again and again
	fault   string // that was returned last
}

// New returns Segments that judge nothing yet. It opens nothing.
func New(cfg Config, deps Dependencies) (*Segments, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making segments: %w", err)
	}
	return &Segments{cfg: cfg, log: deps.Logger, metrics: newMetrics(deps.Registerer), changed: make(chan struct{}, 1)}, nil
}

// Judge returns what the declared edges say of row i of b; SegmentationNone while no file was read.
func (s *Segments) Judge(b *row.Batch, i int) row.Segmentation {
	p := s.policy.Load()
	if p == nil {
		return row.SegmentationNone
	}
	return p.judge(b, i).segmentation
}

// Explain returns the verdict on row i of b, the edge that decided, "" for none, and why in words.
func (s *Segments) Explain(b *row.Batch, i int) (verdict row.Segmentation, edge, why string) {
	p := s.policy.Load()
	if p == nil {
		return row.SegmentationNone, "", "no edges are declared"
	}
	v := p.judge(b, i)
	if v.by != nil {
		edge = v.by.name
	}
	r := &b.Rows[i]
	switch v.segmentation {
	case row.SegmentationAllowed:
		if why = "an edge allows it"; v.by == nil {
			why = "no edge is for it, and the default allows it"
			if r.Src.Named && r.Src.App == r.Dst.App {
				why = "no edge is for it, and an application may talk to itself"
			}
		}
	case row.SegmentationExpired:
		why = "the edge that would allow it had ended when the flow began"
	case row.SegmentationUnexpected:
		if why = "an edge denies it"; v.by == nil {
			why = "no edge is for it, and the default denies it"
		}
	default:
		switch {
		case !known(&r.Src) || !known(&r.Dst):
			why = "an end is not named, so nobody can say"
		case r.Client == row.EndUnknown:
			why = "it is not known which end is the client, and it makes a difference"
		default:
			why = "an edge asks for tags that the record does not carry of that end"
		}
	}
	return v.segmentation, edge, why
}

// Load reads the file when it has changed since the last time. What it told before stays in force when it is faulty; the error holds every fault.
func (s *Segments) Load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.load()
	if err != nil {
		s.fault = err.Error()
	}
	return err
}

// Prepare reads and checks the file that next names, whatever was said of it before, and changes nothing yet: commit puts it in force. commit is nil when next and
// the file are what is in force already. The error holds every fault.
func (s *Segments) Prepare(next Config) (commit func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next.File == "" {
		if s.cfg == next {
			return nil, nil
		}
		return func() { s.commit(next, nil, nil) }, nil
	}
	data, err := read(next.File)
	if err != nil {
		s.metrics.faults.Inc()
		return nil, fmt.Errorf("reading declared edges: %w", err)
	}
	if s.cfg == next && s.policy.Load() != nil && bytes.Equal(data, s.content) {
		s.bad, s.fault = nil, "" // somebody put the file in force back
		return nil, nil
	}
	p, err := parse(data)
	if err != nil {
		s.metrics.faults.Inc()
		return nil, fmt.Errorf("declared edges %s:\n%w", next.File, err)
	}
	return func() { s.commit(next, data, p) }, nil
}

func (s *Segments) commit(next Config, data []byte, p *policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg = next
	s.take(data, p)
	select {
	case s.changed <- struct{}{}:
	default: // Run has not looked at the last one yet, and sees this one instead
	}
}

// Run reads the file and follows its changes until ctx ends. A fault is logged when it is new, and counted. It returns nil.
func (s *Segments) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.interval())
	defer ticker.Stop()
	for {
		s.look()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-s.changed:
			ticker.Reset(s.interval())
		}
	}
}

func (s *Segments) interval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.PollInterval
}

func (s *Segments) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err := s.load(); {
	case err == nil:
	case err.Error() != s.fault:
		s.fault = err.Error()
		s.log.Error().Err(err).Msg("declared edges cannot be read; what was known stays in force")
	}
}

func (s *Segments) load() error {
	if s.cfg.File == "" {
		return nil
	}
	data, err := read(s.cfg.File)
	switch {
	case err != nil:
		s.metrics.faults.Inc()
		return fmt.Errorf("reading declared edges: %w", err)
	case bytes.Equal(data, s.bad) && s.bad != nil:
		return errors.New(s.fault)
	case bytes.Equal(data, s.content) && s.policy.Load() != nil:
		s.fault = "" // somebody put the file in force back
		return nil
	}
	p, err := parse(data)
	if err != nil {
		s.metrics.faults.Inc()
		s.bad = data
		return fmt.Errorf("declared edges %s:\n%w", s.cfg.File, err)
	}
	s.take(data, p)
	return nil
}

// take puts p in force; nil when edges are declared no more.
func (s *Segments) take(data []byte, p *policy) {
	s.content, s.bad, s.fault = data, nil, ""
	s.policy.Store(p)
	edges := 0
	if p != nil {
		edges = len(p.edges)
	}
	s.metrics.loaded(edges)
	s.log.Info().Str("path", s.cfg.File).Int("edges", edges).Msg("declared edges are in force")
}

// read returns the whole file, or one byte more than is accepted.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}

// Describe says in one line what is in force.
func (s *Segments) Describe() string {
	p := s.policy.Load()
	if p == nil {
		return "nothing was read"
	}
	word := map[bool]string{true: allow, false: deny}
	return fmt.Sprintf("%d edges, default %s", len(p.edges), word[p.allowDefault])
}
