package enrich_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

const (
	v2  = ""
	pkt = "interface-id srcaddr dstaddr pkt-srcaddr pkt-dstaddr srcport dstport protocol packets bytes start end action flow-direction log-status"
)

// apps returns src_app>dst_app of each row.
func apps(rows []map[string]any) []string {
	var list []string
	for _, m := range rows {
		list = append(list, fmt.Sprintf("%v>%v", m["src_app"], m["dst_app"]))
	}
	return list
}

func assign(ip, owner, app string, more ...string) string {
	return fmt.Sprintf(`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","ip":%q,"primary":true,"owner":%q,"wl":{"app":%q,"vpc":"vpc-1"}%s}`+"\n",
		ip, owner, app, strings.Join(more, ""))
}

const progress = `{"v":1,"src":"f","op":"progress","to":T+3600}` + "\n"

func events(parts ...string) string { return times(strings.Join(parts, ""), 1000) }

func TestI4PacketAddressesComeFirst(t *testing.T) {
	w := newWorld(t, events(
		assign("10.0.1.10", "eni:eni-node", "node", `,"ep":{"kind":"node"}`),
		strings.Replace(assign("10.0.1.77", "pod-1", "cart", `,"ep":{"kind":"pod","eni":"eni-node"}`), `"primary":true,`, "", 1),
		assign("10.0.2.20", "eni:eni-b", "db"), progress))
	// dstaddr is the interface's primary address, pkt-dstaddr a container's.
	got := w.rows(t, pkt, times("eni-node 10.0.2.20 10.0.1.10 10.0.2.20 10.0.1.77 5432 40000 6 1 60 T+600 T+660 ACCEPT ingress OK", 1))
	if diff := cmp.Diff([]string{"db>cart"}, apps(got)); diff != "" {
		t.Error(diff)
	}
	if got[0]["dst_ip"] != "10.0.1.77" || got[0]["dstaddr"] != "10.0.1.10" {
		t.Errorf("addresses: %v", got[0])
	}
}

func TestI7IPv6(t *testing.T) {
	w := newWorld(t, events(assign("2001:DB8:0:0:0:0:0:A", "eni:eni-a", "web"), assign("2001:db8::b", "eni:eni-b", "db"), assign("fd00::c", "eni:eni-c", "cache"),
		`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","cidr":"2001:db8::/56","owner":"vpc-1"}`+"\n", progress))
	got := w.rows(t, pkt, times(`
		eni-a 2001:db8::A 2001:DB8:0000::000B 2001:db8::A 2001:DB8:0000::000B 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK
		eni-b 2001:db8:0:0::a 2001:db8::b 2001:db8:0:0::a 2001:db8::b 40000 443 6 1 60 T+600 T+660 ACCEPT ingress OK
		eni-c FD00:0::C 2001:db8::b FD00:0::C 2001:db8::b 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK`, 1))
	if diff := cmp.Diff([]string{"web>db", "web>db", "cache>db"}, apps(got)); diff != "" {
		t.Error(diff)
	}
}

func TestJ1BothEndsAtFlowTime(t *testing.T) {
	w := newWorld(t, events(
		assign("10.0.1.5", "eni:eni-a", "old"), `{"v":1,"src":"f","op":"release","to":T+1200,"scope":"vpc-1","ip":"10.0.1.5","owner":"eni:eni-a"}`+"\n",
		strings.Replace(assign("10.0.1.5", "eni:eni-b", "new"), "T+0", "T+1500", 1), assign("10.0.2.2", "eni:eni-c", "probe"), progress))
	got := w.rows(t, v2, times(`
		2 111111111111 eni-c 10.0.2.2 10.0.1.5 40000 443 6 1 60 T+600 T+660 ACCEPT OK
		2 111111111111 eni-c 10.0.2.2 10.0.1.5 40000 443 6 1 60 T+1800 T+1860 ACCEPT OK`, 1))
	if diff := cmp.Diff([]string{"probe>old", "probe>new"}, apps(got)); diff != "" {
		t.Error(diff)
	}
}

