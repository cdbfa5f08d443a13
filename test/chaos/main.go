// Command chaos runs three real dredge processes against a fake AWS and does to them what happens to processes: kill -9, a stop
// for longer than their leases live, reshards, throttling. Every row is counted by its id. It reports what went in, what came out, what
// was lost, and whether what came twice is within the windows that were open at each kill. A build that checkpoints before it delivers
// is run as well and must be reported as losing: a count that cannot find loss proves nothing.
//
// With -sink kafka the rows go to a real Kafka cluster that it starts, whose brokers are killed too, and are counted by a reader of
// committed records. In mode exactly-once nothing may come twice, commits are lost on the way or their answers are, somebody else's
// transaction stands in the checkpoints topic for a while, and four broken builds must be found out.
//
// Run it in the root of the repository:
//
//	go run ./test/chaos -duration 60s -kills 5 -stops 1 -reshards 2
//	go run ./test/chaos -sink kafka -mode exactly-once -duration 90s -kills 4 -stops 1 -reshards 1 -broker-kills 1 -lost-commits 2 -control 0
//
// With -druid a real Druid reads the topics: two overlords, and a process for each task. It is killed and suspended as well, and what its
// published segments hold is counted, of the broken builds, too: each must be found out there. With -controls-only the broken builds run
// alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dredge/test/internal/trial"
)

// plan is what a run does.
type plan struct {
	duration, failover     time.Duration
	workers, shards, rate  int
	kills, stops, reshards int
	seed                   uint64
	binary, logs           string
	bad                    bool // a broken build: Druid is left in peace

	// mode and what follows matter with Kafka only.
	mode                             string
	brokers                          *brokers // nil when rows go to standard output
	partitions                       int      // of the topic of rows
	druid                            *druidCluster
	brokerKills, lostCommits, visits int
	stay                             time.Duration // of a foreign transaction
	// killsAt and stopsAt are the moments of kills and stops, in turn.
	killsAt, stopsAt []moment
	// suffix is that of the transactional ids whose commits are such a moment; empty for all.
	suffix string
}

const (
	sinkFile, sinkKafka      = "file", "kafka"
	exactlyOnce, atLeastOnce = "exactly-once", "at-least-once"
)

// broken is a build that is wrong on purpose, and the faults that find it out.
type broken struct {
	tag, doc             string
	kills, stops, visits int
	at                   moment
	suffix               string
	stay                 time.Duration
	// loses says that it loses lines; else rows come twice.
	loses bool
	// found is its run.
	found outcome
}

// brokenBuilds are the negative controls. Each has the fault that its mistake cannot survive.
func brokenBuilds(p plan) []broken {
	if p.mode != exactlyOnce {
		return []broken{{tag: "chaoscontrol", doc: "checkpoints before it delivers", kills: 5, loses: true}}
	}
	return []broken{
		// Stopped before its position is written: whoever takes its shards over has nothing to wait for, and reads the rows again. Then it goes on.
		{tag: "chaos_unfenced", doc: "fences nobody", stops: 2, at: undecided},
		{tag: "chaos_outside", doc: "writes its position after the transaction of the rows, in one of its own", kills: 3, at: undecided},
		{tag: "chaos_disorder", doc: "commits a position before the rows up to it", kills: 3, at: committed, suffix: "/positions", loses: true},
		// Killed before its lease can tell what it committed, while the record of that lies behind the foreign transaction.
		{tag: "chaos_stable", doc: "reads positions up to the last stable offset", kills: 3, at: committed, visits: 1, stay: time.Hour},
	}
}

func main() { trial.Main("chaos", run) }

