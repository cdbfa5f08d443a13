// Command chaos runs three real dredge processes against a fake AWS and does to them what happens to processes: kill -9, a stop
// for longer than their leases live, reshards, throttling. Every row is counted by its id. It reports what went in, what came out, what
// was lost, and whether what came twice is within the windows that were open at each kill. A build that checkpoints before it delivers
// is run as well and must be reported as losing: a count that cannot find loss proves nothing.
//
// Run it in the root of the repository: go run ./test/chaos -duration 60s -kills 5 -stops 1 -reshards 2
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
	"syscall"
	"time"
)

// plan is what a run does.
type plan struct {
	duration, failover     time.Duration
	workers, shards, rate  int
	kills, stops, reshards int
	seed                   uint64
	binary, logs           string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		p       plan
		report  string
		control time.Duration
	)
	flag.DurationVar(&p.duration, "duration", 10*time.Minute, "how long records are written")
	flag.DurationVar(&p.failover, "failover", 6*time.Second, "failover time of the workers")
	flag.IntVar(&p.workers, "workers", 3, "dredge processes")
	flag.IntVar(&p.shards, "shards", 8, "shards at the beginning")
	flag.IntVar(&p.rate, "rate", 20_000, "flow-log lines a second")
	flag.IntVar(&p.kills, "kills", 20, "times that a process is killed (SIGKILL)")
	flag.IntVar(&p.stops, "stops", 5, "times that a process is stopped for longer than its leases live, then goes on")
	flag.IntVar(&p.reshards, "reshards", 4, "splits and merges, in turn")
	flag.Uint64Var(&p.seed, "seed", 1, "of what is done to whom")
	flag.DurationVar(&control, "control", time.Minute, "how long the negative control runs; 0 leaves it out")
	flag.StringVar(&report, "report", "", "file to write the report to, beside standard output")
	flag.Parse()

	dir, err := os.MkdirTemp("", "dredge-chaos-")
	if err != nil {
		return err
	}
	p.logs = dir
	if p.binary, err = build(ctx, dir, "dredge"); err != nil {
		return err
	}
	started := time.Now()
	result, err := p.run(ctx)
	if err != nil {
		return fmt.Errorf("%w; logs of the workers are in %s", err, dir)
	}
	var bad *outcome
	if control > 0 {
		c := p
		// Fewer kills than that would leave chance a part; more, and the workers never come to own anything.
		c.duration, c.kills, c.stops, c.reshards = control, max(3, int(control/(2*c.failover))), 0, 0
		if c.binary, err = build(ctx, dir, "dredge-hasty", "-tags", "chaoscontrol"); err != nil {
			return err
		}
		o, err := c.run(ctx)
		if err != nil {
			return fmt.Errorf("negative control: %w; logs of the workers are in %s", err, dir)
		}
		bad = &o
	}
	text, verdict := write(p, result, bad, started)
	fmt.Print(text)
	if report != "" {
		if err := os.WriteFile(report, []byte(text), 0o600); err != nil {
			return err
		}
	}
	if verdict != nil {
		return fmt.Errorf("%w; logs of the workers are in %s", verdict, dir)
	}
	return os.RemoveAll(dir)
}

func build(ctx context.Context, dir, name string, args ...string) (string, error) {
	binary := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", binary}, args...), "./cmd/dredge")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build dredge (run this in the root of the repository): %w", err), errors.New(string(out)))
	}
	return binary, nil
}
