// Package secret is the type of every password and token in a configuration.
package secret

import "fmt"

// Text is a text that is never printed: not by fmt, not in a log, not in a dump of the configuration.
type Text string

const redacted = "[REDACTED]"

// String is [REDACTED], or empty when there is nothing to hide.
func (s Text) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format keeps every verb, %q and %#v too, from printing the secret.
func (s Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText is what JSON and YAML get.
func (s Text) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
