package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"dredge/flowlog"
)

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor fits
}

func ruleFor(logGroup, format string) flowlog.Rule {
	return flowlog.Rule{LogGroup: logGroup, Format: format}
}

// showLive writes one line of progress: over itself on a terminal, every five seconds elsewhere. A negative time means draining.
func (d *demo) showLive(since time.Duration) {
	b := d.svc.core.pipeline.Books().Snapshot()
	n := d.check.snapshot()
	s := d.svc.worker.Status()
	what := "draining"
	if since >= 0 {
		what = fmt.Sprintf("%4.0fs", since.Seconds())
	}
	line := fmt.Sprintf("%s  lines %d  rows %d  lag %s  shards %d  named %s  wrong %d",
		what, b.Lines, b.Delivered, s.Behind.Round(100*time.Millisecond), s.Owned, share(n.named, n.owned), n.wrong)
	switch {
	case d.live:
		fmt.Fprintf(d.out, "\r\x1b[K%s", line)
	case since >= 0 && int(since.Seconds())%5 == 0:
		fmt.Fprintln(d.out, line)
	}
}

func (d *demo) endLive() {
	if d.live {
		fmt.Fprint(d.out, "\r\x1b[K")
	}
}

func share(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(whole))
}

// report prints the table and returns an error that says what was not as promised.
func (d *demo) report(took time.Duration) error {
	sent, books, n := d.w.count(), d.svc.core.pipeline.Books().Snapshot(), d.check.snapshot()
	base := d.w.sim.Baseline()
	total := func(m map[string]int64) (t int64) {
		for _, v := range m {
			t += v
		}
		return t
	}
	lost := sent.lines - (books.Lines - books.Skipped["control"])
	lost += books.Delivered - (n.rows + n.duplicates)

	t := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', tabwriter.AlignRight|tabwriter.TabIndent)
	row := func(name string, value any, note string) { fmt.Fprintf(t, "%s\t%v\t  %s\n", name, value, note) }
	row("lines sent", sent.lines, fmt.Sprintf("in %d payloads, %.1f MB, over %s", sent.payloads, float64(sent.bytes)/1e6, took.Round(time.Second)))
	row("rows", n.rows, "distinct, read back from Kafka")
	row("skipped", total(books.Skipped)-books.Skipped["control"], "NODATA and SKIPDATA: no flow to report")
	row("rejected", total(books.Rejected), "")
	row("lost", lost, "")
	row("duplicate", n.duplicates, "")
	if d.split != "" {
		row("shard split", d.split, "on the way")
	}
	row("wrong names", n.wrong, fmt.Sprintf("a latest-value join: %d, %s of the owned ends", base.Wrong, share(base.Wrong, base.Ends)))
	row("named", share(n.named, n.owned), fmt.Sprintf("of %d ends that had an owner; the rest say why not", n.owned))
	if err := t.Flush(); err != nil {
		return err
	}

	if why := d.check.whyNot(); len(why) > 0 {
		fmt.Fprintf(d.out, "\nwhy not named: %s\n", strings.Join(why[:min(len(why), 6)], ", "))
	}

	var faults []string
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	if err := books.CheckAtRest(); err != nil {
		faults = append(faults, err.Error())
	}
	fault(sent.lines == 0 || n.rows == 0, "nothing was delivered")
	fault(lost != 0, "%d lines lost", lost)
	fault(n.duplicates != 0, "%d rows twice, although no worker died", n.duplicates)
	fault(total(books.Rejected) != 0, "%d lines rejected", total(books.Rejected))
	fault(n.unreadable != 0, "%d rows are no rows: %s", n.unreadable, n.firstProblem)
	fault(n.unmatched != 0, "%d rows are of no flow that the simulation knows", n.unmatched)
	fault(n.wrong != 0, "%d ends wrongly named, the first in %s", n.wrong, n.firstWrong)
	fault(n.owned == 0 || float64(n.named) < demoNamedShare*float64(n.owned), "only %s of the owned ends named", share(n.named, n.owned))
	if len(faults) > 0 {
		return &exitError{code: 1, err: errors.New("the demo did not hold: " + strings.Join(faults, "; "))}
	}
	fmt.Fprintln(d.out, "\nThe books balance, every line arrived once, and no name was wrong.")
	return nil
}
