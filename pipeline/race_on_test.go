//go:build race

package pipeline

// raceDetector says that memory figures are the detector's, not ours.
const raceDetector = true