// TestJ3LocalSideByInterface withholds all addresses: the local end is still named by the interface that recorded.
func TestJ3LocalSideByInterface(t *testing.T) {
	describe := func(eni, app string) string {
		return fmt.Sprintf(`{"v":1,"src":"f","op":"describe","from":T+0,"owner":"eni:%s","wl":{"app":%q,"vpc":"vpc-1"}}`+"\n", eni, app)
	}
	w := newWorld(t, events(describe("eni-a", "web"), describe("eni-b", "db"), progress))
	format := pkt + " vpc-id"
	got := w.rows(t, format, times(`
		eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK vpc-1
		eni-b 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+600 T+660 ACCEPT ingress OK vpc-1`, 1))
	if diff := cmp.Diff([]string{"web>unknown", "unknown>db"}, apps(got)); diff != "" {
		t.Error(diff)
	}
	// An address that is not the interface's own is not named by it: here the packet's is somebody else's.
	got = w.rows(t, format, times("eni-a 10.0.1.5 10.0.2.6 10.0.1.99 10.0.2.6 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK vpc-1", 1))
	if diff := cmp.Diff([]string{"unknown>unknown"}, apps(got)); diff != "" {
		t.Error(diff)
	}
}

func TestJ5AmbiguousWindow(t *testing.T) {
	w := newWorld(t, events(
		assign("10.0.1.5", "eni:eni-a", "old"), `{"v":1,"src":"f","op":"release","to":T+1200,"scope":"vpc-1","ip":"10.0.1.5","owner":"eni:eni-a"}`+"\n",
		strings.Replace(assign("10.0.1.5", "eni:eni-b", "new"), "T+0", "T+1210", 1), assign("10.0.2.2", "eni:eni-c", "probe"), progress))
	got := w.rows(t, v2, times("2 111111111111 eni-c 10.0.2.2 10.0.1.5 40000 443 6 1 60 T+1180 T+1240 ACCEPT OK", 1))[0]
	if got["dst_app"] != "ambiguous" || got["dst_status"] != "ambiguous" || got["dst_grade"] != "ambiguous" {
		t.Errorf("got %v", got)
	}
	if diff := cmp.Diff([]any{"old", "new"}, got["dst_candidates"]); diff != "" {
		t.Error(diff)
	}
}

// estate is a small world with every kind of end in it, and lines that touch all of them.
func estate(t testing.TB, options ...func(*enrich.Config, *enrich.Deps)) (*world, *flowlog.Batch) {
	t.Helper()
	w := newWorld(t, events(
		assign("10.0.1.5", "eni:eni-a", "web"), assign("10.0.2.6", "eni:eni-b", "db", `,"listen":[{"proto":6,"port":5432}]`),
		assign("10.0.1.10", "eni:eni-node", "node", `,"ep":{"kind":"node"}`), assign("10.0.1.77", "pod-1", "cart", `,"ep":{"kind":"pod","eni":"eni-node"}`),
		assign("10.0.0.220", "eni:eni-nat", "", `,"ep":{"kind":"nat_gateway"}`),
		assign("10.0.3.3", "eni:eni-old", "old"), `{"v":1,"src":"f","op":"release","to":T+600,"scope":"vpc-1","ip":"10.0.3.3","owner":"eni:eni-old"}`+"\n",
		strings.Replace(assign("10.0.3.3", "eni:eni-new", "new"), "T+0", "T+620", 1),
		`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1"}`+"\n",
		`{"v":1,"src":"f","op":"coverage","from":T+0,"scope":"vpc-1","prefix":"10.0.1.0/24","logged":true}`+"\n", progress), options...)
	addrs := []string{"10.0.1.5", "10.0.2.6", "10.0.1.77", "10.0.1.78", "10.0.0.220", "10.0.3.3", "10.0.9.9", "192.168.1.1", "198.51.100.9", "52.95.128.179", "2001:db8::9"}
	enis := map[string]string{"10.0.1.5": "eni-a", "10.0.2.6": "eni-b", "10.0.1.77": "eni-node", "10.0.1.78": "eni-node", "10.0.0.220": "eni-nat"}
	var lines strings.Builder
	for i, src := range addrs {
		for k, dst := range addrs {
			for _, dir := range []string{"egress", "ingress", "-"} {
				eni := enis[src]
				if dir == "ingress" {
					eni = enis[dst]
				}
				if eni == "" {
					eni = "-"
				}
				service := "-"
				if strings.HasPrefix(dst, "52.") {
					service = "S3"
				}
				fmt.Fprintf(&lines, "%s %s %s %s %s %d %d %d %d %d T+%d T+%d %s %s OK vpc-1 %s %d\n", eni, src, dst, src, dst, 40000+i, 400+k, 6+i%2*11, 1+i, 100*k+i, 560+i*5, 640+k,
					[]string{"ACCEPT", "REJECT"}[(i+k)%2], dir, service, []int{0, 2, 18, 3}[i%4])
			}
		}
	}
	return w, decode(t, pkt+" vpc-id pkt-dst-aws-service tcp-flags", times(lines.String(), 1))
}

