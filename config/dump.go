package config

import (
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
)

// WriteYAML writes the effective configuration. Secrets have a type of their own that writes [REDACTED].
func (c Config) WriteYAML(w io.Writer) error {
	enc := yaml.NewEncoder(w, yaml.Indent(2), yaml.IndentSequence(true))
	if err := enc.Encode(c); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	return enc.Close()
}
