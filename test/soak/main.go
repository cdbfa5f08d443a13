// Command soak runs one dredge process for an hour under a constant load of an estate with churn, watches its memory, goroutines and
// file descriptors, and compares what came out with what was put in. `make soak` writes the report with its plot.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// plan is what is asked for.
type plan struct {
	duration, every time.Duration
	rate            float64
	shards          int
	seed            uint64
	report, binary  string
}

func main() {
	var p plan
	flag.DurationVar(&p.duration, "duration", time.Hour, "how long the load lasts")
	flag.DurationVar(&p.every, "every", 5*time.Second, "time between two looks at the metrics")
	flag.Float64Var(&p.rate, "rate", 60, "connections per second of the estate; 60 make some hundred lines")
	flag.IntVar(&p.shards, "shards", 4, "shards of the stream")
	flag.Uint64Var(&p.seed, "seed", 1, "seed of the estate")
	flag.StringVar(&p.report, "report", "", "write a report to this file, and its plot beside it as .svg")
	flag.StringVar(&p.binary, "dredge", "bin/dredge", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := soak(ctx, p); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}

func soak(ctx context.Context, p plan) error {
	dir, err := os.MkdirTemp("", "dredge-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	w, err := newWorld(ctx, p, dir)
	if err != nil {
		return err
	}
	defer w.close()
	d, err := startDredge(ctx, p, w, dir)
	if err != nil {
		return err
	}
	o := outcome{plan: p, started: time.Now()}
	runErr := o.run(ctx, w, d)
	o.rows, o.repeated, o.exit = d.end()
	text, verdict := o.write()
	fmt.Print(text)
	if p.report != "" {
		if err := o.save(text); err != nil {
			return err
		}
	}
	return errors.Join(runErr, verdict)
}
