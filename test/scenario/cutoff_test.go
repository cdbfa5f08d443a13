package scenario

import (
	"slices"
	"testing"
	"time"

	"dredge/internal/awsfake"
)

// TestJ9NoRemoteCallInTheRowPath holds the row J9. The same load is played twice, once with everything of AWS but the reading of shards
// cut off for half of the failover time, as long as a lease is sure to last without: the lease table, the list of shards, whatever else a
// worker may ask. Second by second as many rows are in the sink as in the other run, with the same names. (Knowledge of owners that stops
// coming is row S13's.)
func TestJ9NoRemoteCallInTheRowPath(t *testing.T) {
	const before, after = 40 * time.Second, 20 * time.Second
	play := func(cutOff bool) (stored []int, named int) {
		inBubble(t, 4, awsfake.Config{}, func(r *rig) {
			l := r.newLoad(9)
			w := r.start("dredge-a")
			l.play(before)
			// A lease is dropped by the worker's own clock a failover time after its last renewal, which may be a third of one ago, and
			// the next try comes up to a ninth later.
			cut := r.consumer.FailoverTime / 2
			var faults []*awsfake.Injection
			for _, op := range []string{
				"UpdateItem", "PutItem", "GetItem", "DeleteItem", "Query", "Scan", "DescribeTable", "CreateTable", "ListShards", "DescribeStreamSummary",
				"DescribeNetworkInterfaces", "DescribeInstances", "AssumeRole", "ReceiveMessage", "GetObject",
			} {
				if cutOff {
					faults = append(faults, r.aws.Inject(awsfake.Fault{Op: op, Kind: awsfake.Reset}))
				}
			}
			refused := func() (n int) {
				for _, f := range faults {
					n += f.Struck()
				}
				return n
			}
			for range int(cut / time.Second) {
				l.play(time.Second)
				stored = append(stored, len(r.mem.All()))
			}
			if cutOff && refused() == 0 {
				t.Error("the worker asked for nothing meanwhile: the test shows nothing")
			}
			for _, f := range faults {
				f.Remove()
			}
			l.play(after)
			if own := w.Status().Owned; own != 4 {
				t.Errorf("the worker has %d shards after all is back, want 4", own)
			}
			v := l.judge()
			if named = v.named; len(v.double) > 0 {
				t.Errorf("%d lines came twice", len(v.double))
			}
		})
		return stored, named
	}
	quiet, names := play(false)
	cut, same := play(true)
	if !slices.Equal(cut, quiet) || same != names {
		t.Errorf("rows in the sink, second by second: cut off %v, else %v; %d ends named, else %d", cut, quiet, same, names)
	}
	if rows := quiet[len(quiet)-1] - quiet[0]; rows < 100 {
		t.Errorf("%d rows in %d seconds are no load", rows, len(quiet))
	}
}
