package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"dredge/config"
	"dredge/metadata/event"
	identity "dredge/metadata/file"
)

// identityCount counts what an identity file tells, without keeping it.
type identityCount struct {
	events int
	// coverage says that something tells which networks are logged.
	coverage bool
	// progress is how far each source has told, in Unix milliseconds.
	progress map[string]int64
}

func (n *identityCount) Apply(e *event.Event) error {
	n.events++
	switch e.Op {
	case event.Progress:
		n.progress[e.Src] = max(n.progress[e.Src], e.To)
	case event.Coverage:
		n.coverage = true
	default:
	}
	return nil
}
func (*identityCount) MarkProgress(string, int64) {}
func (*identityCount) MarkComplete(string)        {}

// fileKnowledge is what advice asks of the identity file.
type fileKnowledge struct {
	// lag is how far the source in it that is furthest behind is behind now; 0 when none tells, or when the file counts as complete.
	lag      time.Duration
	coverage bool
}

// checkIdentity reads the identity file.
func checkIdentity(ctx context.Context, c config.Config, now time.Time) (note string, file fileKnowledge, err error) {
	i := c.Identity
	if i.File.Path == "" && (i.EC2.Enabled() || i.ECS.Enabled() || len(i.Kube.Clusters) > 0 || len(i.Logs) > 0) {
		return ": no file", file, nil
	}
	if c.Identity.File.Path == "" {
		return ": none is configured, so every private end will be unknown; set identity.ec2, identity.kube, identity.logs or identity.file.path", file, nil
	}
	n := identityCount{progress: map[string]int64{}}
	src, err := identity.New(c.Identity.File, identity.Dependencies{Target: &n, Logger: zerolog.Nop()})
	if err != nil {
		return "", file, err
	}
	if err := src.LoadAll(ctx); err != nil {
		return "", file, err
	}
	file.coverage = n.coverage
	note = fmt.Sprintf(": %d events in %s", n.events, c.Identity.File.Path)
	switch {
	case c.Identity.File.Complete:
	case len(n.progress) == 0:
		note += "; none tells progress, so nothing will be named with certainty: set identity.file.complete, or let the source write progress events"
	default:
		file.lag = now.Sub(time.UnixMilli(slices.Min(slices.Collect(maps.Values(n.progress)))))
	}
	return note, file, nil
}

// Usual delays from a flow's end to the arrival of its line. CloudWatch Logs takes some six minutes from the flow's start in the
// middle and a bit more than one at the least; files in S3 are written every five minutes. Most lines take longer than these.
const (
	usualDelay      = 2 * time.Minute
	usualDelayFiles = 5 * time.Minute
)

// laggard is a source of identity as far as its delay goes.
type laggard struct {
	name string
	// lag is how far behind the clock its watermark falls before the next progress.
	lag time.Duration
	// remedy says what to change for that to be less.
	remedy string
}

// identityAdvice is what could be better about the sources of identity, although nothing is wrong with them.
func identityAdvice(c config.Config, file fileKnowledge) []string {
	i := c.Identity
	advice := lagAdvice(c, file.lag)
	// Logs are written by others, who may tell it.
	if (i.EC2.Enabled() || i.File.Path != "") && len(i.EC2.FlowLogs) == 0 && !file.coverage && len(i.Logs) == 0 {
		advice = append(advice, "nothing tells which networks' flows are logged into this application, so a flow that two interfaces log counts twice; "+
			"write identity.ec2.flow_logs, or coverage events in the identity file")
	}
	return advice
}

// lagAdvice says which sources tell so late that rows go out before them: a row waits for its flow's watermark no longer than hold
// after its line has arrived, and then names nobody by what that source tells.
func lagAdvice(c config.Config, fileLag time.Duration) []string {
	delay := usualDelay
	if c.S3.Enabled() {
		delay = usualDelayFiles
	}
	var laggards []laggard
	if e := c.Identity.EC2; e.Enabled() {
		laggards = append(laggards, laggard{"identity.ec2", e.CrawlInterval + e.Consistency, "lower identity.ec2.crawl_interval"})
	}
	if e := c.Identity.ECS; e.Enabled() {
		laggards = append(laggards, laggard{"identity.ecs", e.CrawlInterval + e.Consistency, "lower identity.ecs.crawl_interval"})
	}
	if fileLag > 0 {
		laggards = append(laggards, laggard{"identity.file", fileLag, "let whoever writes the file write progress more often"})
	}
	var advice []string
	for _, t := range laggards {
		need := t.lag + c.Pipeline.Guard - delay
		if need <= c.Pipeline.Hold {
			continue
		}
		remedy := t.remedy
		if need = need.Round(time.Second); need <= maxHold {
			remedy += fmt.Sprintf(", or raise pipeline.hold to %s", need)
		}
		advice = append(advice, fmt.Sprintf("%s falls up to %s behind the clock, and rows wait %s (pipeline.hold) after lines that usually arrive %s after their flow: "+
			"many ends will be provisional and have no name; %s", t.name, t.lag.Round(time.Second), c.Pipeline.Hold, delay, remedy))
	}
	return advice
}

// maxHold is the longest that pipeline.hold may be.
const maxHold = time.Hour
