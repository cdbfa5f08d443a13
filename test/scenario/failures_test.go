package scenario

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/internal/awsfake"
	"dredge/pipeline"
	"dredge/sink/sinktest"
)

// A bad day: a shard splits, the sink refuses for a minute and then loses what two shards have in flight, two shards merge, one
// worker of two dies without a word, and AWS throttles and loses answers all the while. Every line that was sent is in the sink.
// What is there twice is exactly what the dead worker had delivered and not yet checkpointed.
func TestEveryLineSurvivesABadDay(t *testing.T) {
	aws := awsfake.Config{Limits: awsfake.AllLimits(), ReshardDelay: 2 * time.Second, TableDelay: 3 * time.Second, ReadLag: 500 * time.Millisecond}
	inBubble(t, 4, aws, func(r *rig) {
		for _, f := range []awsfake.Fault{
			{Op: "GetRecords", Kind: awsfake.Throttle, Probability: 0.02, Seed: 1},
			{Op: "GetRecords", Kind: awsfake.TruncatedReply, Probability: 0.02, Seed: 2},
			{Op: "GetRecords", Kind: awsfake.ExpiredIterator, Probability: 0.01, Seed: 3},
			{Op: "UpdateItem", Kind: awsfake.LostReply, Probability: 0.02, Seed: 4},
			{Op: "UpdateItem", Kind: awsfake.Throttle, Probability: 0.02, Seed: 5},
			{Op: "ListShards", Kind: awsfake.Unavailable, Probability: 0.1, Seed: 6},
		} {
			r.aws.Inject(f)
		}
		r.consumer.ShardSyncInterval = 10 * time.Second
		l := r.newLoad(2)
		a, b := r.start("dredge-a"), r.start("dredge-b")
		l.play(time.Minute)
		if own := r.owners(); own["dredge-a"] != 2 || own["dredge-b"] != 2 {
			t.Errorf("after a minute the workers own %v, want two shards each", own)
		}

		if err := r.aws.Kinesis().Split(streamName, r.openShards()[0].ID); err != nil {
			t.Fatal(err)
		}
		l.play(30 * time.Second)
		if n := len(r.openShards()); n != 5 {
			t.Fatalf("%d shards are open after the split, want 5", n)
		}

		l.sinkFails()

		open := r.openShards()
		if err := r.aws.Kinesis().Merge(streamName, open[2].ID, open[3].ID); err != nil {
			t.Fatal(err)
		}
		l.play(30 * time.Second)
		if n := len(r.openShards()); n != 4 {
			t.Fatalf("%d shards are open after the merge, want 4", n)
		}
		if v := l.judge(); len(v.double) > 0 {
			t.Errorf("before any worker died, %d lines are in the sink more than once: %v", len(v.double), sample(v.double))
		}

		again := l.killInMidWork(a)
		took := l.playUntil("take-over", 2*r.consumer.FailoverTime, func() bool { return r.owners()["dredge-b"] == len(r.openShards()) })
		t.Logf("dredge-b has all shards %s after the death of dredge-a", took)
		l.play(time.Minute)

		r.aws.ClearFaults()
		var v verdict
		r.await("every line is in the sink, every checkpoint at the last record", 30*time.Second, func() bool {
			if !r.checkpointed() {
				return false
			}
			v = l.judge()
			return len(v.lost) == 0
		})
		for id := range again {
			again[id] = 2
		}
		if !maps.Equal(v.double, again) {
			t.Errorf("%d lines are in the sink more than once (%v), want the %d that dredge-a had delivered and not checkpointed (%v)",
				len(v.double), sample(v.double), len(again), sample(again))
		}
		b.stop()

		total := r.books()
		if stored := len(r.mem.All()); total.Delivered != int64(stored) || stored != len(l.flows)+len(again) {
			t.Errorf("the books of both workers say %d delivered, the sink has %d rows, %d were sent and %d sent again", total.Delivered, stored, len(l.flows), len(again))
		}
		if total.Abandoned[pipeline.AbandonedRewind] == 0 || total.Abandoned[pipeline.AbandonedFailed] == 0 {
			t.Errorf("abandoned: %v; both ways of the sink to lose lines should have met some", total.Abandoned)
		}
		if r.table.moves < 100 {
			t.Errorf("checkpoints moved only %d times: that none moved back says little", r.table.moves)
		}
		for _, s := range r.openShards() {
			if row := r.leases()[s.ID]; row.owner != "" {
				t.Errorf("%s still belongs to %q", s.ID, row.owner)
			}
		}
		v.wantNamed(t)
		t.Logf("%d lines, %d again, abandoned on the way: %v; %d of %d ends named",
			len(l.flows), len(again), total.Abandoned, v.named, v.owned)
	})
}

