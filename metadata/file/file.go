// Package file reads identity events from JSON Lines files and follows them as they grow. It is the source for laptops, tests,
// replays, and people who bring their own identity.
package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"dredge/metadata/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// DefaultSource is the src of events that name none.
const DefaultSource = "file"

// Target takes what the files tell.
type Target interface {
	// Apply takes one event in; it refuses faulty ones. The event is the caller's again afterwards.
	Apply(e *event.Event) error
	// MarkProgress says that src has told everything up to t, in Unix milliseconds.
	MarkProgress(src string, t int64)
	// MarkComplete says that src has told everything that it ever will.
	MarkComplete(src string)
}

// Dependencies are what a Source needs from outside.
type Dependencies struct {
	// Target takes the events. Required.
	Target Target
	Logger zerolog.Logger
	// Registerer takes the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Source reads the files of one path. It is not safe for concurrent use: call either LoadAll or Run.
type Source struct {
	cfg     Config
	deps    Dependencies
	parser  event.Parser
	metrics *metrics

	files map[string]*tail
	// sources are all src values that were met.
	sources map[string]struct{}
	// hasProgress: a progress event was met, so the files speak for themselves.
	hasProgress bool
	// refused counts the lines that were not taken in.
	refused map[event.Reason]int
	// fault is the last error that was logged, so that a lasting one is logged once.
	fault  string
	warned bool

	loaded atomic.Bool
}

// Loaded says whether everything that stood in the files at one moment has been read since Run began. Any goroutine may ask.
func (s *Source) Loaded() bool { return s.loaded.Load() }

// New returns a Source. It opens nothing.
func New(cfg Config, deps Dependencies) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("making identity file source: %w", err)
	}
	if cfg.Path == "" {
		return nil, errors.New("making identity file source: path: is empty; write a file or directory")
	}
	if deps.Target == nil {
		return nil, errors.New("BUG: identity file source without a target")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Source{
		cfg: cfg, deps: deps, parser: event.Parser{Now: deps.Now, DefaultSource: DefaultSource}, metrics: newMetrics(deps.Registerer),
		files: map[string]*tail{}, sources: map[string]struct{}{}, refused: map[event.Reason]int{},
	}, nil
}

// LoadAll reads every file whole, once, a last line without line end included, and then marks every source that it met as
// complete: a replay has nothing to wait for. Files may be compressed with gzip or zstd. Faulty lines are logged and counted, and in
// the end the log says how many there were; a file that cannot be read is an error.
func (s *Source) LoadAll(ctx context.Context) error {
	names, err := s.list(true)
	if err != nil {
		return fmt.Errorf("loading identity: %w", err)
	}
	if len(names) == 0 {
		return fmt.Errorf("loading identity: %q holds no *.jsonl, *.ndjson or *.json file, nor one of these with .gz or .zst", s.cfg.Path)
	}
	for _, name := range names {
		if err := s.load(ctx, name); err != nil {
			return fmt.Errorf("loading identity: %w", err)
		}
	}
	s.tellRefused()
	for src := range s.sources {
		s.deps.Target.MarkComplete(src)
	}
	return nil
}

