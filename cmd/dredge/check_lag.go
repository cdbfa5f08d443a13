package main

import (
	"fmt"
	"time"

	"dredge/config"
)

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
