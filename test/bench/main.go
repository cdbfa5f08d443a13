// Command bench measures the whole path, from Kinesis to acknowledged Kafka rows, beside two yardsticks in the same run:
//
//	dredge   the real binary: leases, checkpoints, books, metrics, gate, every column of the catalogue
//	core     the same with the core columns only, which is the default
//	bare     the least that does the same job: no leases, no checkpoints, no metrics, no gate, no duplicates check
//	naive    the same job as a quick Go program does it: encoding/json, strings.Fields, maps of slices, asynchronous Produce
//
// The fake AWS and a Kafka-protocol broker run in another process, pinned to another core. Every subject runs with
// GOMAXPROCS=1 on the same bytes; what is quoted is acknowledged rows per second of its own CPU, and ratios of neighbours.
// The host's speed drifts: only figures of one run may be divided.
//
//	go run ./test/bench                      all subjects, both mixes, with and without Kafka
//	go run ./test/bench -subjects dredge,bare -mixes one -runs 3
//	go run ./test/bench -codecs              dredge with each Kafka compression
//	go run ./test/bench -subjects dredge,other -other /tmp/dredge-before
//	                                         this tree beside another binary
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	lines, runs, addresses int
	mixes, subjects, sinks string
	role, aws, kafka       string
	mix, codec, stream     string
	codecs                 bool
	binary, other          string
	profile, temp          string
	profileSeconds         int
	limit                  time.Duration
	end                    int64 // of the workload, Unix seconds
}

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.lines, "lines", 2_000_000, "flow-log lines for each measurement")
	fs.IntVar(&o.runs, "runs", 3, "measurements of each subject, interleaved; the median is quoted")
	fs.IntVar(&o.addresses, "addresses", 1<<20, "addresses in the identity table, with four owners each")
	fs.StringVar(&o.mixes, "mixes", "one,random", "one interface per envelope, random interface per line")
	fs.StringVar(&o.subjects, "subjects", "dredge,bare,naive", "what to measure: dredge, core, other, bare, naive")
	fs.StringVar(&o.sinks, "sinks", "kafka,none", "kafka: acknowledged rows; none: encoded rows are thrown away")
	fs.StringVar(&o.codec, "codec", "snappy", "Kafka compression: none, snappy, lz4, zstd")
	fs.BoolVar(&o.codecs, "codecs", false, "compare the compressions with dredge instead")
	fs.StringVar(&o.binary, "binary", "", "path of the dredge binary to measure; empty builds it from this tree")
	fs.StringVar(&o.other, "other", "", "path of another dredge binary, the subject other")
	fs.StringVar(&o.profile, "profile", "", "directory for CPU profiles of each dredge subject's first run")
	fs.IntVar(&o.profileSeconds, "profile-seconds", 5, "how long a profile lasts, from the start of the measurement")
	fs.StringVar(&o.temp, "temp", "", "directory for the binary and the identity file (1 GB); empty for the system's")
	fs.DurationVar(&o.limit, "limit", 30*time.Minute, "how long one measurement may take")
	fs.Int64Var(&o.end, "end", 0, "internal: end of the workload in Unix seconds")
	fs.StringVar(&o.role, "role", "", "internal: what this process is")
	fs.StringVar(&o.aws, "aws", "", "internal: URL of the fake AWS")
	fs.StringVar(&o.kafka, "kafka", "", "internal: broker address, empty for none")
	fs.StringVar(&o.stream, "stream", "", "internal: the stream of this process")
	fs.StringVar(&o.mix, "mix", "one", "internal: the mix of this process")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	switch o.role {
	case "":
		return orchestrate(ctx, o)
	case "server":
		return serve(ctx, o)
	case "bare":
		return measure(ctx, o, newBare)
	case "naive":
		return measure(ctx, o, newNaive)
	}
	return fmt.Errorf("-role %q is unknown", o.role)
}

func list(s string, known ...string) ([]string, error) {
	out := strings.Split(s, ",")
	for _, v := range out {
		if !slices.Contains(known, v) {
			return nil, fmt.Errorf("%q is unknown; write some of %s", v, strings.Join(known, ","))
		}
	}
	return out, nil
}