// Run reads the files and follows them until ctx ends: what is appended is read at the next poll, a line without its line end
// waits for the rest, a file that was truncated or replaced is read from its beginning (events may be told twice). A missing or
// unreadable file is logged once, counted, and tried again. It returns nil.
func (s *Source) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.PollInterval)
	defer ticker.Stop()
	for {
		s.poll(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// poll reads what is new.
func (s *Source) poll(ctx context.Context) {
	before := s.deps.Now()
	names, err := s.list(false)
	whole := err == nil
	for _, name := range names {
		ended, rerr := s.read(ctx, name, false)
		whole = whole && ended && rerr == nil
		err = errors.Join(err, rerr)
	}
	if ctx.Err() != nil {
		return
	}
	switch {
	case err == nil:
		s.fault = ""
	case err.Error() != s.fault:
		s.fault = err.Error()
		s.metrics.failures.Inc()
		s.deps.Logger.Error().Err(err).Str("path", s.cfg.Path).Msg("identity files cannot be read")
	default:
		s.metrics.failures.Inc()
	}
	if whole && len(names) > 0 {
		s.loaded.Store(true)
	}
	if !whole || len(s.sources) == 0 {
		return
	}
	if s.cfg.Complete {
		for src := range s.sources {
			s.deps.Target.MarkProgress(src, before.UnixMilli())
		}
	} else if !s.hasProgress && !s.warned {
		s.warned = true
		s.deps.Logger.Warn().Str("path", s.cfg.Path).
			Msg("identity files hold no progress events: nothing is named by them until complete is set or they tell progress")
	}
}

// list returns the files of the path in order of name; compressed ones cannot be followed.
func (s *Source) list(compressed bool) ([]string, error) {
	info, err := os.Stat(s.cfg.Path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{s.cfg.Path}, nil
	}
	entries, err := os.ReadDir(s.cfg.Path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if compressed {
			name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
		}
		switch filepath.Ext(name) {
		case ".jsonl", ".ndjson", ".json":
			if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				names = append(names, filepath.Join(s.cfg.Path, e.Name()))
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// tail is how far one file was read.
type tail struct {
	info fs.FileInfo
	// offset is where the next unread line begins, line its number less one.
	offset int64
	line   int
	// skipping: the present line is too long and was given up.
	skipping bool
}

// maxLogged is how many faulty lines of one file are logged in one poll; the others are counted.
const maxLogged = 10

// read takes in the complete lines that name holds behind what was read, and with final set also a last one without line end.
// ended says that nothing is left over.
func (s *Source) read(ctx context.Context, name string, final bool) (ended bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	t := s.files[name]
	switch {
	case t == nil:
		t = &tail{}
	case !os.SameFile(t.info, info):
		s.metrics.restarts.Inc()
		s.deps.Logger.Info().Str("file", name).Msg("identity file was replaced: reading it from its beginning")
		t = &tail{}
	case info.Size() < t.offset:
		s.metrics.restarts.Inc()
		s.deps.Logger.Info().Str("file", name).Msg("identity file was truncated: reading it from its beginning")
		t = &tail{}
	}
	t.info = info
	s.files[name] = t

	report := s.reporter(name, t)
	buf := make([]byte, 0, 2*event.MaxLine)
	for ctx.Err() == nil {
		n, rerr := f.ReadAt(buf[len(buf):cap(buf)], t.offset+int64(len(buf)))
		buf = buf[:len(buf)+n]
		if t.offset == 0 && compressed(buf) {
			return false, fmt.Errorf("read %q: it is compressed, and so cannot be followed; write it as text", name)
		}
		rest := buf
		for {
			line, more, found := bytes.Cut(rest, []byte("\n"))
			if !found {
				break
			}
			t.line++
			t.offset += int64(len(line)) + 1
			rest = more
			if t.skipping {
				t.skipping = false
				continue
			}
			report(s.take(line))
		}
		buf = buf[:copy(buf, rest)]
		if len(buf) > event.MaxLine { // no line end in sight: give the line up and look for its end only
			if !t.skipping {
				t.line++
				report(&event.Error{Reason: event.TooLong, Err: fmt.Errorf("line is longer than %d bytes", event.MaxLine)})
				t.line--
			}
			t.skipping = true
			t.offset += int64(len(buf))
			buf = buf[:0]
		}
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			return false, rerr
		}
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if final && len(buf) > 0 && !t.skipping {
		t.line++
		report(s.take(buf))
		buf = buf[:0]
	}
	return len(buf) == 0 && !t.skipping, nil
}

// reporter returns what counts and logs the faulty lines of one file; t has the number of the present one.
func (s *Source) reporter(name string, t *tail) func(error) {
	logged := 0
	return func(err error) {
		var refused *event.Error
		if !errors.As(err, &refused) {
			return
		}
		s.metrics.rejected[refused.Reason].Inc()
		s.refused[refused.Reason]++
		if refused.Reason.Skipped() {
			return
		}
		if logged++; logged <= maxLogged {
			s.deps.Logger.Warn().Err(refused.Err).Str("file", name).Int("line", t.line).Str("reason", string(refused.Reason)).
				Msg("identity event was not taken in")
		}
	}
}

// take applies one line.
func (s *Source) take(line []byte) error {
	s.metrics.lines.Inc()
	if line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))); len(line) == 0 {
		return nil
	}
	var e event.Event
	if err := s.parser.Parse(line, &e); err != nil {
		return err
	}
	s.sources[e.Src] = struct{}{}
	s.hasProgress = s.hasProgress || e.Op == event.Progress
	return s.deps.Target.Apply(&e)
}
