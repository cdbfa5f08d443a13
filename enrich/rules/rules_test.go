package rules_test

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"dredge/enrich/rules"
	"dredge/row"
)

func parse(t testing.TB, text string) rules.Config {
	t.Helper()
	var c rules.Config
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return c
}

func compiled(t testing.TB, text string) (*rules.Rules, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	r, err := rules.New(parse(t, text), reg)
	if err != nil {
		t.Fatal(err)
	}
	return r, reg
}

// batch has one row for each port, from 1 on, with ten bytes and one packet each.
func batch(partition string, rows int) *row.Batch {
	b := &row.Batch{Partition: partition, Origins: []row.Origin{{Position: "4950"}, {Position: "4951"}}}
	for i := range rows {
		r := b.Add()
		r.Origin, r.Index = uint32(i%2), uint32(i/2)
		r.Src = row.Side{Addr: netip.MustParseAddr("10.1.2.3"), App: "web", Named: true, Port: 40000}
		r.Dst = row.Side{Addr: netip.MustParseAddr("2001:db8:1:2::9"), App: "db", Named: true, Port: uint16(i + 1)}
		r.RecordSrc = netip.MustParseAddr("10.1.2.99")
		r.Bytes, r.Packets, r.Counted = 10, 1, true
	}
	return b
}

func ports(b *row.Batch) []int {
	var list []int
	for i := range b.Rows {
		list = append(list, int(b.Rows[i].Dst.Port))
	}
	return list
}

func TestDrop(t *testing.T) {
	r, reg := compiled(t, `
- {name: low, when: {dst_port: "<= 2"}, drop: true}
- {name: high, when: {src_app: web, dst_port: ">= 5"}, unless: {dst_port: 6}, drop: true}
- {name: never, when: {dst_port: 1}, drop: true}
`)
	b := batch("s", 7)
	r.Apply(b, 0)
	if diff := cmp.Diff([]int{3, 4, 6}, ports(b)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]row.Dropped{{Rule: "low", Rows: 2}, {Rule: "high", Rows: 2}}, b.Dropped); diff != "" {
		t.Error(diff)
	}
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP dredge_rules_rows_total Rows that a rule of the configuration was for, by rule and what it did: dropped them, or kept them sampled, tagged or redacted.
# TYPE dredge_rules_rows_total counter
dredge_rules_rows_total{effect="dropped",rule="low"} 2
dredge_rules_rows_total{effect="dropped",rule="high"} 2
dredge_rules_rows_total{effect="dropped",rule="never"} 0
`))
	if err != nil {
		t.Error(err)
	}
	if next := b.Add(); next.Bytes != 0 || next.Dst.App != "" {
		t.Errorf("the place of a dropped row is not empty: %+v", next)
	}
}

func TestRowsBeforeTheFirstOneAreLeftAlone(t *testing.T) {
	r, _ := compiled(t, `[{name: all, when: {src_app: web}, drop: true}]`)
	b := batch("s", 4)
	r.Apply(b, 2)
	if diff := cmp.Diff([]int{1, 2}, ports(b)); diff != "" {
		t.Error(diff)
	}
}

func TestTagAndRedact(t *testing.T) {
	r, _ := compiled(t, `
