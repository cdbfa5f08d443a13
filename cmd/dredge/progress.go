package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	source "dredge/consumer/file"
	"dredge/pipeline"
)

// progress draws a bar on a terminal, and nothing elsewhere.
type progress struct {
	w     io.Writer
	live  bool
	total int64 // bytes of the files as they lie on disk; 0 when standard input is among them
	read  func() int64
	lines func() int64
}

func newProgress(w io.Writer, paths []string, src *source.Source, p *pipeline.Pipeline) *progress {
	return &progress{
		w: w, live: isTerminal(w), total: sizeOf(paths), read: src.Taken,
		lines: func() int64 { return p.Books().Snapshot().Lines },
	}
}

func sizeOf(paths []string) int64 {
	var total int64
	for _, root := range paths {
		if root == source.Stdin {
			return 0
		}
		_ = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil //nolint:nilerr // the source will say what is wrong with it
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
			return nil
		})
	}
	return total
}

// run draws until ctx ends and leaves the line empty.
func (p *progress) run(ctx context.Context) {
	if !p.live {
		return
	}
	begin := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Fprint(p.w, "\r\x1b[K")
			return
		case <-tick.C:
		}
		lines := p.lines()
		rate := float64(lines) / time.Since(begin).Seconds()
		fmt.Fprintf(p.w, "\r\x1b[K%s %d lines, %.0f lines/s", p.bar(), lines, rate)
	}
}

// bar is how much of the files was read, by what the process has read from disk.
func (p *progress) bar() string {
	return barOf(p.read(), p.total)
}

// barOf shows done as a share of total; 0 is an unknown total.
func barOf(done, total int64) string {
	const width = 30
	if total == 0 {
		return "…"
	}
	share := min(1, float64(done)/float64(total))
	full := int(share * width)
	return fmt.Sprintf("[%s%s] %3.0f %%", strings.Repeat("=", full), strings.Repeat(" ", width-full), 100*share)
}
