package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"dredge/internal/flowgen"
	"dredge/metadata/event"
	"dredge/metadata/store"
	"dredge/row"
	"dredge/stream"
)

// BenchmarkP3 is the row P3: 1,600 changes of owners a second while payloads are read, joined and encoded as fast as one core can
// (P1's load, without Kinesis and Kafka, which no change of identity touches), against the same without changes, in turns in one
// run. %-of-quiet-rate is the share of the rate that is left, in lines per processor-second, what the changes themselves cost
// included; 90 is the row's bound. One operation is a second of changes; 15 minutes of them, the row's time:
//
//	go test ./test/bench -run '^$' -bench P3 -benchtime 900x -cpu 1 -timeout 60m
func BenchmarkP3(b *testing.B) {
	const payloads, perChunk, linesPerPayload, perSecond = 320, 4, 500, 1600
	bulk, err := workload(options{
		end: time.Now().Add(-time.Hour).Truncate(time.Hour).Unix(), lines: payloads * linesPerPayload, addresses: *pathAddresses,
	}, "random")
	if err != nil {
		b.Fatal(err)
	}
	identity := pathStore(b, bulk)
	p := pathPipeline(b, identity, row.DefaultConfig())
	h, _, err := p.Open(b.Context(), "shard")
	if err != nil {
		b.Fatal(err)
	}
	chunks := pathChunks(bulk, "shard", perChunk)
	next := 0
	// second handles chunks for a second of the clock and returns the lines and processor-seconds that it took.
	second := func() (lines, cpu float64) {
		before := cpuSeconds()
		for began := time.Now(); time.Since(began) < time.Second; next++ {
			c := &chunks[next%len(chunks)]
			now := time.Now()
			for k := range c.Payloads {
				c.Payloads[k].Arrived = now
			}
			if err := h.Handle(b.Context(), *c, func(stream.Position, error) {}); err != nil {
				b.Fatal(err)
			}
			lines += perChunk * linesPerPayload
		}
		return lines, cpuSeconds() - before
	}
	second() // fills the pools
	changes := newBurst(bulk, identity)
	var lines, cpu [2]float64 // quiet, busy
	for b.Loop() {
		l, c := second()
		lines[0], cpu[0] = lines[0]+l, cpu[0]+c
		stop := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() { changes.run(b, perSecond, stop) })
		l, c = second()
		close(stop)
		writer.Wait()
		lines[1], cpu[1] = lines[1]+l, cpu[1]+c
	}
	b.ReportMetric(100*(lines[1]/cpu[1])/(lines[0]/cpu[0]), "%-of-quiet-rate")
	b.ReportMetric(lines[1]/cpu[1], "lines/cpu-s")
	b.ReportMetric(float64(changes.told)/float64(b.N), "changes/op")
	if err := h.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// burst gives addresses to new owners.
type burst struct {
	identity *store.Store
	claims   []event.Event // one for each address, in turn
	told     int
}

func newBurst(bulk *flowgen.Bulk, identity *store.Store) *burst {
	x := &burst{identity: identity}
	seen := map[string]bool{}
	for e := range bulk.Events() {
		if e.Op == event.Assign && e.IP != "" && !seen[e.IP] && len(seen) < 1<<16 {
			seen[e.IP] = true
			x.claims = append(x.claims, *e)
		}
	}
	return x
}

// run tells so many changes a second until stop is closed.
func (x *burst) run(b *testing.B, perSecond int, stop <-chan struct{}) {
	b.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began, before := time.Now(), x.told; ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for due := before + int(time.Since(began).Seconds()*float64(perSecond)); x.told < due; x.told++ {
			e := x.claims[x.told%len(x.claims)]
			e.Owner, e.From, e.To, e.Obs = fmt.Sprintf("eni:eni-0%016x", x.told), time.Now().UnixMilli(), 0, 0
			if err := x.identity.Apply(&e); err != nil {
				b.Error(err)
				return
			}
		}
	}
}
