package store

import (
	"math/rand/v2"
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
