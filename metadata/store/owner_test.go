package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"dredge/metadata"
	"dredge/metadata/event"
)

// What lies beside an owner's handle says the same as its facts, however often and in whatever order things were told.
func TestOwnerAgreesWithItsFacts(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 2))
	maybe := func() *bool {
		switch r.IntN(3) {
		case 0:
			return nil
		case 1:
			return new(bool)
		default:
			b := true
			return &b
		}
	}
	kinds := []string{"", "instance", "node", "nat_gateway", "lambda"}
	seen := map[metadata.Interface]bool{}
	for range 2000 {
		s := newStore(t)
		for range 1 + r.IntN(3) {
			e := event.Event{Op: event.Describe, Src: "ec2", Owner: "eni:eni-1", From: int64(1 + r.IntN(50)*10_000), SDC: maybe(), Shared: maybe(), Forwarder: maybe()}
			if r.IntN(2) == 0 {
				e.EP = &event.Endpoint{Kind: kinds[r.IntN(len(kinds))]}
			}
			if r.IntN(2) == 0 || e.EP == nil && e.SDC == nil && e.Shared == nil && e.Forwarder == nil {
				e.WL = &event.Workload{App: "api"}
			}
			if err := s.Apply(&e); err != nil {
				t.Fatal(err)
			}
		}
		w := metadata.Window{Start: int64(r.IntN(600_000)) + 61_000}
		w.End = w.Start + 10_000
		got, ok := s.LookupInterface("eni-1", w)
		f := s.owners.facts(s.owners.names.get("", "eni:eni-1"))
		if !ok || got.Kind != f.ep.Kind || got.Shared != f.shared(w.Start) || got.Forwarder != f.forwards(w.Start) || got.SourceDestCheck != (f.sdc(w.Start) == toldYes) {
			t.Fatalf("%+v, although the facts are %+v %+v", got, f, f.more)
		}
		if (got.Reason == metadata.SharedInterface) != f.shared(w.Start) {
			t.Fatalf("%+v, shared: %v", got, f.shared(w.Start))
		}
		seen[metadata.Interface{Shared: got.Shared, Forwarder: got.Forwarder, SourceDestCheck: got.SourceDestCheck}] = true
	}
	if len(seen) < 8 {
		t.Errorf("only %d kinds of interfaces occurred", len(seen))
	}
}

// Knowing an owner's only address saves look-ups and changes no answer: after events, sightings and a snapshot.
func TestSoleAddressChangesNoAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 4))
	ips := []string{"10.0.0.1", "10.0.0.2", "52.1.2.3", "fd00::1", "2600:1f18::1"}
	scopes := []string{"vpc-1", "vpc-2", publicScope}
	yes, skipped := 0, 0
	for range 100 {
		s := newStore(t)
		for range 1 + r.IntN(12) {
			eni, ip, scope, from := fmt.Sprint("eni-", r.IntN(4)), ips[r.IntN(len(ips))], scopes[r.IntN(len(scopes))], int64(1+r.IntN(20))*100_000
			if r.IntN(3) == 0 {
				s.Observe(Sighting{Scope: s.InternScope(scope), ENI: eni, IP: netip.MustParseAddr(ip), Start: from, End: from + 60_000, Primary: r.IntN(2) == 0})
				continue
			}
			e := event.Event{Op: event.Assign, Src: "ec2", Scope: scope, IP: ip, Owner: "eni:" + eni, From: from}
			if r.IntN(4) == 0 {
				e.Op, e.From, e.To = event.Release, 0, from
			}
			if err := s.Apply(&e); err != nil {
				t.Fatal(err)
			}
		}
		again := newStore(t)
		if err := again.ReadSnapshot(bytes.NewReader(snapshotOf(t, s))); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Store{s, again} {
			type question struct{ eni, ip, at int }
			type answer struct{ own, primary bool }
			said := map[question]answer{}
			for pass := range 2 {
				for eni := range 4 {
					h := s.owners.names.get(eniPrefix, fmt.Sprint("eni-", eni))
					if h != 0 && pass == 1 {
						if s.owners.list.at(h).sole.Swap(soleNone) != soleNone {
							skipped++
						}
					}
					for ip := range ips {
						for at := range 22 {
							start := int64(at) * 100_000
							own, primary := s.InterfaceHas(fmt.Sprint("eni-", eni), netip.MustParseAddr(ips[ip]), metadata.Window{Start: start, End: start + 10_000})
							q, a := question{eni, ip, at}, answer{own, primary}
							if pass == 0 {
								said[q] = a
							} else if said[q] != a {
								t.Fatalf("eni-%d %s at %d: %+v, without the short cut %+v", eni, ips[ip], at, said[q], a)
							}
							if own {
								yes++
							}
						}
					}
				}
			}
		}
	}
	if yes < 1000 || skipped < 50 {
		t.Errorf("%d addresses were held, %d owners had one address: too few to tell anything", yes, skipped)
	}
}
