package main

import (
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"time"
)

// write makes the report and says what does not hold.
func write(p plan, o outcome, control *outcome, started time.Time) (string, error) {
	var errs []error
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Chaos, %s\n", started.UTC().Format("2006-01-02 15:04"))
	line("%d dredge processes (%s, %d processors), %d shards at the beginning, %d lines/s for %s, failover time %s, seed %d.", p.workers, runtime.Version(), runtime.NumCPU(), p.shards, p.rate, p.duration, p.failover, p.seed)
	line("Kinesis and DynamoDB are `internal/awsfake` in the process that counts; the workers reach it over loopback. Their rows go to standard output and are counted by `row_id`.")
	line("Made with `go run ./test/chaos -duration %s -failover %s -workers %d -shards %d -rate %d -kills %d -stops %d -reshards %d -seed %d`.\n",
		p.duration, p.failover, p.workers, p.shards, p.rate, p.kills, p.stops, p.reshards, p.seed)
	line("| | |\n| --- | --- |")
	line("| lines in | %d (%.0f/s) |", o.In, float64(o.In)/p.duration.Seconds())
	line("| rows out | %d |", o.Out)
	line("| **lost** | **%d** |", o.Lost)
	line("| rows that came again | %d (%d bytes of payload) |", o.Twice, o.TwiceBytes)
	line("| sum of the windows at each kill and stop | %d bytes |", o.Window)
	line("| rows that nobody put in | %d |", o.Strange)
	line("| kill -9 | %d |\n| SIGSTOP for 2.5 × failover time, then SIGCONT | %d |\n| reshards | %d |\n| refused (throttled) calls | %d |", o.Kills, o.Stops, o.Reshards, o.Throttled)
	line("| processes that ended by themselves | %d |", o.Died)
	line("| everything out after the last line was put | %s |", (o.Settled - o.Fed).Round(time.Second))
	line("\nA window is the bytes after the checkpoints of the shards that the victim had when it was silenced: what the next owner reads, of which\nthe victim may have delivered any part.\n")
	if o.Lost > 0 {
		errs = append(errs, fmt.Errorf("%d lines were lost", o.Lost))
	}
	if o.TwiceBytes > o.Window {
		errs = append(errs, fmt.Errorf("%d bytes came twice, more than the windows of %d bytes", o.TwiceBytes, o.Window))
	}
	if o.Strange > 0 {
		errs = append(errs, fmt.Errorf("%d rows came out that nobody put in", o.Strange))
	}
	switch {
	case control == nil:
		line("The negative control was left out.\n")
	case control.Lost == 0:
		errs = append(errs, errors.New("the negative control lost nothing, so this experiment cannot find loss"))
		line("**The negative control lost nothing**: this experiment cannot find loss.\n")
	default:
		line("Negative control, a build that checkpoints before it delivers (`-tags chaoscontrol`), %d kills: %d of %d lines reported as lost.\n", control.Kills, control.Lost, control.In)
	}
	if err := errors.Join(errs...); err != nil {
		line("**Failed**: %s.\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	} else {
		line("**Passed.**\n")
	}
	line("| at | what | window, bytes |\n| --- | --- | --- |")
	for _, h := range o.Happenings {
		line("| %s | %s | %d |", h.At.Round(100*time.Millisecond), h.What, h.Window)
	}
	return b.String(), errors.Join(errs...)
}

// next is the hash key after key.
func next(key string) string {
	n, ok := new(big.Int).SetString(key, 10)
	if !ok {
		return ""
	}
	return n.Add(n, big.NewInt(1)).String()
}
