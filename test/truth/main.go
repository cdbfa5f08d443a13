// Command truth measures misattribution. It runs the simulated estate on virtual time through the real identity store, gate and
// join, with the joins that others have beside it, and compares every name with the truth. It fails when a name is wrong, or
// when too few ends are named under the default parameters.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "truth:", err)
		os.Exit(1) //nolint:gocritic // the process ends here
	}
}

// options are the command's flags.
type options struct {
	seed          uint64
	minutes, jobs int
	only          *regexp.Regexp
	report        string
	examples      int
	rules         bool
	// said are the flags that were given, apart from the report's own name.
	said []string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("truth", flag.ContinueOnError)
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the simulated estate")
	flags.IntVar(&o.minutes, "minutes", 0, "virtual minutes of every scenario; 0 takes each scenario's own")
	flags.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "scenarios that run at the same time")
	only := flags.String("only", "", "run the scenarios whose name matches this expression")
	flags.StringVar(&o.report, "report", "", "write the report to this file as well")
	flags.IntVar(&o.examples, "examples", 5, "wrong names to show of each scenario")
	flags.BoolVar(&o.rules, "rules", false, "tell of every scenario what the rules allow at the most, not only of those with the default parameters")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "report" {
			o.said = append(o.said, "-"+f.Name+"="+f.Value.String())
		}
	})
	if o.jobs < 1 {
		return o, fmt.Errorf("-jobs %d is below 1", o.jobs)
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	var list []*outcome
	for _, sc := range scenarios() {
		if o.only.MatchString(sc.name) {
			list = append(list, newOutcome(sc, &o))
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("-only %q matches no scenario", o.only)
	}
	began := time.Now()
	pool, ctx := errgroup.WithContext(ctx)
	pool.SetLimit(o.jobs)
	for _, oc := range list {
		pool.Go(func() error {
			fmt.Fprintf(os.Stderr, "%s\n", oc.name)
			return oc.run(ctx)
		})
	}
	if err := pool.Wait(); err != nil {
		return err
	}
	var text bytes.Buffer
	heading(&text, &o, time.Since(began))
	summary(&text, list)
	var failed []error
	for _, oc := range list {
		oc.write(&text, o.examples)
		failed = append(failed, oc.judge())
	}
	if _, err := out.Write(text.Bytes()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if o.report != "" {
		if err := os.WriteFile(o.report, text.Bytes(), 0o644); err != nil { //nolint:gosec // a document
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return errors.Join(failed...)
}

// outcome is what came out of one scenario.
type outcome struct {
	scenario
	seed   uint64
	result *result
	// most is what the rules allow, nil when nobody asked.
	most *score
}

func newOutcome(sc scenario, o *options) *outcome {
	if o.minutes > 0 {
		sc.length = time.Duration(o.minutes) * time.Minute
	}
	sc.bound = sc.bound || o.rules
	return &outcome{scenario: sc, seed: o.seed}
}

func (oc *outcome) run(ctx context.Context) error {
	cfg := oc.config(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	cfg.Seed = oc.seed
	var err error
	if oc.result, err = measure(ctx, cfg, oc.length, oc.hold); err != nil {
		return fmt.Errorf("%s: %w", oc.name, err)
	}
	if oc.bound {
		if oc.most, err = bound(ctx, cfg, oc.length, oc.hold); err != nil {
			return fmt.Errorf("%s, what the rules allow: %w", oc.name, err)
		}
	}
	return nil
}
