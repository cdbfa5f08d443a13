package kafka

import (
	"testing"

	"dredge/sink/sinktest"
)

// An operator moves a shard back while a worker has it: the worker is fenced and told to go on from there, and what lies behind is
// committed a second time. Moving the lease alone would change nothing, since the later position wins.
func TestSetPosition(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p, operator := s.process("one"), s.process("operator")
		defer p.Close()
		defer operator.Close()
		name, err := p.leases.Name(t.Context(), shard0)
		if err != nil {
			t.Fatal(err)
		}
		if at, found, err := operator.Position(t.Context(), name); err != nil || found {
			t.Errorf("Position of a shard without a record = %q, %v, %v", at, found, err)
		}
		a := s.open(p, shard0, "")
		for range 3 {
			a.must(a.write())
		}
		a.must(a.Flush(t.Context()))
		a.must(a.write()) // is open when the operator comes

		if at, found, err := operator.Position(t.Context(), name); err != nil || !found || at != sinktest.Position(3) {
			t.Errorf("Position = %q, %v, %v", at, found, err)
		}
		if err := operator.SetPosition(t.Context(), name, sinktest.Position(1)); err != nil {
			t.Fatal(err)
		}
		s.rewound(a, sinktest.Position(1))
		a = s.open(p, shard0, sinktest.Position(1))
		a.must(a.write())
		a.must(a.Flush(t.Context()))
		a.must(a.Close(t.Context()))
		again := map[sinktest.RowID]int{}
		for _, id := range s.rows() {
			again[id]++
		}
		for id, n := range again {
			if want := map[bool]int{true: 2, false: 1}[id.Position == sinktest.Position(2)]; n != want {
				t.Errorf("row %s is committed %d times, want %d", id, n, want)
			}
		}
		// "" leaves the lease to say where to begin: no adopting is needed.
		if err := operator.SetPosition(t.Context(), name, ""); err != nil {
			t.Fatal(err)
		}
		s.table.checkpoint(shard0, sinktest.Position(2))
		a = s.open(p, shard0, "")
		a.must(a.Close(t.Context()))
	})
}

// A shard that came from another mode is adopted alone, without a setting for all.
func TestAdoptOneShard(t *testing.T) {
	bubble(t, func(t *testing.T, s *txStage) {
		p := s.process("one")
		defer p.Close()
		s.table.checkpoint(shard0, sinktest.Position(5))
		s.table.checkpoint("shard-1", sinktest.Position(5))
		name, err := p.leases.Name(t.Context(), shard0)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.SetPosition(t.Context(), name, sinktest.Position(5)); err != nil {
			t.Fatal(err)
		}
		a := s.open(p, shard0, sinktest.Position(5))
		a.must(a.Close(t.Context()))
		if _, _, err := p.Open(t.Context(), "shard-1"); !permanentWith(err, "dredge leases checkpoint adopt") {
			t.Errorf("Open = %v, want a refusal that names the command", err)
		}
	})
}
