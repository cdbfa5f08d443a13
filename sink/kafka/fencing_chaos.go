//go:build chaos_unfenced

package kafka

import "crypto/rand"

// claimed makes the protocol wrong: every claim has an id of its own, so that nobody is fenced. It is a negative control of
// test/chaos, which must report what such a build doubles. No released binary has this tag.
func claimed(id string) string { return id + "/" + rand.Text() }
