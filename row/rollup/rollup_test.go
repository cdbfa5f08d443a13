package rollup_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"dredge/row"
	"dredge/row/encode"
	"dredge/row/rollup"
)

func newMinute(t testing.TB, c row.Config) *encode.Minute {
	t.Helper()
	m, err := encode.NewMinute(c.Columns(row.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// batch makes n rows between 20 applications within two minutes: addresses and client ports are all different.
func batch(n int, seed uint64) *row.Batch {
	rng := rand.New(rand.NewPCG(seed, 2))
	b := &row.Batch{Partition: "shardId-000000000000", Origins: []row.Origin{{Position: "1"}}}
	var apps []*row.Identity
	for i := range 20 {
		apps = append(apps, &row.Identity{
			App: fmt.Sprintf("app-%02d", i), Kind: "pod", Cluster: fmt.Sprintf("app-%02d-main", i), Account: "123456789012",
			Region: "us-east-1", AZ: fmt.Sprintf("use1-az%d", i%3), VPC: "vpc-0123456789abcdef0",
		})
	}
	side := func() row.Side {
		id := apps[rng.IntN(len(apps))*rng.IntN(len(apps))/len(apps)] // a few are busy
		return row.Side{
			Identity: id, App: id.App, Named: true, Grade: "covered", Port: uint16(32768 + rng.IntN(28000)),
			Addr: netip.AddrFrom4([4]byte{10, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}),
		}
	}
	for i := range n {
		r := b.Add()
		r.Index = uint32(i)
		r.Src, r.Dst = side(), side()
		r.Dst.Port = [...]uint16{443, 8080, 6379}[rng.IntN(3)]
		r.Client = row.EndSrc
		r.Start = 1767225600000 + rng.Int64N(120_000)
		r.End = r.Start + rng.Int64N(60_000)
		r.Bytes, r.Packets = rng.Int64N(1<<20), rng.Int64N(1000)
		r.Protocol, r.Action, r.Path = 6, row.Action(1+rng.IntN(2)), row.PathSameAZ
		r.Counted = rng.IntN(3) > 0
	}
	return b
}

func drained(a *rollup.Aggregator, m *encode.Minute) (lines []string) {
	a.Drain(func(r *rollup.Row) { lines = append(lines, string(m.Append(nil, r.Minute, r.Dimensions, &r.Sums))) })
	return lines
}

// naive rolls b up by maps of decoded values.
func naive(b *row.Batch, columns []row.Column) map[string]row.Sums {
	sums := map[string]row.Sums{}
	for i := range b.Rows {
		r := &b.Rows[i]
		dims := map[string]any{"time": row.MinuteOf(r)}
		for _, c := range columns {
			if c.Role == row.Dimension {
				if v, ok := c.Value(b, r); ok {
					dims[c.Name] = v
				}
			}
		}
		key, _ := json.Marshal(dims) //nolint:errchkjson // strings and numbers
		s := sums[string(key)]
		s.Add(r)
		sums[string(key)] = s
	}
	return sums
}

func TestAgreesWithMaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := row.DefaultConfig()
		if rapid.Bool().Draw(rt, "few") {
			c.MinuteDimensions = []string{"src_app", "action", "service_port"}
		}
		m := newMinute(t, c)
		a := rollup.New(m, nil)
		b := batch(rapid.IntRange(0, 3000).Draw(rt, "rows"), rapid.Uint64().Draw(rt, "seed"))
		a.Add(b)
		want := naive(b, m.Columns())
		if a.Len() != len(want) {
			t.Fatalf("%d rows, want %d", a.Len(), len(want))
		}
		got := map[string]row.Sums{}
		for _, line := range drained(a, m) {
			var v map[string]any
			var s row.Sums
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			for _, col := range m.Columns() {
				if col.OfSums != nil {
					n := int64(v[col.Name].(float64))
					switch col.Name {
					case "bytes":
						s.Bytes = n
					case "packets":
						s.Packets = n
					case "flows":
						s.Flows = n
					case "bytes_observed":
						s.BytesObserved = n
					case "packets_observed":
						s.PacketsObserved = n
					case "flows_observed":
						s.FlowsObserved = n
					case "rows_in":
						s.RowsIn = n
					}
					delete(v, col.Name)
				}
			}
			v["time"] = int64(v["time"].(float64))
			key, _ := json.Marshal(v) //nolint:errchkjson // strings and numbers
			if _, twice := got[string(key)]; twice {
				t.Fatalf("two rows of %s", key)
			}
			got[string(key)] = s
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-maps +rollup):\n%s", diff)
		}
		if a.Len() != 0 || a.Bytes() != 0 {
			t.Fatal("drained, but not empty")
		}
	})
}

