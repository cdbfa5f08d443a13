package enrich_test

import (
	"fmt"
	"testing"

	"dredge/enrich"
	"dredge/metadata"
	"dredge/row"
)

// TestReasonsOfRecords gives the reasons that only a record can give their scenario; those of look-ups have theirs in metadata/store.
func TestReasonsOfRecords(t *testing.T) {
	w := newWorld(t, events(assign("10.0.1.5", "eni:eni-a", "web"), assign("10.0.2.6", "eni:eni-b", "db"),
		`{"v":1,"src":"f","op":"assign","from":T+0,"scope":"vpc-2","ip":"10.9.0.7","primary":true,"owner":"eni:eni-c","wl":{"app":"ledger","vpc":"vpc-2"}}`+"\n", progress))
	for _, c := range []struct {
		name, format, line string
		// of says what the reason is looked for at: the answer, or what led to the scope, at the source or the destination.
		of   func(*enrich.Explanation) metadata.Reason
		want metadata.Reason
	}{
		{
			"the task's own name in the record", pkt + " vpc-id ecs-service-name ecs-task-id",
			"eni-x 10.0.1.9 10.0.2.6 10.0.1.9 10.0.2.6 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK vpc-1 cart abc",
			func(x *enrich.Explanation) metadata.Reason { return x.Src.Answer.Reason }, metadata.RecordIdentity,
		},
		{
			"the interface that recorded", pkt, "eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK",
			func(x *enrich.Explanation) metadata.Reason { return x.Src.Answer.Reason }, metadata.RecordInterface,
		},
		{
			"the next hop's VPC", pkt + " next-hop-vpc-id", "eni-a 10.0.1.5 10.9.0.7 10.0.1.5 10.9.0.7 40000 443 6 1 60 T+600 T+660 ACCEPT egress OK vpc-2",
			func(x *enrich.Explanation) metadata.Reason { return x.Dst.ScopeReason }, metadata.RecordScope,
		},
		{
			"the transit gateway's own field", "tgw-id tgw-src-vpc-id tgw-dst-vpc-id srcaddr dstaddr start end log-status", "tgw-1 vpc-1 vpc-2 10.0.1.5 10.9.0.7 T+600 T+660 OK",
			func(x *enrich.Explanation) metadata.Reason { return x.Dst.ScopeReason }, metadata.RecordScope,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out row.Batch
			x := w.enricher.Explain(decode(t, c.format, times(c.line, 1)), 0, &out)
			if got := c.of(&x); got != c.want {
				t.Errorf("%s, want %s: %+v", got, c.want, x)
			}
			if !out.Rows[0].Src.Named || out.Rows[0].Dst.App == row.AppUnknown {
				t.Errorf("from %q to %q", out.Rows[0].Src.App, out.Rows[0].Dst.App)
			}
		})
	}
}

// TestCandidatesOfAChange: where what ran behind an owner changed about a flow, the row names what ran there before and after, at
// the interface's own side as at the other.
func TestCandidatesOfAChange(t *testing.T) {
	const changed = `{"v":1,"src":"f","op":"describe","from":T+600,"owner":"eni:eni-a","wl":{"app":"shop"}}` + "\n"
	w := newWorld(t, events(assign("10.0.1.5", "eni:eni-a", "web"), changed, assign("10.0.2.6", "eni:eni-b", "db"),
		`{"v":1,"src":"f","op":"describe","from":T+0,"owner":"eni:eni-c","wl":{"app":"old"}}`+"\n",
		`{"v":1,"src":"f","op":"describe","from":T+600,"owner":"eni:eni-c","wl":{"app":"new"}}`+"\n", progress))
	for _, c := range []struct{ name, line, side, grade, candidates string }{
		{"own side", "eni-a 10.0.1.5 10.0.2.6 10.0.1.5 10.0.2.6 40000 443 6 1 60 T+590 T+610 ACCEPT egress OK", "src", "ambiguous", "[web shop]"},
		{"other side", "eni-b 10.0.2.6 10.0.1.5 10.0.2.6 10.0.1.5 40000 443 6 1 60 T+590 T+610 ACCEPT egress OK", "dst", "ambiguous", "[web shop]"},
		{"soon after", "eni-b 10.0.2.6 10.0.1.5 10.0.2.6 10.0.1.5 40000 443 6 1 60 T+620 T+630 ACCEPT egress OK", "dst", "border", "[web shop]"},
		{"of no told address", "eni-c 10.0.1.9 10.0.2.6 10.0.1.9 10.0.2.6 40000 443 6 1 60 T+590 T+610 ACCEPT egress OK", "src", "ambiguous", "[old new]"},
	} {
		r := w.rows(t, pkt+" vpc-id", times(c.line+" vpc-1", 1))[0]
		if r[c.side+"_app"] != row.AppAmbiguous || r[c.side+"_grade"] != c.grade || r[c.side+"_reason"] != "workload-changed" ||
			fmt.Sprint(r[c.side+"_candidates"]) != c.candidates {
			t.Errorf("%s: %v", c.name, r)
		}
	}
}
