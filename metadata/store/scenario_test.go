package store

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"dredge/metadata"
	"dredge/metadata/event"

	"github.com/google/go-cmp/cmp"
)

// give applies events written as JSON Lines; seconds stand where milliseconds belong.
func give(t testing.TB, s *Store, lines ...string) {
	t.Helper()
	d := event.NewDecoder(strings.NewReader(strings.Join(lines, "\n")))
	for range lines {
		var e event.Event
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		e.From, e.To, e.Obs, e.Acc = e.From*1000, e.To*1000, e.Obs*1000, e.Acc*1000
		if err := s.Apply(&e); err != nil {
			t.Fatal(err)
		}
	}
}

func seconds(start, end int64) metadata.Window {
	return metadata.Window{Start: start * 1000, End: end * 1000}
}

// ask looks one address up and returns "grade/reason endpoint workload".
func ask(s *Store, scope, ip string, start, end int64) string {
	v := words(s, s.Lookup(s.Scope(scope), netip.MustParseAddr(ip), seconds(start, end)))
	return strings.Join(strings.Fields(strings.Join([]string{v.grade + "/" + v.reason, v.endpoint, v.workload}, " ")), " ")
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("answered %q, want %q", got, want)
	}
}

const (
	assignA = `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","from":1000,"wl":{"app":"api"}}`
	assignB = `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-b","from":2000,"wl":{"app":"web"}}`
	toldAll = `{"op":"progress","src":"ec2","to":100000}`
)

// TestS1 holds the row S1: assign, unassign and attach events of EC2, a container on an interface, a load balancer and an AWS service each give one
// tenure with its kind.
func TestS1(t *testing.T) {
	s := newStore(t)
	give(t, s,
		`{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-1","from":1000,"primary":true,"ep":{"kind":"instance","instance":"i-1"},"wl":{"app":"api"}}`,
		`{"op":"release","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-1","to":5000}`,
		`{"op":"assign","src":"ecs","scope":"vpc-1","ip":"10.0.0.2","owner":"arn:task/1","from":1000,"to":5000,"ep":{"kind":"task","eni":"eni-2"},"wl":{"app":"pay"}}`,
		`{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.3","owner":"eni:eni-3","from":1000,"to":5000,"ep":{"kind":"load_balancer"},"wl":{"app":"edge"}}`,
		`{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.4","owner":"eni:eni-4","from":1000,"to":5000,"ep":{"kind":"vpc_endpoint"},"wl":{"app":"aws-s3"}}`,
		toldAll)
	for _, c := range []struct{ ip, owner, kind, app string }{
		{"10.0.0.1", "eni:eni-1", "instance", "api"},
		{"10.0.0.2", "arn:task/1", "task", "pay"},
		{"10.0.0.3", "eni:eni-3", "load_balancer", "edge"},
		{"10.0.0.4", "eni:eni-4", "vpc_endpoint", "aws-s3"},
	} {
		ip := netip.MustParseAddr(c.ip)
		found, _ := s.intervals(s.Scope("vpc-1"), ip, 0)
		list := found.appendTo(nil)
		if len(list) != 1 || list[0].from != 1_000_000 || list[0].to != 5_000_000 {
			t.Errorf("%s: tenures %+v, want one from 1000 s to 5000 s", c.ip, list)
		}
		expect(t, ask(s, "vpc-1", c.ip, 3000, 3060), "covered/interval "+c.owner+" "+c.app)
		a := s.Lookup(s.Scope("vpc-1"), ip, seconds(3000, 3060))
		if got := s.Endpoint(a.Endpoint).Kind; got != c.kind {
			t.Errorf("%s: kind %q, want %q", c.ip, got, c.kind)
		}
	}
}

// TestS5 holds the row S5: the same address in two VPCs at one time.
func TestS5(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, strings.NewReplacer("vpc-1", "vpc-2", "eni-a", "eni-z", "api", "other").Replace(assignA), toldAll)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 3000, 3060), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-2", "10.0.0.1", 3000, 3060), "covered/interval eni:eni-z other")
	expect(t, ask(s, "vpc-3", "10.0.0.1", 3000, 3060), "unknown/scope-unknown")
}

