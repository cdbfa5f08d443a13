package main

import (
	"strings"
	"time"

	"dredge/internal/flowgen"
)

// scenario is one setting in which names are judged.
type scenario struct {
	name, says string
	length     time.Duration
	// hold is the gate's bound after arrival.
	hold   time.Duration
	change func(*flowgen.Config)
	// limit marks a setting in which wrong names are a known limit (decision 0004): they are told, not judged.
	limit bool
	// share is the least share of owned ends that must be named; 0 asks for none.
	share float64
	// churn is how many owners per second must come and go at the least.
	churn float64
	// bound asks for what the rules allow as well.
	bound bool
}

// base is the setting in which misattribution is measured: 3,400 instances of 60 applications in one VPC, the most recently freed address taken
// first after 5 s, 30 % of the new ones living 3 min on average, events late by a log-normal delay (median 20 s, heavy tail)
// with clocks 1 s off and 1 % of the releases lost, a listing every 5 min, flow logs everywhere that arrive 30 to 130 s after
// their interval, and 2 % of the connections going to addresses that lost their owner in the last minutes.
func base(start time.Time) flowgen.Config {
	c := flowgen.DefaultConfig(start)
	c.ExtraApps, c.Instances = 60, 3400
	c.IdleInterfaces, c.ProbeShare, c.IPv6Share = 0, 0, 0
	c.ConnRate = 60
	c.DeadShare = 0.02
	c.Churn = flowgen.Churn{
		ShortShare: 0.3, ShortMean: 3 * time.Minute, LongMean: 75 * time.Minute,
		Cooldown: 5 * time.Second, PodCooldown: 5 * time.Second, Relaunch: 5 * time.Second,
	}
	c.Logs.Delay = late(30 * time.Second)
	c.Logs.Envelope = flowgen.Lines
	c.Logs.ControlEvery = 0
	c.Identity.DelayMedian, c.Identity.DelaySigma = 20*time.Second, 1.2
	c.Identity.Skew, c.Identity.ReleaseLoss = time.Second, 0.01
	c.Expect = true
	c.Keep = time.Hour
	return c
}

// late is a delivery that takes from to from + 100 s.
func late(from time.Duration) flowgen.Delay {
	return flowgen.Delay{Min: from, Median: from + 50*time.Second, P90: from + 90*time.Second, Max: from + 100*time.Second}
}

func (sc *scenario) config(start time.Time) flowgen.Config {
	c := base(start)
	if sc.change != nil {
		sc.change(&c)
	}
	return c
}

const (
	// defaultHold is the product's own bound, which suits sources that tell within a minute.
	defaultHold = time.Minute
	// crawlHold suits crawls every five minutes: the gate can wait until the next listing is complete.
	crawlHold = 6 * time.Minute
)

