package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"dredge/internal/page"
	"dredge/test/plot"
)

// figures are the metrics that are watched, by what the report calls them. All of them have to stay flat but rows.
var figures = []figure{ //nolint:gochecknoglobals // read-only table
	{"live heap", "MiB", "go_memstats_heap_inuse_bytes", 1 << 20, 0.15, 4},
	{"resident memory", "MiB", "process_resident_memory_bytes", 1 << 20, 0.20, 16},
	{"goroutines", "", "go_goroutines", 1, 0, 5},
	{"file descriptors", "", "process_open_fds", 1, 0, 3},
	{"identity versions' tables", "MiB", "dredge_metadata_table_bytes", 1 << 20, 0.20, 4},
}

// figure is one metric that has to stay flat: between its second and its last quarter it may grow by the greater of grow, a share, and
// add. What goes up and down, as a heap does, is judged by the least of a quarter.
type figure struct {
	name, unit, metric string
	scale              float64
	grow, add          float64
}

// outcome is what happened.
type outcome struct {
	plan
	started time.Time
	samples map[string][]float64
	rate    []float64
	status  page.Status

	lines, backlog, payloads, told int64
	rows, repeated                 int64
	settled                        time.Duration
	exit                           error
	unseen                         int
}

// settleWithin is how long the rest may take after the load has ended.
const settleWithin = 3 * time.Minute

func (o *outcome) run(ctx context.Context, w *world, d *process) error {
	o.samples = map[string][]float64{}
	step := time.NewTicker(50 * time.Millisecond)
	defer step.Stop()
	look := time.NewTicker(o.every)
	defer look.Stop()
	over := time.After(o.duration)
	fed := false
	var fedAt time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-d.done:
			d.done <- err
			return fmt.Errorf("dredge ended: %w", err)
		case <-over:
			fed, fedAt = true, time.Now()
		case <-step.C:
			if fed {
				s, err := d.status(ctx)
				if err != nil {
					continue
				}
				rows, _ := d.counts()
				if o.status = s; s.Books.Lines-s.Books.Skipped["control"] >= w.lines && s.Books.InFlight == 0 && rows >= s.Books.Delivered {
					o.settled = time.Since(fedAt)
				} else if time.Since(fedAt) < settleWithin {
					continue
				}
				o.lines, o.backlog, o.payloads, o.told = w.lines, w.backlog, w.payloads, w.told
				return nil
			}
			if err := w.advance(ctx, time.Now()); err != nil {
				return err
			}
		case <-look.C:
			if !fed {
				o.sample(ctx, d)
			}
		}
	}
}

func (o *outcome) sample(ctx context.Context, d *process) {
	body, err := d.get(ctx, "metrics")
	if err != nil {
		o.unseen++
		return
	}
	values := map[string]float64{}
	for line := range bytes.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, _, _ = strings.Cut(name, "{")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] += v
		}
	}
	for _, f := range figures {
		o.samples[f.metric] = append(o.samples[f.metric], values[f.metric]/f.scale)
	}
	rows, _ := d.counts()
	o.rate = append(o.rate, float64(rows))
}

// quarter returns the least and the greatest value of the q-th quarter.
func quarter(values []float64, q int) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values[len(values)*q/4 : len(values)*(q+1)/4] {
		low, high = min(low, v), max(high, v)
	}
	return low, high
}