// J1: a flow before and one after a handover name different owners.
func TestJ1(t *testing.T) {
	s := newStore(t)
	give(t, s, assignB, assignA, toldAll)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1500, 1560), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "covered/interval eni:eni-b web")
}

// J3, as far as the store goes: with the address feed withheld, traffic and a description name the interface's own address.
func TestJ3(t *testing.T) {
	s := newStore(t)
	give(t, s, `{"op":"describe","src":"ec2","owner":"eni:eni-a","from":500,"wl":{"app":"api"}}`)
	ip := netip.MustParseAddr("10.0.0.1")
	if !s.Observe(Sighting{Scope: s.InternScope("vpc-1"), ENI: "eni-a", IP: ip, Start: 1_000_000, End: 1_060_000, Primary: true}) {
		t.Fatal("sighting refused")
	}
	if own, isPrimary := s.InterfaceHas("eni-a", ip, seconds(1000, 1060)); !own || !isPrimary {
		t.Errorf("own %v primary %v", own, isPrimary)
	}
	in, ok := s.LookupInterface("eni-a", seconds(1000, 1060))
	if !ok || in.Grade != metadata.Confirmed || s.Workload(in.Workload).App != "api" || s.ScopeName(in.Scope) != "vpc-1" {
		t.Errorf("%+v", in)
	}
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1000, 1060), "confirmed/heartbeat eni:eni-a api")
}

// J5: the owner changes inside the flow.
func TestJ5(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, assignB, toldAll)
	a := s.Lookup(s.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1"), seconds(1990, 2010))
	want := verdict{grade: "ambiguous", reason: "second-owner", candidates: "eni:eni-a=api eni:eni-b=web"}
	if diff := cmp.Diff(want, words(s, a), cmp.AllowUnexported(verdict{})); diff != "" {
		t.Error(diff)
	}
	if app := s.Workload(a.CandidateWorkloads[1]).App; app != "web" || a.Others != 0 {
		t.Errorf("second candidate runs %q, %d others", app, a.Others)
	}
}

func TestFirstOwnerIsNamed(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, toldAll)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1000, 1005), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 999, 1005), "border/starts-before-owner eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 900, 905), "unknown/before-first-owner")
}

// The owner is dead and its address lives on, when a late crawl still lists it.
func TestDeadOwnerAndLateCrawl(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, `{"op":"release","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","to":1900}`, assignB,
		`{"op":"observe","src":"crawl","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","to":2300}`, toldAll)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1500, 1560), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2100, 2160), "covered/interval eni:eni-b web")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2290, 2310), "ambiguous/second-owner")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "stale/released eni:eni-a api")
	// The next crawl sees the living one again.
	give(t, s, `{"op":"observe","src":"crawl","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-b","to":2600}`)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "covered/interval eni:eni-b web")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 3000, 3060), "covered/interval eni:eni-b web")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2290, 2310), "ambiguous/second-owner")
}

func TestPodOnANodesInterface(t *testing.T) {
	s := newStore(t)
	give(t, s,
		`{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","from":1000,"ep":{"kind":"node"},"wl":{"app":"nodes","cluster":"prod"}}`,
		`{"op":"assign","src":"kube","scope":"vpc-1","ip":"10.0.0.1","owner":"pod-1","from":2000,"to":3000,"ep":{"kind":"pod","eni":"eni-a"},"wl":{"app":"cart"}}`,
		toldAll, `{"op":"progress","src":"kube","to":100000}`)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "covered/interval pod-1 cart")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1500, 1560), "unknown/shared-interface eni:eni-a nodes")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2990, 3010), "border/ends-after-owner pod-1 cart")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 3500, 3560), "unknown/shared-interface eni:eni-a nodes")
	in, _ := s.LookupInterface("eni-a", seconds(2500, 2560))
	if !in.Shared || in.Grade.Names() || s.Workload(in.Workload).Cluster != "prod" {
		t.Errorf("%+v", in)
	}
}

