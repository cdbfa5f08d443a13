package file

import (
	"errors"
	"fmt"
)

// Stdin is the path that means standard input.
const Stdin = "-"

// Config says which files are read, and in what pieces.
type Config struct {
	// Paths are files, directories (read recursively, in order of names, without hidden files) and "-" for standard input.
	Paths []string `yaml:"paths"`
	// BlockSize is about how many bytes of text one payload holds; it ends at a line's end, or at a JSON value's.
	BlockSize int `yaml:"block_size"`
	// MaxValueSize bounds one line or one JSON value in bytes; a longer one is cut there, and its parts are rejected by the decoder.
	MaxValueSize int `yaml:"max_value_size"`
	// MaxInFlight bounds the payloads of one file whose rows are not yet durable.
	MaxInFlight int `yaml:"max_in_flight"`
	// Concurrency is how many files are read at once.
	Concurrency int `yaml:"concurrency"`
}

// DefaultConfig returns the settings that suit replays; paths must be filled in.
func DefaultConfig() Config {
	return Config{BlockSize: 1 << 20, MaxValueSize: 16 << 20, MaxInFlight: 16, Concurrency: 2}
}

// Validate returns all that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Paths) == 0 {
		fault(`paths: is empty; write files, directories, or "-" for standard input`)
	}
	stdin := 0
	for _, p := range c.Paths {
		switch p {
		case "":
			fault(`paths: "" is empty; write "." for the present directory`)
		case Stdin:
			stdin++
		}
	}
	if stdin > 1 {
		fault(`paths: "-" stands there %d times; standard input can be read once`, stdin)
	}
	if c.BlockSize < 1 || c.BlockSize > 64<<20 {
		fault("block_size: %d must be from 1 to 67108864; 1048576 is the default", c.BlockSize)
	}
	if c.MaxValueSize < c.BlockSize || c.MaxValueSize > 256<<20 {
		fault("max_value_size: %d must be from block_size to 268435456; 16777216 is the default", c.MaxValueSize)
	}
	if c.MaxInFlight < 1 {
		fault("max_in_flight: %d is below 1; 16 is the default", c.MaxInFlight)
	}
	if c.Concurrency < 1 {
		fault("concurrency: %d is below 1; 2 is the default", c.Concurrency)
	}
	return errors.Join(errs...)
}
