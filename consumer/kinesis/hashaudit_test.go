package kinesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dredge/consumer/kinesis/lease"
)

const topHash = "340282366920938463463374607431768211455"

// ranged reads leases "from-to", with a "!" for one whose shard is read to its end and "-" for one without a range.
func ranged(texts ...string) []lease.Lease {
	var out []lease.Lease
	for i, text := range texts {
		text, ended := strings.CutSuffix(text, "!")
		l := lease.Lease{Key: fmt.Sprint(i), Checkpoint: lease.Checkpoint{Sequence: "5"}}
		if ended {
			l.Checkpoint.Sequence = lease.ShardEnd
		}
		if from, to, _ := strings.Cut(text, "-"); from != "" {
			l.HashRange = &lease.HashRange{Start: from, End: strings.Replace(to, "top", topHash, 1)}
		}
		out = append(out, l)
	}
	return out
}

func TestHashHoles(t *testing.T) {
	f := func(want string, leases ...string) {
		t.Helper()
		var got []string
		for _, h := range hashHoles(ranged(leases...)) {
			got = append(got, h.Start+"-"+strings.Replace(h.End, topHash, "top", 1))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("holes of %q: %q, want %q", leases, got, want)
		}
	}
	f("", "0-top")
	f("", "10-19", "0-9", "20-top")
	f("", "0-9", "10-top", "20-top") // overlapping at the end
	f("", "0-19", "5-9", "20-top")
	f("10-19", "0-9", "20-top")
	f("0-4 10-19 30-top", "5-9", "20-29")
	f("10-19", "0-9", "10-19!", "20-top") // because of a shard's end without children
	f("0-top")
	f("0-top", "0-top!")
	f("", "0-9", "-") // a row without a range proves nothing
}

func TestAuditWaitsForTheSameHole(t *testing.T) {
	a := &audit{}
	one, other := ranged("0-9", "20-top"), ranged("0-9", "30-top")
	for i, leases := range [][]lease.Lease{one, one, other, other, one, one} { // a hole that moves is a reshard
		if got := a.round(leases); got != nil {
			t.Errorf("audit %d found %v", i, got)
		}
	}
	if got := a.round(one); !slices.Equal(got, []lease.HashRange{{Start: "10", End: "19"}}) {
		t.Errorf("the third audit in a row found %v", got)
	}
	if got := a.round(ranged("0-top")); got != nil {
		t.Errorf("without a hole %v was found", got)
	}
}

// A part of the key space without a lease that no shard explains, because a shard was marked as ended by mistake, is an alarm.
func TestHashHoleIsAlarmed(t *testing.T) {
	inBubble(t, 3, func(b *bench) {
		for i := range 3 {
			l := (&source{}).newLease(newShardInfo(b.kinesis.shard(shardID(i)).describe()), lease.TrimHorizon)
			if i == 1 {
				l.Checkpoint.Sequence = lease.ShardEnd
			}
			if _, err := b.store.Create(b.Context(), l); err != nil {
				b.Fatal(err)
			}
		}
		w := b.start("dredge-a")
		b.advance(b.cfg.ShardSyncInterval)
		if n := w.metric("hash_range_holes"); n != 0 {
			b.Errorf("%v holes after two comparisons", n)
		}
		b.await("alarm", 4*b.cfg.ShardSyncInterval, func() bool { return w.metric("hash_range_holes") == 1 })
		b.advance(time.Second)
	})
}

// Rows of KCL 1.x have no hash range; it is filled in.
func TestMissingRangesAreFilledIn(t *testing.T) {
	inBubble(t, 2, func(b *bench) {
		for i := range 2 {
			if _, err := b.store.Create(b.Context(), lease.Lease{Key: shardID(i), Checkpoint: lease.Checkpoint{Sequence: lease.TrimHorizon}}); err != nil {
				b.Fatal(err)
			}
		}
		b.start("dredge-a")
		b.await("filled in", b.cfg.ShardSyncInterval, func() bool {
			return !slices.ContainsFunc(b.leases(), func(l lease.Lease) bool { return l.HashRange == nil })
		})
		if holes := hashHoles(b.leases()); holes != nil {
			b.Errorf("holes %v", holes)
		}
	})
}
