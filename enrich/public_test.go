package enrich_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/row"
)

// atlas knows one address of S3 and one of somebody else.
type atlas struct{}

func (a atlas) Service(ip netip.Addr) string { s, _ := a.ServiceIn(ip); return s }

func (atlas) ServiceIn(ip netip.Addr) (service, region string) {
	if ip == netip.MustParseAddr("52.95.128.179") {
		return "S3", "eu-west-1"
	}
	return "", ""
}

func (atlas) Where(ip netip.Addr) (country string, asn uint32, org string) {
	switch ip {
	case netip.MustParseAddr("52.95.128.179"):
		return "IE", 16509, "AMAZON-02"
	case netip.MustParseAddr("203.0.113.7"):
		return "DE", 64496, "Example Net"
	default:
		return "", 0, ""
	}
}

const publicFormat = "vpc-id interface-id srcaddr dstaddr srcport dstport protocol start end flow-direction pkt-dst-aws-service"

// Public ends carry the service's region, country and autonomous system; the record's own service goes before the published
// one, and a contradiction is counted.
func TestPublicEnds(t *testing.T) {
	w := newWorld(t, "", func(_ *enrich.Config, d *enrich.Deps) { d.Public = atlas{} })
	got := w.rows(t, publicFormat, `
		vpc-1 eni-1 10.0.0.1 52.95.128.179 40000 443 6 1767226200 1767226260 egress -
		vpc-1 eni-1 10.0.0.1 52.95.128.179 40000 443 6 1767226200 1767226260 egress AMAZON
		vpc-1 eni-1 10.0.0.1 203.0.113.7 40000 443 6 1767226200 1767226260 egress -
		vpc-1 eni-1 10.0.0.1 203.0.113.8 40000 443 6 1767226200 1767226260 egress -
		vpc-1 eni-1 10.0.0.1 10.0.0.2 40000 443 6 1767226200 1767226260 egress -`)
	var lines [][]any
	for _, m := range got {
		lines = append(lines, []any{m["dst_app"], m["dst_region"], m["dst_country"], m["dst_asn"], m["dst_as_org"], m["src_country"]})
	}
	want := [][]any{
		{"aws:S3", "eu-west-1", "IE", "16509", "AMAZON-02", nil},
		{"aws:AMAZON", "eu-west-1", "IE", "16509", "AMAZON-02", nil},
		{"internet", nil, "DE", "64496", "Example Net", nil},
		{"internet", nil, nil, nil, nil, nil},
		{"unknown", nil, nil, nil, nil, nil},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	expectCounter(t, w, "dredge_enrich_service_mismatches_total", 1)
}

func TestPublicEndsAllocateNothing(t *testing.T) {
	w := newWorld(t, "", func(_ *enrich.Config, d *enrich.Deps) { d.Public = atlas{} })
	in := decode(t, publicFormat, `
		vpc-1 eni-1 10.0.0.1 52.95.128.179 40000 443 6 1767226200 1767226260 egress AMAZON
		vpc-1 eni-1 10.0.0.1 203.0.113.7 40000 443 6 1767226200 1767226260 egress -`)
	var out row.Batch
	each := func(in *flowlog.Batch) {
		out.Reset()
		w.enricher.Enrich(in, &out)
	}
	each(in)
	if n := testing.AllocsPerRun(100, func() { each(in) }); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

func expectCounter(t *testing.T, w *world, name string, want float64) {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			if got := f.GetMetric()[0].GetCounter().GetValue(); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
			return
		}
	}
	t.Errorf("no metric %s", name)
}
