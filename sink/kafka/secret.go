package kafka

import "fmt"

// Secret is a text that is never printed: not by fmt, not in a log, not in a dump of the configuration.
type Secret string

const redacted = "[REDACTED]"

// String is [REDACTED], or empty when there is nothing to hide.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format keeps every verb, %q and %#v too, from printing the secret.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText is what JSON and YAML get.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
