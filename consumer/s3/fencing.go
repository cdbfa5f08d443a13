//go:build !chaos_unfenced

package s3

// fenced are the slots that a taker of m fences, and asks what they committed. Builds with the tag chaos_unfenced break it on purpose: see
// there.
func fenced(m *Mouthful) []string { return m.former }
