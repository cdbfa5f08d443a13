package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// limitMemory tells the garbage collector how much memory there is: budget, which is the pipeline's, on top of what is held
// already. It is called when identity has been loaded. Identity has its own bound and is not in the budget; counted into
// it, a large estate would leave the pipeline no room, and the collector would run without end.
//
// Below that limit collections may be rarer than Go makes them by default: each walks all of identity, and the memory that
// they would save is granted anyway. GOGC in the environment outranks this.
func limitMemory(budget int64) (limit int64) {
	runtime.GC() // loading left garbage
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	limit = budget + int64(live[0].Value.Uint64())
	debug.SetMemoryLimit(limit)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	return limit
}
