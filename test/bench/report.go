package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

func (r result) perSecond() float64 { return float64(r.Rows) / r.CPU }

// printHead says what was measured, and on what.
func (b *bench) printHead(w io.Writer) {
	fmt.Fprintf(w, "%s; %s, %d CPUs, %s, %s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), cpuModel(), runtime.NumCPU(), runtime.Version(), runtime.GOARCH)
	fmt.Fprintf(w, "%d lines per measurement, 500 per Kinesis record, %d shards; %d addresses with 4 owners each; 12 partitions, acks all\n",
		b.o.lines, shardCount, b.o.addresses)
	if b.taskset == "" {
		fmt.Fprintln(w, "not pinned: there is no taskset here, so the subjects and the server share the cores")
	} else {
		fmt.Fprintln(w, "server pinned to core 0, subjects to core 1, GOMAXPROCS=1")
	}
	if b.o.profile != "" {
		fmt.Fprintln(w, "the first run of dredge is profiled, which costs it a few percent")
	}
}

// printCell prints the table of one cell, and the ratios of neighbours.
func (b *bench) printCell(w io.Writer, c cell) {
	fmt.Fprintf(w, "\nmix %s, sink %s\n\n", c.mix, c.sink)
	fmt.Fprintln(w, "| subject | rows/cpu-second, median (range) | µs/row | B/row | named ends | peak MB |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- |")
	byName := b.results[c]
	for _, v := range b.variants {
		rs := byName[v.name]
		speed := spread(rs, result.perSecond)
		cost := spread(rs, func(r result) float64 { return r.CPU / float64(r.Rows) * 1e6 })
		peak := spread(rs, func(r result) float64 { return float64(r.PeakMB) })
		last := rs[len(rs)-1]
		fmt.Fprintf(w, "| %s | %.0f k (%.0f to %.0f k) | %.2f | %.0f | %.1f %% | %.0f |\n", v.name, speed.median/1e3, speed.least/1e3, speed.most/1e3, cost.median,
			float64(last.RowBytes)/float64(last.Rows), 100*float64(last.Named)/float64(2*last.Rows), peak.most)
	}
	var lines []string
	for _, v := range b.variants {
		for _, other := range b.variants {
			if v.binary == "" || v.name == other.name || v.name == "other" || (other.binary != "" && other.name != "other") {
				continue
			}
			var ratios []result // CPU holds the ratio
			for i, r := range byName[v.name] {
				ratios = append(ratios, result{CPU: byName[other.name][i].CPU / r.CPU})
			}
			s := spread(ratios, func(r result) float64 { return r.CPU })
			lines = append(lines, fmt.Sprintf("%s / %s: %.2f × (%.2f to %.2f)", v.name, other.name, s.median, s.least, s.most))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(w, "\nspeed, each run by its neighbour: %s\n", strings.Join(lines, "; "))
	}
}

type spreadOf struct{ least, median, most float64 }

func spread(rs []result, value func(result) float64) spreadOf {
	var vs []float64
	for _, r := range rs {
		vs = append(vs, value(r))
	}
	slices.Sort(vs)
	return spreadOf{vs[0], (vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2, vs[len(vs)-1]}
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	_, rest, _ := strings.Cut(string(text), "model name")
	_, rest, _ = strings.Cut(rest, ": ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}