func run(ctx context.Context) error {
	var (
		p       plan
		report  string
		control time.Duration
		sink    string
		nodes   int
		only    string
		slow    int
		druid   bool
		alone   bool
	)
	flag.StringVar(&sink, "sink", sinkFile, "where rows go: file (standard output) or kafka, a real cluster that is started")
	flag.StringVar(&p.mode, "mode", atLeastOnce, "of -sink kafka: at-least-once or exactly-once")
	flag.IntVar(&nodes, "brokers", 3, "of -sink kafka: nodes of the cluster")
	flag.IntVar(&p.partitions, "partitions", 12, "of -sink kafka: partitions of the topic of rows")
	flag.BoolVar(&druid, "druid", false, "of -mode exactly-once: a real Druid reads the topics, is killed and suspended too, and its published segments are counted")
	flag.IntVar(&p.brokerKills, "broker-kills", 5, "of -sink kafka: times that a broker is killed (SIGKILL) and started again")
	flag.IntVar(&p.lostCommits, "lost-commits", 12, "of -mode exactly-once: commits of which the request or the answer is lost")
	flag.IntVar(&p.visits, "foreign", 4, "of -mode exactly-once: foreign transactions in the checkpoints topic")
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
	flag.IntVar(&slow, "control-rate", 4000, "flow-log lines a second in the negative controls, at most -rate")
	flag.StringVar(&only, "controls", "", "tags of the negative controls to run, with commas; empty for all")
	flag.BoolVar(&alone, "controls-only", false, "run the negative controls alone")
	flag.StringVar(&report, "report", "", "file to write the report to, beside standard output")
	flag.Parse()
	if sink != sinkFile && sink != sinkKafka || p.mode != exactlyOnce && p.mode != atLeastOnce || p.mode == exactlyOnce && sink == sinkFile {
		return fmt.Errorf("-sink %q -mode %q: write -sink file, or -sink kafka -mode at-least-once or exactly-once", sink, p.mode)
	}

	if druid && p.mode != exactlyOnce {
		return errors.New("-druid: counts what came exactly once; write -sink kafka -mode exactly-once")
	}
	if p.mode != exactlyOnce {
		p.lostCommits, p.visits = 0, 0
	}
	p.killsAt, p.stopsAt = []moment{anytime}, []moment{anytime}
	if p.mode == exactlyOnce {
		p.killsAt, p.stopsAt = append(p.killsAt, committed, undecided), append(p.stopsAt, undecided)
	}
	p.stay = 2 * p.failover
	dir, err := os.MkdirTemp("", "dredge-chaos-")
	if err != nil {
		return err
	}
	p.logs = dir
	if p.binary, err = trial.Build(ctx, dir, ""); err != nil {
		return err
	}
	if sink == sinkKafka {
		if p.brokers, err = startBrokers(ctx, nodes, filepath.Join(dir, "kafka")); err != nil {
			return err
		}
		defer func() { _ = p.end() }() // after an error; nothing depends on it any more
	}
	if druid {
		if p.druid, err = startDruid(ctx, filepath.Join(dir, "druid")); err != nil {
			return err
		}
	}
	controls := slices.DeleteFunc(brokenBuilds(p), func(b broken) bool {
		return control == 0 || only != "" && !slices.Contains(strings.Split(only, ","), b.tag)
	})
	started := time.Now()
	var result outcome
	if !alone {
		if result, err = p.run(ctx); err != nil {
			return fmt.Errorf("%w; logs of the workers are in %s", err, dir)
		}
	}
	for i := range controls {
		if err := p.control(ctx, &controls[i], control, slow); err != nil {
			return fmt.Errorf("negative control %s: %w; logs of the workers are in %s", controls[i].tag, err, dir)
		}
	}
	if alone {
		var b strings.Builder
		fmt.Fprintf(&b, "# Chaos, builds that are wrong on purpose, %s\n\n%s\nMade with `go run ./test/chaos%s -controls-only -control %s -control-rate %d -workers %d -shards %d -seed %d`.\n\n",
			started.UTC().Format("2006-01-02 15:04"), where(p), flags(p), control, slow, p.workers, p.shards, p.seed)
		errs := writeControls(func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }, controls)
		return trial.Finish(b.String(), report, dir, errors.Join(append(errs, p.end())...))
	}
	text, verdict := write(p, result, controls, started)
	return trial.Finish(text, report, dir, errors.Join(verdict, p.end()))
}

// end ends the servers. Their pids are in the run's folder, so that must be there still; once more does nothing.
func (p plan) end() (err error) {
	if p.druid != nil {
		err = p.druid.stop()
	}
	if p.brokers != nil {
		err = errors.Join(err, p.brokers.stop())
	}
	return err
}

// control runs a build that is wrong on purpose for a while.
func (p plan) control(ctx context.Context, bad *broken, duration time.Duration, rate int) (err error) {
	p.bad = true
	p.duration, p.rate, p.reshards, p.brokerKills, p.lostCommits = duration, min(p.rate, rate), 0, 0, 0
	p.kills, p.stops, p.visits, p.stay = bad.kills, bad.stops, bad.visits, min(bad.stay, duration)
	p.killsAt, p.stopsAt, p.suffix = []moment{bad.at}, []moment{bad.at}, bad.suffix
	if p.binary, err = trial.Build(ctx, p.logs, bad.tag); err != nil {
		return err
	}
	bad.found, err = p.run(ctx)
	return err
}
