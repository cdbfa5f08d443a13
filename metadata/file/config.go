package file

import (
	"errors"
	"fmt"
	"time"
)

// Config says which identity files are read.
type Config struct {
	// Path is a file of identity events, one JSON object per line, or a directory whose *.jsonl, *.ndjson and *.json files are read in order of name; empty reads none.
	Path string `yaml:"path"`
	// PollInterval is how often the files are looked at for more.
	PollInterval time.Duration `yaml:"poll_interval"`
	// Complete says that the files hold everything that is known at the moment they are read, so that names are certain up to then; without it only progress events in the files make names certain.
	Complete bool `yaml:"complete"`
}

// DefaultConfig reads nothing.
func DefaultConfig() Config { return Config{PollInterval: time.Second} }

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	if c.PollInterval < 10*time.Millisecond || c.PollInterval > time.Hour {
		errs = append(errs, fmt.Errorf("poll_interval: %s is out of range; write a duration from 10ms to 1h", c.PollInterval))
	}
	if c.Complete && c.Path == "" {
		errs = append(errs, errors.New("complete: no path is set; write path, or leave complete out"))
	}
	return errors.Join(errs...)
}
