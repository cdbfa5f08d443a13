package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// What is held when the pipeline starts must not be taken out of its budget.
func TestLimitMemory(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(percent)
	t.Setenv("GOGC", "")
	const budget, identity = 64 << 20, 100 << 20

	before := limitMemory(budget)
	held := make([]byte, identity)
	after := limitMemory(budget)
	runtime.KeepAlive(held)
	if after < before+identity*9/10 || after > before+identity*11/10 {
		t.Errorf("limit %d with %d held, %d without", after, identity, before)
	}
	if got := debug.SetMemoryLimit(-1); got != after {
		t.Errorf("the runtime's limit is %d, want %d", got, after)
	}
	if got := debug.SetGCPercent(100); got != 200 {
		t.Errorf("GOGC is %d", got)
	}
	t.Setenv("GOGC", "50")
	limitMemory(budget)
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC of the environment was overruled by %d", got)
	}
}
