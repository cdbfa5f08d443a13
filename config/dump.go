package config

import (
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
)

// WriteYAML writes the effective configuration. Secrets have a type of their own that writes [REDACTED].
func (c Config) WriteYAML(w io.Writer) error {
	text, err := yaml.MarshalWithOptions(c, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	if _, err := w.Write(text); err != nil { // YAML's encoder would not tell
		return fmt.Errorf("write config: %w", err)
	}
	return nil
}
