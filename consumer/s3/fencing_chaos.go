//go:build chaos_unfenced

package s3

// fenced makes the protocol wrong: a taker fences nobody, and asks nobody what was committed. It is a negative control of test/chaoss3,
// which must report what such a build doubles. No released binary has this tag.
func fenced(*Mouthful) []string { return nil }