// The pod's end was lost, and its address went to another node.
func TestPodAddressMoves(t *testing.T) {
	s := newStore(t)
	give(t, s,
		`{"op":"assign","src":"kube","scope":"vpc-1","ip":"10.0.0.1","owner":"pod-1","from":2000,"wl":{"app":"cart"}}`,
		assignA, strings.Replace(assignB, "2000", "5000", 1), toldAll, `{"op":"progress","src":"kube","to":100000}`)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "covered/interval pod-1 cart")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 6000, 6060), "ambiguous/address-moved pod-1 cart")
}

func TestABAOnASecondaryAddress(t *testing.T) {
	s := newStore(t)
	give(t, s, strings.Replace(assignA, "1000", "3000", 1), toldAll, assignB, assignA)
	list, _ := s.intervals(s.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1"), 0)
	if len(list) != 3 {
		t.Errorf("tenures %+v, want three", list)
	}
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1500, 1560), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "covered/interval eni:eni-b web")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 3500, 3560), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1990, 3010), "ambiguous/second-owner")
}

// An address inside the local VPC's CIDRs is answered by that VPC or not at all; another one needs evidence.
func TestAddressOfAnotherVPC(t *testing.T) {
	fill := func(change ...func(*metadata.Config)) *Store {
		s := newStore(t, change...)
		give(t, s,
			`{"op":"assign","src":"ec2","scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1"}`,
			`{"op":"assign","src":"ec2","scope":"vpc-2","cidr":"10.0.0.0/15","owner":"vpc-2"}`,
			`{"op":"assign","src":"ec2","scope":"vpc-2","ip":"10.0.0.9","owner":"eni:eni-x","from":1000,"wl":{"app":"x"}}`,
			`{"op":"assign","src":"ec2","scope":"vpc-2","ip":"10.1.0.9","owner":"eni:eni-y","from":1000,"wl":{"app":"y"}}`,
			`{"op":"assign","src":"ec2","scope":"vpc-3","ip":"10.9.0.9","owner":"eni:eni-w","from":1000,"wl":{"app":"w"}}`)
		return s
	}
	covers := func(s *Store, ip string, want string) {
		t.Helper()
		sc, r := s.ScopeCovers(s.Scope("vpc-1"), netip.MustParseAddr(ip), seconds(5000, 5060))
		if got := s.ScopeName(sc) + "/" + r.String(); got != want {
			t.Errorf("%s is seen as %s, want %s", ip, got, want)
		}
	}
	s := fill()
	covers(s, "10.0.0.9", "vpc-1/local-cidr")
	expect(t, ask(s, "vpc-1", "10.0.0.9", 5000, 5060), "prefix/cidr")
	covers(s, "10.1.0.9", "/scope-unknown")
	covers(s, "8.8.8.8", "public/public-address")
	expect(t, ask(s, "public", "8.8.8.8", 5000, 5060), "public/public-address")
	peering := `{"op":"topology","src":"ec2","scope":"vpc-1","cidr":"10.1.0.0/16","to_scope":"vpc-2","via":"peering","owner":"pcx-1","from":2000}`
	give(t, s, peering, `{"op":"topology","src":"ec2","scope":"vpc-1","cidr":"10.0.0.0/8","to_scope":"vpc-9","owner":"tgw-1","from":2000}`)
	covers(s, "10.0.0.9", "vpc-1/local-cidr")
	covers(s, "10.1.0.9", "vpc-2/topology")
	give(t, s, `{"op":"topology","src":"ec2","scope":"vpc-1","cidr":"10.1.0.0/16","to_scope":"vpc-3","owner":"pcx-2","from":2000}`)
	covers(s, "10.1.0.9", "/scope-overlap")
	give(t, s, `{"op":"release","src":"ec2","scope":"vpc-1","cidr":"10.1.0.0/16","owner":"pcx-2","to":4000}`)
	covers(s, "10.1.0.9", "vpc-2/topology")

	u := fill(func(c *metadata.Config) { c.AddressSpace = metadata.Unique })
	covers(u, "10.9.0.9", "vpc-3/unique-space")
	covers(u, "10.0.0.9", "vpc-1/local-cidr")
	covers(u, "10.9.0.8", "/scope-unknown")
}

