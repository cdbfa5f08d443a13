package kinesis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dredge/consumer/kinesis/lease"
)

// graph reads a family of shards: "0,1>6 5>9,10 4" with the open ones after a slash.
func graph(t *testing.T, text string) []shardInfo {
	t.Helper()
	edges, open, _ := strings.Cut(text, "/")
	byID := map[string]*shardInfo{}
	get := func(id string) *shardInfo {
		if byID[id] == nil {
			byID[id] = &shardInfo{id: id, open: slices.Contains(strings.Split(open, ","), id)}
		}
		return byID[id]
	}
	for e := range strings.FieldsSeq(edges) {
		from, to, _ := strings.Cut(e, ">")
		for id := range strings.SplitSeq(from, ",") {
			get(id)
		}
		for id := range strings.SplitSeq(to, ",") {
			if id != "" {
				get(id).parents = strings.Split(from, ",")
			}
		}
	}
	var out []shardInfo
	for i := range 20 {
		if s := byID[strconv.Itoa(i)]; s != nil {
			s.start = strconv.Itoa(100 + i)
			out = append(out, *s)
		}
	}
	return out
}

// The families of KCL's own tests. Where ours differs it is said: KCL would read again what was read before.
func TestUncovered(t *testing.T) {
	const (
		a = "0,1>6 2,3>7 6,7>8 4 5>9,10/4,8,9,10"
		b = "0,1>2 2>3,4 3,4>5 5>6,7 6,7>8 8>9,10/9,10"
		c = "0>4,5 1 2,3>6 4>7,8 5>9,10/1,6,7,8,9,10"
	)
	f := func(family, leased, want string) {
		t.Helper()
		shards := graph(t, family)
		var leases []lease.Lease
		for id := range strings.FieldsSeq(leased) {
			id, ended := strings.CutSuffix(id, "!")
			i := slices.IndexFunc(shards, func(s shardInfo) bool { return s.id == id })
			l := (&source{}).newLease(shards[i], lease.TrimHorizon)
			if ended {
				l.Checkpoint.Sequence = lease.ShardEnd
			}
			leases = append(leases, l)
		}
		missing, err := uncovered(shards, leases)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range missing {
			got = append(got, m.id)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s with %q: %q, want %q", family, leased, got, want)
		}
	}
	f(a, "3 4 5", "0 1 2")
	f(a, "4 5 7", "0 1")
	f(a, "2 6", "3 4 5")
	f(a, "4 9 10", "0 1 2 3")
	f(a, "4 5 6 7", "")
	f(a, "0 1 2 3 4 5 6 7", "")
	f(a, "0 1 4 7 9 10", "")
	f(b, "6", "7") // KCL: 0 and 1, which were read long ago, since 6 is there
	f(b, "5", "")
	f(b, "0 1 2 3 4 5", "")
	f(c, "9 10", "0 1 2 3")
	// A shard's end that was cut short: one child has its lease, the parent is not at SHARD_END.
	f("0>1,2/1,2", "0 1", "")
	f("0>1,2/1,2", "0! 1", "2")
	f("0>1,2/1,2", "0!", "1 2")
	f("0>1,2/1,2", "1", "2")
	// The other side of a merge.
	f("0,1>2/2", "0", "1")
	f("0,1>2/2", "0! 1", "")
	f("0,1>2/2", "0! 1!", "2")
}

func TestInconsistentListIsNotUsed(t *testing.T) {
	_, err := uncovered(graph(t, "0>1,2/0,1,2"), []lease.Lease{{Key: "0"}})
	if !errors.Is(err, errListing) {
		t.Errorf("open child of an open parent: %v", err)
	}
}

func TestTiles(t *testing.T) {
	const top = "340282366920938463463374607431768211455"
	f := func(want bool, ranges ...string) {
		t.Helper()
		var shards []shardInfo
		for _, r := range ranges {
			from, to, _ := strings.Cut(r, "-")
			shards = append(shards, shardInfo{hash: lease.HashRange{Start: from, End: to}})
		}
		if got := tiles(shards); got != want {
			t.Errorf("tiles(%q) = %t", ranges, got)
		}
	}
	f(true, "0-"+top)
	f(true, "100-"+top, "0-9", "10-99")
	f(false)
	f(false, "0-9", "11-"+top)
	f(false, "0-10", "10-"+top)
	f(false, "1-"+top)
	f(false, "0-340282366920938463463374607431768211454")
	f(false, "0-x")
}

func TestSettled(t *testing.T) {
	s := &syncer{}
	row := func(at string) lease.Lease { return lease.Lease{Checkpoint: lease.Checkpoint{Sequence: at}} }
	f := func(want, isListed bool, rows map[string]lease.Lease, children ...string) {
		t.Helper()
		if got := s.settled(rows, children, isListed); got != want {
			t.Errorf("settled(%v, %q, listed=%t) = %t", rows, children, isListed, got)
		}
	}
	f(true, true, map[string]lease.Lease{"a": row("5"), "b": row(lease.ShardEnd)}, "a", "b")
	f(false, true, map[string]lease.Lease{"a": row("5"), "b": row(lease.TrimHorizon)}, "a", "b")
	f(true, false, map[string]lease.Lease{"a": row("5"), "b": row(lease.TrimHorizon)}, "a", "b")
	f(false, false, map[string]lease.Lease{"a": row("5")}, "a", "b")
	f(false, true, nil)
	f(true, false, nil)
}

func TestRetentionHidesParents(t *testing.T) {
	shards := graph(t, "0>1,2/1,2")
	shards = slices.DeleteFunc(shards, func(s shardInfo) bool { return s.id == "0" })
	got, err := uncovered(shards, []lease.Lease{{Key: "x", Checkpoint: lease.Checkpoint{Sequence: lease.ShardEnd}}})
	if err != nil || fmt.Sprint(len(got)) != "2" {
		t.Errorf("uncovered = %v, %v; want both children of a forgotten parent", got, err)
	}
}
