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

// TestRunCacheAnswersForNothingElse: the run cache of an interface's address answers for that interface, that address and
// the time that was looked up, and for nothing else. Each case warms it with a run of records and then asks something next to it.
func TestRunCacheAnswersForNothingElse(t *testing.T) {
	const begins, gone = 300, 1200
	w := newWorld(t, events(
		strings.Replace(assign("10.0.1.5", "eni:eni-a", "web"), "T+0", fmt.Sprintf("T+%d", begins), 1),
		fmt.Sprintf(`{"v":1,"src":"f","op":"release","to":T+%d,"scope":"vpc-1","ip":"10.0.1.5","owner":"eni:eni-a"}`+"\n", gone),
		assign("10.0.2.6", "eni:eni-b", "db"), progress))
	line := func(eni, src, dst string, start, end int) string {
		return fmt.Sprintf("2 1 %s %s %s 40000 443 6 1 60 T+%d T+%d ACCEPT OK\n", eni, src, dst, start, end)
	}
	run := strings.Repeat(line("eni-a", "10.0.1.5", "10.9.9.9", 700, 710), 3)
	for _, c := range []struct{ name, line, want string }{
		{"the same again", line("eni-a", "10.0.1.5", "10.9.9.9", 700, 710), "egress"},
		{"near by", line("eni-a", "10.0.1.5", "10.9.9.9", 800, 820), "egress"},
		{"the other way", line("eni-a", "10.9.9.9", "10.0.1.5", 700, 710), "ingress"},
		{"another interface", line("eni-b", "10.0.1.5", "10.0.2.6", 700, 710), "ingress"},
		{"another address", line("eni-a", "10.0.1.6", "10.9.9.9", 700, 710), "unknown"},
		{"after it went", line("eni-a", "10.0.1.5", "10.9.9.9", gone+10, gone+20), "unknown"},
		{"before it came", line("eni-a", "10.0.1.5", "10.9.9.9", begins-20, begins-10), "unknown"},
		{"beginning inside, ending after it went", line("eni-a", "10.0.1.5", "10.9.9.9", 710, gone+10), "unknown"},
		{"beginning before it came, ending inside", line("eni-a", "10.0.1.5", "10.9.9.9", begins-10, 700), "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows := w.rows(t, v2, times(run+c.line, 1))
			if got := fmt.Sprint(rows[len(rows)-1]["direction"]); got != c.want {
				t.Errorf("direction %s, want %s", got, c.want)
			}
		})
	}
	// At the borders themselves: what holds around a record is looked up around it, not only at it.
	for at, want := range map[int]string{begins + 1: "egress", begins - 1: "unknown", gone - 12: "egress", gone - 8: "unknown"} {
		near := strings.Repeat(line("eni-a", "10.0.1.5", "10.9.9.9", max(at, begins)+5, max(at, begins)+6), 3)
		if at > 700 {
			near = strings.Repeat(line("eni-a", "10.0.1.5", "10.9.9.9", gone-30, gone-25), 3)
		}
		rows := w.rows(t, v2, times(near+line("eni-a", "10.0.1.5", "10.9.9.9", at, at+10), 1))
		if got := fmt.Sprint(rows[len(rows)-1]["direction"]); got != want {
			t.Errorf("at %d: direction %s, want %s", at, got, want)
		}
	}
}