func TestQuickReuse(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, `{"op":"release","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","to":1990}`, assignB, toldAll)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1980, 1985), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1980, 1995), "border/ends-after-owner eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2005, 2010), "border/near-handover")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1985, 2010), "ambiguous/second-owner")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2051, 2060), "covered/interval eni:eni-b web") // 1990 s + 60 s + skew have passed
}

func TestOneWorkloadHandsOver(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, strings.Replace(assignB, "web", "api", 1), toldAll)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1990, 2010), "covered/one-workload api")
}

// The old owner's release is told long after the address has a new one, or with a clock that is ahead.
func TestLateAndSkewedRelease(t *testing.T) {
	for _, at := range []string{"2001", "9000"} {
		s := newStore(t)
		give(t, s, assignA, assignB, `{"op":"release","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-a","to":`+at+`}`, toldAll)
		expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "covered/interval eni:eni-b web")
		expect(t, ask(s, "vpc-1", "10.0.0.1", 9500, 9560), "covered/interval eni:eni-b web")
		expect(t, ask(s, "vpc-1", "10.0.0.1", 1500, 1560), "covered/interval eni:eni-a api")
	}
}

// The release was lost, traffic shows the new owner.
func TestTrafficEndsATenure(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, toldAll, `{"op":"describe","src":"ec2","owner":"eni:eni-b","from":1,"wl":{"app":"web"}}`)
	s.Observe(Sighting{Scope: s.Scope("vpc-1"), ENI: "eni-b", IP: netip.MustParseAddr("10.0.0.1"), Start: 5_000_000, End: 5_060_000, Primary: true})
	expect(t, ask(s, "vpc-1", "10.0.0.1", 4000, 4060), "covered/interval eni:eni-a api")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 5000, 5060), "border/near-handover") // the edge of what traffic showed is open by a minute
	expect(t, ask(s, "vpc-1", "10.0.0.1", 5500, 5560), "stale/released eni:eni-b web")
	s.Observe(Sighting{Scope: s.Scope("vpc-1"), ENI: "eni-b", IP: netip.MustParseAddr("10.0.0.1"), Start: 9_000_000, End: 9_060_000})
	expect(t, ask(s, "vpc-1", "10.0.0.1", 5500, 5560), "confirmed/heartbeat eni:eni-b web") // a primary address bridges the silence
}

// A NAT gateway passes other people's packets on: only its own address is its own.
func TestNATInsideLeg(t *testing.T) {
	s := newStore(t)
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-n","from":1000,"primary":true,"ep":{"kind":"nat_gateway"},"wl":{"app":"nat"}}`,
		`{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.7","owner":"eni:eni-i","from":1000,"sdc":true,"wl":{"app":"api"}}`,
		`{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.8","owner":"eni:eni-r","from":1000,"sdc":false}`)
	w := seconds(2000, 2060)
	for eni, want := range map[string][2]bool{"eni-n": {true, false}, "eni-i": {false, true}, "eni-r": {true, false}} {
		if in, ok := s.LookupInterface(eni, w); !ok || in.Forwarder != want[0] || in.SourceDestCheck != want[1] {
			t.Errorf("%s: %+v", eni, in)
		}
	}
	for ip, want := range map[string]bool{"10.0.0.1": true, "10.0.0.7": false, "8.8.8.8": false} {
		if own, _ := s.InterfaceHas("eni-n", netip.MustParseAddr(ip), w); own != want {
			t.Errorf("%s is the gateway's own: %v", ip, own)
		}
	}
	if _, ok := s.LookupInterface("eni-unheard-of", w); ok {
		t.Error("an interface nobody told of is known")
	}
}

