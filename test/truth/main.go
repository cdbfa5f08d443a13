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
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "truth:", err)
		os.Exit(1) //nolint:gocritic // the process ends here
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("truth", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "seed of the simulated estate")
	minutes := flags.Int("minutes", 0, "virtual minutes of every scenario; 0 takes each scenario's own")
	only := flags.String("only", "", "run the scenarios whose name matches this expression")
	report := flags.String("report", "", "write the report to this file as well")
	examples := flags.Int("examples", 5, "wrong names to show of each scenario")
	reasons := flags.Bool("reasons", false, "tell why owned ends are not named")
	if err := flags.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var text bytes.Buffer
	to := io.MultiWriter(out, &text)
	heading(to, args)
	var failed []error
	ran := 0
	for _, sc := range scenarios() {
		if !match.MatchString(sc.name) {
			continue
		}
		ran++
		cfg := sc.config(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
		cfg.Seed = *seed
		length := sc.length
		if *minutes > 0 {
			length = time.Duration(*minutes) * time.Minute
		}
		began := time.Now()
		r, err := measure(ctx, cfg, length, sc.hold)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		r.write(to, &sc, length, *examples, *reasons)
		fmt.Fprintf(out, "(%s)\n\n", time.Since(began).Round(time.Second))
		failed = append(failed, r.judge(&sc))
	}
	if ran == 0 {
		return fmt.Errorf("-only %q matches no scenario", *only)
	}
	if *report != "" {
		if err := os.WriteFile(*report, text.Bytes(), 0o644); err != nil { //nolint:gosec // a document
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return errors.Join(failed...)
}
