package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/internal/flowgen"
)

// audit reads every row back from Kafka, as Druid would, and holds it against what the simulation knows to be true.
type audit struct {
	truth  *flowgen.Truth
	client *kgo.Client

	mu    sync.Mutex
	seen  map[string]struct{}
	count auditCount
	edges map[[2]string]struct{}
	// unnamed counts owned ends without a name by grade and reason.
	unnamed map[[2]string]int64
}

// auditCount is what was found. Ends are counted once per distinct row.
type auditCount struct {
	rows, duplicates         int64
	owned, named, wrong      int64
	unmatched, unreadable    int64
	firstWrong, firstProblem string
}

// auditedRow is what the audit needs of a row.
type auditedRow struct {
	ID       string `json:"row_id"`
	Src      string `json:"src_ip"`
	Dst      string `json:"dst_ip"`
	SrcPort  string `json:"src_port"`
	DstPort  string `json:"dst_port"`
	ENI      string `json:"eni"`
	Time     int64  `json:"time"`
	End      int64  `json:"flow_end"`
	SrcApp   string `json:"src_app"`
	DstApp   string `json:"dst_app"`
	SrcGrade string `json:"src_grade"`
	DstGrade string `json:"dst_grade"`
	SrcWhy   string `json:"src_reason"`
	DstWhy   string `json:"dst_reason"`
}

// grade and reason are those of one end: 0 is the source.
func (r *auditedRow) grade(end int) string  { return [2]string{r.SrcGrade, r.DstGrade}[end] }
func (r *auditedRow) reason(end int) string { return [2]string{r.SrcWhy, r.DstWhy}[end] }

func newAudit(truth *flowgen.Truth, broker, topic string) (*audit, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return nil, err
	}
	return &audit{truth: truth, client: client, seen: map[string]struct{}{}, edges: map[[2]string]struct{}{}, unnamed: map[[2]string]int64{}}, nil
}

// run reads until ctx ends.
func (a *audit) run(ctx context.Context) error {
	defer a.client.Close()
	for {
		fetches := a.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				return e.Err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) { a.take(r.Value) })
	}
}

func (a *audit) take(value []byte) {
	var r auditedRow
	err := json.Unmarshal(value, &r)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || r.ID == "" {
		a.count.unreadable++
		a.count.firstProblem = string(value)
		return
	}
	if _, again := a.seen[r.ID]; again {
		a.count.duplicates++
		return
	}
	a.seen[r.ID] = struct{}{}
	a.count.rows++
	v := a.truth.Check(flowgen.Claim{
		Src: r.Src, Dst: r.Dst, Interface: r.ENI, SrcPort: port(r.SrcPort), DstPort: port(r.DstPort),
		Start: r.Time, End: r.End, SrcApp: r.SrcApp, DstApp: r.DstApp,
	})
	if !v.Matched {
		a.count.unmatched++
	}
	for i, end := range []flowgen.EndVerdict{v.Src, v.Dst} {
		if end.Owned && end.App != "" {
			a.count.owned++
			if end.Named && !end.Wrong {
				a.count.named++
			} else if !end.Wrong {
				a.unnamed[[2]string{r.grade(i), r.reason(i)}]++
			}
		}
		if end.Wrong {
			a.count.wrong++
			if a.count.firstWrong == "" {
				a.count.firstWrong = string(value)
			}
		}
	}
	if flowgen.IsName(r.SrcApp) && flowgen.IsName(r.DstApp) {
		a.edges[[2]string{r.SrcApp, r.DstApp}] = struct{}{}
	}
}

// whyNot returns the reasons of owned ends without a name, most frequent first.
func (a *audit) whyNot() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(a.unnamed), func(x, y [2]string) int { return cmp.Compare(a.unnamed[y], a.unnamed[x]) })
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		out = append(out, fmt.Sprintf("%s (%s) %d", k[0], k[1], a.unnamed[k]))
	}
	return out
}

// snapshot returns what was found so far.
func (a *audit) snapshot() auditCount {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// port reads a port as rows have it: text, absent when there is none.
func port(s string) uint16 {
	var n uint16
	for _, c := range []byte(s) {
		n = n*10 + uint16(c-'0')
	}
	return n
}
