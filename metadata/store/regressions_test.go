package store

import (
	"net/netip"
	"strings"
	"testing"

	"dredge/metadata"
)

// The errors that others made with identity over time, and where each is held:
//
//	late delete after re-use; release skewed to after the successor's assign    TestLateAndSkewedRelease
//	delete without an address                                                   kube TestLifeOfAPod
//	completed pod that still lists its address                                  kube TestCompletedPodGivesItsAddressBack
//	terminating pod and successor together                                      TestTerminatingPodAndSuccessor
//	page drift of a crawl; interface missing once from a crawl                  ec2 TestPageDriftReleasesNobody, TestMissingOnce
//	two listings of one scope at once                                           TestTwoListingsOfOneScope
//	re-list after the watch expired                                             kube TestGoneListsAnew
//	source that restarts with a new epoch                                       ec2 TestRestartWithANewEpoch, ecs TestRestart, kube TestClaimsOfAnEarlierRun
//	one address in two VPCs                                                     TestS5
//	secondary address taken for a primary one                                   TestSecondaryAddressSeenAsPrimary
//	Lambda interface shared by functions                                        TestLambdaInterface
//	hop through a NAT gateway                                                   TestNATInsideLeg

// A pod that is being terminated and the one that already has its address: each is named where it is alone, neither in between.
func TestTerminatingPodAndSuccessor(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {1, 0, 2}, {2, 1, 0}} {
		s := newStore(t)
		lines := []string{
			`{"op":"assign","src":"kube","scope":"vpc-1","ip":"10.0.0.1","owner":"pod-1","from":1000,"acc":4,"wl":{"app":"one"}}`,
			`{"op":"assign","src":"kube","scope":"vpc-1","ip":"10.0.0.1","owner":"pod-2","from":2000,"acc":4,"wl":{"app":"two"}}`,
			`{"op":"release","src":"kube","scope":"vpc-1","ip":"10.0.0.1","owner":"pod-1","to":2030,"acc":30}`,
		}
		for _, i := range order {
			give(t, s, lines[i])
		}
		give(t, s, `{"op":"progress","src":"kube","to":100000}`)
		expect(t, ask(s, "vpc-1", "10.0.0.1", 1500, 1560), "covered/interval pod-1 one")
		expect(t, ask(s, "vpc-1", "10.0.0.1", 1990, 2010), "ambiguous/second-owner")
		expect(t, ask(s, "vpc-1", "10.0.0.1", 2500, 2560), "covered/interval pod-2 two")
	}
}

// Two listings of one scope overlap, of two sources or of two lives of one: what one of them lacks is not released, and the end of
// either closes nobody's tenure.
func TestTwoListingsOfOneScope(t *testing.T) {
	for _, second := range []string{`"src":"ec2","epoch":2`, `"src":"other","epoch":1`} {
		s := newStore(t)
		first := `"src":"ec2","epoch":1`
		give(t, s,
			`{"op":"snap_begin",`+first+`,"scope":"vpc-1"}`,
			strings.Replace(assignA, `"src":"ec2"`, first, 1),
			`{"op":"snap_begin",`+second+`,"scope":"vpc-1"}`,
			strings.NewReplacer(`"src":"ec2"`, second, "10.0.0.1", "10.0.0.2").Replace(assignB),
			`{"op":"snap_end",`+first+`,"scope":"vpc-1"}`,
			`{"op":"snap_end",`+second+`,"scope":"vpc-1"}`,
			toldAll, strings.Replace(toldAll, `"src":"ec2"`, second, 1))
		expect(t, ask(s, "vpc-1", "10.0.0.1", 5000, 5060), "covered/interval eni:eni-a api")
		expect(t, ask(s, "vpc-1", "10.0.0.2", 5000, 5060), "covered/interval eni:eni-b web")
	}
}

// A secondary address that was taken for a primary one bridges silences that it should not, but never another owner's time.
func TestSecondaryAddressSeenAsPrimary(t *testing.T) {
	see := func(s *Store, eni string, at int64, isPrimary bool) {
		t.Helper()
		if !s.Observe(Sighting{Scope: s.InternScope("vpc-1"), ENI: eni, IP: netip.MustParseAddr("10.0.0.1"), Start: at * 1000, End: (at + 60) * 1000, Primary: isPrimary}) {
			t.Fatal("sighting refused")
		}
	}
	s := newStore(t)
	give(t, s, `{"op":"describe","src":"ec2","owner":"eni:eni-a","wl":{"app":"api"}}`, `{"op":"describe","src":"ec2","owner":"eni:eni-b","wl":{"app":"web"}}`)
	see(s, "eni-a", 1000, true)
	see(s, "eni-a", 9000, true)
	see(s, "eni-b", 5000, false) // moved there and back
	expect(t, ask(s, "vpc-1", "10.0.0.1", 5010, 5040), "confirmed/heartbeat eni:eni-b web")
	for _, at := range []int64{3000, 7000} {
		if got := ask(s, "vpc-1", "10.0.0.1", at, at+60); strings.HasPrefix(got, "confirmed") || strings.HasPrefix(got, "covered") {
			t.Errorf("at %d between the sightings of two interfaces: %s", at, got)
		}
	}
	// The control plane's claim of another counts as much.
	s = newStore(t)
	give(t, s, assignB, `{"op":"release","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-b","to":6000}`, `{"op":"describe","src":"ec2","owner":"eni:eni-a","wl":{"app":"api"}}`, toldAll)
	see(s, "eni-a", 1000, true)
	see(s, "eni-a", 9000, true)
	expect(t, ask(s, "vpc-1", "10.0.0.1", 4000, 4060), "covered/interval eni:eni-b web")
}

// A Lambda interface carries many functions: whatever is told of it, it names none of them.
func TestLambdaInterface(t *testing.T) {
	s := newStore(t)
	give(t, s, `{"op":"assign","src":"ec2","scope":"vpc-1","ip":"10.0.0.1","owner":"eni:eni-l","from":1000,"primary":true,"ep":{"kind":"lambda"},"wl":{"app":"my-function"}}`, toldAll)
	s.Observe(Sighting{Scope: s.Scope("vpc-1"), ENI: "eni-l", IP: netip.MustParseAddr("10.0.0.1"), Start: 2_000_000, End: 2_060_000, Primary: true})
	a := s.Lookup(s.Scope("vpc-1"), netip.MustParseAddr("10.0.0.1"), seconds(2000, 2060))
	if a.Grade.Names() || a.Reason != metadata.SharedInterface {
		t.Errorf("%+v", a)
	}
	if in, ok := s.LookupInterface("eni-l", seconds(2000, 2060)); !ok || !in.Shared || in.Grade.Names() {
		t.Errorf("%+v", in)
	}
}
