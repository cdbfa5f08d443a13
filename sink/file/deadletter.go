package file

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dredge/sink"
)

// DeadLetterConfig is the file of the dead letter.
type DeadLetterConfig struct {
	// Path is the file, or - for standard output. With rotation it is the pattern: dead.jsonl becomes dead-<time>-<number>.jsonl.
	Path string `yaml:"path"`
	// MaxDataBytes is how much of a line or payload is kept.
	MaxDataBytes int `yaml:"max_data_bytes"`
	// RotateBytes begins a new file when this one has so many bytes; 0 for never.
	RotateBytes int64 `yaml:"rotate_bytes"`
	// RotateAge begins a new file when this one is so old; 0s for never.
	RotateAge time.Duration `yaml:"rotate_age"`
}

// DefaultDeadLetterConfig keeps 64 KiB of each input.
func DefaultDeadLetterConfig() DeadLetterConfig { return DeadLetterConfig{MaxDataBytes: 64 << 10} }

// file is the configuration of the file itself.
func (c DeadLetterConfig) file() Config {
	f := DefaultConfig()
	f.Path, f.RotateBytes, f.RotateAge = c.Path, c.RotateBytes, c.RotateAge
	if c.Path != Stdout {
		f.Fsync = FsyncCommit // Flush promises that letters are durable
	}
	return f
}

// Validate reports every fault of c.
func (c DeadLetterConfig) Validate() error {
	var size error
	if c.MaxDataBytes < 1 || c.MaxDataBytes > 16<<20 {
		size = fmt.Errorf("max_data_bytes: %d is out of range; write 1 to 16777216, 65536 suits most", c.MaxDataBytes)
	}
	return errors.Join(c.file().Validate(), size)
}

// DeadLetter appends letters to a file as JSON Lines. Flush forces them to the disk.
type DeadLetter struct {
	cfg     DeadLetterConfig
	journal *journal
}

// NewDeadLetter makes a DeadLetter. Of deps the Encoder is not used. The caller closes it.
func NewDeadLetter(cfg DeadLetterConfig, deps Deps) (*DeadLetter, error) {
	return newDeadLetter(cfg, deps, osFiles{deps.Stdout})
}

func newDeadLetter(cfg DeadLetterConfig, deps Deps, open opener) (*DeadLetter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := newMetrics("dredge_sink_dead_letter_file_", deps.Registry)
	return &DeadLetter{cfg: cfg, journal: newJournal(cfg.file(), open, m, deps.Log)}, nil
}

// Check says whether the path can be written, without creating it.
func (d *DeadLetter) Check(context.Context) error { return check(d.cfg.Path) }

// Put takes l. It waits while the disk is full and so is memory's share.
func (d *DeadLetter) Put(ctx context.Context, l sink.Letter) error {
	const frame = 1 << 10
	line := make([]byte, 0, min(len(l.Data), d.cfg.MaxDataBytes)+frame)
	line = append(sink.AppendLetter(line, l, time.Now(), d.cfg.MaxDataBytes), '\n')
	return d.journal.append(ctx, line, 1, nil)
}

// Flush forces every letter to the disk.
func (d *DeadLetter) Flush(ctx context.Context) error { return d.journal.flush(ctx) }

// Close writes what waits and completes the file.
func (d *DeadLetter) Close() error { return d.journal.close() }
