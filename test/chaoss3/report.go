package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// write makes the report and says what does not hold.
func (p *plan) write(o outcome, bad []control, began time.Time) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Chaos: S3, exactly once, %s\n", began.UTC().Format("2006-01-02 15:04 UTC"))
	line("`go run ./test/chaoss3 -duration %s -workers %d -gatherers %d -files %d -lines %d -every %s -seed %d` (%s, %d processors)\n",
		p.duration, p.workers, p.gatherers, p.files, p.lines, p.every, p.seed, runtime.Version(), runtime.NumCPU())
	line("| | |\n| --- | --- |")
	for _, row := range [][2]any{
		{"files, each announced twice", o.files},
		{"lines", o.lines},
		{"kills of workers (SIGKILL), while a mouthful was in flight", o.workerKills},
		{"commits asked for before the kill and carried out by the broker after another worker had finished the mouthful", o.late},
		{"kills of gatherers (SIGKILL)", o.kills - o.workerKills},
		{"mouthfuls in the ledger", o.mouthfuls},
		{"of them claimed more than once", o.retaken},
		{"drained after the last file", o.drained.Round(time.Second)},
		{"lines lost", o.lost},
		{"rows twice", o.twice},
	} {
		line("| %v | %v |", row[0], row[1])
	}
	line("")
	errs := []error{o.verdict()}
	for _, c := range bad {
		f := c.found
		tag := ""
		if c.tag != "" {
			tag = " (`-tags " + c.tag + "`)"
		}
		line("Negative control, %s%s, %d kills of workers, %d late commits: %d of %d lines reported as lost, %d rows as there twice.\n", c.doc, tag, f.workerKills, f.late, f.lost, f.lines, f.twice)
		if c.loses && f.lost == 0 || !c.loses && f.twice == 0 {
			errs = append(errs, fmt.Errorf("the negative control, %s, was not found out, so this experiment cannot find what it does; run it for longer", c.doc))
		}
	}
	if len(bad) == 0 {
		line("The negative controls were left out.\n")
	}
	err := errors.Join(errs...)
	if err == nil {
		line("**Passed.**")
	} else {
		line("**Failed**: %s.", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return b.String(), err
}

// verdict says what is wrong with the outcome of a right build.
func (o outcome) verdict() error {
	var errs []error
	if o.lost > 0 {
		errs = append(errs, fmt.Errorf("%d lines are lost", o.lost))
	}
	if o.twice > 0 {
		errs = append(errs, fmt.Errorf("%d rows are there twice", o.twice))
	}
	if o.late == 0 {
		errs = append(errs, errors.New("no commit of a killed worker came late: the run proves little; run it for longer"))
	}
	if o.workerKills == 0 || o.retaken == 0 {
		errs = append(errs, errors.New("no mouthful was taken over from a killed worker: the run proves nothing; run it for longer"))
	}
	return errors.Join(errs...)
}