func TestJ7FiveStatusesSumToTwiceTheRows(t *testing.T) {
	w, in := estate(t)
	var out row.Batch
	w.enricher.Enrich(in, &out)
	var counts [row.Statuses]int
	for i := range out.Rows {
		counts[out.Rows[i].Src.Status()]++
		counts[out.Rows[i].Dst.Status()]++
	}
	sum := 0
	for s, n := range counts {
		if n == 0 {
			t.Errorf("no end is %v: the estate should have all", row.Status(s))
		}
		sum += n
	}
	if sum != 2*len(out.Rows) || len(out.Rows) != len(in.Records) {
		t.Errorf("%d ends of %d rows of %d records", sum, len(out.Rows), len(in.Records))
	}
	// The metric says the same.
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]float64{}, map[string]float64{}
	for s, n := range counts {
		want[row.Status(s).String()] = float64(n)
	}
	for _, f := range families {
		if f.GetName() == "dredge_enrich_ends_total" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dredge_enrich_ends_total (-rows +metric):\n%s", diff)
	}
}

// TestO2SumsAreKept: whatever dimension rows are grouped by, bytes, packets and flows add up to the raw input's.
func TestO2SumsAreKept(t *testing.T) {
	w, in := estate(t)
	var out row.Batch
	w.enricher.Enrich(in, &out)
	type sums struct{ bytes, packets, flows int64 }
	var want sums
	for i := range in.Records {
		r := &in.Records[i]
		want = sums{want.bytes + r.Bytes, want.packets + r.Packets, want.flows + 1}
	}
	columns := allSets().Columns(row.Raw)
	value := func(name string, r *row.Row) int64 {
		i := slices.IndexFunc(columns, func(c row.Column) bool { return c.Name == name })
		v, _ := columns[i].Value(&out, r)
		return v.(int64)
	}
	for _, c := range columns {
		if c.Role != row.Dimension || c.Type == row.StringArray {
			continue
		}
		groups := map[any]sums{}
		for i := range out.Rows {
			r := &out.Rows[i]
			key, _ := c.Value(&out, r)
			g := groups[key]
			groups[key] = sums{g.bytes + value("bytes", r), g.packets + value("packets", r), g.flows + value("flows", r)}
		}
		var got sums
		for _, g := range groups {
			got = sums{got.bytes + g.bytes, got.packets + g.packets, got.flows + g.flows}
		}
		if got != want {
			t.Errorf("by %s: %+v, want %+v", c.Name, got, want)
		}
	}
}