- {name: pci, when: {dst_port: [1, 2]}, tag: pci}
- {name: lab, when: {dst_port: [2, 3]}, tag: lab}
- {name: cut, when: {dst_port: 1}, redact: [src], keep_ipv4_bits: 24}
- {name: hide, when: {dst_port: [2, 4]}, redact: [src, dst], keep_ipv6_bits: 48}
- {name: loose, when: {dst_port: 2}, redact: [src], keep_ipv4_bits: 16}
- {name: sees-what-was, when: {src_ip: 10.1.2.3, dst_port: 4}, tag: was}
`)
	b := batch("s", 4)
	r.Apply(b, 0)
	var got []string
	for i := range b.Rows {
		x := &b.Rows[i]
		got = append(got, fmt.Sprintf("%s|%v|%v|%v", x.RuleTags, x.Src.Addr, x.RecordSrc, x.Dst.Addr))
	}
	want := []string{
		"pci|10.1.2.0|10.1.2.0|2001:db8:1:2::9", "pci,lab|0.0.0.0|0.0.0.0|2001:db8:1::", "lab|10.1.2.3|10.1.2.99|2001:db8:1:2::9", "was|0.0.0.0|0.0.0.0|2001:db8:1::",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Sampling keeps the expectation of every sum: over many partitions the mean of the weighted sums is the true sum. It stands within five standard
// errors of it: a biased choice or a wrong weight is further off.
func TestSampledSumsAreUnbiased(t *testing.T) {
	const keep, rows, runs = 10, 500, 400
	r, _ := compiled(t, `[{name: tenth, sample: 10}]`)
	var bytes, flows, kept float64
	for run := range runs {
		b := batch("shard-"+strconv.Itoa(run), rows)
		r.Apply(b, 0)
		var sums row.Sums
		for i := range b.Rows {
			x := &b.Rows[i]
			if x.Weight != keep || x.Bytes != 10*keep || x.Packets != keep {
				t.Fatalf("a sampled row: %+v", x)
			}
			sums.Add(x)
			kept++
		}
		if sums.RowsIn != int64(len(b.Rows)) || sums.FlowsObserved != sums.Flows {
			t.Fatalf("sums %+v of %d rows", sums, len(b.Rows))
		}
		bytes += float64(sums.Bytes)
		flows += float64(sums.Flows)
		if n := int64(rows - len(b.Rows)); len(b.Dropped) != 1 || b.Dropped[0] != (row.Dropped{Rule: "tenth", Rows: n}) {
			t.Fatalf("dropped %+v of %d", b.Dropped, n)
		}
	}
	// Each row counts keep with probability 1/keep: the variance of a row's flows is keep-1.
	slack := 5 * math.Sqrt(rows*runs*(keep-1))
	if math.Abs(flows-rows*runs) > slack || math.Abs(bytes-10*rows*runs) > 10*slack {
		t.Errorf("%.0f flows and %.0f bytes, want %d and %d within %.0f flows; %.0f rows were kept", flows, bytes, rows*runs, 10*rows*runs, slack, kept)
	}
}

// The same rows are kept whatever they come together with.
func TestSamplingGoesByRowID(t *testing.T) {
	r, _ := compiled(t, `[{name: some, sample: 3}]`)
	ids := func(b *row.Batch) map[string]bool {
		out := map[string]bool{}
		for i := range b.Rows {
			out[row.RowID(b, &b.Rows[i])] = true
		}
		return out
	}
	whole := batch("s", 300)
	r.Apply(whole, 0)
	want := ids(whole)
	rapid.Check(t, func(rt *rapid.T) {
		part := batch("s", 300)
		from := rapid.IntRange(0, 299).Draw(rt, "from")
		to := rapid.IntRange(from, 300).Draw(rt, "to")
		part.Rows = part.Rows[from:to]
		all := ids(part)
		r.Apply(part, 0)
		kept := ids(part)
		for id := range all {
			if kept[id] != want[id] {
				rt.Errorf("%s is kept: %v, and %v in the whole batch", id, kept[id], want[id])
			}
		}
	})
}

func TestOnlyTheFirstSampleCounts(t *testing.T) {
	r, _ := compiled(t, `
- {name: first, when: {dst_port: "<= 100"}, sample: 2}
- {name: second, sample: 4}
`)
	b := batch("s", 200)
	r.Apply(b, 0)
	for i := range b.Rows {
		want := uint32(2)
		if b.Rows[i].Dst.Port > 100 {
			want = 4
		}
		if b.Rows[i].Weight != want {
			t.Fatalf("port %d has weight %d, want %d", b.Rows[i].Dst.Port, b.Rows[i].Weight, want)
		}
	}
}

func TestWeightsDoNotOverflow(t *testing.T) {
	r, _ := compiled(t, `[{name: all, sample: 2}]`)
	b := batch("s", 50)
	for i := range b.Rows {
		b.Rows[i].Bytes = math.MaxInt64 - 1
	}
	r.Apply(b, 0)
	for i := range b.Rows {
		if b.Rows[i].Bytes != math.MaxInt64 {
			t.Fatalf("%d bytes", b.Rows[i].Bytes)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	err := parse(t, `
- {name: Bad Name, drop: true}
- {name: two, drop: true, tag: x, when: {src_app: a}}
- {name: none}
- {name: two, tag: "a,b"}
- {name: s, sample: 1}
- {name: r, redact: [source], keep_ipv4_bits: 33, keep_ipv6_bits: -1}
- {name: k, tag: x, keep_ipv4_bits: 8}
- {name: c, tag: x, when: {src_ap: a, dst_port: http}, unless: {action: MAYBE}}
- {name: enricher, tag: x}
`).Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`[0].name: "Bad Name" cannot be counted by`, "[0].when: is empty, so every row would be dropped", "[1].drop, sample, tag, redact: the rule has drop and tag; write exactly one",
		"[2].drop, sample, tag, redact: the rule has none of them", `[3].name: "two" is the name of [1] already`, `[3].tag: "a,b" is no word`,
		"[4].sample: 1 is out of range", `[5].redact: "source" is no end of a flow`, "[5].keep_ipv4_bits: 33", "[5].keep_ipv6_bits: -1", "[6].keep_ipv4_bits, keep_ipv6_bits: are for redact",
		"[7].when.src_ap: is no column", `[7].when.dst_port: "http"`, `[7].unless.action: "MAYBE"`, `[8].name: "enricher"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