// TestO3RollUpBeforeTheSink: the ratio is reported, sums are unchanged, and the window goes by the flow's start.
func TestO3RollUpBeforeTheSink(t *testing.T) {
	m := newMinute(t, row.DefaultConfig())
	reg := prometheus.NewRegistry()
	metrics := rollup.NewMetrics(reg)
	a := rollup.New(m, metrics)
	b := batch(20_000, 1)
	var raw row.Sums
	perMinute := map[int64]int64{}
	for i := range b.Rows {
		raw.Add(&b.Rows[i])
		perMinute[b.Rows[i].Start/60_000*60_000] += b.Rows[i].Bytes
	}
	a.Add(b)
	rows := 0
	var sums row.Sums
	got := map[int64]int64{}
	a.Drain(func(r *rollup.Row) {
		rows++
		s := &r.Sums
		sums.Bytes += s.Bytes
		sums.Packets += s.Packets
		sums.Flows += s.Flows
		sums.BytesObserved += s.BytesObserved
		sums.PacketsObserved += s.PacketsObserved
		sums.FlowsObserved += s.FlowsObserved
		sums.RowsIn += s.RowsIn
		got[r.Minute] += s.BytesObserved
	})
	if diff := cmp.Diff(raw, sums); diff != "" || rows >= len(b.Rows) {
		t.Errorf("%d raw rows made %d; sums (-raw +rolled up):\n%s", len(b.Rows), rows, diff)
	}
	if diff := cmp.Diff(perMinute, got); diff != "" {
		t.Errorf("bytes by minute of the start (-raw +rolled up):\n%s", diff)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		values[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
	}
	want := map[string]float64{
		"dredge_rollup_rows_in_total": float64(len(b.Rows)), "dredge_rollup_rows_total": float64(rows),
		"dredge_rollup_ratio": float64(len(b.Rows)) / float64(rows),
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// What is drained stands in the order in which it came, whatever the hashes are, so equal input gives equal output.
func TestOrderIsThatOfTheFirstRow(t *testing.T) {
	m := newMinute(t, row.DefaultConfig())
	b := batch(5000, 3)
	one, two := rollup.New(m, nil), rollup.New(m, nil)
	one.Add(b)
	half := *b
	half.Rows = b.Rows[:2000]
	two.Add(&half)
	half.Rows = b.Rows[2000:]
	two.Add(&half)
	if diff := cmp.Diff(drained(one, m), drained(two, m)); diff != "" {
		t.Errorf("two aggregators disagree:\n%s", diff)
	}
}

func TestReset(t *testing.T) {
	m := newMinute(t, row.DefaultConfig())
	a := rollup.New(m, nil)
	a.Add(batch(100, 1))
	a.Reset()
	if lines := drained(a, m); len(lines) != 0 {
		t.Errorf("after Reset: %v", lines)
	}
}

// TestMoreIdentitiesThanKeys: identities that no dimension tells apart have keys of their own, of which only so many are kept.
func TestMoreIdentitiesThanKeys(t *testing.T) {
	c := row.DefaultConfig()
	c.MinuteDimensions = []string{"action", "src_account"}
	a := rollup.New(newMinute(t, c), nil)
	b := batch(40_000, 1)
	var want int64
	for i := range b.Rows {
		r := &b.Rows[i]
		id := &row.Identity{App: fmt.Sprintf("app-%d", i), Kind: "pod", Account: "123456789012"}
		r.Src.Identity, r.Src.App = id, id.App
		want += r.Bytes
	}
	a.Add(b)
	a.Add(b)
	rows, got := 0, int64(0)
	a.Drain(func(r *rollup.Row) {
		rows++
		got += r.Sums.BytesObserved
	})
	if rows != 4 || got != 2*want { // two minutes, two actions
		t.Errorf("%d rows of %d bytes, want 4 of %d", rows, got, 2*want)
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	m := newMinute(t, row.DefaultConfig())
	a := rollup.New(m, nil)
	b := batch(2000, 1)
	var dst []byte
	each := func() {
		a.Add(b)
		a.Drain(func(r *rollup.Row) { dst = m.Append(dst[:0], r.Minute, r.Dimensions, &r.Sums) })
	}
	each()
	if n := testing.AllocsPerRun(20, each); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	m := newMinute(b, row.DefaultConfig())
	a := rollup.New(m, nil)
	rows := batch(20_000, 1)
	out := 0
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		a.Add(rows)
		out = a.Len()
		a.Drain(func(*rollup.Row) {})
		n += len(rows.Rows)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/flow")
	b.ReportMetric(float64(len(rows.Rows))/float64(out), "ratio")
}
