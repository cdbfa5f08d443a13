//go:build !chaoscontrol

package main

import "dredge/stream"

// processor is p. Builds with the tag chaoscontrol break it on purpose: see there.
func processor(p stream.Processor) stream.Processor { return p }
