package pipeline

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dredge/flowlog/envelope"
)

// A redelivered message, and one of a second subscription with other neighbours, are counted event by event; what is read again from
// its own place is not, and neither are equal lines of other log groups, lines outside of envelopes, or anything by default.
func TestEventsThatWerePutInTwiceAreCounted(t *testing.T) {
	ten := flowLines(0, 10)
	first := chunk(1, message("flows", ten...), message("others", ten...), raw(ten...), raw(ten...))
	twice := chunk(5, message("flows", ten[:4]...), message("flows", ten...))
	count := func(events int, whatFollows func(r *rig)) float64 {
		t.Helper()
		r := newRig(t, func(c *Config, _ *Deps) { c.CountRepeats = events })
		r.run("shard-1", first, twice)
		if whatFollows != nil {
			whatFollows(r)
		}
		return testutil.ToFloat64(r.p.metrics.repeats)
	}
	if n := count(0, nil); n != 0 {
		t.Errorf("%v repeats are counted although nobody asked", n)
	}
	if n := count(100_000, nil); n != 14 {
		t.Errorf("%v repeats, want 4 and 10", n)
	}
	// The shard goes to another Handler, which reads all of it again: nothing of that was put in twice. Then the same comes in another shard.
	if n := count(100_000, func(r *rig) { r.run("shard-1", first, twice) }); n != 14 {
		t.Errorf("%v repeats after reading again, want 14", n)
	}
	if n := count(100_000, func(r *rig) { r.run("shard-2", chunk(1, message("flows", ten[0]))) }); n != 15 {
		t.Errorf("%v repeats with one in another shard, want 15", n)
	}
}

// Whatever comes, no more is remembered than was asked for, and what was is forgotten oldest first.
func TestRepeatsAreBounded(t *testing.T) {
	const events = 6400
	r := newRepeats(events)
	m := &envelope.Meta{LogGroup: "flows", LogStream: "eni-1"}
	for n := range 20 * events {
		if r.again("shard-1", pos(n), m, fmt.Appendf(nil, "%056d", n)) {
			t.Fatalf("event %d is new", n)
		}
	}
	held := 0
	for i := range r.stripes {
		held += len(r.stripes[i].young) + len(r.stripes[i].old)
	}
	if held > events {
		t.Errorf("%d events are remembered, want at most %d", held, events)
	}
	if last := fmt.Appendf(nil, "%056d", 20*events-1); !r.again("shard-1", pos(1), m, last) {
		t.Error("the last event was forgotten")
	}
	if r.again("shard-1", pos(1), m, fmt.Appendf(nil, "%056d", 0)) {
		t.Error("the first event is remembered")
	}
	if r.again("shard-1", pos(3), m, nil) || r.again("shard-1", pos(4), m, nil) {
		t.Error("an event without an id is a repeat")
	}
}

func TestRepeatsDoNotAllocate(t *testing.T) {
	r := newRepeats(1000)
	m, id := &envelope.Meta{LogGroup: "flows", LogStream: "eni-1"}, fmt.Appendf(nil, "%056d", 7)
	if n := testing.AllocsPerRun(100, func() { r.again("shard-1", pos(1), m, id) }); n > 1 { // that of pos
		t.Errorf("%v allocations", n)
	}
}