// scenarios are the default parameters with each policy of sources, and the variations.
func scenarios() []scenario {
	measured := func(o flowgen.StartOffset) func(*flowgen.Config) {
		return func(c *flowgen.Config) {
			c.Logs.Offset, c.Logs.Delay = o, flowgen.CloudWatchDelay()
		}
	}
	estate := func(change func(*flowgen.Config)) func(*flowgen.Config) {
		return func(c *flowgen.Config) {
			c.Instances, c.Scale, c.ExtraApps = 0, 2, 30
			c.IdleInterfaces, c.ProbeShare, c.IPv6Share = 20, 0.02, 0.1
			if change != nil {
				change(c)
			}
		}
	}
	list := []scenario{
		{name: "default", says: "crawls and change events", length: 2 * time.Hour, share: 0.99, bound: true},
		{name: "default-hold-1m", says: "the same, held for a minute at the most", hold: defaultHold, bound: true},
		{name: "cloudwatch", says: "the same with CloudWatch's measured delay of 75 s to 11 min, held for a minute at the most", hold: defaultHold, bound: true, change: func(c *flowgen.Config) {
			c.Logs.Delay = flowgen.CloudWatchDelay()
		}},
		{name: "next-hop", says: "flow logs of version 11, which name the interface at the other end", share: 0.999, bound: true, change: func(c *flowgen.Config) {
			c.Logs.Formats = map[string]string{"prod": flowgen.V11}
		}},
		{name: "j2", says: "800 changes a second: each of 45,000 addresses changes hands every two minutes; events up to 15 min late and out of order, 1 % of them lost", length: 4 * time.Minute, share: 0.75, churn: 800, change: fleet},
		{name: "crawl", says: "crawls only", change: func(c *flowgen.Config) { c.Identity.Policy = flowgen.CrawlOnly }},
		{name: "all", says: "crawls and gap-free feeds", hold: defaultHold, bound: true, change: func(c *flowgen.Config) { c.Identity.Policy = flowgen.AllSources }},
		{name: "skew", says: "clocks 5 s off", change: func(c *flowgen.Config) { c.Identity.Skew = 5 * time.Second }},
		{name: "cloudtrail", says: "events 120 s late, cool-down 2 s, 30 % of the interfaces not logged", change: cloudTrail},
		{name: "cloudtrail-late-logs", says: "the same, flow logs 5 min late", change: func(c *flowgen.Config) {
			cloudTrail(c)
			c.Logs.Delay = late(5 * time.Minute)
		}},
		{name: "instant-reuse", says: "no cool-down, 60 % short-lived, 30 % of the interfaces not logged", change: func(c *flowgen.Config) {
			c.Churn.Cooldown, c.Churn.PodCooldown, c.Churn.ShortShare, c.Logs.Unlogged = 0, 0, 0.6, 0.3
		}},
		{name: "lost", says: "5 % of the releases lost, no crawl after the first", change: func(c *flowgen.Config) {
			c.Identity.ReleaseLoss, c.Identity.CrawlEvery = 0.05, 1000*time.Hour
		}},
		{name: "fresh", says: "addresses rest for 10 min, so most owners come to one that nobody had for long", change: func(c *flowgen.Config) {
			c.Churn.Cooldown, c.Churn.PodCooldown, c.DeadShare = 10*time.Minute, 90*time.Second, 0.1
		}},
		{name: "start-early", says: "measured records: start 60 s early to 1 s late, CloudWatch's delay", change: measured(flowgen.StartEarly)},
		{name: "start-either", says: "measured records: start 58 s early to 61 s late, CloudWatch's delay", change: measured(flowgen.StartEither)},
		{name: "start-early-unlogged", says: "start early, 30 % of the interfaces not logged, events 120 s late, logs fast", change: func(c *flowgen.Config) {
			cloudTrail(c)
			c.Logs.Offset = flowgen.StartEarly
		}},
		{name: "start-either-fresh", says: "start either way, addresses rest for 10 min, many attempts to reach the dead", change: func(c *flowgen.Config) {
			c.Logs.Offset = flowgen.StartEither
			c.Churn.Cooldown, c.Churn.PodCooldown, c.DeadShare = 10*time.Minute, 90*time.Second, 0.1
		}},
	}
	list = append(list,
		scenario{name: "estate", says: "six VPCs, pods, tasks, balancers, gateways, layouts of versions 2 to 11; crawls and change events", change: estate(nil)},
		scenario{name: "estate-all", says: "the same, with gap-free feeds", hold: defaultHold, change: estate(func(c *flowgen.Config) { c.Identity.Policy = flowgen.AllSources })},
		scenario{name: "estate-crawl", says: "the same, crawls only", change: estate(func(c *flowgen.Config) { c.Identity.Policy = flowgen.CrawlOnly })},
		scenario{name: "estate-start-either", says: "the same, gap-free feeds, start either way, CloudWatch's delay", hold: defaultHold, change: estate(func(c *flowgen.Config) {
			c.Identity.Policy = flowgen.AllSources
			measured(flowgen.StartEither)(c)
		})},
		scenario{name: "estate-start-early", says: "the same, crawls and change events, start early, CloudWatch's delay", change: estate(measured(flowgen.StartEarly))},
		scenario{name: "estate-unlogged", says: "the same, events 120 s late, 30 % of the interfaces not logged", change: estate(cloudTrail)},
	)
	for i := range list {
		list[i].limit = strings.Contains(list[i].name, "start-e")
		if list[i].length == 0 {
			list[i].length = 30 * time.Minute
		}
		if list[i].hold == 0 {
			list[i].hold = crawlHold
		}
	}
	return list
}

// fleet is the setting of row J2.
func fleet(c *flowgen.Config) {
	c.Instances, c.ConnRate = 45_000, 150
	c.Churn.ShortShare, c.Churn.LongMean = 0, 83*time.Second
	c.Identity.DelayMedian, c.Identity.DelaySigma, c.Identity.DelayMax = 2*time.Minute, 1, 15*time.Minute
	c.Identity.ReleaseLoss, c.Identity.AssignLoss = 0.01, 0.01
}

func cloudTrail(c *flowgen.Config) {
	c.Identity.DelayMedian, c.Churn.Cooldown, c.Churn.PodCooldown, c.Logs.Unlogged = 2*time.Minute, 2*time.Second, 2*time.Second, 0.3
}
