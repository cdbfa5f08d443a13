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
	cfg     Config
	log     zerolog.Logger
	metrics *metrics

	// policy is replaced as a whole by Load and Run; nil until a file was read.
	policy atomic.Pointer[policy]
	reload chan struct{}

	mu      sync.Mutex // one load at a time; it guards what follows
	content []byte     // in force
	bad     []byte     // refused, so that it is not read again and again
	fault   string     // that was returned last
}

// New returns Segments that judge nothing yet. It opens nothing.
func New(cfg Config, deps Dependencies) (*Segments, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making segments: %w", err)
	}
	return &Segments{cfg: cfg, log: deps.Logger, metrics: newMetrics(deps.Registerer), reload: make(chan struct{}, 1)}, nil
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

// Reload makes Run look at the file now. It does not wait.
func (s *Segments) Reload() {
	select {
	case s.reload <- struct{}{}:
	default: // one is due already
	}
}

// Run reads the file and follows its changes until ctx ends. A fault is logged when it is new, and counted. It returns nil.
func (s *Segments) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.PollInterval)
	defer ticker.Stop()
	for {
		s.look()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-s.reload:
			s.mu.Lock()
			s.bad, s.fault = nil, "" // somebody waits for the answer
			s.mu.Unlock()
		}
	}
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
	s.content, s.bad, s.fault = data, nil, ""
	s.policy.Store(p)
	s.metrics.loaded(len(p.edges))
	s.log.Info().Str("path", s.cfg.File).Int("edges", len(p.edges)).Msg("declared edges are in force")
	return nil
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
