// Package config is the one YAML file that dredge reads: it gathers the Config of every part, loads them strictly, lets the
// environment override single keys, and reports every fault at once. It decides nothing itself.
package config

import (
	"errors"
	"fmt"
	"strings"

	"dredge/internal/httpd"
	"dredge/internal/telemetry"
)

// Config is the whole file. docs/reference/config.md is generated from it.
type Config struct {
	// Log says how dredge logs.
	Log telemetry.LogConfig `yaml:"log"`
	// HTTP says where metrics, health and the page are served.
	HTTP httpd.Config `yaml:"http"`
}

// Default is what runs when the file says nothing. It is valid except for what only the user can know.
func Default() Config {
	return Config{
		Log:  telemetry.DefaultLogConfig(),
		HTTP: httpd.DefaultConfig(),
	}
}

// Validate reports every fault, each with its full key.
func (c Config) Validate() error {
	return errors.Join(
		under("log", c.Log.Validate()),
		under("http", c.HTTP.Validate()),
	)
}

// under puts the section's name before each fault in err.
func under(section string, err error) error {
	if err == nil {
		return nil
	}
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, fmt.Errorf("%s.%s", section, line))
	}
	return errors.Join(errs...)
}