func TestExplain(t *testing.T) {
	r, _ := compiled(t, `
- {name: other, when: {dst_port: 9}, tag: nine}
- {name: not-this, unless: {src_app: web}, tag: x}
- {name: mark, tag: seen}
- {name: out, when: {dst_port: 2}, drop: true}
`)
	b := batch("s", 2)
	steps, kept := r.Explain(b, 0, true)
	want := []rules.Step{
		{Rule: "other", Why: `it is for other rows: dst_port is "1"`},
		{Rule: "not-this", Why: `it is not for rows of which src_app is "web"`},
		{Rule: "mark", Applies: true, Effect: "tagged", Why: "all its conditions hold"},
		{Rule: "out", Why: `it is for other rows: dst_port is "1"`},
	}
	if diff := cmp.Diff(want, steps); diff != "" || !kept || b.Rows[0].RuleTags != "seen" {
		t.Errorf("kept %v, tags %q\n%s", kept, b.Rows[0].RuleTags, diff)
	}
	if steps, kept = r.Explain(b, 1, true); kept || steps[3].Effect != "dropped" {
		t.Errorf("kept %v: %+v", kept, steps)
	}
}

// Rules that take the place of others hold for the next batch, and are counted beside them.
func TestTake(t *testing.T) {
	r, reg := compiled(t, `
- {name: low, when: {dst_port: "<= 2"}, drop: true}
- {name: mark, tag: old}
`)
	r.Apply(batch("s", 4), 0)
	fresh, err := rules.New(parse(t, `
- {name: new-mark, tag: new}
- {name: high, when: {dst_port: ">= 4"}, drop: true}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Take(fresh)
	b := batch("s", 4)
	r.Apply(b, 0)
	if diff := cmp.Diff([]int{1, 2, 3}, ports(b)); diff != "" || b.Rows[0].RuleTags != "new" {
		t.Errorf("tags %q\n%s", b.Rows[0].RuleTags, diff)
	}
	if diff := cmp.Diff([]string{"high"}, r.Names()); diff != "" {
		t.Error(diff)
	}
	err = testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP dredge_rules_rows_total Rows that a rule of the configuration was for, by rule and what it did: dropped them, or kept them sampled, tagged or redacted.
# TYPE dredge_rules_rows_total counter
dredge_rules_rows_total{effect="dropped",rule="high"} 1
dredge_rules_rows_total{effect="dropped",rule="low"} 2
dredge_rules_rows_total{effect="tagged",rule="mark"} 2
dredge_rules_rows_total{effect="tagged",rule="new-mark"} 4
`))
	if err != nil {
		t.Error(err)
	}
}

// A batch is under one set of rules as a whole, however they change meanwhile.
func TestTakeWhileRowsAreMade(t *testing.T) {
	r, _ := compiled(t, `[{name: a, tag: a}]`)
	var fresh [2]*rules.Rules
	for i, text := range []string{`[{name: a, tag: a}]`, `[{name: x, tag: x}, {name: b, tag: b}]`} {
		var err error
		if fresh[i], err = rules.New(parse(t, text), nil); err != nil {
			t.Fatal(err)
		}
	}
	var changes sync.WaitGroup
	changes.Go(func() {
		for i := range 500 {
			r.Take(fresh[i%2])
		}
	})
	for range 100 {
		b := batch("s", 50)
		r.Apply(b, 0)
		for i := range b.Rows {
			if got := b.Rows[i].RuleTags; got != b.Rows[0].RuleTags || got != "a" && got != "x,b" {
				t.Fatalf("row %d is tagged %q, the first one %q", i, got, b.Rows[0].RuleTags)
			}
		}
	}
	changes.Wait()
}

const many = `
- {name: a, when: {dst_port: 7}, drop: true}
- {name: b, when: {src_app: "we*", dst_ip: "2001:db8::/32"}, tag: one}
- {name: c, when: {dst_port: "> 100"}, tag: two}
- {name: d, when: {dst_port: "> 200"}, sample: 4}
- {name: e, unless: {dst_app: [x, y]}, redact: [src, dst], keep_ipv4_bits: 24, keep_ipv6_bits: 48}
`

func TestApplyAllocatesNothing(t *testing.T) {
	r, _ := compiled(t, many)
	original := batch("s", 400)
	b := batch("s", 400)
	run := func() {
		b.Rows = b.Rows[:len(original.Rows)]
		copy(b.Rows, original.Rows)
		b.Dropped = b.Dropped[:0]
		r.Apply(b, 0)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations for %d rows", n, len(original.Rows))
	}
}

// BenchmarkApply is what five rules cost for each row.
func BenchmarkApply(b *testing.B) {
	r, _ := compiled(b, many)
	original := batch("s", 2048)
	work := batch("s", 2048)
	b.ReportAllocs()
	for b.Loop() {
		work.Rows = work.Rows[:len(original.Rows)]
		copy(work.Rows, original.Rows)
		work.Dropped = work.Dropped[:0]
		r.Apply(work, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(original.Rows)), "ns/row")
}