// TestCountedOnce plays a flow between two hosts, seen by all who may log it, under any coverage: exactly one accepted
// observation counts, as long as the coverage table tells the truth.
func TestCountedOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		logged := map[string]bool{}
		var coverage strings.Builder
		for _, ip := range []string{"10.0.1.5", "10.0.2.6", "10.0.0.220"} {
			logged[ip] = rapid.Bool().Draw(rt, ip)
			fmt.Fprintf(&coverage, `{"v":1,"src":"f","op":"coverage","from":T+0,"scope":"vpc-1","prefix":"%s/32","logged":%v}`+"\n", ip, logged[ip])
		}
		w := newWorld(t, events(
			assign("10.0.1.5", "eni:eni-a", "web"), assign("10.0.2.6", "eni:eni-b", "db"), assign("10.0.0.220", "eni:eni-fw", "", `,"ep":{"kind":"appliance"}`),
			`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1"}`+"\n", coverage.String(), progress))
		remote := rapid.SampledFrom([]string{"10.0.2.6", "198.51.100.9"}).Draw(rt, "remote")
		src, dst := "10.0.1.5", remote
		if rapid.Bool().Draw(rt, "turned") {
			src, dst = dst, src
		}
		var lines strings.Builder
		see := func(by, ip, direction string) {
			if logged[ip] {
				fmt.Fprintf(&lines, "%s %s %s %s %s 40000 443 6 1 60 T+600 T+660 ACCEPT %s OK\n", by, src, dst, src, dst, direction)
			}
		}
		for ip, eni := range map[string]string{"10.0.1.5": "eni-a", "10.0.2.6": "eni-b"} {
			switch ip {
			case src:
				see(eni, ip, "egress")
			case dst:
				see(eni, ip, "ingress")
			}
		}
		see("eni-fw", "10.0.0.220", "ingress")
		see("eni-fw", "10.0.0.220", "egress")
		counted, rows := 0, w.rows(t, pkt, times(lines.String(), 1))
		for _, m := range rows {
			if m["counted"] == true {
				counted++
			}
		}
		if len(rows) > 0 && counted != 1 {
			rt.Fatalf("%d of %d observations count:\n%s", counted, len(rows), shown(rows))
		}
	})
}

