package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// memoryLimit tells the garbage collector how much memory there is: budget, which is the pipeline's, on top of what everything else
// holds, which is nearly all identity. Identity has its own bound and is not in the budget; counted into it, a large estate would
// leave the pipeline no room, and the collector would run without end. So the limit follows it: identity may come
// late, and a day of history grows for a day.
//
// Below that limit collections may be rarer than Go makes them by default: each walks all of identity, and the memory that
// they would save is granted anyway. GOMEMLIMIT and GOGC in the environment outrank this.
type memoryLimit struct {
	budget int64
	// held is how much of the budget is in use.
	held func() int64

	limit  int64 // 0: none was set
	cycles uint64
}

const (
	// memoryPeriod is the time between two looks at what the last collection left.
	memoryPeriod = 2 * time.Second
	// memoryStep is how far off a limit must be to be set again, which stops everything for a moment.
	memoryStep = 8 << 20
)

// begin sets the first limit and returns it, 0 when the environment has one. It is called when identity has been loaded.
func (m *memoryLimit) begin() int64 {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	runtime.GC() // loading left garbage
	m.update()
	return m.limit
}

// run keeps the limit right until ctx ends. It returns nil.
func (m *memoryLimit) run(ctx context.Context) error {
	tick := time.NewTicker(memoryPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.update()
		}
	}
}

// update sets the limit by what the last collection left, unless that was seen to before. A quarter on top is for what the runtime needs
// beside it and for garbage: a collection costs as much as there is identity, so the more there is, the rarer they have to be. All that the
// budget is in use for is taken to be a part of what was left, also what is only reserved: the limit may be too low by that, and is
// above what is held by the overhead of Config.MemoryLimit even then.
func (m *memoryLimit) update() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	now := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(now)
	if cycles := now[0].Value.Uint64(); cycles != m.cycles {
		m.cycles = cycles
		beside := max(0, int64(now[1].Value.Uint64())-m.held())
		limit := m.budget + beside + beside/4
		if d := limit - m.limit; d > memoryStep || d < -memoryStep {
			m.limit = limit
			debug.SetMemoryLimit(limit)
		}
	}
}
