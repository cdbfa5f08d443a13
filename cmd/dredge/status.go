package main

import (
	"fmt"
	"time"

	"dredge/consumer/kinesis"
	"dredge/internal/page"
	"dredge/internal/telemetry"
	"dredge/metadata/store"
	"dredge/pipeline"
)

// statusPage collects what the page shows from the parts that know it.
type statusPage struct {
	started        time.Time
	source, sink   string
	pipeline       *pipeline.Pipeline
	worker         *kinesis.Worker
	identity       *store.Store
	problemsBeside func() []string
	survey         survey
}

// A shard that is further behind than this, though it is being read, is a problem worth a line on the page.
const lagProblem = 5 * time.Minute

func (s *statusPage) status() page.Status {
	b := s.pipeline.Books().Snapshot()
	out := page.Status{
		Now: time.Now(), Started: s.started, Version: telemetry.ReadBuild().Version, Source: s.source, Sink: s.sink,
		Books: page.Books{
			Lines: b.Lines, Decoded: b.Decoded, Delivered: b.Delivered, InFlight: b.InFlight, Rejected: b.Rejected, Skipped: b.Skipped,
			Dropped: b.Dropped, DeadLettered: b.DeadLettered, Abandoned: b.Abandoned, PayloadFaults: map[string]int64{},
		},
		Ends: map[string]int64{},
	}
	for outcome, n := range b.Payloads {
		if outcome != "ok" {
			out.Books.PayloadFaults[outcome] = n
		}
	}
	if err := b.Check(); err != nil {
		out.Books.Imbalance = err.Error()
		out.Problems = append(out.Problems, err.Error())
	}
	var w kinesis.Status
	if s.worker != nil {
		w = s.worker.Status()
	}
	out.Worker = w.WorkerID
	for _, sh := range w.Shards {
		state := sh.State
		switch {
		case sh.Finished:
			state = "ended"
		case !sh.Mine && sh.Owner == "":
			state = "free"
		case !sh.Mine:
			state = "elsewhere"
		}
		out.Shards = append(out.Shards, page.Shard{
			ID: sh.Key, Owner: sh.Owner, Mine: sh.Mine, State: state, LagMillis: sh.Behind.Milliseconds(), Checkpoint: sh.Checkpoint,
			InFlight: sh.InFlight,
		})
		if sh.LastError != "" && sh.Mine {
			out.Problems = append(out.Problems, fmt.Sprintf("%s: %s", sh.Key, sh.LastError))
		}
		if sh.Mine && sh.Behind > lagProblem {
			out.Problems = append(out.Problems, fmt.Sprintf("%s is %s behind", sh.Key, sh.Behind.Round(time.Second)))
		}
	}
	sum := s.pipeline.Summary()
	out.EdgeWindow = int(sum.Seconds)
	edges := edgesOf(&sum)
	out.Edges = edges[:min(pageEdges, len(edges))]
	for _, grades := range []map[string]int64{sum.SrcGrades, sum.DstGrades} {
		for g, n := range grades {
			out.Ends[g] += n
		}
	}
	for _, r := range s.pipeline.Rejects() {
		out.Rejected = append(out.Rejected, page.Reject{
			Time: r.Time, Partition: r.Partition, Position: string(r.At), Index: r.Index, Reason: r.Reason, Detail: r.Detail, LogGroup: r.LogGroup, Line: r.Line,
		})
	}
	out.LogGroups = s.logGroups()
	for _, src := range s.identity.Sources() {
		if src.Idle {
			out.Problems = append(out.Problems, fmt.Sprintf("identity source %s is silent: its names are provisional", src.Name))
		}
	}
	if s.problemsBeside != nil {
		out.Problems = append(out.Problems, s.problemsBeside()...)
	}
	return out
}
