package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"dredge/test/plot"
)

// scaleDay is a model of a day: a stream whose traffic and shards come and go, and a deployment that an autoscaler sets to what
// /scale says. The answers are this program's own code; the model is the stream, the lag and the time that workers take to start.
type scaleDay struct {
	step     time.Duration
	capacity float64 // KB/s of one worker with all its processors
	delay    time.Duration
	shards   func(at time.Duration) int
	traffic  func(at time.Duration) float64 // KB/s
}

// scaleMinute is one step of the day.
type scaleMinute struct {
	shards, desired, running int
	traffic, behind          float64 // KB/s, seconds
}

// play runs the day.
func (d scaleDay) play() []scaleMinute {
	var (
		out     []scaleMinute
		need    scaleMemory
		backlog float64 // KB
		running = 1
		orders  []struct {
			at time.Duration
			n  int
		}
		begin = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	)
	for at := time.Duration(0); at < 24*time.Hour; at += d.step {
		shards, traffic := d.shards(at), d.traffic(at)
		for len(orders) > 0 && orders[0].at <= at {
			running, orders = orders[0].n, orders[1:]
		}
		workers := min(running, shards) // more have nothing to read
		seconds := d.step.Seconds()
		backlog += traffic * seconds
		read := min(backlog, float64(workers)*d.capacity*seconds)
		backlog -= read
		perWorker := read / seconds / float64(workers)
		l := load{
			Shards: shards, Workers: workers, Behind: time.Duration(backlog / traffic * float64(time.Second)), KBps: read / seconds,
			Own: usage{KBps: perWorker, Busy: perWorker / d.capacity},
		}
		desired, _ := need.answer(begin.Add(at), l)
		switch {
		case desired < running && (len(orders) == 0 || orders[len(orders)-1].n != desired):
			running, orders = desired, nil // ending takes no time worth a model: leases are handed over
		case desired > running && (len(orders) == 0 || orders[len(orders)-1].n != desired):
			orders = append(orders, struct {
				at time.Duration
				n  int
			}{at + d.delay, desired})
		}
		out = append(out, scaleMinute{shards, desired, running, traffic, backlog / traffic})
	}
	return out
}

// aDay has a night, an afternoon's peak and a burst in the evening, with some noise that repeats.
func aDay() scaleDay {
	return scaleDay{
		step: 15 * time.Second, capacity: 2000, delay: time.Minute,
		shards: func(at time.Duration) int {
			if h := at.Hours(); h >= 7 && h < 22 {
				return 16
			}
			return 4
		},
		traffic: func(at time.Duration) float64 {
			h := at.Hours()
			curve := 0.5 - 0.5*math.Cos((h-3)/24*2*math.Pi) // lowest at 3, greatest at 15
			burst := 0.0
			if h >= 20 && h < 20.5 {
				burst = 9000 // within a minute, as when a batch job begins
			}
			return 800 + 11_000*curve*curve + 250*math.Sin(at.Minutes()/7) + burst
		},
	}
}

// What a day costs: prices per hour of a worker (2 vCPU and 4 GB of Fargate) and of a shard, in us-east-1.
const (
	workerHour = 2*0.04048 + 4*0.004445
	shardHour  = 0.015
)

