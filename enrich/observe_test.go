package enrich_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/enrich"
	"dredge/metadata"
	"dredge/metadata/store"
	"dredge/pipeline"
)

var (
	_ pipeline.Enricher   = (*enrich.Enricher)(nil)
	_ pipeline.Observer   = (*enrich.Sightings)(nil)
	_ pipeline.Watermarks = (*enrich.Gate)(nil)
)

// beats keeps what it is told.
type beats struct {
	store *store.Store
	seen  []enrich.Sighting
}

func (b *beats) InternScope(vpc string) metadata.Scope { return b.store.InternScope(vpc) }
func (b *beats) Observe(s enrich.Sighting)             { b.seen = append(b.seen, s) }

func TestSightings(t *testing.T) {
	known := events(
		assign("10.0.1.5", "eni:eni-a", "web"),
		assign("10.0.1.10", "eni:eni-node", "node", `,"ep":{"kind":"node"},"sdc":true`),
		assign("10.0.0.220", "eni:eni-nat", "", `,"ep":{"kind":"nat_gateway"},"sdc":false`), progress)
	at := func(s int64) int64 { return (epoch + s) * 1000 }
	see := func(scope metadata.Scope, eni, ip string, from, to int64, primary bool) enrich.Sighting {
		return enrich.Sighting{Scope: scope, ENI: eni, IP: netip.MustParseAddr(ip), Start: at(from), End: at(to), Primary: primary}
	}
	const vpc1 = metadata.Public + 1
	const v5 = "interface-id srcaddr dstaddr pkt-srcaddr pkt-dstaddr start end action flow-direction vpc-id log-status"
	for _, c := range []struct {
		name, format, lines string
		want                []enrich.Sighting
	}{
		{
			"egress shows the source, ingress the destination", v5, `
			eni-a 10.0.1.5 10.9.9.9 10.0.1.5 10.9.9.9 T+600 T+660 ACCEPT egress vpc-1 OK
			eni-b 10.9.9.9 10.0.2.6 10.9.9.9 10.0.2.6 T+600 T+660 ACCEPT ingress vpc-1 OK`,
			[]enrich.Sighting{see(vpc1, "eni-a", "10.0.1.5", 600, 660, true), see(vpc1, "eni-b", "10.0.2.6", 600, 660, true)},
		},
		{
			"rejected traffic proves as much", v5, `eni-b 10.9.9.9 10.0.2.6 10.9.9.9 10.0.2.6 T+600 T+660 REJECT ingress vpc-1 OK`,
			[]enrich.Sighting{see(vpc1, "eni-b", "10.0.2.6", 600, 660, true)},
		},
		{"no status but OK, no interface, no direction: nothing", v5, `
			eni-a 10.0.1.5 10.9.9.9 10.0.1.5 10.9.9.9 T+600 T+660 ACCEPT egress vpc-1 SKIPDATA
			- 10.0.1.5 10.9.9.9 10.0.1.5 10.9.9.9 T+600 T+660 ACCEPT egress vpc-1 OK
			eni-x 10.0.1.5 10.9.9.9 10.0.1.5 10.9.9.9 T+600 T+660 ACCEPT - vpc-1 OK`, nil},
		{
			"without a direction the interface's own addresses tell", v5, `eni-a 10.9.9.9 10.0.1.5 10.9.9.9 10.0.1.5 T+600 T+660 ACCEPT - - OK`,
			[]enrich.Sighting{see(metadata.NoScope, "eni-a", "10.0.1.5", 600, 660, true)},
		},
		{
			"the packet's address only where source/dest check is known to be on", v5, `
			eni-node 10.0.1.10 10.9.9.9 10.0.1.77 10.9.9.9 T+600 T+660 ACCEPT egress vpc-1 OK
			eni-nat 10.0.1.5 10.0.0.220 10.0.1.5 198.51.100.9 T+600 T+660 ACCEPT ingress vpc-1 OK
			eni-x 10.0.1.6 10.9.9.9 10.0.1.7 10.9.9.9 T+600 T+660 ACCEPT egress vpc-1 OK`,
			[]enrich.Sighting{
				see(vpc1, "eni-node", "10.0.1.10", 600, 660, true), see(vpc1, "eni-nat", "10.0.0.220", 600, 660, true),
				see(vpc1, "eni-x", "10.0.1.6", 600, 660, true), see(vpc1, "eni-node", "10.0.1.77", 600, 660, false),
			},
		},
		{
			"IPv6 is no primary address", v5, `eni-a 2001:db8::5 2001:db8::6 2001:db8::5 2001:db8::6 T+600 T+660 ACCEPT egress vpc-1 OK`,
			[]enrich.Sighting{see(vpc1, "eni-a", "2001:db8::5", 600, 660, false)},
		},
		{
			"a run of one interface is one sighting, a gap is not bridged", v5, `
			eni-a 10.0.1.5 10.9.9.9 10.0.1.5 10.9.9.9 T+600 T+660 ACCEPT egress vpc-1 OK
			eni-a 10.0.1.5 10.9.9.8 10.0.1.5 10.9.9.8 T+610 T+650 ACCEPT egress vpc-1 OK
			eni-a 10.9.9.8 10.0.1.5 10.9.9.8 10.0.1.5 T+661 T+720 ACCEPT ingress vpc-1 OK
			eni-a 10.9.9.8 10.0.1.5 10.9.9.8 10.0.1.5 T+800 T+810 ACCEPT ingress vpc-1 OK`,
			[]enrich.Sighting{see(vpc1, "eni-a", "10.0.1.5", 600, 720, true), see(vpc1, "eni-a", "10.0.1.5", 800, 810, true)},
		},
		{
			"transit gateway attachments prove nothing", "tgw-id tgw-src-eni tgw-dst-eni interface-id srcaddr dstaddr start end flow-direction log-status",
			`tgw-1 eni-p eni-q eni-p 10.0.1.5 10.9.9.9 T+600 T+660 egress OK`, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, known)
			to := &beats{store: w.store}
			s, err := enrich.NewSightings(w.store, to)
			if err != nil {
				t.Fatal(err)
			}
			s.Observe(decode(t, c.format, times(c.lines, 1)))
			if diff := cmp.Diff(c.want, to.seen, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// storeBeats is how a process wires a store in.
type storeBeats struct{ *store.Store }

func (b storeBeats) Observe(s enrich.Sighting) { b.Store.Observe(store.Sighting(s)) }

// TestSightingsConfirmNames: the traffic of one end confirms the name that the other end's records see.
func TestSightingsConfirmNames(t *testing.T) {
	w := newWorld(t, events(assign("10.0.1.5", "eni:eni-a", "web"), assign("10.0.2.6", "eni:eni-b", "db"), assign("10.0.3.1", "eni:eni-c", "x")))
	format := pkt + " vpc-id"
	in := decode(t, format, times(`
		eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK vpc-1
		eni-b 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+600 T+660 ACCEPT ingress OK vpc-1`, 1))
	before := w.rows(t, format, times("eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+610 T+650 ACCEPT egress OK vpc-1", 1))
	if before[0]["dst_grade"] != "provisional" || before[0]["dst_app"] != "unknown" {
		t.Fatalf("before: %v", before[0])
	}
	s, err := enrich.NewSightings(w.store, storeBeats{w.store})
	if err != nil {
		t.Fatal(err)
	}
	s.Observe(in)
	after := w.rows(t, format, times("eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+610 T+650 ACCEPT egress OK vpc-1", 1))
	if after[0]["dst_grade"] != "confirmed" || after[0]["dst_app"] != "db" {
		t.Errorf("after: %v", after[0])
	}
}

// deaf listens to nothing: what taking a sighting in costs is the store's to test.
type deaf struct{ *store.Store }

func (deaf) Observe(enrich.Sighting) {}

func TestObserveAllocatesNothing(t *testing.T) {
	w, in := estate(t)
	s, err := enrich.NewSightings(w.store, deaf{w.store})
	if err != nil {
		t.Fatal(err)
	}
	s.Observe(in)
	if n := testing.AllocsPerRun(50, func() { s.Observe(in) }); n != 0 {
		t.Errorf("%v allocations in %d records", n, len(in.Records))
	}
}

// asked is a Completeness that keeps what it was asked.
type asked struct {
	scopes []metadata.Scope
	t      int64
}

func (a *asked) Complete(scopes []metadata.Scope, t int64) (bool, <-chan struct{}) {
	a.scopes, a.t = append(a.scopes[:0], scopes...), t
	return false, nil
}

// TestGateAsksForTheScopesThatTheJoinAsks: those of the interfaces and those that remote ends are in, each once.
func TestGateAsksForTheScopesThatTheJoinAsks(t *testing.T) {
	w := newWorld(t, events(
		assign("10.0.1.5", "eni:eni-a", "web"), `{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-2","ip":"10.9.0.7","owner":"eni:eni-b"}`+"\n",
		`{"v":1,"src":"f","op":"topology","from":T+0,"scope":"vpc-1","cidr":"10.9.0.0/16","to_scope":"vpc-2","owner":"pcx-1"}`+"\n"))
	of := &asked{}
	g, err := enrich.NewGate(w.enricher, of)
	if err != nil {
		t.Fatal(err)
	}
	in := decode(t, pkt, times(`
		eni-a 10.0.1.5 10.9.0.7 10.0.1.5 10.9.0.7 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK
		eni-a 10.0.1.5 10.9.0.7 10.0.1.5 10.9.0.7 40001 443 6 1 60 T+600 T+660 ACCEPT egress OK
		eni-a 10.0.1.5 198.51.100.7 10.0.1.5 198.51.100.7 40001 443 6 1 60 T+600 T+660 ACCEPT egress OK`, 1))
	if ok, _ := g.Complete(in, 42); ok {
		t.Error("complete, although told otherwise")
	}
	want := []metadata.Scope{w.store.Scope("vpc-1"), w.store.Scope("vpc-2"), metadata.Public}
	if diff := cmp.Diff(want, of.scopes); diff != "" || of.t != 42 {
		t.Errorf("t %d, scopes (-want +got):\n%s", of.t, diff)
	}
	if n := testing.AllocsPerRun(50, func() { g.Complete(in, 42) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestGateOverTheStore: the store's own answer opens the gate.
func TestGateOverTheStore(t *testing.T) {
	w := newWorld(t, events(assign("10.0.1.5", "eni:eni-a", "web"), `{"v":1,"src":"f","op":"progress","to":T+100}`+"\n"))
	g, err := enrich.NewGate(w.enricher, w.store)
	if err != nil {
		t.Fatal(err)
	}
	in := decode(t, pkt, times("eni-a 10.0.1.5 198.51.100.7 10.0.1.5 198.51.100.7 40001 443 6 1 60 T+600 T+660 ACCEPT egress OK", 1))
	need := int64(epoch+660) * 1000
	ok, changed := g.Complete(in, need)
	if ok {
		t.Fatal("complete before the source got there")
	}
	tell(t, w.store, events(`{"v":1,"src":"f","op":"progress","to":T+700}`))
	select {
	case <-changed:
	default:
		t.Error("progress was not told")
	}
	if ok, _ := g.Complete(in, need); !ok {
		t.Error("incomplete after the source got there")
	}
}
