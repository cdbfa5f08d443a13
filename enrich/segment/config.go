package segment

import (
	"fmt"
	"time"
)

// Config says where the declared edges are.
type Config struct {
	// File is the YAML file of declared edges: who may talk to whom (docs/segmentation.md); empty judges nothing.
	File string `yaml:"file"`
	// PollInterval is how often the file is looked at for a change; a reload (SIGHUP) looks at once.
	PollInterval time.Duration `yaml:"poll_interval"`
}

// DefaultConfig judges nothing.
func DefaultConfig() Config { return Config{PollInterval: 10 * time.Second} }

// Enabled says whether edges are declared.
func (c Config) Enabled() bool { return c.File != "" }

// Validate reports every fault of c; the file is read by Load.
func (c Config) Validate() error {
	if c.PollInterval < 100*time.Millisecond || c.PollInterval > time.Hour {
		return fmt.Errorf("poll_interval: %s is out of range; write a duration from 100ms to 1h", c.PollInterval)
	}
	return nil
}
