package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dredge/flowlog"
	"dredge/internal/flowgen"
	"dredge/row"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// load plays a simulated estate into the stream and remembers where every line went.
type load struct {
	*rig
	sim *flowgen.Sim
	// flows are the lines that must become rows, by the row's identity: shard, sequence number and place in the payload.
	flows map[sinktest.RowID]sent
	// Other lines of the generator.
	noData, skipData, controls int64
}

type sent struct {
	flowgen.Expected
	at time.Time
}

// newLoad makes the estate, and gives the pipeline the layouts of its log groups.
//
// Flow logs arrive eight seconds after the end of their interval at the earliest (in AWS it is minutes), and the sources of
// identity tell their progress every second: the gate is in force and never has to wait long.
func (r *rig) newLoad(seed uint64, change ...func(*flowgen.Config)) *load {
	r.Helper()
	cfg := flowgen.Small(time.Now())
	cfg.Seed = seed
	cfg.Logs.Delay = flowgen.Delay{Min: 8 * time.Second, Median: 10 * time.Second, P90: 15 * time.Second, Max: 20 * time.Second}
	cfg.Identity.Policy = flowgen.AllSources
	cfg.Identity.ProgressEvery = time.Second
	cfg.Baseline = false
	for _, c := range change {
		c(&cfg)
	}
	sim, err := flowgen.New(cfg)
	if err != nil {
		r.Fatal(err)
	}
	for group, layout := range sim.LogGroups() {
		format := "${" + strings.ReplaceAll(layout.String(), " ", "} ${") + "}"
		r.pipeline.Formats.Rules = append(r.pipeline.Formats.Rules, flowlog.Rule{LogGroup: group, Format: format})
	}
	return &load{rig: r, sim: sim, flows: map[sinktest.RowID]sent{}}
}

// play delivers everything that arrives in the next d, each at its time, and lets d pass.
func (l *load) play(d time.Duration) {
	l.Helper()
	end := time.Now().Add(d)
	for item := range l.sim.Until(end) {
		if wait := time.Until(item.Arrive); wait > 0 {
			<-time.After(wait)
		}
		if item.Event != nil {
			l.tell(item.Event)
			continue
		}
		l.deliver(item.Payload)
	}
	<-time.After(time.Until(end))
	synctest.Wait()
}

func (l *load) deliver(p *flowgen.Payload) {
	shard, sequence := l.put(p.PartitionKey, p.Data)
	if p.Lines == 0 {
		l.controls++
	}
	for i, e := range p.Truth {
		switch e.Status {
		case "OK":
			l.flows[sinktest.RowID{Partition: shard, Position: stream.Position(sequence), Index: i}] = sent{e, time.Now()}
		case "NODATA":
			l.noData++
		case "SKIPDATA":
			l.skipData++
		default:
			l.Fatalf("a line of status %q was generated", e.Status)
		}
	}
}

// verdict compares what is in the sink with what was sent.
type verdict struct {
	// lost lines were sent and are not in the sink, double ones are there more than once.
	lost, double map[sinktest.RowID]int
	// owned ends had an owner with an application; named is how many of them have their name in the row.
	owned, named int
}

// judge wants every row to be one that was sent, unchanged, and no end to have a wrong name.
func (l *load) judge() verdict {
	l.Helper()
	v := verdict{lost: map[sinktest.RowID]int{}, double: map[sinktest.RowID]int{}}
	seen := map[sinktest.RowID]int{}
	faults := 0
	fault := func(format string, args ...any) {
		if faults++; faults <= 10 {
			l.Errorf(format, args...)
		}
	}
	rows := l.mem.All()
	for i := range rows {
		id := rows[i].ID()
		seen[id]++
		want, ok := l.flows[id]
		if !ok {
			fault("row %s was never sent", id)
			continue
		}
		if got, want := contentOf(&rows[i].Row), contentSent(&want.Expected); got != want {
			fault("row %s is\n%+v, sent was\n%+v", id, got, want)
		}
		if seen[id] > 1 {
			v.double[id] = seen[id]
			continue
		}
		for _, end := range []struct {
			row        *row.Side
			scope, app string
			owned      bool
		}{
			{&rows[i].Row.Src, want.SrcScope, want.SrcApp, want.SrcOwned}, {&rows[i].Row.Dst, want.DstScope, want.DstApp, want.DstOwned},
		} {
			if end.owned && end.app != "" {
				v.owned++
			}
			switch s := end.row; {
			case !s.Named:
			case end.owned && s.App == end.app:
				v.named++
			default:
				fault("row %s names %s %q (%s, %s), but it was %q (owned: %v)", id, s.Addr, s.App, s.Grade, s.Reason, end.app, end.owned)
			}
		}
	}
	for id := range l.flows {
		if seen[id] == 0 {
			v.lost[id] = 1
		}
	}
	if faults > 10 {
		l.Errorf("and %d more faults", faults-10)
	}
	return v
}

// wantNamed: who refuses to name anybody names nobody wrongly. In this estate a third of all members live for minutes, so about
// one end in 25 lies at the border of two owners and is rightly left open.
func (v *verdict) wantNamed(t *testing.T) {
	t.Helper()
	if share := float64(v.named) / float64(v.owned); share < 0.95 {
		t.Errorf("%.4f of the ends that have an application are named, want 0.95", share)
	}
}

// content is what a line says, apart from names.
type content struct {
	eni                        string
	src, dst                   netip.AddrPort
	protocol                   uint8
	reject                     bool
	packets, bytes, start, end int64
}

func contentOf(r *row.Row) content {
	return content{
		eni: r.InterfaceID, src: netip.AddrPortFrom(r.Src.Addr, r.Src.Port), dst: netip.AddrPortFrom(r.Dst.Addr, r.Dst.Port),
		protocol: r.Protocol, reject: r.Action == row.Reject, packets: r.Packets, bytes: r.Bytes, start: r.Start, end: r.End,
	}
}

func contentSent(e *flowgen.Expected) content {
	return content{
		eni: e.Interface, src: netip.AddrPortFrom(e.Src, e.SrcPort), dst: netip.AddrPortFrom(e.Dst, e.DstPort),
		protocol: e.Protocol, reject: e.Reject, packets: e.Packets, bytes: e.Bytes, start: e.Start, end: e.End,
	}
}

// sample names a few of many.
func sample(ids map[sinktest.RowID]int) []string {
	var some []string
	for id, n := range ids {
		if some = append(some, fmt.Sprintf("%s ×%d", id, n)); len(some) == 5 {
			break
		}
	}
	return some
}
