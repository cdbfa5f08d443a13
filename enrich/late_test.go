package enrich_test

import (
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
