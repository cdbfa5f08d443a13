package enrich_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRunOfOneInterfaceSeesItsAddressGo: the records of one interface come in a run, and what was found for one is taken for
// its neighbours only as long as it must hold. Here the interface loses its address in the middle of the run.
func TestRunOfOneInterfaceSeesItsAddressGo(t *testing.T) {
	const gone = 1200
	w := newWorld(t, events(
		assign("10.0.1.5", "eni:eni-a", "web"),
		fmt.Sprintf(`{"v":1,"src":"f","op":"release","to":T+%d,"scope":"vpc-1","ip":"10.0.1.5","owner":"eni:eni-a"}`+"\n", gone),
		progress))
	var lines []string
	var want []string
	for start := gone - 600; start < gone+600; start += 20 {
		lines = append(lines, fmt.Sprintf("2 1 eni-a 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+%d T+%d ACCEPT OK", start, start+10))
		if direction := "egress"; start+10 < gone {
			want = append(want, direction)
		} else {
			want = append(want, "unknown")
		}
	}
	var got []string
	for _, r := range w.rows(t, v2, times(strings.Join(lines, "\n"), 1)) {
		got = append(got, fmt.Sprint(r["direction"]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