// TestSimScale: over a day with shards from 4 to 16 and back, workers follow the traffic, never beyond the shards, and the lag stays below the
// bound of the alert; it costs less than the peak's workers around the clock. DREDGE_SIM_REPORT=file.md writes the report of `make sim-scale`.
func TestSimScale(t *testing.T) {
	d := aDay()
	day := d.play()
	var hours, shardHours, worst float64
	peak, changes := 0, 0
	for i, m := range day {
		if m.desired > m.shards {
			t.Errorf("at %s %d workers are asked for with %d shards", time.Duration(i)*d.step, m.desired, m.shards)
		}
		hours += float64(m.running) * d.step.Hours()
		shardHours += float64(m.shards) * d.step.Hours()
		worst, peak = max(worst, m.behind), max(peak, m.running)
		if i > 0 && day[i-1].running != m.running {
			changes++
		}
	}
	night, noon := day[3*60*4], day[15*60*4]
	if noon.desired <= night.desired || noon.desired < int(noon.traffic/d.capacity) {
		t.Errorf("%d workers by night, %d at noon for %.0f KB/s", night.desired, noon.desired, noon.traffic)
	}
	if last := day[len(day)-1]; last.desired > 4 {
		t.Errorf("%d workers at the end of the day", last.desired)
	}
	if worst > 300 {
		t.Errorf("the lag grows to %.0f s", worst)
	}
	fixed := float64(peak) * 24
	if hours >= 0.8*fixed {
		t.Errorf("%.0f worker hours; the peak's %d around the clock are %.0f", hours, peak, fixed)
	}
	if file := os.Getenv("DREDGE_SIM_REPORT"); file != "" {
		writeSimReport(t, file, d, day, hours, shardHours, worst, peak, changes)
	}
}

func writeSimReport(t *testing.T, file string, d scaleDay, day []scaleMinute, hours, shardHours, worst float64, peak, changes int) {
	t.Helper()
	pick := func(f func(m scaleMinute) float64) (out []float64) {
		for i := 0; i < len(day); i += 4 {
			out = append(out, f(day[i]))
		}
		return out
	}
	picture := strings.TrimSuffix(file, ".md") + ".svg"
	svg := plot.SVG([]plot.Chart{
		{Title: "traffic", Unit: "KB/s", Lines: []plot.Line{{Name: "traffic", Values: pick(func(m scaleMinute) float64 { return m.traffic })}}},
		{Title: "workers and shards", Lines: []plot.Line{
			{Name: "running", Values: pick(func(m scaleMinute) float64 { return float64(m.running) })},
			{Name: "desired", Values: pick(func(m scaleMinute) float64 { return float64(m.desired) })},
			{Name: "shards", Values: pick(func(m scaleMinute) float64 { return float64(m.shards) })},
		}},
		{Title: "lag", Unit: "s", Lines: []plot.Line{{Name: "lag", Values: pick(func(m scaleMinute) float64 { return m.behind })}}},
	}, 24, "h")
	var b strings.Builder
	fmt.Fprintf(&b, "# A day of autoscaling\n\nA **model**: traffic between %.0f and %.0f KB/s, shards 4 → 16 (at 7:00) → 4 (at 22:00), workers that read %.0f KB/s with all their processors and start in %s.\n",
		minOf(day), maxOf(day), d.capacity, d.delay)
	fmt.Fprintf(&b, "What `/scale` answers is the program's own code, asked every %s and followed at once. Made with `make sim-scale`; nothing of it is measured.\n\n", d.step)
	fmt.Fprintf(&b, "| | |\n| --- | --- |\n| workers | at most %d, %.0f worker hours, %d changes |\n", peak, hours, changes)
	fmt.Fprintf(&b, "| greatest lag | %.0f s |\n| workers' cost | %.2f USD; the peak's %d around the clock %.2f USD |\n", worst, hours*workerHour, peak, float64(peak)*24*workerHour)
	fmt.Fprintf(&b, "| shards' cost | %.2f USD for %.0f shard hours; 16 around the clock %.2f USD |\n\n", shardHours*shardHour, shardHours, 16*24*shardHour)
	fmt.Fprintf(&b, "Prices: a worker of 2 vCPU and 4 GB on Fargate %.4f USD an hour, a provisioned shard %.3f USD an hour (us-east-1, without PUT payload units).\n\n", workerHour, shardHour)
	fmt.Fprintf(&b, "![traffic, workers and lag over a day](%s)\n", picture[strings.LastIndexByte(picture, '/')+1:])
	for name, text := range map[string]string{file: b.String(), picture: svg} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func minOf(day []scaleMinute) float64 {
	least := math.Inf(1)
	for _, m := range day {
		least = min(least, m.traffic)
	}
	return least
}

func maxOf(day []scaleMinute) (most float64) {
	for _, m := range day {
		most = max(most, m.traffic)
	}
	return most
}
