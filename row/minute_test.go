package row_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/row"
)

func TestSumsCountOnlyWhatCounts(t *testing.T) {
	var s row.Sums
	s.Add(&row.Row{Bytes: 100, Packets: 2, Counted: true})
	s.Add(&row.Row{Bytes: 90, Packets: 1})
	s.Add(&row.Row{Bytes: 7, Packets: 3, Counted: true, Missing: row.MissingBytes | row.MissingPackets})
	want := row.Sums{Bytes: 100, Packets: 2, Flows: 2, BytesObserved: 190, PacketsObserved: 3, FlowsObserved: 3, RowsIn: 3}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A counter at the end of its range, of a broken recorder or of a sampled row, must not turn a sum negative.
func TestSumsStayAtTheLargest(t *testing.T) {
	var s row.Sums
	for range 3 {
		s.Add(&row.Row{Bytes: math.MaxInt64, Packets: math.MaxInt64 - 1, Counted: true})
	}
	const most = math.MaxInt64
	want := row.Sums{Bytes: most, Packets: most, Flows: 3, BytesObserved: most, PacketsObserved: most, FlowsObserved: 3, RowsIn: 3}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMinuteOf(t *testing.T) {
	for start, want := range map[int64]int64{0: 0, 59_999: 0, 60_000: 60_000, 61_234: 60_000, -1: -60_000, -60_000: -60_000} {
		if got := row.MinuteOf(&row.Row{Start: start, End: start + 100_000}); got != want {
			t.Errorf("start %d: minute %d, want %d", start, got, want)
		}
	}
}

func TestMinuteDimensions(t *testing.T) {
	c := row.DefaultConfig()
	c.MinuteDimensions = []string{"dst_app", "src_app", "action"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	want := []string{"time", "src_app", "dst_app", "action", "flows", "bytes", "packets", "bytes_observed", "packets_observed", "flows_observed", "rows_in"}
	if diff := cmp.Diff(want, names(c.Columns(row.Minute))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for text, dims := range map[string][]string{
		`"src_ip" is no column of rolled-up rows`: {"action", "src_ip"},
		`"row_id" is no column`:                   {"action", "row_id"},
		`"bytes" is a measure`:                    {"action", "bytes"},
		`"path" stands twice`:                     {"action", "path", "path"},
		`"action" is missing`:                     {"path"},
	} {
		c.MinuteDimensions = dims
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: %v does not say %s", dims, err, text)
		}
	}
}

func TestSetsThatDimensionsNeed(t *testing.T) {
	c := row.Config{Time: row.AtStart}
	if got := c.NeededSets(); len(got) > 0 {
		t.Errorf("by default rolled-up rows need %v", got)
	}
	c.ColumnSets, c.MinuteDimensions = []row.Set{row.Lineage}, []string{"action", "dst_country", "src_asn"}
	if diff := cmp.Diff([]row.Set{row.Lineage, row.Public}, c.NeededSets()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
