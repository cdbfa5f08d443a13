//go:build invariants

package flowlog

// poison makes Batch.Reset overwrite the bytes that records borrowed.
const poison = true
