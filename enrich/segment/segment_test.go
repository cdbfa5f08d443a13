package segment

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"dredge/row"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at is the start of the flows in these tests: 2026-03-01T12:00:00Z.
const at = 1772366400000

// flow makes a batch of one row: `client server port`, where an end is an application, or unknown, ambiguous, internet, aws:S3, or net:NAME for a network
// outside all VPCs.
func flow(client, server string, port uint16, options ...func(*row.Row)) *row.Batch {
	side := func(app, ip string, port uint16) row.Side {
		s := row.Side{App: app, Addr: netip.MustParseAddr(ip), Port: port, Identity: &row.Identity{App: app, VPC: "vpc-1", Account: "111111111111", Cluster: app + "-blue"}}
		_, s.Named = row.UnescapeApp(app)
		if network, ok := strings.CutPrefix(app, "net:"); ok {
			s.App, s.Named, s.Grade = row.AppUnknown, false, "prefix"
			s.Identity = &row.Identity{App: row.AppUnknown, Network: network, Kind: row.KindNetwork}
		}
		return s
	}
	b := &row.Batch{}
	r := b.Add()
	r.Src, r.Dst = side(client, "10.0.0.1", 40000), side(server, "10.0.0.2", port)
	r.Client, r.Protocol, r.Start, r.ObservedAt, r.Action = row.EndSrc, 6, at, row.EndSrc, row.Accept
	for _, o := range options {
		o(r)
	}
	return b
}

// back turns a flow round: the server's answer to its client.
func back(b *row.Batch) *row.Batch {
	r := &b.Rows[0]
	r.Src, r.Dst = r.Dst, r.Src
	switch r.Client {
	case row.EndSrc:
		r.Client = row.EndDst
	case row.EndDst:
		r.Client = row.EndSrc
	default:
	}
	switch r.ObservedAt {
	case row.EndSrc:
		r.ObservedAt = row.EndDst
	case row.EndDst:
		r.ObservedAt = row.EndSrc
	default:
	}
	return b
}

const declared = `
version: 1
default: deny
edges:
  - {name: blocked, from: {app: web, ip: 10.0.0.1}, to: {app: vault}, effect: deny, note: until it is patched}
  - {name: web-db, from: {app: web}, to: {app: [db, db-replica]}, protocol: tcp, port: [5432, 6000-6010]}
  - {name: old, from: {app: web}, to: {app: search}, expires: 2026-02-28}
  - {name: till-today, from: {app: web}, to: {app: cache}, expires: 2026-03-01}
  - {name: tagged, from: {app: web, tag: "team=a"}, to: {app: hidden}}
  - {name: to-dns, to: {app: dns}, port: 53}
  - {name: batch-out, from: {app: "batch-*"}, to: {app: [internet, "aws:S3"]}}
  - {name: vault-users, from: {account: 111111111111}, to: {app: vault}}
  - {name: office, from: {network: berlin}, to: {vpc: vpc-1, cluster: "web-*"}}
`

