//go:build !chaos_unfenced

package kafka

// claimed is the transactional id under which a shard is claimed. Builds with the tag chaos_unfenced break it on purpose: see there.
func claimed(id string) string { return id }
