package scenario

import (
	"testing"
	"time"

	"dredge/internal/awsfake"
	"dredge/pipeline"
)

// I1: four shards, ten minutes of generated load, through the SDK's own clients: every record that went in comes out as a row,
// and at the end nothing is more than two seconds behind.
//
// The lag is measured from end to end, from a record's arrival in the stream to its row in the sink, with the gate in force.
func TestI1ReadsContinuously(t *testing.T) {
	inBubble(t, 4, awsfake.Config{Limits: awsfake.AllLimits(), TableDelay: 3 * time.Second, ReadLag: 500 * time.Millisecond}, func(r *rig) {
		l := r.newLoad(1)
		w := r.start("dredge-a")
		const minutes, bound = 10 * time.Minute, 2 * time.Second
		l.play(minutes)

		// The end: the generator has written its last record this very moment.
		end := time.Now()
		var lag time.Duration
		for id := range l.judge().lost {
			lag = max(lag, end.Sub(l.flows[id].at))
		}
		if behind := w.Status().Behind; lag >= bound || behind >= bound {
			t.Errorf("at the end a record of %s ago is not in the sink, and the worker is %s behind; both must be below %s", lag, behind, bound)
		}
		for _, s := range r.openShards() {
			if s.Records == 0 {
				t.Errorf("shard %s got no record: the load is not one of four shards", s.ID)
			}
		}

		r.wait(bound)
		v := l.judge()
		if len(v.lost)+len(v.double) > 0 || len(r.mem.All()) != len(l.flows) {
			t.Errorf("%d rows of %d records; lost: %v; more than once: %v", len(r.mem.All()), len(l.flows), sample(v.lost), sample(v.double))
		}
		w.stop()

		b := w.pipeline.Books().Snapshot()
		sent := int64(len(l.flows))
		if b.Delivered != sent || b.Decoded != sent || b.Lines != sent+l.noData+l.skipData+l.controls ||
			b.Skipped[pipeline.SkippedNoData] != l.noData || b.Skipped[pipeline.SkippedSkipData] != l.skipData || b.Skipped[pipeline.SkippedControl] != l.controls {
			t.Errorf("books %+v; sent were %d flows, %d NODATA, %d SKIPDATA, %d control messages", b, sent, l.noData, l.skipData, l.controls)
		}
		if l.noData == 0 || l.controls == 0 || sent < 10_000 {
			t.Errorf("the load is poor: %d flows, %d NODATA, %d control messages", sent, l.noData, l.controls)
		}
		v.wantNamed(t)
		for _, s := range r.openShards() {
			if at := r.leases()[s.ID].checkpoint; at.Sequence != s.LastSequenceNumber {
				t.Errorf("%s: checkpoint %s, want the last record %s", s.ID, at, s.LastSequenceNumber)
			}
		}
		t.Logf("%d flows, lag %s at the end, %d of %d ends named", sent, lag, v.named, v.owned)
	})
}
