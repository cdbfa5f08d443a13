package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

// What is held beside the pipeline, when it starts and ever after, must not be taken out of its budget: with a limit below what is
// held the collector never rests.
func TestMemoryLimit(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(percent)
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	const budget, identity = 64 << 20, 100 << 20
	inUse := int64(0)
	m := memoryLimit{budget: budget, held: func() int64 { return inUse }}

	before := m.begin()
	if before < budget || before > budget+identity/2 {
		t.Errorf("limit %d with nothing held", before)
	}
	if got := debug.SetGCPercent(100); got != 200 {
		t.Errorf("GOGC is %d", got)
	}
	grown := make([]byte, identity)
	runtime.GC()
	m.update()
	if d := m.limit - before; d < identity || d > identity*3/2 {
		t.Errorf("the limit grew by %d with identity, by %d", d, identity)
	}
	if got := debug.SetMemoryLimit(-1); got != m.limit {
		t.Errorf("the runtime's limit is %d, want %d", got, m.limit)
	}
	inUse = identity // now it is the pipeline's
	m.update()
	if m.limit < before+identity {
		t.Errorf("the limit is %d before there was another collection", m.limit)
	}
	runtime.GC()
	m.update()
	if d := m.limit - before; d < -2*memoryStep || d > 2*memoryStep {
		t.Errorf("the limit is %d beside the first one, though what is held is the budget's", d)
	}
	inUse = 0
	runtime.KeepAlive(grown)
	runtime.GC()
	m.update()
	if d := m.limit - before; d < -2*memoryStep || d > 2*memoryStep {
		t.Errorf("the limit is %d beside the first one, though nothing is held any more", d)
	}
}

// Who sets the runtime's own variables wants them to hold.
func TestMemoryLimitOfTheEnvironment(t *testing.T) {
	percent, limit := debug.SetGCPercent(50), debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(percent)
	t.Setenv("GOGC", "50")
	t.Setenv("GOMEMLIMIT", "1TiB")
	m := memoryLimit{budget: 64 << 20, held: func() int64 { return 0 }}
	if got := m.begin(); got != 0 {
		t.Errorf("the limit is said to be %d", got)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("the runtime's limit is %d", got)
	}
	if got := debug.SetGCPercent(50); got != 50 {
		t.Errorf("GOGC is %d", got)
	}
}
