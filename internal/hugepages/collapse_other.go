//go:build !linux

package hugepages

func collapse(uintptr) bool { return false }
