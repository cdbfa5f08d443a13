package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dredge/consumer/kinesis/lease"
	"dredge/row"
)

func rowsOf(shard, sequence string, indexes ...uint32) string {
	var b strings.Builder
	for _, i := range indexes {
		fmt.Fprintf(&b, "{\"time\":1,\"row_id\":%q,\"x\":2}\n", row.LineID(shard, sequence, i))
	}
	return b.String()
}

func TestLedgerCountsWhatIsLostAndWhatCameTwice(t *testing.T) {
	l := newLedger()
	read := func(text string) {
		t.Helper()
		if err := l.read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	l.put("s0", "100", 4, 400)
	read(rowsOf("s0", "200", 1)) // read before it was entered
	l.put("s0", "200", 2, 100)
	read(rowsOf("s0", "100", 0, 1, 1, 1, 2))
	torn := rowsOf("s0", "100", 3)
	read(torn[:len(torn)-1])     // cut off by a kill
	read(rowsOf("s0", "100", 4)) // a line that the payload does not have
	read(rowsOf("s1", "100", 0)) // of no payload
	read("{\"message\":\"no row at all\"}\n")
	if missing, _ := l.outstanding(); missing != 2 {
		t.Errorf("%d lines outstanding, want 2", missing)
	}
	want := tally{In: 6, Out: 9, Lost: 2, Twice: 2, TwiceBytes: 200, Bytes: 500, Strange: 3}
	if diff := cmp.Diff(want, l.tally(), cmpopts.IgnoreFields(tally{}, "Median", "Slowest")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWindowIsWhatLiesAfterTheCheckpoint(t *testing.T) {
	l := newLedger()
	l.put("s0", "100", 1, 10)
	l.put("s0", "200", 1, 20)
	l.put("s1", "300", 1, 40)
	for sequence, want := range map[string]int64{lease.TrimHorizon: 30, "99": 30, "100": 20, "200": 0} {
		if got := l.window("s0", lease.Checkpoint{Sequence: sequence}); got != want {
			t.Errorf("window after %s: %d bytes, want %d", sequence, got, want)
		}
	}
}

// A second count of the same payloads knows nothing of the first.
func TestLedgerAfresh(t *testing.T) {
	l := newLedger()
	if id, _ := l.newest(); id != "" {
		t.Errorf("newest %q of nothing", id)
	}
	l.put("s0", "100", 2, 10)
	l.put("s0", "200", 1, 10)
	if err := l.read(strings.NewReader(rowsOf("s0", "100", 0, 1))); err != nil {
		t.Fatal(err)
	}
	id, _ := l.newest()
	if want := row.LineID("s0", "200", 0); id != want {
		t.Errorf("newest %q, want %q", id, want)
	}
	again := l.afresh()
	again.id([]byte(id))
	again.id([]byte(id))
	again.id([]byte("nonsense"))
	if have, want := again.tally(), (tally{In: 3, Out: 3, Lost: 2, Twice: 1, Strange: 1, TwiceBytes: 10, Bytes: 20}); have.Lost != want.Lost || have.Twice != want.Twice || have.Strange != want.Strange || have.In != want.In {
		t.Errorf("%+v, want %+v", have, want)
	}
	if have := l.tally(); have.Lost != 1 || have.Twice != 0 {
		t.Errorf("the first count has become %+v", have)
	}
}

// The verdict fails on each fault, and on a control that finds nothing.
func TestVerdict(t *testing.T) {
	p, good, control := plan{duration: 1, kills: 1, stops: 1, lostCommits: 1}, outcome{tally: tally{In: 10, Out: 10}}, outcome{tally: tally{In: 10, Lost: 1}}
	loses := true
	f := func(change func(o, c *outcome), want string) {
		t.Helper()
		o, c := good, control
		change(&o, &c)
		text, err := write(p, o, []broken{{loses: loses, found: c}}, time.Time{})
		switch {
		case want == "" && (err != nil || !strings.Contains(text, "**Passed.**")):
			t.Errorf("%v\n%s", err, text)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(text, "**Passed.**")):
			t.Errorf("error %v does not say %q\n%s", err, want, text)
		}
	}
	f(func(*outcome, *outcome) {}, "")
	f(func(o, _ *outcome) { o.Twice, o.TwiceBytes, o.Window = 1, 10, 10 }, "")
	f(func(o, _ *outcome) { o.Lost = 1 }, "1 lines were lost")
	f(func(o, _ *outcome) { o.TwiceBytes, o.Window = 11, 10 }, "more than the windows")
	f(func(o, _ *outcome) { o.Strange = 1 }, "nobody put in")
	f(func(_, c *outcome) { c.Lost = 0 }, "was not found out")
	f(func(_, c *outcome) { c.Lost, c.Twice = 0, 1 }, "was not found out")

	p.mode = exactlyOnce
	good.Aborted, good.Fenced, good.Unknown = 1, 1, 1
	f(func(*outcome, *outcome) {}, "")
	f(func(_, c *outcome) { c.Lost, c.Twice = 0, 1 }, "was not found out")
	loses = false
	f(func(*outcome, *outcome) {}, "was not found out") // what it lost is another fault than the one that it has
	f(func(_, c *outcome) { c.Lost, c.Twice = 0, 1 }, "")
	loses = true
	f(func(o, _ *outcome) { o.Twice, o.TwiceBytes, o.Window = 1, 10, 10 }, "1 rows came twice")
	f(func(o, _ *outcome) { o.Aborted = 0 }, "no transaction was aborted")
	f(func(o, _ *outcome) { o.Fenced = 0 }, "no producer was fenced")
	f(func(o, _ *outcome) { o.Unknown = 0 }, "no commit had an unknown outcome")
	f(func(o, _ *outcome) { o.Hanging = 1 }, "1 records lie behind a transaction")
	p.kills, p.stops, p.lostCommits = 0, 0, 0 // nothing of it was asked for
	f(func(o, _ *outcome) { o.Aborted, o.Fenced, o.Unknown = 0, 0, 0 }, "")

	p.druid = &druidCluster{}
	good.Druid = druidOutcome{OverlordKills: 2, PeonKills: 1, ManagerKills: 1, Suspended: suspension, Published: tally{In: 10, Out: 10}, RowsIn: 10}
	f(func(*outcome, *outcome) {}, "")
	f(func(o, _ *outcome) { o.Druid.Published.Lost = 1 }, "in Druid 1 lines were lost")
	f(func(o, _ *outcome) { o.Druid.Published.Twice = 1 }, "1 rows came twice")
	f(func(o, _ *outcome) { o.Druid.RowsIn = 9 }, "is made of 9 rows, not of 10")
	f(func(o, _ *outcome) { o.Druid.PeonKills = 0 }, "nobody disturbed Druid")
	f(func(o, _ *outcome) { o.Druid.OverlordKills = 1 }, "nobody disturbed Druid")
	f(func(_, c *outcome) { c.Druid.raw = "control_raw" }, "was not found out in Druid") // though it was in Kafka
	f(func(_, c *outcome) { c.Druid.raw, c.Druid.Published.Lost = "control_raw", 1 }, "")
}
