package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dredge/row"
)

func summaryRow(src, dst string, bytes int64, counted bool) row.Row {
	return row.Row{
		Src: row.Side{App: src, Grade: "confirmed", Named: true}, Dst: row.Side{App: dst, Grade: "unknown", Named: true}, Bytes: bytes, Counted: counted,
	}
}

// Only counted observations make an edge's bytes; every row has its grades; what is older than five minutes is gone.
func TestSummaryOfTheLastMinutes(t *testing.T) {
	start := time.Unix(1_700_000_040, 0) // a full minute
	tr, l := newTraffic(start, 1000), &local{}
	at := func(after time.Duration, rows ...row.Row) {
		l.sum(rows)
		tr.add(l, int64(len(rows)), start.Add(after))
	}
	at(0, summaryRow("web", "db", 100, true), summaryRow("web", "db", 100, false))
	at(time.Minute, summaryRow("web", "db", 50, true), summaryRow("batch", "db", 900, true))
	got := tr.summary(start.Add(100 * time.Second))
	want := Summary{
		Seconds: 100, Rows: 4, RowsPerSecond: 0.04,
		Edges:     []Edge{{"batch", "db", 900, 1}, {"web", "db", 150, 2}},
		Unnamed:   []Unnamed{},
		SrcGrades: map[string]int64{"confirmed": 4}, DstGrades: map[string]int64{"unknown": 4},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = tr.summary(start.Add(6*time.Minute + 30*time.Second))
	if got.Rows != 2 || got.Seconds != 330 || len(got.Edges) != 2 || got.Edges[1].Bytes != 50 {
		t.Errorf("after the first minute left: %+v", got)
	}
	at(6*time.Minute, summaryRow("new", "db", 1, true)) // the first minute's place is taken anew
	if got = tr.summary(start.Add(6*time.Minute + 30*time.Second)); got.Rows != 3 {
		t.Errorf("after a turn: %+v", got)
	}
}

// The same names may lie at several places, and different ones may begin at one place.
func TestSummaryGoesByNames(t *testing.T) {
	start := time.Unix(1_700_000_040, 0)
	tr, l := newTraffic(start, 1000), &local{}
	const both = "webdb"
	for range 2 {
		l.sum([]row.Row{
			summaryRow("web", "db", 1, true), summaryRow(strings.Clone("web"), strings.Clone("db"), 2, true),
			summaryRow(both[:3], both[3:], 4, true), summaryRow(both, both[3:], 8, true),
		})
		tr.add(l, 4, start)
	}
	got := tr.summary(start.Add(time.Second))
	sum := edgeSum{got.OtherBytes, got.OtherFlows}
	for _, e := range got.Edges {
		sum.bytes += e.Bytes
		sum.flows += e.Flows
		if e.Dst != "db" || e.Src == "web" && e.Bytes != 14 || e.Src == both && e.Bytes != 16 {
			t.Errorf("%+v", e)
		}
	}
	if sum != (edgeSum{30, 8}) {
		t.Errorf("sum %+v, want 30 bytes of 8 flows", sum)
	}
}

// However many edges there are, memory is bounded and no byte is missing from the sum.
func TestSummaryIsBounded(t *testing.T) {
	now := time.Unix(1_700_000_040, 0)
	tr, l := newTraffic(now, 1000), &local{}
	var rows []row.Row
	for i := range 3 * minuteEdges {
		rows = append(rows, summaryRow(fmt.Sprint("app-", i), "db", 10, true))
	}
	for len(rows) > 0 {
		n := min(len(rows), partRecords)
		l.sum(rows[:n])
		tr.add(l, int64(n), now)
		rows = rows[n:]
	}
	s := tr.summary(now.Add(time.Second))
	sum := s.OtherBytes
	for _, e := range s.Edges {
		sum += e.Bytes
	}
	if len(s.Edges) != topEdges || sum != 30*minuteEdges || s.OtherFlows != 3*minuteEdges-topEdges {
		t.Errorf("%d edges, %d bytes, others %d", len(s.Edges), sum, s.OtherFlows)
	}
	for i := range tr.minutes {
		if n := len(tr.minutes[i].edges.list); n > minuteEdges {
			t.Errorf("%d edges kept in one minute", n)
		}
	}
}

func TestLogGroupsAreBounded(t *testing.T) {
	g := newGroups()
	for i := range maxLogGroups + 500 {
		g.add(seen{group: fmt.Sprintf("group-%04d", i), lines: 2}, time.Unix(0, 0))
	}
	all := g.all()
	if len(all) != maxLogGroups+1 || all[0].Name != OtherLogGroups || all[0].Lines != 1000 {
		t.Errorf("%d groups, first %+v", len(all), all[0])
	}
}
