// Command chaoss3 runs real dredge processes that read flow logs from a fake S3 into a Kafka in memory, exactly once, and kills them at
// random: workers and gatherers alike, with SIGKILL, at any moment. Every line is counted by a number of its own among the rows
// that a reader of committed records sees: it must be there once. A run with the sink at least once, killed in the same way, must be
// found to have doubles: a count that cannot find them proves nothing.
//
// Run it in the root of the repository: go run ./test/chaoss3 -duration 60s
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// plan is what a run does.
type plan struct {
	duration           time.Duration
	workers, gatherers int
	files, lines       int // written per second, and in each
	every              time.Duration
	seed               uint64
	binary, logs, mode string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaoss3:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		p       plan
		report  string
		control time.Duration
	)
	flag.DurationVar(&p.duration, "duration", 5*time.Minute, "how long files are written and processes killed")
	flag.IntVar(&p.workers, "workers", 3, "dredge run processes, which gather nothing")
	flag.IntVar(&p.gatherers, "gatherers", 2, "dredge gather processes")
	flag.IntVar(&p.files, "files", 10, "files a second")
	flag.IntVar(&p.lines, "lines", 2000, "lines of a file")
	flag.DurationVar(&p.every, "every", 3*time.Second, "mean time between two kills")
	flag.Uint64Var(&p.seed, "seed", 1, "of who is killed when")
	flag.DurationVar(&control, "control", 30*time.Second, "how long the run at least once takes, whose doubles must be found; 0 leaves it out")
	flag.StringVar(&report, "report", "", "file to write the report to, beside standard output")
	flag.Parse()

	dir, err := os.MkdirTemp("", "dredge-chaoss3-")
	if err != nil {
		return err
	}
	p.logs, p.binary, p.mode = dir, filepath.Join(dir, "dredge"), "exactly-once"
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", p.binary, "./cmd/dredge").CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("build dredge (run this in the root of the repository): %w", err), errors.New(string(out)))
	}
	began := time.Now()
	result, err := p.run(ctx)
	if err != nil {
		return fmt.Errorf("%w; logs of the processes are in %s", err, dir)
	}
	text := p.write(result, began)
	verdict := result.verdict()
	if control > 0 {
		c := p
		c.duration, c.mode = control, "at-least-once"
		o, err := c.run(ctx)
		if err != nil {
			return fmt.Errorf("control: %w; logs of the processes are in %s", err, dir)
		}
		text += fmt.Sprintf("\nThe same at least once, for %s and %d kills: %d lines lost, %d rows twice.\n", control, o.kills, o.lost, o.twice)
		if o.lost > 0 {
			verdict = errors.Join(verdict, fmt.Errorf("%d lines were lost at least once", o.lost))
		}
		if o.twice == 0 {
			verdict = errors.Join(verdict, errors.New("no doubles at least once: the count proves nothing, or the kills hit nothing; run it for longer"))
		}
	}
	if verdict == nil {
		text += "\nPassed.\n"
	} else {
		text += "\nFAILED: " + verdict.Error() + "\n"
	}
	fmt.Print(text)
	if report != "" {
		if err := os.WriteFile(report, []byte(text), 0o600); err != nil {
			return err
		}
	}
	if verdict != nil {
		return fmt.Errorf("%w; logs of the processes are in %s", verdict, dir)
	}
	return os.RemoveAll(dir)
}

// write makes the report.
func (p *plan) write(o outcome, began time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Chaos: S3, exactly once, %s\n\n", began.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&b, "`go run ./test/chaoss3 -duration %s -workers %d -gatherers %d -files %d -lines %d -every %s -seed %d`\n\n",
		p.duration, p.workers, p.gatherers, p.files, p.lines, p.every, p.seed)
	fmt.Fprintf(&b, "| | |\n| --- | --- |\n")
	for _, row := range [][2]any{
		{"files, each announced twice", o.files},
		{"lines", o.lines},
		{"kills of workers (SIGKILL)", o.workerKills},
		{"kills of gatherers (SIGKILL)", o.kills - o.workerKills},
		{"mouthfuls in the ledger", o.mouthfuls},
		{"of them claimed more than once", o.retaken},
		{"drained after the last file", o.drained.Round(time.Second)},
		{"lines lost", o.lost},
		{"rows twice", o.twice},
	} {
		fmt.Fprintf(&b, "| %v | %v |\n", row[0], row[1])
	}
	return b.String()
}
