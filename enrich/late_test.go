package enrich_test

import (
	"fmt"
	"testing"
	"time"

	"dredge/enrich"
	"dredge/row"
)

// Arrival is at T+900 in these batches.
func TestLateRows(t *testing.T) {
	w := newWorld(t, "", func(c *enrich.Config, _ *enrich.Deps) { c.LateAfter = 15 * time.Minute })
	in := decode(t, "interface-id srcaddr dstaddr start end", times(`
		eni-1 10.0.0.1 10.0.0.2 T+0 T+60
		eni-1 10.0.0.1 10.0.0.2 T+600 T+660`, 1))
	in.Records[0].Start--
	var out row.Batch
	w.enricher.Enrich(in, &out)
	if !out.Rows[0].Late || out.Rows[1].Late {
		t.Errorf("late: %v %v, want the first only", out.Rows[0].Late, out.Rows[1].Late)
	}
	expectCounter(t, w, "dredge_enrich_late_rows_total", 1)

	never := newWorld(t, "")
	out.Reset()
	never.enricher.Enrich(in, &out)
	if out.Rows[0].Late {
		t.Error("late, although nothing is")
	}
}

// A record may lack one of its times, or both: the row has the one that is there, and does not make up the other.
func TestMissingTimesAreLeftOut(t *testing.T) {
	w := newWorld(t, "")
	got := w.rows(t, "srcaddr dstaddr start end", times("10.0.0.1 10.0.0.2 T+600 T+660\n10.0.0.1 10.0.0.2 T+600 -\n10.0.0.1 10.0.0.2 - T+660\n10.0.0.1 10.0.0.2 - -", 1))
	start, end, arrived := fmt.Sprint((epoch+600)*1000), fmt.Sprint((epoch+660)*1000), fmt.Sprint((epoch+900)*1000)
	for i, want := range []string{start + " " + start + " " + end, start + " " + start + " <nil>", end + " <nil> " + end, arrived + " <nil> <nil>"} {
		if has := fmt.Sprintf("%v %v %v", got[i]["time"], got[i]["flow_start"], got[i]["flow_end"]); has != want {
			t.Errorf("line %d: time, flow_start and flow_end are %s, want %s", i+1, has, want)
		}
	}
}
