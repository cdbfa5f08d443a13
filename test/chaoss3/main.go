// Command chaoss3 runs real dredge processes that read flow logs from a fake S3 into a Kafka in memory, exactly once, and kills them at
// random: workers and gatherers alike, with SIGKILL, at any moment. At every second kill of a worker the broker has its commit already,
// and carries it out only after another worker has finished the mouthful. Every line is counted by a number of its own among the rows
// that a reader of committed records sees: it must be there once. Negative controls are killed in the same way and must be found out,
// for a count that cannot find loss and doubles proves nothing: a sink that delivers at least once, and builds that are wrong on purpose.
//
// Run it in the root of the repository: go run ./test/chaoss3 -duration 60s
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"dredge/test/internal/trial"
)

// plan is what a run does.
type plan struct {
	duration           time.Duration
	workers, gatherers int
	files, lines       int // written per second, and in each
	every              time.Duration
	seed               uint64
	binary, logs, mode string
	// only is the command whose processes are killed; empty kills all.
	only string
}

const exactlyOnce, atLeastOnce = "exactly-once", "at-least-once"

// control is a run that must be found to be wrong.
type control struct {
	tag, mode, doc string
	// loses says that it must be found to lose; otherwise, to double.
	loses bool
	found outcome
}

func controls() []control {
	return []control{
		{mode: atLeastOnce, doc: "a sink that delivers at least once"},
		{tag: "chaos_unfenced", mode: exactlyOnce, doc: "a build that takes mouthfuls over without fencing their former owners or asking what they committed"},
		{tag: "chaos_early", mode: exactlyOnce, doc: "a build that deletes a mouthful's message before its rows are committed", loses: true},
	}
}

func main() { trial.Main("chaoss3", run) }

func run(ctx context.Context) error {
	p := plan{mode: exactlyOnce}
	var (
		report, tag string
		length      time.Duration
	)
	flag.DurationVar(&p.duration, "duration", 5*time.Minute, "how long files are written and processes killed")
	flag.IntVar(&p.workers, "workers", 3, "dredge run processes, which gather nothing")
	flag.IntVar(&p.gatherers, "gatherers", 2, "dredge gather processes")
	flag.IntVar(&p.files, "files", 10, "files a second")
	flag.IntVar(&p.lines, "lines", 2000, "lines of a file")
	flag.DurationVar(&p.every, "every", 3*time.Second, "mean time between two kills")
	flag.Uint64Var(&p.seed, "seed", 1, "of who is killed when")
	flag.DurationVar(&length, "control", 45*time.Second, "how long each negative control runs; 0 leaves them out")
	flag.StringVar(&tag, "build", "", "build tag of the processes, to look at one broken build alone: chaos_unfenced, chaos_early")
	flag.StringVar(&report, "report", "", "file to write the report to, beside standard output")
	flag.Parse()

	dir, err := os.MkdirTemp("", "dredge-chaoss3-")
	if err != nil {
		return err
	}
	p.logs = dir
	if p.binary, err = trial.Build(ctx, dir, tag); err != nil {
		return err
	}
	began := time.Now()
	result, err := p.run(ctx)
	if err != nil {
		return fmt.Errorf("%w; logs of the processes are in %s", err, dir)
	}
	var bad []control
	if length > 0 {
		bad = controls()
	}
	for i := range bad {
		c := p
		c.duration, c.mode, c.only = length, bad[i].mode, "run"
		if tag := bad[i].tag; tag != "" {
			if c.binary, err = trial.Build(ctx, dir, tag); err != nil {
				return err
			}
		}
		if bad[i].found, err = c.run(ctx); err != nil {
			return fmt.Errorf("negative control, %s: %w; logs of the processes are in %s", bad[i].doc, err, dir)
		}
	}
	text, verdict := p.write(result, bad, began)
	return trial.Finish(text, report, dir, verdict)
}
