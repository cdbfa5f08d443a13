package pipeline

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"dredge/row"
)

const (
	summaryMinutes = 5
	// minuteEdges bounds the edges kept for each minute; the traffic of further ones is only summed.
	minuteEdges = 2000
	topEdges    = 1000
)

// Edge is the traffic from one application to another: counted observations only, so that a sum of Bytes is right.
type Edge struct {
	Src   string `json:"src"`
	Dst   string `json:"dst"`
	Bytes int64  `json:"bytes"`
	Flows int64  `json:"flows"`
}

// Summary is the traffic of the last minutes, by the time of processing.
type Summary struct {
	// Seconds is the time that the figures cover.
	Seconds float64 `json:"seconds"`
	// Rows were made in that time; RowsPerSecond is their rate.
	Rows          int64   `json:"rows"`
	RowsPerSecond float64 `json:"rows_per_second"`
	// Edges are the largest by bytes. OtherBytes and OtherFlows went over edges that are not listed.
	Edges      []Edge `json:"edges"`
	OtherBytes int64  `json:"other_bytes"`
	OtherFlows int64  `json:"other_flows"`
	// Unnamed are the unnamed addresses with the most bytes; the other figures are those of addresses that are not listed.
	Unnamed           []Unnamed `json:"unnamed"`
	OtherUnnamedBytes int64     `json:"other_unnamed_bytes"`
	OtherUnnamedFlows int64     `json:"other_unnamed_flows"`
	// SrcGrades and DstGrades count rows by the grade of each end.
	SrcGrades map[string]int64 `json:"src_grades"`
	DstGrades map[string]int64 `json:"dst_grades"`
}

// minute is what was added in one minute of the clock.
type minute struct {
	number   int64 // minutes since 1970
	rows     int64
	edges    edges
	other    edgeSum
	src, dst map[string]int64
	// beyond are applications of edges for which edges has no room.
	beyond map[string]struct{}

	unnamed      unnamed
	otherUnnamed edgeSum
}

// traffic sums rows for Summary. Memory is bounded by summaryMinutes × minuteEdges edges; the strings are the identity
// tables' own.
type traffic struct {
	mu      sync.Mutex
	started time.Time
	minutes [summaryMinutes + 1]minute
	apps    apps
	recent  recentApps
}

// newTraffic begins to sum; at most watched applications are remembered one by one.
func newTraffic(now time.Time, watched int) *traffic {
	return &traffic{started: now, apps: apps{most: watched, last: map[string]int64{}}}
}

// local sums one batch of rows without a lock. Reused by its worker.
type local struct {
	edges    edges
	src, dst counts
	unnamed  unnamedPart
}

var _ [maxEdges - partRecords]struct{}

// sum fills l from rows, of which there are at most partRecords.
func (l *local) sum(rows []row.Row) {
	l.edges.clear()
	l.src, l.dst = l.src[:0], l.dst[:0]
	l.unnamed.clear()
	for i := range rows {
		r := &rows[i]
		l.src.add(r.Src.Grade, 1)
		l.dst.add(r.Dst.Grade, 1)
		if !r.Counted {
			continue
		}
		e := l.edges.of(r.Src.App, r.Dst.App, maxEdges)
		e.bytes += r.Bytes
		e.flows++
		l.unnamed.add(&r.Src, r.Bytes)
		l.unnamed.add(&r.Dst, r.Bytes)
	}
}

func (t *traffic) add(l *local, rows int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := now.Unix() / 60
	m := &t.minutes[number%int64(len(t.minutes))]
	if m.number != number || m.src == nil {
		m.edges.clear() // its room is used again
		*m = minute{number: number, edges: m.edges, src: map[string]int64{}, dst: map[string]int64{}, unnamed: unnamed{}}
	}
	m.rows += rows
	m.unnamed.add(l.unnamed.list, minuteUnnamed, &m.otherUnnamed)
	for i := range l.edges.list {
		from := &l.edges.list[i]
		to := m.edges.of(from.src, from.dst, minuteEdges)
		if to == nil {
			m.other.bytes += from.bytes
			m.other.flows += from.flows
			t.noteApp(m, from.src)
			t.noteApp(m, from.dst)
			continue
		}
		to.bytes += from.bytes
		to.flows += from.flows
	}
	l.src.into(m.src)
	l.dst.into(m.dst)
}

// summary adds up the minutes that are not older than summaryMinutes.
func (t *traffic) summary(now time.Time) Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := now.Unix() / 60
	from := time.Unix((number-summaryMinutes)*60, 0)
	if t.started.After(from) {
		from = t.started
	}
	s := Summary{Seconds: now.Sub(from).Seconds(), SrcGrades: map[string]int64{}, DstGrades: map[string]int64{}, Edges: []Edge{}}
	edges := make(map[edgeKey]edgeSum)
	nobody := unnamed{}
	for i := range t.minutes {
		m := &t.minutes[i]
		if m.number < number-summaryMinutes {
			continue
		}
		s.Rows += m.rows
		s.OtherBytes += m.other.bytes
		s.OtherFlows += m.other.flows
		s.OtherUnnamedBytes += m.otherUnnamed.bytes
		s.OtherUnnamedFlows += m.otherUnnamed.flows
		for _, e := range m.unnamed {
			nobody.add([]Unnamed{*e}, len(t.minutes)*minuteUnnamed, nil)
		}
		for _, v := range m.edges.list {
			e := edges[v.edgeKey]
			edges[v.edgeKey] = edgeSum{e.bytes + v.bytes, e.flows + v.flows}
		}
		for k, n := range m.src {
			s.SrcGrades[k] += n
		}
		for k, n := range m.dst {
			s.DstGrades[k] += n
		}
	}
	if s.Seconds > 0 {
		s.RowsPerSecond = float64(s.Rows) / s.Seconds
	}
	for k, v := range edges {
		s.Edges = append(s.Edges, Edge{Src: k.src, Dst: k.dst, Bytes: v.bytes, Flows: v.flows})
	}
	slices.SortFunc(s.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Src, b.Src), cmp.Compare(a.Dst, b.Dst))
	})
	for _, e := range s.Edges[min(topEdges, len(s.Edges)):] {
		s.OtherBytes += e.Bytes
		s.OtherFlows += e.Flows
	}
	s.Edges = s.Edges[:min(topEdges, len(s.Edges))]
	var rest edgeSum
	s.Unnamed, rest = nobody.top(topUnnamed)
	s.OtherUnnamedBytes += rest.bytes
	s.OtherUnnamedFlows += rest.flows
	return s
}
