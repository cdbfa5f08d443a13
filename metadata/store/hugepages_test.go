package store

import (
	"sync"
	"testing"

	"dredge/metadata"
	"dredge/metadata/event"
)

// TestHugePages: nobody who looks up or tells notices that the tables' memory is moved, nothing is lost, and more is never said to be in
// huge pages than the tables have. On a system without them the rest still holds.
func TestHugePages(t *testing.T) {
	const addresses, versions = 20_000, 2
	s, still := estate(t, addresses, versions), estate(t, addresses, versions)
	e := event.Event{Op: event.Assign, Src: "bench", Scope: "vpc-1", From: (versions + 1) * 600_000, WL: &event.Workload{App: "late"}}
	tell := func(s *Store) {
		for i := range addresses / 10 {
			e := e
			e.IP, e.Owner = benchIP(i*10).String(), "eni:eni-late"
			if err := s.Apply(&e); err != nil {
				t.Error(err)
			}
		}
	}
	tell(still)
	sc, w := s.Scope("vpc-1"), metadata.Window{Start: 900_000, End: 930_000}
	var both sync.WaitGroup
	both.Go(func() { tell(s) })
	both.Go(func() {
		for i := range addresses {
			if a := s.Lookup(sc, benchIP(i), w); !a.Grade.Names() {
				t.Errorf("address %d is %s", i, a.Grade)
				return
			}
		}
	})
	var most int
	for range 20 {
		most = max(most, s.HugePages())
	}
	both.Wait()
	if s.Hash() != still.Hash() {
		t.Error("the store knows something else than one whose memory was not moved")
	}
	t.Logf("%d bytes in huge pages, tables have %d", most, s.Size().TableBytes)
	if whole := s.Size().TableBytes + addresses*versions*256; most > whole/3*4 { // a block is filled to three quarters at least
		t.Errorf("%d bytes in huge pages for tables of %d", most, whole)
	}
	if want, got := s.HugePages(), s.hugeBytes.Load(); got != int64(want) {
		t.Errorf("the metric has %d; want %d", got, want)
	}

	cfg := metadata.DefaultConfig()
	cfg.HugePages = false
	s.cfg = cfg
	if got := s.HugePages(); got != 0 {
		t.Errorf("%d bytes, though huge_pages is off", got)
	}
}
