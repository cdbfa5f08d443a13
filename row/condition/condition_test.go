package condition_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"dredge/row"
	"dredge/row/condition"
)

// sample is a batch of one row in which most columns have a value.
func sample() *row.Batch {
	b := &row.Batch{Partition: "shardId-000000000000", Origins: []row.Origin{{Position: "1", LogGroup: "/vpc/prod"}}, Places: []row.Place{{Country: "DE", ASN: 64496}}}
	r := b.Add()
	r.Src = row.Side{
		Addr: netip.MustParseAddr("10.1.2.3"), App: "web", Named: true, Grade: "confirmed", Port: 40000,
		Identity: &row.Identity{App: "web", Kind: "instance", Cluster: "web-blue", Account: "123456789012", Region: "us-east-1"},
	}
	r.Dst = row.Side{Addr: netip.MustParseAddr("2001:db8::9"), App: "unknown", Grade: "border", Port: 443, Candidates: []string{"a", "b-1"}, Place: 1}
	r.Client, r.Action, r.Protocol, r.Counted = row.EndSrc, row.Reject, 6, true
	r.Bytes, r.Packets, r.TCPFlags, r.HasTCPFlags = 4249, 20, 2, true
	return b
}

func TestConditions(t *testing.T) {
	b := sample()
	f := func(when string, want bool) {
		t.Helper()
		var m map[string]condition.Values
		if err := yaml.Unmarshal([]byte(when), &m); err != nil {
			t.Fatal(err)
		}
		all, err := condition.RowColumns().Compile(m)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		var s condition.Scratch
		if got := all.Holds(b, 0, &s); got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
	f("src_app: web", true)
	f("src_app: [db, web]", true)
	f("src_app: we", false)
	f(`src_app: "w*"`, true)
	f(`src_app: "*e*"`, true)
	f(`src_app: "w*w"`, false)
	f(`src_app: "web*web"`, false)
	f(`src_cluster: "web-*"`, true)
	f(`dst_cluster: ""`, true)
	f(`dst_cluster: "*"`, false)
	f(`src_cluster: ""`, false)
	f("src_account: 123456789012", true)
	f("dst_app: unknown", true)
	f("dst_kind: unknown", true)
	f("dst_grade: [border, ambiguous]", true)
	f("action: reject", true)
	f("action: ACCEPT", false)
	f("protocol: tcp", true)
	f("protocol: [17, udp]", false)
	f("counted: true", true)
	f("counted: false", false)
	f("src_ip: 10.0.0.0/8", true)
	f("src_ip: [192.168.0.0/16, 10.1.2.3]", true)
	f("src_ip: 10.1.2.4", false)
	f("dst_ip: 2001:db8::/32", true)
	f("dst_ip: 0.0.0.0/0", false)
	f("dst_port: 443", true)
	f("dst_port: [80, 400-500]", true)
	f(`src_port: ">= 32768"`, true)
	f(`src_port: "< 32768"`, false)
	f("service_port: 443", true)
	f(`bytes: "> 4249"`, false)
	f(`bytes: "<= 4249"`, true)
	f("tcp_flags: 2", true)
	f("traffic_path: 0", false)
	f("dst_candidates: a", true)
	f(`dst_candidates: "b-*"`, true)
	f("dst_candidates: c", false)
	f("dst_asn: 64496", true)
	f(`dst_asn: "644*"`, true)
	f("dst_country: [FR, DE]", true)
	f("log_group: /vpc/*", true)
	f("src_app: web\ndst_port: 443", true)
	f("src_app: web\ndst_port: 444", false)
	f("{}", true)
}

func TestEveryColumnCanBeAskedFor(t *testing.T) {
	b := sample()
	b.Rows = append(b.Rows, row.Row{})
	for name, c := range condition.RowColumns() {
		for i := range b.Rows {
			v, ok := c.Value(b, &b.Rows[i])
			if !ok {
				continue
			}
			var values condition.Values
			switch v := v.(type) {
			case []string:
				values = v[:1]
			default:
				text, err := yaml.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				if err := yaml.Unmarshal(text, &values); err != nil {
					t.Fatal(err)
				}
			}
			cond, err := condition.New(c, values)
			if err != nil {
				if c.Name == "traffic_path" || c.Addr != nil {
					continue // an empty row's address is no value
				}
				t.Errorf("%s: its own value %q is refused: %v", name, values, err)
				continue
			}
			if !cond.Holds(b, i, new(condition.Scratch)) {
				t.Errorf("%s of row %d is %q and the condition for that does not hold", name, i, values)
			}
		}
	}
}

func TestFaultsSayWhatToWrite(t *testing.T) {
	var m map[string]condition.Values
	if err := yaml.Unmarshal([]byte(`
src_ap: web
row_id: x
bytes_observed: 1
action: ALLOW
protocol: tpc
counted: maybe
src_ip: [10.0.0.1/8, here]
dst_port: [https, 9-1]
src_app: []
`), &m); err != nil {
		t.Fatal(err)
	}
	_, err := condition.RowColumns().Compile(m)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"src_ap: is no column that a condition can ask for; perhaps one of src_app", "row_id: is no column", "bytes_observed: is no column",
		`action: "ALLOW" is no value of it; write one of ACCEPT, REJECT`, `protocol: "tpc"`, `counted: "maybe" is no value of it; write true or false`,
		`src_ip: "10.0.0.1/8" has bits behind its mask; write 10.0.0.0/8`, `src_ip: "here" is no address and no network`,
		`dst_port: "https" is no number, range or bound`, `dst_port: "9-1" holds no number`, "src_app: has no values",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

func TestHoldsAllocatesNothing(t *testing.T) {
	b := sample()
	var m map[string]condition.Values
	if err := yaml.Unmarshal([]byte(`{src_app: [x, "w*"], dst_ip: "2001:db8::/32", dst_port: 443, action: REJECT, dst_candidates: ["b*"], dst_asn: 64496, bytes: "> 1", log_group: "/vpc/*"}`), &m); err != nil {
		t.Fatal(err)
	}
	all, err := condition.RowColumns().Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	var s condition.Scratch
	if !all.Holds(b, 0, &s) {
		t.Fatal("does not hold")
	}
	if n := testing.AllocsPerRun(100, func() { all.Holds(b, 0, &s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSetsThatTheJoinMustFill(t *testing.T) {
	all, err := condition.RowColumns().Compile(map[string]condition.Values{"src_app": {"a"}, "src_instance": {"i"}, "dst_instance": {"i"}, "asg_tag": {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]row.Set{row.TagSet, row.Endpoint}, all.Sets(nil)); diff != "" {
		t.Error(diff)
	}
}

// A pattern holds for exactly the texts that the slow way of trying every cut finds.
func TestPatternsAgreeWithTheSlowWay(t *testing.T) {
	c := condition.RowColumns()["src_app"]
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`[ab]{1,6}`).Draw(rt, "text")
		pattern := rapid.StringMatching(`[ab*]{0,5}\*[ab*]{0,3}`).Draw(rt, "pattern")
		cond, err := condition.New(c, condition.Values{pattern})
		if err != nil {
			rt.Fatal(err)
		}
		b := &row.Batch{Rows: []row.Row{{Src: row.Side{App: text}}}}
		if got, want := cond.Holds(b, 0, new(condition.Scratch)), slow(pattern, text); got != want {
			rt.Errorf("%q in %q: %v, want %v", pattern, text, got, want)
		}
	})
}

func slow(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		for i := range len(text) + 1 {
			if slow(pattern[1:], text[i:]) {
				return true
			}
		}
		return false
	default:
		return text != "" && text[0] == pattern[0] && slow(pattern[1:], text[1:])
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("src_app", "w*b")
	f.Add("dst_port", ">= 1")
	f.Add("src_ip", "10.0.0.0/8")
	f.Add("bytes", "-5--3")
	f.Add("protocol", "tcp")
	columns, b := condition.RowColumns(), sample()
	f.Fuzz(func(_ *testing.T, name, value string) {
		if all, err := columns.Compile(map[string]condition.Values{name: {value}}); err == nil {
			all.Holds(b, 0, new(condition.Scratch))
		}
	})
}