// TestS7 holds the row S7: two workloads share a host address, and each is named by its port. The row calls an unknown port ambiguous;
// here it is unknown, with the reason that the address is shared (docs/design.md).
func TestS7(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA,
		`{"op":"assign","src":"ecs","scope":"vpc-1","ip":"10.0.0.1","owner":"task-1","proto":6,"port":8080,"from":1000,"wl":{"app":"one"}}`,
		`{"op":"assign","src":"ecs","scope":"vpc-1","ip":"10.0.0.1","owner":"task-2","proto":6,"port":8081,"from":1000,"wl":{"app":"two"}}`,
		toldAll, `{"op":"progress","src":"ecs","to":100000}`)
	ip, sc := netip.MustParseAddr("10.0.0.1"), s.Scope("vpc-1")
	for port, want := range map[uint16]string{8080: "one", 8081: "two"} {
		if a := s.LookupPort(sc, ip, 6, port, seconds(2000, 2060)); a.Grade != metadata.Covered || s.Workload(a.Workload).App != want {
			t.Errorf("port %d: %+v", port, a)
		}
		if !s.Listens(sc, ip, 6, port, seconds(2000, 2060)) {
			t.Errorf("nobody listens on %d", port)
		}
	}
	if a := s.LookupPort(sc, ip, 6, 9999, seconds(2000, 2060)); a.Grade.Names() || a.Reason != metadata.SharedInterface {
		t.Errorf("%+v", a)
	}
	expect(t, ask(s, "vpc-1", "10.0.0.1", 2000, 2060), "unknown/shared-interface eni:eni-a api")
}

func TestDelegatedPrefix(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, `{"op":"assign","src":"ec2","scope":"vpc-1","cidr":"10.0.8.0/28","owner":"eni:eni-a","from":1000}`, toldAll)
	expect(t, ask(s, "vpc-1", "10.0.8.3", 2000, 2060), "unknown/shared-interface eni:eni-a api")
	if own, isPrimary := s.InterfaceHas("eni-a", netip.MustParseAddr("10.0.8.3"), seconds(2000, 2060)); !own || isPrimary {
		t.Errorf("own %v primary %v", own, isPrimary)
	}
}

