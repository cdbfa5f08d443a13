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
func write(p plan, o outcome, controls []broken, started time.Time) (string, error) {
	var errs []error
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Chaos, %s\n", started.UTC().Format("2006-01-02 15:04"))
	line("%d dredge processes (%s, %d processors), %d shards at the beginning, %d lines/s for %s, failover time %s, seed %d.", p.workers, runtime.Version(), runtime.NumCPU(), p.shards, p.rate, p.duration, p.failover, p.seed)
	line("Kinesis and DynamoDB are `internal/awsfake` in the process that counts; the workers reach it over loopback. %s", where(p))
	line("Made with `go run ./test/chaos%s -duration %s -failover %s -workers %d -shards %d -rate %d -kills %d -stops %d -reshards %d -seed %d`.\n",
		flags(p), p.duration, p.failover, p.workers, p.shards, p.rate, p.kills, p.stops, p.reshards, p.seed)
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
	if p.brokers != nil {
		line("| put into Kinesis → read, committed, from Kafka | p50 %s, p99 %s |", o.Median.Round(time.Millisecond), o.Slowest.Round(time.Millisecond))
		line("| kill -9 of a broker | %d |", o.BrokerKills)
		line("| largest resident memory of a worker | %.0f MiB |", o.Resident/(1<<20))
		line("| connections of all workers to one broker, at most; when the last line was put | %d; %d |", o.Connections, o.Steady)
	}
	if p.mode == exactlyOnce {
		line("| kills and stops %s, %s | %d, %d |", committed, undecided, o.Struck[committed], o.Struck[undecided])
		line("| requests to commit, answers to commits that were lost on the way | %d, %d |", o.LostRequests, o.LostAnswers)
		line("| foreign transactions in the checkpoints topic | %d |", o.Foreign)
		line("| transactions, as their ends stand in the topic | %d committed, **%d aborted** |", o.Committed, o.Aborted)
		line("| commits whose outcome was not known, and was looked up | **%.0f** |", o.Unknown)
		line("| producers that were fenced | **%.0f** |", o.Fenced)
		line("| records behind a transaction that nobody ends | %d |", o.Hanging)
		line("| take-overs | %.0f, p99 below %.3g s |", o.TakeOvers, o.TakeOver)
		line("| commits | p50 below %.3g s, p99 below %.3g s |", o.CommitP5, o.Commit)
		line("\nFigures of workers are those of their metrics, looked at every second: what a killed one had counted since is missing.")
		errs = append(errs, proven(p, o)...)
	}
	if p.druid != nil {
		errs = append(errs, writeDruid(line, o)...)
	}
	line("\nA window is the bytes after the checkpoints of the shards that the victim had when it was silenced: what the next owner reads, of which\nthe victim may have delivered any part.\n")
	if o.Lost > 0 {
		errs = append(errs, fmt.Errorf("%d lines were lost", o.Lost))
	}
	if p.mode == exactlyOnce && o.Twice > 0 {
		errs = append(errs, fmt.Errorf("%d rows came twice", o.Twice))
	}
	if o.TwiceBytes > o.Window {
		errs = append(errs, fmt.Errorf("%d bytes came twice, more than the windows of %d bytes", o.TwiceBytes, o.Window))
	}
	if o.Strange > 0 {
		errs = append(errs, fmt.Errorf("%d rows came out that nobody put in", o.Strange))
	}
	if len(controls) == 0 {
		line("The negative controls were left out.\n")
	}
	errs = append(errs, writeControls(line, controls)...)
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

// writeControls says what the negative controls were caught at, and which was not.
func writeControls(line func(format string, args ...any), controls []broken) (errs []error) {
	for _, c := range controls {
		f := c.found
		line("Negative control, a build that %s (`-tags %s`), %d kills and %d stops %s: %d of %d lines reported as lost, %d as having come twice.\n", c.doc, c.tag, f.Kills, f.Stops, c.at, f.Lost, f.In, f.Twice)
		if c.loses && f.Lost == 0 || !c.loses && f.Twice == 0 {
			errs = append(errs, fmt.Errorf("the negative control %s was not found out, so this experiment cannot find what it does", c.tag))
		}
		if d := f.Druid; d.raw != "" {
			line("In Druid's published segments: %d rows, %d lines lost, %d rows more than once; `SUM(rows_in)` of the rolled-up table %d.\n", d.Published.Out, d.Published.Lost, d.Published.Twice, d.RowsIn)
			if c.loses && d.Published.Lost == 0 || !c.loses && d.Published.Twice == 0 {
				errs = append(errs, fmt.Errorf("the negative control %s was not found out in Druid", c.tag))
			}
		}
	}
	return errs
}

// proven says which of the faults that exactly-once is about did not show although they were asked for: without them the counts prove nothing.
func proven(p plan, o outcome) (errs []error) {
	for _, f := range []struct {
		asked int
		n     float64
		what  string
	}{
		{p.kills, float64(o.Aborted), "transaction was aborted"},
		{p.stops, o.Fenced, "producer was fenced"},
		{p.lostCommits, o.Unknown, "commit had an unknown outcome"},
	} {
		if f.asked > 0 && f.n == 0 {
			errs = append(errs, fmt.Errorf("no %s, so nothing is proven", f.what))
		}
	}
	if o.Hanging > 0 {
		errs = append(errs, fmt.Errorf("%d records lie behind a transaction that nobody ends", o.Hanging))
	}
	return errs
}

// writeDruid says what Druid's published segments hold, and what does not hold.
func writeDruid(line func(format string, args ...any), o outcome) (errs []error) {
	d := o.Druid
	line("\nApache Druid 33.0.0, a process for each role, with two overlords, a router before them, and a middle manager whose tasks are processes (peons), read both topics through\nsupervisors that `dredge druid apply` made, with tasks of %s. At the end they were suspended, so that everything is published, and every row of %s was read from its segments\nand counted by `row_id`.\n", taskDuration, d.raw)
	line("| in Druid's published segments | |\n| --- | --- |")
	line("| rows | %d |\n| **lost** | **%d** |\n| **rows that came again** | **%d** |\n| rows that nobody put in | %d |", d.Published.Out, d.Published.Lost, d.Published.Twice, d.Published.Strange)
	line("| `SUM(rows_in)` of the rolled-up table | %d |\n| segments | %d |", d.RowsIn, d.Segments)
	line("| kill -9 of the overlord that leads, of a task, of the middle manager with its tasks | %d, %d, %d |", d.OverlordKills, d.PeonKills, d.ManagerKills)
	line("| Druid had all rows so long after a reader of Kafka had | %s |", d.Behind.Round(time.Second))
	line("| supervisors suspended for | %s (transactions time out after %s, tasks last %s) |", d.Suspended.Round(time.Second), transactionTimeout, taskDuration)
	line("| put into Kinesis → found by a query of Druid (%d probes, one a second; it includes the time in which Druid was down or suspended) | p50 %s, p99 %s |", d.Probes, d.Median.Round(time.Millisecond), d.Slowest.Round(time.Millisecond))
	if d.Published.Lost > 0 || d.Published.Twice > 0 || d.Published.Strange > 0 {
		errs = append(errs, fmt.Errorf("in Druid %d lines were lost, %d rows came twice, %d are nobody's", d.Published.Lost, d.Published.Twice, d.Published.Strange))
	}
	if d.RowsIn != int64(o.In) {
		errs = append(errs, fmt.Errorf("the rolled-up table in Druid is made of %d rows, not of %d", d.RowsIn, o.In))
	}
	if d.OverlordKills < 2 || d.PeonKills == 0 || d.ManagerKills == 0 || d.Suspended < suspension {
		errs = append(errs, errors.New("nobody disturbed Druid as planned, so nothing is proven about it"))
	}
	return errs
}

// where says where the rows go.
func where(p plan) string {
	if p.brokers == nil {
		return "Their rows go to standard output and are counted by `row_id`."
	}
	return fmt.Sprintf("Their rows go in mode %s to a topic of %d partitions in a real Kafka 4.3.1 of %d nodes on this machine (%d replicas, of which %d must be in sync), and are counted by `row_id` by a reader of committed records.",
		p.mode, p.partitions, p.brokers.count, min(3, p.brokers.count), min(2, p.brokers.count))
}

// flags are those of Kafka.
func flags(p plan) string {
	switch {
	case p.brokers == nil:
		return ""
	case p.mode == exactlyOnce:
		druid := ""
		if p.druid != nil {
			druid = " -druid"
		}
		return fmt.Sprintf(" -sink kafka -mode %s -brokers %d -partitions %d -broker-kills %d -lost-commits %d -foreign %d%s", p.mode, p.brokers.count, p.partitions, p.brokerKills, p.lostCommits, p.visits, druid)
	}
	return fmt.Sprintf(" -sink kafka -mode %s -brokers %d -broker-kills %d", p.mode, p.brokers.count, p.brokerKills)
}

// next is the hash key after key.
func next(key string) string {
	n, ok := new(big.Int).SetString(key, 10)
	if !ok {
		return ""
	}
	return n.Add(n, big.NewInt(1)).String()
}