// TestPure: rows don't depend on what else is in the batch, on its order, or on earlier batches.
func TestPure(t *testing.T) {
	w, in := estate(t)
	var all row.Batch
	w.enricher.Enrich(in, &all)
	want := written(t, &all)
	fresh, _ := estate(t)
	for _, e := range []*world{w, fresh} {
		for i := len(in.Records) - 1; i >= 0; i -= 7 {
			one := *in
			one.Records = in.Records[i : i+1]
			var out row.Batch
			e.enricher.Enrich(&one, &out)
			if diff := cmp.Diff(want[i], written(t, &out)[0]); diff != "" {
				t.Fatalf("record %d alone (-in the batch +alone):\n%s", i, diff)
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	w, in := estate(t)
	var first row.Batch
	w.enricher.Enrich(in, &first)
	want := written(t, &first)
	fresh, _ := estate(t)
	var all sync.WaitGroup
	outs := make([]row.Batch, 4)
	for i := range outs {
		all.Go(func() { fresh.enricher.Enrich(in, &outs[i]) })
	}
	all.Wait()
	for i := range outs {
		if diff := cmp.Diff(want, written(t, &outs[i])); diff != "" {
			t.Fatalf("call %d:\n%s", i, diff)
		}
	}
}

func TestLineage(t *testing.T) {
	w := newWorld(t, events(progress))
	in := decode(t, v2, times("2 1 eni-a 10.0.0.1 10.0.0.2 1 2 6 1 1 T+1 T+2 ACCEPT OK\n2 1 eni-a - - - - - - - T+1 T+2 - NODATA\n2 1 eni-a 10.0.0.1 10.0.0.2 1 2 6 1 1 T+1 T+2 ACCEPT OK", 1))
	var out row.Batch
	w.enricher.Enrich(in, &out)
	var ids []string
	for i := range out.Rows {
		ids = append(ids, row.RowID(&out, &out.Rows[i]))
	}
	if diff := cmp.Diff([]string{row.LineID("shardId-000000000000", "4950", 0), row.LineID("shardId-000000000000", "4950", 2)}, ids); diff != "" {
		t.Error(diff)
	}
	if out.Origins[0].LogGroup != "flows" || !out.Origins[0].Arrived.Equal(in.Origins[0].Arrived) {
		t.Errorf("origin %+v", out.Origins[0])
	}
}

// TestAbsentIsNotZero: what the layout doesn't have is left out of the row.
func TestAbsentIsNotZero(t *testing.T) {
	w := newWorld(t, events(progress))
	got := w.rows(t, "srcaddr dstaddr start end", times("10.0.0.1 10.0.0.2 T+1 T+2", 1))[0]
	for _, name := range []string{"bytes", "packets", "src_port", "dst_port", "protocol", "action", "tcp_flags", "eni"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s is %v", name, v)
		}
	}
	// Without start and end the row's time is the arrival, no flow time is claimed and nobody is named.
	w = newWorld(t, events(assign("10.0.0.1", "eni:eni-a", "web"), progress))
	got = w.rows(t, "interface-id srcaddr dstaddr flow-direction", "eni-a 10.0.0.1 10.0.0.2 egress")[0]
	if fmt.Sprint(got["time"]) != strconv.Itoa((epoch+900)*1000) {
		t.Errorf("time %v", got["time"])
	}
	if _, ok := got["flow_end"]; ok || got["src_app"] != "unknown" {
		t.Errorf("got %v", got)
	}
}

func TestNamingGradesAreASetting(t *testing.T) {
	behind := strings.Replace(progress, "T+3600", "T+100", 1)
	line := times("2 111111111111 eni-c 10.0.2.2 10.0.1.5 40000 443 6 1 60 T+600 T+660 ACCEPT OK", 1)
	told := events(assign("10.0.1.5", "eni:eni-a", "web"), assign("10.0.2.2", "eni:eni-c", "probe"), behind)
	strict := newWorld(t, told).rows(t, v2, line)[0]
	if strict["dst_app"] != "unknown" || strict["dst_grade"] != "provisional" {
		t.Errorf("strict: %v", strict)
	}
	wide := newWorld(t, told, func(c *enrich.Config, _ *enrich.Deps) { c.NamingGrades |= 1 << metadata.Provisional }).rows(t, v2, line)[0]
	if wide["dst_app"] != "web" || wide["dst_grade"] != "provisional" {
		t.Errorf("wide: %v", wide)
	}
}

type services map[netip.Addr]string

func (s services) Service(ip netip.Addr) string { return s[ip] }

func TestPublicNames(t *testing.T) {
	w := newWorld(t, events(assign("10.0.1.5", "eni:eni-a", "web"), progress), func(_ *enrich.Config, d *enrich.Deps) {
		d.Public = services{netip.MustParseAddr("52.1.1.1"): "DYNAMODB"}
	})
	got := w.rows(t, v2, times(`2 1 eni-a 10.0.1.5 52.1.1.1 40000 443 6 1 60 T+600 T+660 ACCEPT OK
		2 1 eni-a 10.0.1.5 52.1.1.2 40000 443 6 1 60 T+600 T+660 ACCEPT OK`, 1))
	if diff := cmp.Diff([]string{"web>aws:DYNAMODB", "web>internet"}, apps(got)); diff != "" {
		t.Error(diff)
	}
}

// TestLogStreamNamesTheInterface: a layout without interface-id, as CloudWatch has one stream per interface.
func TestLogStreamNamesTheInterface(t *testing.T) {
	w := newWorld(t, events(assign("10.0.1.5", "eni:eni-a", "web"), progress))
	in := decode(t, "srcaddr dstaddr start end", times("10.0.1.5 198.51.100.9 T+600 T+660", 1))
	in.Origins[0].LogStream = "eni-a-all"
	var out row.Batch
	w.enricher.Enrich(in, &out)
	if r := &out.Rows[0]; r.InterfaceID != "eni-a" || r.Src.App != "web" || r.Direction != row.Egress {
		t.Errorf("got %+v", r)
	}
}

// TestMetadataThatLearns: what is told of an endpoint later reaches rows that are made later.
func TestMetadataThatLearns(t *testing.T) {
	w := newWorld(t, events(assign("10.0.1.5", "eni:eni-a", "web"), progress))
	line := times("2 1 eni-a 10.0.1.5 198.51.100.9 40000 443 6 1 60 T+600 T+660 ACCEPT OK", 1)
	if got := w.rows(t, v2, line)[0]; got["src_az"] != nil {
		t.Fatalf("got %v", got)
	}
	tell(t, w.store, events(`{"v":1,"src":"f","op":"describe","from":T+0,"owner":"eni:eni-a","ep":{"kind":"instance","az":"use1-az3"}}`))
	if got := w.rows(t, v2, line)[0]; got["src_az"] != "use1-az3" || got["src_kind"] != "instance" {
		t.Errorf("got %v", got)
	}
}

func TestGradesAreTheSameInBothPackages(t *testing.T) {
	for _, c := range row.Catalogue() {
		if c.Name != "src_grade" {
			continue
		}
		for i, text := range c.Texts {
			if got := metadata.Grade(i).String(); got != text {
				t.Errorf("grade %d is %s in rows and %s in metadata", i, text, got)
			}
		}
		if metadata.Grade(len(c.Texts)).String() != "invalid" {
			t.Error("metadata has more grades than rows")
		}
	}
}

func TestNewTellsAllFaults(t *testing.T) {
	_, err := enrich.New(enrich.Config{}, enrich.Deps{})
	for _, want := range []string{"Resolver", "Registerer", "NamingGrades"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in %v", want, err)
		}
	}
}

func TestMetricsLint(t *testing.T) {
	w, _ := estate(t)
	problems, err := testutil.GatherAndLint(w.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestEnrichAllocatesNothing(t *testing.T) {
	w, in := estate(t)
	var out row.Batch
	each := func() {
		out.Reset()
		w.enricher.Enrich(in, &out)
	}
	each()
	if n := testing.AllocsPerRun(50, each); n != 0 {
		t.Errorf("%v allocations in %d records", n, len(in.Records))
	}
}

// TestAnyRecord: whatever a line says, there is one row for each flow and no panic.
func TestAnyRecord(t *testing.T) {
	w, _ := estate(t)
	format := strings.Join([]string{
		"interface-id srcaddr dstaddr pkt-srcaddr pkt-dstaddr srcport dstport protocol start end action flow-direction vpc-id traffic-path tcp-flags",
		"ecs-service-name ecs-task-definition-arn ecs-task-id ecs-cluster-arn next-hop-interface-id next-hop-vpc-id next-hop-interface-type interface-type",
		"resource-id instance-tag pkt-src-aws-service pkt-dst-aws-service reject-reason log-status",
	}, " ")
	f, err := flowlog.ParseFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	names := f.Names()
	addrs := []string{"-", "10.0.1.5", "10.0.2.6", "10.0.1.77", "10.0.0.220", "198.51.100.9", "2001:db8::1", "0.0.0.0", "::1", "224.0.0.1"}
	words := []string{"-", "eni-a", "eni-node", "eni-nat", "vpc-1", "vpc-9", "nat_gateway", "/", ":", "%", "a/b:c", "S3", "unknown"}
	rapid.Check(t, func(rt *rapid.T) {
		var values []string
		for _, name := range names {
			from := words
			switch name {
			case "srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr":
				from = addrs
			case "srcport", "dstport":
				from = []string{"-", "0", "443", "65535"}
			case "protocol":
				from = []string{"-", "1", "6", "17", "255"}
			case "start", "end":
				from = []string{"-", strconv.Itoa(epoch + 600)}
			case "action":
				from = []string{"-", "ACCEPT", "REJECT"}
			case "flow-direction":
				from = []string{"-", "ingress", "egress"}
			case "traffic-path", "tcp-flags":
				from = []string{"-", "1", "2", "3", "4", "5", "7", "8", "18"}
			case "log-status":
				from = []string{"-", "OK", "NODATA", "SKIPDATA"}
			}
			values = append(values, rapid.SampledFrom(from).Draw(rt, name))
		}
		in := decode(t, format, strings.Join(values, " "))
		var out row.Batch
		w.enricher.Enrich(in, &out)
		if want := enrich.Flow(&in.Records[0]); (len(out.Rows) == 1) != want {
			rt.Fatalf("%d rows, a flow: %v", len(out.Rows), want)
		}
		if len(out.Rows) == 1 {
			r := &out.Rows[0]
			for _, s := range []*row.Side{&r.Src, &r.Dst} {
				if s.App == "" || s.Identity == nil || s.Identity.App != s.App || s.Named != (s.Status() == row.Attributed) {
					rt.Fatalf("side %+v", s)
				}
				if _, name := row.UnescapeApp(s.App); name != s.Named {
					rt.Fatalf("app %q, named: %v", s.App, s.Named)
				}
			}
			written(t, &out)
		}
	})
}

// bigWorld has n addresses in one VPC, each an interface of its own with one of 5,000 workloads. Its flows go between random
// pairs of them, run flows from each source in a row, as CloudWatch delivers the lines of an interface together.
func bigWorld(b testing.TB, n, run int) (*world, *flowlog.Batch) {
	b.Helper()
	var told strings.Builder
	addr := func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) }
	for i := range n {
		fmt.Fprintf(&told, `{"v":1,"src":"f","op":"assign","from":%d,"scope":"vpc-1","ip":%q,"primary":true,"owner":"eni:eni-%x","ep":{"kind":"instance","az":"use1-az%d","subnet":"subnet-1"},"wl":{"app":"app-%d","cluster":"c-%d","account":"111111111111","vpc":"vpc-1","region":"us-east-1"}}`+"\n",
			epoch*1000, addr(i), i, i%4, i%5000, i%5000)
	}
	told.WriteString(events(`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","cidr":"10.0.0.0/8","owner":"vpc-1"}`+"\n",
		`{"v":1,"src":"f","op":"coverage","from":T+0,"scope":"vpc-1","prefix":"10.0.0.0/8","logged":true}`+"\n", progress))
	w := newWorld(b, told.String(), func(c *enrich.Config, _ *enrich.Deps) { c.ColumnSets = nil })
	rng := rand.New(rand.NewPCG(1, 2))
	var lines strings.Builder
	src := 0
	for i := range 20_000 {
		if i%run == 0 {
			src = rng.IntN(n)
		}
		dst := rng.IntN(n)
		fmt.Fprintf(&lines, "2 111111111111 eni-%x %s %s 40000 443 6 10 1000 T+%d T+660 ACCEPT OK vpc-1 %s %s egress 19\n", src, addr(src), addr(dst), 600+i%60, addr(src), addr(dst))
	}
	return w, decode(b, "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id pkt-srcaddr pkt-dstaddr flow-direction tcp-flags", times(lines.String(), 1))
}

// BenchmarkEnrich joins flows among 10,000 and a million addresses. With runs of one, each record is another interface: the
// worst case, in which nearly every step misses the processor's caches.
func BenchmarkEnrich(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		for _, run := range []int{20, 1} {
			b.Run(fmt.Sprintf("addresses=%d/run=%d", n, run), func(b *testing.B) {
				w, in := bigWorld(b, n, run)
				var out row.Batch
				w.enricher.Enrich(in, &out) // meets every endpoint once
				part := *in
				b.ReportAllocs()
				i := 0
				const step = 1000
				for b.Loop() {
					part.Records = in.Records[i : i+step]
					out.Reset()
					w.enricher.Enrich(&part, &out)
					i = (i + step) % len(in.Records)
				}
				if out.Rows[0].Src.Grade != "confirmed" || out.Rows[0].Dst.Grade != "covered" {
					b.Fatalf("the join named nothing: %+v", out.Rows[0])
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*step), "ns/flow")
			})
		}
	}
}