func TestListenAndCoverage(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA,
		`{"op":"describe","src":"ec2","owner":"eni:eni-a","from":2000,"listen":[{"proto":6,"port":443},{"proto":17,"port":53}]}`,
		`{"op":"describe","src":"ec2","owner":"eni:eni-a","from":3000,"listen":[{"proto":6,"port":80}]}`,
		`{"op":"coverage","src":"ec2","scope":"vpc-1","prefix":"10.0.0.0/8","logged":true,"actions":"REJECT","from":1000}`,
		`{"op":"coverage","src":"ec2","scope":"vpc-1","prefix":"10.0.0.0/24","logged":true,"from":2000,"to":4000}`,
		`{"op":"coverage","src":"ec2","scope":"vpc-1","prefix":"10.0.0.0/30","logged":false,"from":3000}`,
		`{"op":"coverage","src":"conf","prefix":"0.0.0.0/0"}`)
	sc, ip := s.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		proto uint8
		port  uint16
		at    int64
		want  bool
	}{{6, 443, 1500, false}, {6, 443, 2500, true}, {17, 53, 2500, true}, {6, 53, 2500, false}, {6, 443, 3500, false}, {6, 80, 3500, true}} {
		if got := s.Listens(sc, ip, c.proto, c.port, seconds(c.at, c.at)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for _, c := range []struct {
		scope, ip      string
		at             int64
		accept, reject bool
	}{
		{"vpc-1", "10.0.0.1", 1500, false, true},
		{"vpc-1", "10.0.0.1", 2500, true, true},
		{"vpc-1", "10.0.0.1", 3500, false, false},
		{"vpc-1", "10.0.0.200", 4500, false, true},
		{"vpc-1", "192.168.0.1", 1500, true, true},
		{"vpc-2", "10.0.0.1", 1500, true, true},
		{"vpc-1", "fd00::1", 1500, false, false},
		{"vpc-1", "10.0.0.1", 500, true, true},
	} {
		ip := netip.MustParseAddr(c.ip)
		if a, r := s.Covered(s.Scope(c.scope), ip, false, seconds(c.at, c.at)), s.Covered(s.Scope(c.scope), ip, true, seconds(c.at, c.at)); a != c.accept || r != c.reject {
			t.Errorf("%+v: accept %v reject %v", c, a, r)
		}
	}
}

func TestPrefix(t *testing.T) {
	s := newStore(t)
	give(t, s,
		`{"op":"assign","src":"f","cidr":"192.168.0.0/16","ep":{"kind":"site","name":"office"}}`,
		`{"op":"assign","src":"f","scope":"vpc-1","cidr":"10.0.0.0/16","owner":"vpc-1","ep":{"kind":"vpc","name":"prod"}}`,
		`{"op":"assign","src":"f","scope":"vpc-1","cidr":"10.0.1.0/24","owner":"subnet-1","ep":{"kind":"subnet","subnet":"subnet-1"}}`)
	for ip, want := range map[string]metadata.PrefixInfo{
		"192.168.3.4": {CIDR: netip.MustParsePrefix("192.168.0.0/16"), Name: "office", Site: "office"},
		"10.0.2.3":    {CIDR: netip.MustParsePrefix("10.0.0.0/16"), Name: "prod", Scope: "vpc-1"},
		"10.0.1.3":    {CIDR: netip.MustParsePrefix("10.0.1.0/24"), Name: "subnet-1", Scope: "vpc-1"},
		"172.16.0.1":  {},
	} {
		got, ok := s.Prefix(s.InternScope("vpc-1"), netip.MustParseAddr(ip), seconds(2000, 2060))
		if got != want || ok != (want != metadata.PrefixInfo{}) {
			t.Errorf("%s: %+v %v, want %+v", ip, got, ok, want)
		}
	}
	expect(t, ask(s, "vpc-1", "192.168.3.4", 2000, 2060), "prefix/cidr")
}

// A network is what it was when the flow began: one that was given back, taken over or renamed since then keeps its old name there.
func TestPrefixAtTheTime(t *testing.T) {
	s := newStore(t)
	give(t, s,
		`{"op":"assign","src":"f","cidr":"192.168.0.0/16","owner":"net-1","from":1000,"ep":{"kind":"site","name":"berlin"}}`,
		`{"op":"release","src":"f","cidr":"192.168.0.0/16","owner":"net-1","to":2000}`,
		`{"op":"assign","src":"f","cidr":"192.168.0.0/16","owner":"net-2","from":3000,"ep":{"kind":"site","name":"paris"}}`,
		`{"op":"assign","src":"f","cidr":"192.168.0.0/16","owner":"net-2","from":4000,"ep":{"kind":"site","name":"lyon"}}`)
	for at, want := range map[int64]string{900: "", 1000: "berlin", 1999: "berlin", 2000: "", 3000: "paris", 4000: "lyon", 9000: "lyon"} {
		got, ok := s.Prefix(s.InternScope("vpc-1"), netip.MustParseAddr("192.168.3.4"), seconds(at, at+60))
		if got.Site != want || ok != (want != "") {
			t.Errorf("at %d: %+v %v, want %q", at, got, ok, want)
		}
	}
}

// An owner that stayed while what runs there changed could mean either workload, and so could each of several owners: all are
// candidates, up to four.
func TestCandidatesOfAChange(t *testing.T) {
	s := newStore(t)
	give(t, s, assignA, toldAll,
		`{"op":"describe","src":"ec2","owner":"eni:eni-a","from":3000,"wl":{"app":"web"}}`,
		`{"op":"describe","src":"ec2","owner":"eni:eni-a","from":3010,"wl":{"app":"api"}}`,
		`{"op":"describe","src":"ec2","owner":"eni:eni-a","from":3020,"wl":{"app":"cart"}}`)
	in := func(start, end int64) string {
		a := s.Lookup(s.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1"), seconds(start, end))
		out := a.Grade.String() + "/" + a.Reason.String()
		for i, c := range a.Candidates {
			if c != 0 {
				out += " " + s.Endpoint(c).Owner + "=" + s.Workload(a.CandidateWorkloads[i]).App
			}
		}
		return out + strings.Repeat(" +1", int(a.Others))
	}
	expect(t, in(2900, 2910), "covered/interval")
	expect(t, in(2990, 3005), "ambiguous/workload-changed eni:eni-a=api eni:eni-a=web")
	expect(t, in(2990, 3030), "ambiguous/workload-changed eni:eni-a=api eni:eni-a=web eni:eni-a=cart")
	expect(t, in(3050, 3060), "border/workload-changed eni:eni-a=api eni:eni-a=web eni:eni-a=cart")
	expect(t, in(3090, 3100), "covered/interval")
	iface, ok := s.LookupInterface("eni-a", seconds(2990, 3005))
	if !ok || iface.Reason != metadata.WorkloadChanged || s.Workload(iface.Ran[0]).App != "api" || s.Workload(iface.Ran[1]).App != "web" || iface.Ran[2] != 0 {
		t.Errorf("%+v", iface)
	}
	// Beside another owner all workloads are named, those of the flow's start first; what finds no room is counted.
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-b","from":3015,"wl":{"app":"ledger"}}`)
	expect(t, in(3000, 3030), "ambiguous/second-owner eni:eni-a=web eni:eni-b=ledger eni:eni-a=api")
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-c","from":3018,"wl":{"app":"search"}}`)
	expect(t, in(2990, 3030), "ambiguous/second-owner eni:eni-a=api eni:eni-b=ledger eni:eni-c=search eni:eni-a=web")
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-d","from":3020,"wl":{"app":"mail"}}`)
	expect(t, in(2990, 3030), "ambiguous/second-owner eni:eni-a=api eni:eni-b=ledger eni:eni-c=search eni:eni-d=mail +1")
}

// Global IPv6 is one scope, whatever VPC told it: who tells an address of it tells that scope, so its progress counts there. Progress
// over single VPCs says nothing of the whole world.
func TestGlobalIPv6(t *testing.T) {
	s := newStore(t)
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"2600:1F18:0::1","owner":"eni:eni-6","from":1000,"wl":{"app":"six"}}`,
		`{"op":"progress","src":"ec2","scope":"vpc-1","to":100000}`)
	expect(t, ask(s, "vpc-1", "2600:1f18::1", 2000, 2060), "covered/interval eni:eni-6 six")
	expect(t, ask(s, "public", "2600:1f18::1", 2000, 2060), "provisional/no-watermark eni:eni-6 six")
	give(t, s, `{"op":"progress","src":"ec2","to":100000}`)
	expect(t, ask(s, "public", "2600:1f18::1", 2000, 2060), "covered/interval eni:eni-6 six")
	// Another source that tells such addresses holds the scope back as well.
	give(t, s, `{"op":"progress","src":"kube","to":1500}`, `{"op":"assign","src":"kube","scope":"vpc-2","ip":"2600:1f18::2","owner":"pod-6","from":1000}`)
	expect(t, ask(s, "public", "2600:1f18::1", 2000, 2060), "provisional/watermark-behind eni:eni-6 six")
	if sc, r := s.ScopeCovers(s.InternScope("vpc-2"), netip.MustParseAddr("2600:1f18::1"), seconds(2000, 2060)); sc != metadata.Public {
		t.Errorf("%v %v", sc, r)
	}
}

func TestRetention(t *testing.T) {
	s := newStore(t, func(c *metadata.Config) { c.Retention = time.Hour })
	give(t, s, assignA, assignB, toldAll, strings.NewReplacer("10.0.0.1", "10.0.0.2", "2000", "90000").Replace(assignB))
	before := s.Size()
	s.Trim(time.UnixMilli(100_000_000))
	expect(t, ask(s, "vpc-1", "10.0.0.1", 1500, 1560), "unknown/before-retention")
	expect(t, ask(s, "vpc-1", "10.0.0.1", 99_000, 99_060), "covered/interval eni:eni-b web")
	if after := s.Size(); after.Tenures != before.Tenures-1 {
		t.Errorf("%+v became %+v, want one tenure less", before, after)
	}
}