func TestVerdicts(t *testing.T) {
	p, err := parse([]byte(declared))
	if err != nil {
		t.Fatal(err)
	}
	f := func(b *row.Batch, want row.Segmentation, by string) {
		t.Helper()
		for range 2 { // the answer is judged as the question
			v := p.judge(b, 0)
			edge := ""
			if v.by != nil {
				edge = v.by.name
			}
			if v.segmentation != want || edge != by {
				t.Errorf("%s>%s: %v by %q, want %v by %q", b.Rows[0].Src.App, b.Rows[0].Dst.App, v.segmentation, edge, want, by)
			}
			back(b)
		}
	}
	const allowed, unexpected, expired, unknown = row.SegmentationAllowed, row.SegmentationUnexpected, row.SegmentationExpired, row.SegmentationUnknown
	udp := func(r *row.Row) { r.Protocol = 17 }
	f(flow("web", "db", 5432), allowed, "web-db")
	f(flow("web", "db-replica", 6005), allowed, "web-db")
	f(flow("web", "db", 5433), unexpected, "")
	f(flow("web", "db", 5432, udp), unexpected, "")
	f(flow("db", "web", 5432), unexpected, "")
	f(flow("web", "search", 80), expired, "old")
	f(flow("web", "cache", 80), allowed, "till-today")
	f(flow("web", "cache", 80, func(r *row.Row) { r.Start += 12 * 3600 * 1000 }), expired, "till-today")
	f(flow("web", "vault", 443), unexpected, "blocked")
	f(flow("web", "vault", 443, func(r *row.Row) { r.Src.Addr = netip.MustParseAddr("10.0.0.9") }), allowed, "vault-users")
	f(flow("anybody", "dns", 53), allowed, "to-dns")
	f(flow("web", "web", 80), allowed, "")
	f(flow("batch-7", "internet", 443), allowed, "batch-out")
	f(flow("batch-7", "aws:S3", 443), allowed, "batch-out")
	f(flow("web", "internet", 443), unexpected, "")
	f(flow("net:berlin", "web", 443), allowed, "office")
	f(flow("net:paris", "web", 443), unexpected, "")
	// An end without a name is never a violation.
	f(flow("unknown", "db", 5432), unknown, "")
	f(flow("web", "ambiguous", 5432), unknown, "")
	f(flow("unknown", "dns", 53), unknown, "")
	// Without a client both ways round must agree.
	nobody := func(r *row.Row) { r.Client = row.EndUnknown }
	f(flow("web", "db", 5432, nobody), unknown, "")
	f(flow("web", "search-2", 5432, nobody), unexpected, "")
	f(flow("web", "web", 5432, nobody), allowed, "")
	// Tags are known of the end that recorded.
	tags := func(s string) func(*row.Row) { return func(r *row.Row) { r.Tags = &row.Tags{ASG: s} } }
	f(flow("web", "hidden", 80, tags("team=a")), allowed, "tagged")
	f(flow("web", "hidden", 80, tags("team=b")), unexpected, "")
	f(flow("web", "hidden", 80), unknown, "")
	f(flow("web", "hidden", 80, tags("team=a"), func(r *row.Row) { r.ObservedAt = row.EndDst }), unknown, "")
}

