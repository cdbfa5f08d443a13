package pipeline

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/row"
)

func TestCheckSaysWhichSideIsOff(t *testing.T) {
	balanced := func() Snapshot {
		return Snapshot{
			Lines: 20, Rejected: map[string]int64{"field_count": 3}, Skipped: map[string]int64{SkippedNoData: 2}, Decoded: 15,
			Delivered: 5, Dropped: map[string]int64{DroppedByEnricher: 1}, DeadLettered: map[string]int64{"too_large": 2},
			Abandoned: map[string]int64{AbandonedRewind: 3}, InFlight: 4,
		}
	}
	f := func(change func(*Snapshot), words ...string) {
		t.Helper()
		s := balanced()
		change(&s)
		err := s.Check()
		if len(words) == 0 && err != nil {
			t.Errorf("Check = %v", err)
		}
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("Check = %v, want %q", err, w)
			}
		}
	}
	f(func(*Snapshot) {})
	f(func(s *Snapshot) { s.Lines++ }, "lines 21", "rejected 3", "1 lines vanished")
	f(func(s *Snapshot) { s.Skipped[SkippedNoData] += 4 }, "4 lines from nowhere")
	f(func(s *Snapshot) { s.Delivered -= 2 }, "decoded 15", "delivered 3", "2 lines vanished")
	f(func(s *Snapshot) { s.Delivered += 5; s.InFlight -= 5 }, "in flight is -1: lines ended twice")
	s := balanced()
	if err := s.CheckAtRest(); err == nil || !strings.Contains(err.Error(), "4 lines in flight at rest") {
		t.Errorf("CheckAtRest = %v", err)
	}
}

// Rows that the sink dead-letters are not delivered, and never more than there were.
func TestSinkLettersAreNotDelivered(t *testing.T) {
	b := newBooks(nil)
	b.decoded(&tally{lines: 10, decoded: 10})
	b.delivered(6, map[string]int64{"too_large": 2})
	b.delivered(4, map[string]int64{"too_large": 9})
	s := b.Snapshot()
	if s.Delivered != 4 || s.DeadLettered["too_large"] != 6 {
		t.Errorf("books: %+v", s)
	}
	if err := s.CheckAtRest(); err != nil {
		t.Error(err)
	}
}

// An enricher that names the rules gets an account for each; what it doesn't name stays with the enricher.
func TestDroppedRowsAreCountedByRule(t *testing.T) {
	b := newBooks([]string{"one", "two", "never"})
	b.decoded(&tally{lines: 10, decoded: 10})
	b.dropped([]row.Dropped{{Rule: "one", Rows: 3}, {Rule: "two", Rows: 1}}, 6)
	b.delivered(4, nil)
	s := b.Snapshot()
	want := map[string]int64{"one": 3, "two": 1, "never": 0, DroppedByEnricher: 2}
	if diff := cmp.Diff(want, s.Dropped); diff != "" {
		t.Error(diff)
	}
	if err := s.CheckAtRest(); err != nil {
		t.Error(err)
	}
}
