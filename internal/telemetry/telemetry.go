// Package telemetry makes the two things every part of dredge is handed: a logger and a metrics registry.
//
// Logs are JSON lines, or human-readable on a terminal. There is no global logger and no default registry: both are passed in.
package telemetry

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
)

// LogConfig says how dredge logs.
type LogConfig struct {
	// Level is the lowest level that is written: debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is json, console, or auto: console on a terminal and json elsewhere.
	Format string `yaml:"format"`
}

// DefaultLogConfig logs from info up, in the format that suits the output.
func DefaultLogConfig() LogConfig { return LogConfig{Level: "info", Format: "auto"} }

// Validate reports every fault of c.
func (c LogConfig) Validate() error {
	var errs []error
	if _, err := zerolog.ParseLevel(c.Level); err != nil || c.Level == "" {
		errs = append(errs, fmt.Errorf("level: %q is no log level; write debug, info, warn or error", c.Level))
	}
	switch c.Format {
	case "json", "console", "auto":
	default:
		errs = append(errs, fmt.Errorf("format: %q is unknown; write json, console or auto", c.Format))
	}
	return errors.Join(errs...)
}

// NewLogger writes to w, whose being a terminal decides what auto means.
func NewLogger(c LogConfig, w io.Writer, terminal bool) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	if c.Format == "console" || c.Format == "auto" && terminal {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !terminal}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// NewRegistry returns a registry that already holds the Go runtime's and the process's metrics and dredge_build_info.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := ReadBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "dredge_build_info",
		Help:        "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "go": build.Go},
	})
	info.Set(1)
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info,
	)
	return reg
}

// Build says what binary this is.
type Build struct{ Version, Revision, Time, Go string }

// ReadBuild reads what the Go linker stamped into the binary.
func ReadBuild() Build {
	b := Build{Version: "devel", Revision: "unknown", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		}
	}
	return b
}
