package enrich_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/enrich"
	"dredge/row"
)

// byPort says allowed of even destination ports and unexpected of odd ones, and wants rows whose ends are named already.
type byPort struct{ t *testing.T }

func (s byPort) Judge(b *row.Batch, i int) row.Segmentation {
	r := &b.Rows[i]
	if r.Src.App == "" || r.Dst.App == "" {
		s.t.Errorf("row %d is judged before it is complete: %+v", i, r)
	}
	return row.SegmentationAllowed + row.Segmentation(r.Dst.Port%2)
}

// Every row is judged by itself, whatever it is joined together with.
func TestEveryRowIsJudged(t *testing.T) {
	w, in := estate(t, func(_ *enrich.Config, d *enrich.Deps) { d.Segments = byPort{t} })
	var out row.Batch
	w.enricher.Enrich(in, &out)
	var got, want []string
	for i := range out.Rows {
		got = append(got, out.Rows[i].Segmentation.String())
		want = append(want, (row.SegmentationAllowed + row.Segmentation(out.Rows[i].Dst.Port%2)).String())
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 100 {
		t.Errorf("%d rows:\n%s", len(got), diff)
	}
}