func TestDefaultAllow(t *testing.T) {
	p, err := parse([]byte("version: 1\ndefault: allow\nsame_app: deny\nedges:\n- {name: no, to: {app: vault}, effect: deny}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		b    *row.Batch
		want row.Segmentation
	}{
		{flow("web", "vault", 443), row.SegmentationUnexpected},
		{flow("web", "db", 443), row.SegmentationAllowed},
		{flow("web", "web", 443), row.SegmentationUnexpected},
		{flow("unknown", "vault", 443), row.SegmentationUnknown},
	} {
		if got := p.judge(c.b, 0).segmentation; got != c.want {
			t.Errorf("%s>%s: %v, want %v", c.b.Rows[0].Src.App, c.b.Rows[0].Dst.App, got, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := parse([]byte(text))
		if err == nil {
			t.Errorf("accepted: %s", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is not in:\n%v", w, err)
			}
		}
	}
	f("", "version: 0 is not known; write version: 1", "default: is missing; write deny")
	f("version: 1\ndefault: deny\nedgs: []", "edgs")
	f("version: 1\ndefault: no\nsame_app: yes\nedges: []", `default: "no" is neither; write allow or deny`, "same_app:")
	f(`
version: 1
default: deny
edges:
  - {name: a, from: {ap: web}, to: {app: db}}
  - {name: a, from: {app: web}, port: http, protocol: tpc}
  - {from: {ip: 10.0.0.1/8}, effect: drop, expires: soon}
  - {name: all}
  - {name: t, from: {tag: []}}
`, "edges[0].from.ap: is nothing that ends are chosen by; write one of app, kind", `edges[1].name: "a" is the name of edges[0] already`,
		`edges[1].port: "http" is no number`, `edges[1].protocol: "tpc"`, "edges[2].name:", `edges[2].from.ip: "10.0.0.1/8" has bits behind its mask`,
		`edges[2].effect: "drop" is neither`, `edges[2].expires: "soon" is no time; write a day as 2026-12-31`, "edges[3].from, to: are both empty", "edges[4].from.tag: has no values")
	f(strings.Repeat(" ", maxBytes+1), "at most")
}

// The index finds what asking every edge in turn finds.
func TestIndexAgreesWithAskingEveryEdge(t *testing.T) {
	apps := []string{"a", "b", "c", "unknown", "internet"}
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		fmt.Fprintf(&text, "version: 1\ndefault: %s\nsame_app: %s\nedges:\n", rapid.SampledFrom([]string{"allow", "deny"}).Draw(rt, "default"), rapid.SampledFrom([]string{"allow", "deny"}).Draw(rt, "same"))
		side := rapid.SampledFrom([]string{"{}", "{app: a}", "{app: [a, b]}", `{app: "*"}`, "{ip: 10.0.0.1}", "{app: c, ip: 10.0.0.2}", "{app: internet}", "{app: b, tag: x}", "{tag: y}"})
		for i := range rapid.IntRange(1, 12).Draw(rt, "edges") {
			from, to := side.Draw(rt, "from"), side.Draw(rt, "to")
			if from == "{}" && to == "{}" {
				to = "{app: a}"
			}
			fmt.Fprintf(&text, "- {name: e%d, from: %s, to: %s%s}\n", i, from, to, rapid.SampledFrom([]string{"", ", effect: deny", ", port: 80", ", expires: 2026-02-01", ", effect: deny, expires: 2026-02-01"}).Draw(rt, "rest"))
		}
		p, err := parse([]byte(text.String()))
		if err != nil {
			rt.Fatal(err)
		}
		slow := newPolicy(len(p.edges))
		slow.allowDefault, slow.allowSameApp, slow.others = p.allowDefault, p.allowSameApp, p.edges
		b := flow(rapid.SampledFrom(apps).Draw(rt, "client"), rapid.SampledFrom(apps).Draw(rt, "server"), rapid.SampledFrom([]uint16{80, 81}).Draw(rt, "port"), func(r *row.Row) {
			r.Client = rapid.SampledFrom([]row.End{row.EndUnknown, row.EndSrc, row.EndDst}).Draw(rt, "client side")
			r.ObservedAt = rapid.SampledFrom([]row.End{row.EndSrc, row.EndDst, row.EndMiddle}).Draw(rt, "observed")
			if tag := rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "tag"); tag != "" {
				r.Tags = &row.Tags{Instance: tag}
			}
		})
		got, want := p.judge(b, 0), slow.judge(b, 0)
		if got != want {
			rt.Errorf("%v, asking all: %v\n%s", got, want, text.String())
		}
		if unnamed := !known(&b.Rows[0].Src) || !known(&b.Rows[0].Dst); unnamed && got.segmentation != row.SegmentationUnknown {
			rt.Errorf("an end without a name was judged: %v", got.segmentation)
		}
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "edges.yaml")
		put := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		const head = "version: 1\ndefault: deny\nedges:\n"
		put(head + "- {name: one, from: {app: web}, to: {app: db}}\n")
		reg := prometheus.NewRegistry()
		var logged strings.Builder
		s, err := New(Config{File: path, PollInterval: 10 * time.Second}, Dependencies{Registerer: reg, Logger: zerolog.New(&logged)})
		if err != nil {
			t.Fatal(err)
		}
		b := flow("web", "db", 80)
		if got := s.Judge(b, 0); got != row.SegmentationNone {
			t.Errorf("before it was read: %v", got)
		}
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		expect := func(want row.Segmentation, faults float64) {
			t.Helper()
			synctest.Wait()
			if got := s.Judge(b, 0); got != want {
				t.Errorf("%v, want %v", got, want)
			}
			if got := testutil.ToFloat64(s.metrics.faults); got != faults {
				t.Errorf("%v faults, want %v", got, faults)
			}
		}
		expect(row.SegmentationAllowed, 0)

		put(head + "- {name: other, from: {app: web}, to: {app: cache}}\n")
		<-time.After(11 * time.Second)
		expect(row.SegmentationUnexpected, 0)

		put(head + "- {name: one, frm: {app: web}}\n") // a bad file changes nothing and is told once
		<-time.After(35 * time.Second)
		expect(row.SegmentationUnexpected, 1)
		if n := strings.Count(logged.String(), `"level":"error"`); n != 1 {
			t.Errorf("%d errors were logged:\n%s", n, logged.String())
		}
		prepare := func(next Config, want string) (commit func()) {
			t.Helper()
			commit, err := s.Prepare(next)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v does not say %q", err, want)
			}
			return commit
		}
		cfg := Config{File: path, PollInterval: 10 * time.Second}
		prepare(cfg, `unknown field "frm"`) // whoever asks is told again
		expect(row.SegmentationUnexpected, 2)

		put(head + "- {name: one, from: {app: web}, to: {app: db}}\n")
		commit := prepare(cfg, "")
		expect(row.SegmentationUnexpected, 2) // only looked at
		commit()
		expect(row.SegmentationAllowed, 2)
		if prepare(cfg, "") != nil {
			t.Error("what is in force already is to be put in force")
		}

		// Another file, looked at more often; then none.
		cfg = Config{File: path + ".new", PollInterval: time.Second}
		prepare(cfg, "no such file")
		expect(row.SegmentationAllowed, 3)
		first := path
		path = cfg.File
		put(head + "- {name: two, from: {app: web}, to: {app: cache}}\n")
		prepare(cfg, "")()
		expect(row.SegmentationUnexpected, 3)
		if err := os.Remove(first); err != nil {
			t.Fatal(err)
		}
		put(head + "- {name: one, from: {app: web}, to: {app: db}}\n")
		<-time.After(1100 * time.Millisecond)
		expect(row.SegmentationAllowed, 3)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		expect(row.SegmentationAllowed, 4)
		prepare(Config{PollInterval: time.Second}, "")()
		<-time.After(time.Minute)
		expect(row.SegmentationNone, 4)

		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

func TestExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "edges.yaml")
	if err := os.WriteFile(path, []byte(declared), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{File: path, PollInterval: time.Second}, Dependencies{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range []*row.Batch{
		flow("web", "db", 5432), flow("web", "db", 1), flow("web", "search", 1), flow("web", "vault", 1), flow("unknown", "db", 1), flow("web", "web", 1), flow("web", "hidden", 1),
		flow("web", "db", 5432, func(r *row.Row) { r.Client = row.EndUnknown }),
	} {
		v, edge, why := s.Explain(b, 0)
		got = append(got, fmt.Sprintf("%v %s: %s", v, edge, why))
	}
	want := []string{
		"allowed web-db: an edge allows it", "unexpected : no edge is for it, and the default denies it", "expired old: the edge that would allow it had ended when the flow began",
		"unexpected blocked: an edge denies it", "unknown : an end is not named, so nobody can say", "allowed : no edge is for it, and an application may talk to itself",
		"unknown : an edge asks for tags that the record does not carry of that end", "unknown : it is not known which end is the client, and it makes a difference",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s.Describe() != "9 edges, default deny" {
		t.Error(s.Describe())
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(declared))
	f.Add([]byte("version: 1\ndefault: deny\nedges:\n- {name: x, from: {app: [1, true, null]}, to: {tag: {}}}"))
	b := flow("web", "db", 5432)
	f.Fuzz(func(_ *testing.T, data []byte) {
		if p, err := parse(data); err == nil {
			p.judge(b, 0)
		}
	})
}

// large is a policy of n edges between applications, with some that name one side only.
func large(t testing.TB, n int) *policy {
	t.Helper()
	var text strings.Builder
	text.WriteString("version: 1\ndefault: deny\nedges:\n")
	for i := range n {
		switch i % 100 {
		case 0:
			fmt.Fprintf(&text, "- {name: e%d, to: {app: shared-%d}, port: 443}\n", i, i)
		case 1:
			fmt.Fprintf(&text, "- {name: e%d, from: {ip: 192.168.%d.0/24}, to: {account: 222222222222}}\n", i, i/100%256)
		default:
			fmt.Fprintf(&text, "- {name: e%d, from: {app: app-%d}, to: {app: app-%d}, protocol: tcp, port: [443, 8000-8099]}\n", i, i, i*7%n)
		}
	}
	p, err := parse([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestJudgeAllocatesNothing(t *testing.T) {
	p := large(t, 300)
	s := &Segments{}
	s.policy.Store(p)
	for _, b := range []*row.Batch{flow("app-7", "app-49", 443), flow("app-7", "shared-100", 443), flow("x", "y", 1, func(r *row.Row) { r.Client = row.EndUnknown })} {
		if n := testing.AllocsPerRun(100, func() { s.Judge(b, 0) }); n != 0 {
			t.Errorf("%s>%s: %v allocations", b.Rows[0].Src.App, b.Rows[0].Dst.App, n)
		}
	}
}

// BenchmarkJudge is what 5,000 edges cost for each row.
func BenchmarkJudge(b *testing.B) {
	s := &Segments{}
	s.policy.Store(large(b, 5000))
	for name, batch := range map[string]*row.Batch{"allowed": flow("app-7", "app-49", 443), "unexpected": flow("app-7", "app-50", 443)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(batch, 0)
			}
		})
	}
}
