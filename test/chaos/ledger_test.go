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

// The verdict fails on each fault, and on a control that finds nothing.
func TestVerdict(t *testing.T) {
	p, good, control := plan{duration: 1}, outcome{tally: tally{In: 10, Out: 10}}, outcome{tally: tally{In: 10, Lost: 1}}
	f := func(change func(o, c *outcome), want string) {
		t.Helper()
		o, c := good, control
		change(&o, &c)
		text, err := write(p, o, []broken{{found: c}}, time.Time{})
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
	f(func(_, c *outcome) { c.Lost, c.Twice = 0, 1 }, "")
	f(func(o, _ *outcome) { o.Twice, o.TwiceBytes, o.Window = 1, 10, 10 }, "1 rows came twice")
	f(func(o, _ *outcome) { o.Aborted = 0 }, "no transaction was aborted")
	f(func(o, _ *outcome) { o.Fenced = 0 }, "no producer was fenced")
	f(func(o, _ *outcome) { o.Unknown = 0 }, "no commit had an unknown outcome")
	f(func(o, _ *outcome) { o.Hanging = 1 }, "1 records lie behind a transaction")
}
