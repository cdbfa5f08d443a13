package enrich_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/row"
	"dredge/row/encode"
	"dredge/row/rollup"
)

const twoInterfaces = `
{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","ip":"10.0.0.5","primary":true,"owner":"eni:eni-a","wl":{"app":"web","vpc":"vpc-1"}}
{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-1","ip":"10.0.0.6","primary":true,"owner":"eni:eni-b","wl":{"app":"ledger","vpc":"vpc-1"}}
{"v":1,"src":"f","op":"coverage","from":T+0,"scope":"vpc-1","prefix":"10.0.0.0/16","logged":true}
{"v":1,"src":"f","op":"progress","to":T+3600}
`

// TestJ10DoubleCountingIsVisible: both interfaces log one flow. The rows carry the reporting side, a query of one side halves the bytes
// exactly, and so does the rolled-up row's plain sum.
func TestJ10DoubleCountingIsVisible(t *testing.T) {
	w := newWorld(t, times(twoInterfaces, 1000))
	in := decode(t, "interface-id vpc-id srcaddr dstaddr srcport dstport protocol packets bytes start end action flow-direction log-status", times(`
		eni-a vpc-1 10.0.0.5 10.0.0.6 40000 443 6 10 5000 T+600 T+610 ACCEPT egress OK
		eni-b vpc-1 10.0.0.5 10.0.0.6 40000 443 6 10 5000 T+600 T+610 ACCEPT ingress OK
		eni-b vpc-1 10.0.0.6 10.0.0.5 443 40000 6 8 70000 T+600 T+610 ACCEPT egress OK
		eni-a vpc-1 10.0.0.6 10.0.0.5 443 40000 6 8 70000 T+600 T+610 ACCEPT ingress OK`, 1))
	var out row.Batch
	w.enricher.Enrich(in, &out)
	var all, counted, src int64
	var sides []string
	for i := range out.Rows {
		r := &out.Rows[i]
		sides = append(sides, r.ObservedAt.String())
		all += r.Bytes
		if r.Counted {
			counted += r.Bytes
		}
		if r.ObservedAt == row.EndSrc {
			src += r.Bytes
		}
	}
	if diff := cmp.Diff([]string{"src", "dst", "src", "dst"}, sides); diff != "" {
		t.Errorf("reporting sides (-want +got):\n%s", diff)
	}
	if all != 150_000 || counted != all/2 || src != all/2 {
		t.Errorf("all %d bytes, counted %d, of the source's side %d", all, counted, src)
	}
	m, err := encode.NewMinute(row.DefaultConfig().Columns(row.Minute))
	if err != nil {
		t.Fatal(err)
	}
	a := rollup.New(m, nil)
	a.Add(&out)
	var sums, observed int64
	a.Drain(func(r *rollup.Row) {
		sums += r.Sums.Bytes
		observed += r.Sums.BytesObserved
		if !strings.Contains(string(r.Dimensions), `"service_port":"443"`) {
			t.Errorf("rolled up by %s", r.Dimensions)
		}
	})
	if sums != counted || observed != all {
		t.Errorf("rolled up: %d bytes of %d observed", sums, observed)
	}
}
