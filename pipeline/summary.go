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
	topEdges    = 50
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
	// SrcGrades and DstGrades count rows by the grade of each end.
	SrcGrades map[string]int64 `json:"src_grades"`
	DstGrades map[string]int64 `json:"dst_grades"`
}

type edgeKey struct{ src, dst string }

type edgeSum struct{ bytes, flows int64 }

// minute is what was added in one minute of the clock.
type minute struct {
	number   int64 // minutes since 1970
	rows     int64
	edges    map[edgeKey]edgeSum
	other    edgeSum
	src, dst map[string]int64
}

// traffic sums rows for Summary. Memory is bounded by summaryMinutes × minuteEdges edges; the strings are the identity
// tables' own.
type traffic struct {
	mu      sync.Mutex
	started time.Time
	minutes [summaryMinutes + 1]minute
}

func newTraffic(now time.Time) *traffic { return &traffic{started: now} }

// local sums one batch of rows without a lock. Reused by its worker.
type local struct {
	edges    map[edgeKey]edgeSum
	src, dst counts
}

// sum fills l from rows.
func (l *local) sum(rows []row.Row) {
	if l.edges == nil {
		l.edges = make(map[edgeKey]edgeSum)
	}
	clear(l.edges)
	l.src, l.dst = l.src[:0], l.dst[:0]
	for i := range rows {
		r := &rows[i]
		l.src.add(r.Src.Grade, 1)
		l.dst.add(r.Dst.Grade, 1)
		if !r.Counted {
			continue
		}
		k := edgeKey{r.Src.App, r.Dst.App}
		e := l.edges[k]
		e.bytes += r.Bytes
		e.flows++
		l.edges[k] = e
	}
}

func (t *traffic) add(l *local, rows int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := now.Unix() / 60
	m := &t.minutes[number%int64(len(t.minutes))]
	if m.number != number || m.edges == nil {
		*m = minute{number: number, edges: make(map[edgeKey]edgeSum), src: map[string]int64{}, dst: map[string]int64{}}
	}
	m.rows += rows
	for k, v := range l.edges {
		e, known := m.edges[k]
		if !known && len(m.edges) >= minuteEdges {
			m.other.bytes += v.bytes
			m.other.flows += v.flows
			continue
		}
		m.edges[k] = edgeSum{e.bytes + v.bytes, e.flows + v.flows}
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
	for i := range t.minutes {
		m := &t.minutes[i]
		if m.edges == nil || m.number < number-summaryMinutes {
			continue
		}
		s.Rows += m.rows
		s.OtherBytes += m.other.bytes
		s.OtherFlows += m.other.flows
		for k, v := range m.edges {
			e := edges[k]
			edges[k] = edgeSum{e.bytes + v.bytes, e.flows + v.flows}
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
	return s
}
