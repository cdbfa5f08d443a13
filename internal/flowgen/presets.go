package flowgen

import "time"

// Demo is the estate of the demonstration: flow logs delivered within seconds, gap-free feeds of identity with a crawl every
// minute, and enough churn that a latest-value join is visibly wrong although nothing is lost: about 300 lines per second of
// virtual time. DemoPace places its history in the past.
func Demo(start time.Time) Config {
	c := DefaultConfig(start)
	c.ConnRate = 60
	c.Churn.ShortShare, c.Churn.ShortMean, c.Churn.LongMean = 0.2, 3*time.Minute, 3*time.Hour
	c.Identity.Policy = AllSources
	c.Identity.CrawlEvery, c.Identity.CrawlTakes = time.Minute, 5*time.Second
	c.Keep = 30 * time.Minute
	c.Check, c.Baseline = true, true
	return c
}

// Accuracy is the setting in which misattribution is measured: metadata as AWS shops have it (late and lossy events, a crawl
// every five minutes), 60 more applications, and the delivery delay of CloudWatch.
func Accuracy(start time.Time) Config {
	c := DefaultConfig(start)
	c.ExtraApps = 60
	c.Check, c.Baseline, c.Expect = true, true, true
	c.Keep = 0
	return c
}

// Small is an estate for tests: few connections, everything delivered within seconds, the whole truth kept.
func Small(start time.Time) Config {
	c := DefaultConfig(start)
	c.ConnRate = 20
	c.Logs.Delay = FastDelay()
	c.Check, c.Baseline, c.Expect = true, true, true
	c.Keep = 0
	return c
}

// Pace maps virtual time to real time: a backlog that is there at once, then a quicker clock until virtual time has caught
// up with real time, then real time. Virtual time never runs ahead of real time, so nothing arrives from the future.
type Pace struct {
	// Begin is the real time at which the run begins.
	Begin time.Time
	// Start is the virtual time of the simulation's beginning, Backlog how much of it is there at once.
	Start   time.Time
	Backlog time.Duration
	// Speed is virtual seconds per real second while catching up; at least 1.
	Speed float64
}

// DemoPace begins with ten minutes of backlog, ten more minutes behind real time that pass at ten times the speed (67 s),
// and goes on live.
func DemoPace(begin time.Time) Pace {
	return Pace{Begin: begin, Start: begin.Add(-20 * time.Minute), Backlog: 10 * time.Minute, Speed: 10}
}

// Virtual returns the virtual time at the real time at: what arrives before it is due.
func (p Pace) Virtual(at time.Time) time.Time {
	quick := p.Start.Add(p.Backlog + time.Duration(float64(at.Sub(p.Begin))*max(1, p.Speed)))
	if quick.After(at) {
		return at
	}
	return quick
}

// Due returns the real time at which what arrives at a virtual time is due.
func (p Pace) Due(virtual time.Time) time.Time {
	ahead := virtual.Sub(p.Start) - p.Backlog
	if ahead <= 0 {
		return p.Begin
	}
	quick := p.Begin.Add(time.Duration(float64(ahead) / max(1, p.Speed)))
	if quick.Before(virtual) {
		return virtual
	}
	return quick
}