// write makes the report and says what does not hold.
func (o *outcome) write() (string, error) {
	var b strings.Builder
	var errs []error
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	line("# Soak, %s\n", o.started.UTC().Format("2006-01-02 15:04"))
	line("**This run lasted %s** (the full one is an hour: `make soak`). One dredge process (%s, %d processors, shared with the load and with other work), %d shards, an estate with churn, seed %d.",
		o.duration, runtime.Version(), runtime.NumCPU(), o.shards, o.seed)
	line("Kinesis and DynamoDB are `internal/awsfake` in the process that makes the load and counts the rows, which come on dredge's standard output.")
	line("History of identity is kept for %s, so that trimming is part of the run; the estate is %s old at the start.", retention, before)
	line("Made with `make soak ARGS=\"-duration %s -rate %g -shards %d -seed %d\"`.\n", o.duration, o.plan.rate, o.shards, o.seed)
	bk := o.status.Books
	line("| | |\n| --- | --- |")
	line("| lines in | %d in %d payloads: %d waited in the stream, then %.0f/s |", o.lines, o.payloads, o.backlog, float64(o.lines-o.backlog)/o.duration.Seconds())
	line("| identity events | %d |", o.told)
	skipped := bk.Skipped["nodata"] + bk.Skipped["skipdata"]
	line("| rows out | %d; %d lines were no flow (NODATA, SKIPDATA) |", o.rows, skipped)
	line("| rows that came again | %d |", o.repeated)
	line("| books | %s |", orBalanced(bk.Imbalance))
	line("| everything out after the last line | %s |", o.settled.Round(time.Millisecond))
	line("| looks at the metrics | %d, %d without an answer |\n", len(o.rate), o.unseen)
	switch {
	case bk.Imbalance != "":
		fault("%s", bk.Imbalance)
	case o.settled == 0:
		fault("not everything was out %s after the load had ended", settleWithin)
	case o.rows-o.repeated != o.lines-skipped:
		fault("%d lines are flows, %d different rows came out", o.lines-skipped, o.rows-o.repeated)
	}
	if o.exit != nil {
		fault("dredge ended with: %w", o.exit)
	}
	line("| figure | second quarter | last quarter | may grow to | |\n| --- | --- | --- | --- | --- |")
	for _, f := range figures {
		values := o.samples[f.metric]
		if len(values) < 8 {
			fault("%s: %d looks are too few to judge", f.name, len(values))
			continue
		}
		before, _ := quarter(values, 1)
		after, _ := quarter(values, 3)
		if f.scale == 1 { // what is counted must not grow even for a moment
			_, before = quarter(values, 1)
			_, after = quarter(values, 3)
		}
		limit := before + max(before*f.grow, f.add)
		verdict := "flat"
		if after > limit {
			verdict = "**grows**"
			fault("%s grows from %.1f to %.1f %s", f.name, before, after, f.unit)
		}
		line("| %s | %.1f %s | %.1f %s | %.1f %s | %s |", f.name, before, f.unit, after, f.unit, limit, f.unit, verdict)
	}
	line("\nMemory is judged by the least of a quarter, as a heap goes up and down with the collector; counts by the greatest.")
	if err := errors.Join(errs...); err != nil {
		line("\n**Does not hold:**\n\n%s", err)
		return b.String(), err
	}
	line("\nAll figures are flat, the books balance, and every line came out once.")
	return b.String(), nil
}

func orBalanced(s string) string {
	if s == "" {
		return "balanced"
	}
	return s
}

// save writes the report and its plot.
func (o *outcome) save(text string) error {
	picture := strings.TrimSuffix(o.report, ".md") + ".svg"
	rates := make([]float64, 0, len(o.rate))
	for i := 1; i < len(o.rate); i++ {
		rates = append(rates, (o.rate[i]-o.rate[i-1])/o.every.Seconds())
	}
	charts := []plot.Chart{{Title: "rows out per second", Lines: []plot.Line{{Name: "rows", Values: rates}}}}
	charts = append(charts, plot.Chart{Title: "memory", Unit: "MiB", Lines: []plot.Line{
		{Name: "live heap", Values: o.samples[figures[0].metric]}, {Name: "resident", Values: o.samples[figures[1].metric]}, {Name: "identity", Values: o.samples[figures[4].metric]},
	}})
	for _, f := range figures[2:4] {
		charts = append(charts, plot.Chart{Title: f.name, Lines: []plot.Line{{Name: f.name, Values: o.samples[f.metric]}}})
	}
	if err := os.WriteFile(picture, []byte(plot.SVG(charts, o.duration.Minutes(), "min")), 0o644); err != nil { //nolint:gosec // a document
		return err
	}
	text += fmt.Sprintf("\n![rows, memory, goroutines and file descriptors over time](%s)\n", picture[strings.LastIndexByte(picture, '/')+1:])
	return os.WriteFile(o.report, []byte(text), 0o644) //nolint:gosec // a document
}
