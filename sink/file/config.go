package file

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Stdout is the path that means standard output.
const Stdout = "-"

// Compression is how a file is compressed.
type Compression string

// The ways to compress.
const (
	CompressionAuto Compression = "auto"
	CompressionNone Compression = "none"
	CompressionGzip Compression = "gzip"
	CompressionZstd Compression = "zstd"
)

// Fsync says when data is forced to the disk.
type Fsync string

// The times of an fsync.
const (
	// FsyncNever leaves it to the operating system: a crash of the process loses nothing, one of the machine may.
	FsyncNever Fsync = "never"
	// FsyncCommit forces every commit to the disk before it is reported.
	FsyncCommit Fsync = "commit"
)

// Config is where rows are written as JSON Lines.
type Config struct {
	// Path is the file, or - for standard output. With rotation it is the pattern: rows.jsonl becomes rows-<time>-<number>.jsonl.
	Path string `yaml:"path"`
	// MinutePath is a second file, for rows rolled up by minute: one row for all that are equal in the rows of one Write; empty for
	// none. It is compressed, rotated and written as Path is.
	MinutePath string `yaml:"minute_path"`
	// LatePath is another file, for the rows that are later than rows.late_after; they are then neither in Path nor in MinutePath.
	// Empty writes them with the others. It is compressed, rotated and written as Path is.
	LatePath string `yaml:"late_path"`
	// Compression is none, gzip, zstd, or auto: by the path's ending, .gz or .zst.
	Compression Compression `yaml:"compression"`
	// FlushInterval is how long rows wait for company before they are written; it is also the least latency of a row.
	FlushInterval time.Duration `yaml:"flush_interval"`
	// BlockBytes is the size at which waiting rows are written at once. A compressed file is made of blocks that each can be
	// read alone.
	BlockBytes int `yaml:"block_bytes"`
	// RotateBytes begins a new file when this one has so many bytes; 0 for never.
	RotateBytes int64 `yaml:"rotate_bytes"`
	// RotateAge begins a new file when this one is so old; 0s for never.
	RotateAge time.Duration `yaml:"rotate_age"`
	// Fsync is never, or commit to force every commit to the disk before its rows count as delivered.
	Fsync Fsync `yaml:"fsync"`
	// RetryBackoff is the pause before a write is tried again, for example while the disk is full.
	RetryBackoff time.Duration `yaml:"retry_backoff"`
}

// DefaultConfig writes to standard output.
func DefaultConfig() Config {
	return Config{
		Path:          Stdout,
		Compression:   CompressionAuto,
		FlushInterval: 200 * time.Millisecond,
		BlockBytes:    1 << 20,
		Fsync:         FsyncNever,
		RetryBackoff:  time.Second,
	}
}

func (c *Config) compression() Compression {
	if c.Compression != CompressionAuto {
		return c.Compression
	}
	switch filepath.Ext(c.Path) {
	case ".gz":
		return CompressionGzip
	case ".zst":
		return CompressionZstd
	}
	return CompressionNone
}

func (c *Config) rotates() bool { return c.RotateBytes > 0 || c.RotateAge > 0 }

// Validate reports every fault of c.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Path != "", "path: empty; write a file, or - for standard output")
	check(!strings.HasSuffix(c.Path, "/"), "path: %q is a directory; write a file in it, for example %q", c.Path, filepath.Join(c.Path, "rows.jsonl"))
	check(!strings.HasSuffix(c.MinutePath, "/"), "minute_path: %q is a directory; write a file in it, for example %q", c.MinutePath, filepath.Join(c.MinutePath, "rows_1m.jsonl"))
	check(!strings.HasSuffix(c.LatePath, "/"), "late_path: %q is a directory; write a file in it, for example %q", c.LatePath, filepath.Join(c.LatePath, "rows_late.jsonl"))
	check(c.MinutePath == "" || c.MinutePath != c.Path, "minute_path: %q is path too; write another file", c.MinutePath)
	check(c.LatePath == "" || c.LatePath != c.Path && c.LatePath != c.MinutePath, "late_path: %q is path or minute_path too; write another file", c.LatePath)
	check(c.MinutePath != Stdout && c.LatePath != Stdout || !c.rotates(), "rotate_bytes, rotate_age: standard output cannot rotate; write files as minute_path and late_path, or 0")
	switch c.Compression {
	case CompressionAuto, CompressionNone, CompressionGzip, CompressionZstd:
	default:
		check(false, "compression: %q is unknown; write auto, none, gzip or zstd", string(c.Compression))
	}
	check(c.FlushInterval >= 0 && c.FlushInterval <= time.Minute, "flush_interval: %s is out of range; write 0s to 1m, 200ms suits most", c.FlushInterval)
	check(c.BlockBytes >= 4<<10 && c.BlockBytes <= 64<<20, "block_bytes: %d is out of range; write 4096 to 67108864", c.BlockBytes)
	check(c.RotateBytes >= 0, "rotate_bytes: %d is negative; write 0 for never", c.RotateBytes)
	check(c.RotateAge >= 0, "rotate_age: %s is negative; write 0s for never", c.RotateAge)
	check(!c.rotates() || c.Path != Stdout, "rotate_bytes, rotate_age: standard output cannot rotate; write a file as path, or 0")
	check(c.Fsync == FsyncNever || c.Fsync == FsyncCommit, "fsync: %q is unknown; write never or commit", string(c.Fsync))
	check(c.RetryBackoff > 0, "retry_backoff: %s must be positive; 1s suits most", c.RetryBackoff)
	return errors.Join(errs...)
}