// sinkFails: for a minute nothing is committed; then one shard's rows in flight are lost to a rewind, another's to a fault that
// the sink has no name for. Nothing is checkpointed meanwhile.
func (l *load) sinkFails() {
	l.Helper()
	l.mem.Refuse()
	l.play(5 * time.Second) // checkpoints of what was committed before are still on their way
	rows, frozen := len(l.mem.All()), l.leases()
	l.play(55 * time.Second)
	if n := len(l.mem.All()); n != rows {
		l.Errorf("the sink refuses, and yet took %d rows", n-rows)
	}
	for key, now := range l.leases() {
		if was, ok := frozen[key]; ok && now.checkpoint != was.checkpoint {
			l.Errorf("%s: while the sink refuses the checkpoint moved from %s to %s", key, was.checkpoint, now.checkpoint)
		}
	}
	open := l.openShards()
	l.mem.Rewind(open[0].ID)
	l.mem.Fail(open[1].ID, errors.New("the broker fell over"))
	l.play(5 * time.Second)
	l.mem.Accept()
	l.playUntil("what waited is in the sink", 30*time.Second, func() bool { return len(l.mem.All()) > rows && l.books().InFlight == 0 })
}

// killInMidWork kills w when the sink has rows of it that no checkpoint covers, and returns those rows.
func (l *load) killInMidWork(w *worker) map[sinktest.RowID]int {
	l.Helper()
	uncovered := func() map[sinktest.RowID]int {
		leases := l.leases()
		found := map[sinktest.RowID]int{}
		for _, s := range l.mem.All() {
			row, ok := leases[s.Partition]
			if !ok || row.owner != w.ID() {
				continue
			}
			at, err := lease.ParsePosition(s.ID().Position)
			if err != nil {
				l.Fatal(err)
			}
			if at.Compare(row.checkpoint) > 0 {
				found[s.ID()]++
			}
		}
		return found
	}
	l.playUntil("rows beyond the checkpoint", 30*time.Second, func() bool { return len(uncovered()) > 20 })
	w.kill()
	return uncovered()
}

// checkpointed says whether the checkpoints of all open shards stand at their last records.
func (r *rig) checkpointed() bool {
	r.Helper()
	leases := r.leases()
	return !slices.ContainsFunc(r.openShards(), func(s awsfake.Shard) bool {
		return s.Records > 0 && leases[s.ID].checkpoint.Sequence != s.LastSequenceNumber
	})
}

// owners counts the unfinished leases of each worker.
func (r *rig) owners() map[string]int {
	r.Helper()
	n := map[string]int{}
	for _, row := range r.leases() {
		if !row.checkpoint.IsShardEnd() {
			n[row.owner]++
		}
	}
	return n
}

// playUntil goes on with the load until cond holds.
func (l *load) playUntil(what string, limit time.Duration, cond func() bool) time.Duration {
	l.Helper()
	begin := time.Now()
	for !cond() {
		if time.Since(begin) >= limit {
			l.Fatalf("%s: not within %s\n%s", what, limit, l.dump())
		}
		l.play(500 * time.Millisecond)
	}
	return time.Since(begin)
}
