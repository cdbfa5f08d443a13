// Package file reads flow logs from files, directories and standard input and hands them to a stream.Processor, as the
// Kinesis consumer does with shards: for replays, for the demo and for looking at what a log holds.
//
// A file is a partition, its path the name. What is in it is told by its first bytes: gzip, zstd, Parquet, JSON or lines. The text is read as a
// stream and cut into payloads of about 1 MiB; the position after a payload is its offset in the decompressed text. Reading waits
// while the pipeline has no room.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dredge/stream"
)

// Deps is what a Source works with. All fields are needed, Stdin only when it is read.
type Deps struct {
	Processor stream.Processor
	Budget    stream.Budget
	// IsHeader says whether a line names the fields of the lines after it.
	IsHeader func(line []byte) bool
	Stdin    io.Reader
	Log      zerolog.Logger
	Metrics  prometheus.Registerer
}

// Source reads files. Make it with New.
type Source struct {
	cfg     Config
	d       Deps
	m       *metrics
	taken   atomic.Int64
	started atomic.Bool
}

// New checks cfg and deps; no file is opened.
func New(cfg Config, deps Deps) (*Source, error) {
	errs := []error{cfg.Validate()}
	if deps.Processor == nil || deps.Budget == nil || deps.IsHeader == nil || deps.Metrics == nil {
		errs = append(errs, errors.New("dependencies Processor, Budget, IsHeader and Metrics are needed"))
	}
	for _, p := range cfg.Paths {
		if p == Stdin && deps.Stdin == nil {
			errs = append(errs, errors.New(`paths: "-" needs the dependency Stdin`))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("file source: %w", err)
	}
	return &Source{cfg: cfg, d: deps, m: newMetrics(deps.Metrics)}, nil
}

// Run reads all files once and returns when everything of them is durable, or ctx ended. A file that fails does not keep the others
// from being read; the errors are joined. It may be called once.
func (s *Source) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return errors.New("BUG: Run of a file source was called twice")
	}
	paths, missing := s.list()
	s.m.failed.Add(float64(len(missing)))
	failures := make([]error, len(paths))
	var files errgroup.Group
	files.SetLimit(s.cfg.Concurrency)
	for i, p := range paths {
		if ctx.Err() != nil {
			break
		}
		files.Go(func() error {
			if err := s.read(ctx, p); err != nil {
				failures[i] = fmt.Errorf("read %q: %w", p, err)
				s.m.failed.Inc()
				return nil
			}
			s.m.files.Inc()
			return nil
		})
	}
	err := files.Wait()
	return errors.Join(append(append(missing, failures...), err, ctx.Err())...)
}

// list turns the paths into files, and says which of them cannot be listed. A path that is named must exist; in a directory, what is
// hidden or no regular file is passed by.
func (s *Source) list() (out []string, missing []error) {
	for _, root := range s.cfg.Paths {
		if root == Stdin {
			out = append(out, Stdin)
			continue
		}
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				if pe, ok := errors.AsType[*fs.PathError](err); ok {
					err = pe.Err
				}
				missing = append(missing, fmt.Errorf("list %q: %w", p, err))
				return nil
			}
			hidden := p != root && strings.HasPrefix(d.Name(), ".")
			switch {
			case d.IsDir() && hidden:
				return fs.SkipDir
			case !d.IsDir() && !hidden && (p == root || d.Type().IsRegular()):
				out = append(out, p)
			}
			return nil
		}) // every error is among the missing
	}
	return out, missing
}

// Taken is how many bytes of the files, as they lie on disk, have been read so far. Any goroutine may ask.
func (s *Source) Taken() int64 { return s.taken.Load() }
